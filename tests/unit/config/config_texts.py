"""Texts of configuration files, to be broken in one place at a time."""

from __future__ import annotations

from pathlib import Path

CAMERAS, EDGED, TASK = "cameras.yaml", "edged.yaml", "tasks/lane.yaml"
ID_RULE = "a lower-case letter, then lower-case letters, digits or _, at most 32 in all"


def camera(text: str) -> str:
    """Return `cameras.yaml` whose camera `front`, in line 2, has these keys."""
    return f"cameras:\n  front: {{{text}}}\n"


def source(text: str) -> str:
    return camera(f"source: {text!r}" if '"' in text else f'source: "{text}"')


def task(text: str, cameras: str = "[front]", rate: str = "10") -> str:
    """Return a task file with more text from line 6 on."""
    return f"cameras: {cameras}\nrate_hz: {rate}\nmodel:\n  onnx: ../net.onnx\n  parser: yolov8\n{text}\n"


def engine(text: str) -> str:
    return task(f"engine: {{{text}}}")


def model(text: str) -> str:
    return f"cameras: [front]\nrate_hz: 10\nmodel:\n  onnx: ../net.onnx\n  parser: yolov8\n  {text}\n"


Row = tuple[str, list[str]]
"""The text of a file, and the faults in it without the file's name."""


def expected(file: str, lines: list[str]) -> list[str]:
    """Return the whole fault lines; CONF stands for the absolute path of the configuration."""
    here = str(Path("conf").resolve())
    return [f"conf/{file}:{line.replace('CONF', here)}" for line in lines]
