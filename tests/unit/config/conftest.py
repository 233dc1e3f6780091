"""A small valid configuration that tests break in one place at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edged.config import load_config
from edged.errors import ConfigError

CAMERAS = """\
cameras:
  front: {source: "file:front.mp4"}
  rear: {source: "v4l2:/dev/video7"}
"""

TASK = """\
cameras: [front]
rate_hz: 10
model:
  onnx: ../net.onnx
  parser: yolov8
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a configuration to `conf/` below the working directory and return its relative path."""
    monkeypatch.chdir(tmp_path)

    def write(files: dict[str, str | bytes | None] | None = None) -> Path:
        texts: dict[str, str | bytes | None] = {
            "net.onnx": "",
            "cameras.yaml": CAMERAS,
            "tasks/lane.yaml": TASK,
            **(files or {}),
        }
        for name, text in texts.items():
            path = Path("conf") / name
            if text is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Path("conf")

    return write


@pytest.fixture
def faults(write: Write) -> Callable[..., list[str]]:
    """Load a configuration that is at fault; return the lines of the error without its last one."""

    def faults(files: dict[str, str | bytes | None] | None = None) -> list[str]:
        directory = write(files)
        with pytest.raises(ConfigError) as caught:
            load_config(directory)
        *lines, last = str(caught.value).split("\n")
        assert last == f"{len(lines)} fault(s); nothing was started"
        return lines

    return faults
