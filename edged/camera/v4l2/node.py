"""The door to the kernel: one open device node. Everything else here is built on these few calls."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import re
import select
from pathlib import Path
from typing import Any, Protocol

from edged.camera.v4l2.uapi import Request


class Node(Protocol):
    """An open device node. Used by one thread; every call raises `OSError` as the kernel means it."""

    def call(self, request: Request, argument: Any) -> None:
        """Do one ioctl; `argument` is the request's structure, which the driver fills in."""

    def map(self, length: int, offset: int) -> Any:
        """Map a buffer of the driver and return it, read-only. It stays mapped as long as anything refers to it."""

    def wait(self, timeout_s: float) -> int:
        """Wait until there is something to read, or to learn; return the events of `poll`, 0 after `timeout_s`."""

    def close(self) -> None:
        """Close the node. What is mapped stays."""


class DeviceNode:
    """A node of the kernel."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def call(self, request: Request, argument: Any) -> None:
        """Do one ioctl, again after a signal."""
        while True:
            try:
                fcntl.ioctl(self._fd, request.number, argument, True)
            except InterruptedError:
                continue
            return

    def map(self, length: int, offset: int) -> mmap.mmap:
        """Map a buffer, shared and read-only."""
        return mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)

    def wait(self, timeout_s: float) -> int:
        """Wait with `poll`, in whole milliseconds, at least one."""
        ready = self._poll.poll(max(1, round(timeout_s * 1000)))
        return ready[0][1] if ready else 0

    def close(self) -> None:
        """Close the descriptor; each mapping has its own."""
        os.close(self._fd)


def open_node(path: str) -> Node:
    """Open a device node without waiting for the device. Raise `OSError`."""
    return DeviceNode(path)


def node_paths() -> list[str]:
    """Return the video nodes of this machine by their number."""
    found = [path for path in Path("/dev").glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return [str(path) for path in sorted(found, key=lambda path: int(path.name[5:]))]


def node_index(path: str) -> int | None:
    """Return which of its device's nodes this one is, as udev's links say it; None where that is not known."""
    try:
        return int(Path("/sys/class/video4linux", Path(path).resolve().name, "index").read_text("ascii"))
    except (OSError, ValueError):
        return None


def zeroed(argument: ctypes.Structure) -> None:
    """Make a structure as good as new."""
    ctypes.memset(ctypes.addressof(argument), 0, ctypes.sizeof(argument))
