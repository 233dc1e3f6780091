"""Waiting: for a recorded packet's time, and for news."""

from __future__ import annotations

import os
import select
import threading
import time

SOCKET_BYTES = 100_000  # any socket holds that much: the usual default is 128 kB and more
REST_MIN_S, REST_MAX_S = 0.05, 0.5
SELECT_MAX = 1024  # FD_SETSIZE: select() takes no larger descriptor; its times are exact, poll's in milliseconds
LATE_MAX_S = 1.0  # a paced file this far behind its clock goes on from where it is, not faster


class MediaClock:
    """Maps a recorded stream's own time to CLOCK_MONOTONIC: real-time pace from the first packet on."""

    def __init__(self) -> None:
        self._start_s: float | None = None  # CLOCK_MONOTONIC at media time 0

    def left_s(self, due_s: float) -> float:
        """Return the seconds until `due_s` of media time; below zero it is over."""
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s - due_s
        left_s = self._start_s + due_s - now_s
        if left_s < -LATE_MAX_S:
            self._start_s -= left_s
            return 0.0
        return left_s

    def at_ns(self, due_s: float) -> int:
        """Return the CLOCK_MONOTONIC of `due_s`, for which `left_s` has been asked before."""
        return round(((self._start_s or 0.0) + due_s) * 1e9)


class SocketRest:
    """How long a live stream may be left unread: its socket has to hold what comes meanwhile."""

    def __init__(self) -> None:
        self._begin_s = time.monotonic()
        self._bytes = 0

    def read(self, size_bytes: int) -> None:
        """A packet of this size was read."""
        self._bytes += size_bytes

    def rest_s(self) -> float:
        """Return the seconds for the mean rate of bytes up to now, which is unknown in the first second."""
        open_s = time.monotonic() - self._begin_s
        if open_s < 1.0 or not self._bytes:
            return REST_MIN_S
        return min(REST_MAX_S, max(REST_MIN_S, SOCKET_BYTES * open_s / self._bytes))


class Bell:
    """One thread waits, others ring. A context manager: between exit and entry ringing does nothing.

    Not a condition variable: before Python 3.11 the time limit of one is an hour late when the wall clock is set back
    by an hour, and a wake-up costs several times as much.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd = -1
        self._poll = select.poll()

    def __enter__(self) -> Bell:
        with self._lock:
            self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poll.register(self._fd, select.POLLIN)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._poll.unregister(self._fd)
            os.close(self._fd)
            self._fd = -1

    def ring(self) -> None:
        """End the wait that is going on, or the next one."""
        with self._lock:
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def wait(self, timeout_s: float, exact: bool = False) -> None:
        """Wait until it rings, or up to a millisecond longer than `timeout_s`; not longer if that must be `exact`.

        In one call either way: each lets go of the interpreter's lock, and must get it back.
        """
        if exact and self._fd < SELECT_MAX:
            rung = bool(select.select((self._fd,), (), (), timeout_s)[0])
        else:
            rung = bool(self._poll.poll(int(timeout_s * 1000) + (not exact)))
        if rung:
            os.eventfd_read(self._fd)
