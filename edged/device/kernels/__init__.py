"""Functions that run on the device, as CUDA C++; compiled at run time for the device that is there."""

from importlib.resources import files


def source(name: str) -> str:
    """Return the text of `name`.cu."""
    return files(__name__).joinpath(f"{name}.cu").read_text("utf-8")
