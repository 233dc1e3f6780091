"""Stops one thread of another process, as a driver that never returns would: `freeze.py TID`. Needs root.

SIGSTOP would stop every thread of it; ptrace stops just this one, until this program ends or the thread does.
"""

from __future__ import annotations

import ctypes
import os
import sys

SEIZE, INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, tid: int) -> None:
    """Do one thing to a thread."""
    if libc.ptrace(request, tid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace of thread {tid}")


def main(tid: int) -> None:
    """Freeze it, say so, and stay until it is gone."""
    ptrace(SEIZE, tid)
    ptrace(INTERRUPT, tid)
    os.waitpid(tid, WALL)
    sys.stdout.write("frozen\n")
    sys.stdout.flush()
    while True:
        _, status = os.waitpid(tid, WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
