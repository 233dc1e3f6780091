"""What the kernel does for a ring: locks that die with their process, and a bell that another process can hear."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
from struct import Struct

from edged.errors import BackendUnavailable

_FLOCK = Struct("hhqqi0q")  # struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid
_FUTEX_NUMBER = {"x86_64": 202, "aarch64": 98}.get(platform.machine())
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_own_word = ctypes.c_uint32()
_own_address = ctypes.addressof(_own_word)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def check_machine() -> None:
    """Raise `BackendUnavailable` where the ring's system call is not known."""
    if _FUTEX_NUMBER is None:
        raise BackendUnavailable(f"shared-memory rings need x86-64 or arm64 Linux; this is {platform.machine()}")


def fence() -> None:
    """Order all earlier loads and stores of this thread before all later ones, on any CPU.

    Python has no memory barrier of its own. A futex wake-up starts with a full one (`futex_hb_waiters_pending` in
    Linux), and costs about a microsecond.
    """
    wake(_own_address)


def wake(address: int) -> None:
    """Wake every process that waits for the 32-bit word at `address`."""
    _syscall(
        ctypes.c_long(_FUTEX_NUMBER or -1), ctypes.c_void_p(address), ctypes.c_int(_FUTEX_WAKE), ctypes.c_int(2**31 - 1)
    )


def wait(address: int, value: int, timeout_s: float) -> None:
    """Wait while the 32-bit word at `address` is `value`, at most `timeout_s`. May return for no reason."""
    limit = _Timespec(int(timeout_s), int(timeout_s % 1 * 1e9))
    _syscall(
        ctypes.c_long(_FUTEX_NUMBER or -1),
        ctypes.c_void_p(address),
        ctypes.c_int(_FUTEX_WAIT),
        ctypes.c_uint32(value),
        ctypes.byref(limit),
    )


def lock(fd: int, byte: int, *, shared: bool = False) -> bool:
    """Lock one byte of a file until `unlock` or the process's end; False when another process has it."""
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(fd: int) -> None:
    """Give back all locks of `fd`. Closing it is not enough: every `mmap` of Python keeps a duplicate open."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def is_locked(fd: int, byte: int, count: int = 1) -> bool:
    """Tell whether anyone else holds a lock on one of these bytes."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, count, 0)
    return bool(_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
