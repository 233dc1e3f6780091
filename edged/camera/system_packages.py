"""Python modules that only the distribution or JetPack installs (gi, jetson_utils_python), from inside a venv.

The distribution's folder goes to the end of `sys.path`, in a camera's own process: nothing of the venv is replaced, and
the venv needs no `--system-site-packages`. A compiled module fits only the Python minor version it was built for.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

MINOR = f"python3.{sys.version_info.minor}"
FOLDERS = (f"/usr/local/lib/{MINOR}/dist-packages", f"/usr/lib/{MINOR}/dist-packages", "/usr/lib/python3/dist-packages")


def folder_of(module: str, compiled: str | None = None) -> str:
    """Return the folder to import `module` from, without importing it.

    Args:
        module: its name.
        compiled: the extension inside the package that must fit this Python; None when `module` is one itself.

    Raises:
        ModuleNotFoundError: it is nowhere, or only for another Python.
    """
    other = ""
    for folder in (*sys.path, *FOLDERS):
        if PathFinder.find_spec(module, [folder]) is None:
            other = other or _built_for_another(folder, module)
        elif compiled is None or PathFinder.find_spec(compiled, [str(Path(folder, module))]) is not None:
            return folder
        else:
            other = folder
    where = f"in {other} it is built for another Python than 3.{sys.version_info.minor}" if other else "not installed"
    raise ModuleNotFoundError(f"{module}: {where}", name=module)


def make_importable(module: str, compiled: str | None = None) -> None:
    """Extend `sys.path` so that `module` can be imported. Raise `ModuleNotFoundError` as `folder_of` does."""
    folder = folder_of(module, compiled)
    if folder not in sys.path:
        sys.path.append(folder)


def _built_for_another(folder: str, module: str) -> str:
    path = Path(folder or ".")
    return folder if path.is_dir() and next(path.glob(f"{module}.cpython-*.so"), None) else ""
