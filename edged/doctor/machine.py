"""The machine itself: system, board, Python."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from edged.doctor.line import Line, line

GROUP = "machine"
ARCHITECTURES = ("x86_64", "aarch64")
PYTHON_MIN = (3, 10)


def lines() -> Iterator[Line]:
    """Yield what the machine is."""
    found = f"{_system()}, {platform.machine()}, kernel {platform.release()}"
    wrong = "" if platform.machine() in ARCHITECTURES else f"{platform.machine()} has no wheels of edged's libraries"
    yield line(GROUP, "system", found, wrong, f"use one of {', '.join(ARCHITECTURES)}")
    if board := _text(Path("/proc/device-tree/model")):
        yield line(GROUP, "board", f"{board}{_tegra()}")
    version = platform.python_version()
    wrong = "" if sys.version_info >= PYTHON_MIN else f"Python {version} is too old"
    yield line(GROUP, "python", f"{version} ({sys.executable})", wrong, "use Python 3.10 or newer")
    yield line(GROUP, "cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}, {_memory()}")


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _tegra() -> str:
    release = _text(Path("/etc/nv_tegra_release")).removeprefix("# ")
    return f", L4T {', '.join(release.split(', ')[:2])}" if release else ""


def _memory() -> str:
    for row in _text(Path("/proc/meminfo")).splitlines():
        if row.startswith("MemTotal:"):
            return f"{int(row.split()[1]) / 1e6:.1f} GB of memory"
    return "memory unknown"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""
