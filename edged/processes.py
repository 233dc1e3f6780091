"""What our processes have in common. Children end with their parent, and leave its signals to it."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
NICE = 10
FROM_ELSEWHERE = (  # Python 3.11 has -P for that
    "import sys; del sys.path[0], sys.argv[0]; import runpy; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
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


def lower_priority() -> None:
    """Make this process, and those that it starts, yield to all others: a running daemon is to lose no results."""
    os.nice(NICE)


def rss_mb() -> float:
    """Return the megabytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return round(pages * PAGE_BYTES / 1e6, 1)


def environment() -> dict[str, str]:
    """Return the environment for a child: the service manager is the parent's to talk to."""
    return {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a Python as ours is.

    Unless ours looks for modules in the folder that it was started in, that one does not either: it may be anybody's.
    """
    if sys.flags.isolated:
        return [sys.executable, "-I", "-m", module, *arguments]
    if _looks_where_it_is():  # as in a checkout that is not installed
        return [sys.executable, "-m", module, *arguments]
    return [sys.executable, "-c", FROM_ELSEWHERE, module, *arguments]


def _looks_where_it_is() -> bool:
    try:
        return not {"", str(Path.cwd())}.isdisjoint(sys.path)
    except FileNotFoundError:  # that folder is gone
        return False
