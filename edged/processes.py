"""What our processes have in common. Children end with their parent, and leave its signals to it."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PAGE_BYTES = resource.getpagesize()


def die_with(parent: int) -> None:
    """End when the parent does, whatever this process hangs in."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def leave_signals_to_parent() -> None:
    """Ignore what a terminal or systemd sends to all of us: the parent ends us when it is done."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)


def rss_mb() -> float:
    """Return the megabytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return round(pages * PAGE_BYTES / 1e6, 1)


def environment() -> dict[str, str]:
    """Return the environment for a child: the service manager is the parent's to talk to."""
    return {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a Python as ours is.

    Where ours is isolated (`-I`) so is that: else it would first look for modules in the folder that it is started in,
    which may be anybody's.
    """
    return [sys.executable, *(["-I"] if sys.flags.isolated else []), "-m", module, *arguments]
