"""Waits that a step of the wall clock does not stretch, and a lock that nobody holds asleep.

Before Python 3.11 every timed wait of `threading` and `queue` follows CLOCK_REALTIME (What's New in Python 3.11,
threading): a clock that is set back by an hour makes a wait of 100 ms last an hour. There an eventfd and poll stand in.
"""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
import time
from collections import deque
from typing import Generic, Protocol, TypeVar, cast

T = TypeVar("T")

AGAIN_S = 20e-6  # until a lock is looked at again


class BriefLock:
    """A lock for a few microseconds of Python, among many threads.

    `threading.Lock` gives itself to a thread that sleeps. That one must then wait for the interpreter's lock before it
    goes on, and keeps all others out meanwhile: once a few wait, everybody does, one after the other. This lock is only
    ever taken by a thread that runs. It knows no order among those that wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        """Take it; unless `blocking`, return False where another thread has it."""
        taken = self._lock.acquire(blocking=False)
        while blocking and not taken:
            time.sleep(AGAIN_S)
            taken = self._lock.acquire(blocking=False)
        return taken

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def condition(self) -> threading.Condition:
        """Return a new condition of this lock; waiting for it gives the lock back as everybody does."""
        return threading.Condition(cast("threading.Lock", self))

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Tokens(Protocol):
    """A counter that threads wait on: each `put` lets one `get` through. Any thread may call anything."""

    def put(self) -> None:
        """Add a token."""

    def get(self, timeout_s: float) -> bool:
        """Take a token; False when there was none in time."""


class _QueueTokens:
    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()

    def put(self) -> None:
        self._queue.put(None)

    def get(self, timeout_s: float) -> bool:
        try:
            if timeout_s > 0:
                self._queue.get(timeout=timeout_s)
            else:
                self._queue.get_nowait()
        except queue.Empty:
            return False
        return True


class _EventTokens:
    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self) -> None:
        os.eventfd_write(self._event, 1)

    def get(self, timeout_s: float) -> bool:
        end_s = time.monotonic() + timeout_s
        poll = select.poll()  # an object of its own: each serves one thread at a time
        poll.register(self._event, select.POLLIN)
        while True:
            poll.poll(max(0.0, end_s - time.monotonic()) * 1000)
            try:
                os.eventfd_read(self._event)
            except BlockingIOError:  # nothing came, or another thread was quicker
                if time.monotonic() >= end_s:
                    return False
            else:
                return True

    def __del__(self) -> None:
        os.close(self._event)


def make_tokens() -> Tokens:
    """Return a counter without tokens."""
    return _QueueTokens() if sys.version_info >= (3, 11) else _EventTokens()


class Inbox(Generic[T]):
    """What other threads have to say to one thread, in order. Only that one may `get`."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._tokens = make_tokens()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: T) -> None:
        """Add an item. From any thread, and from a signal handler."""
        self._waiting.append(item)
        self._tokens.put()

    def get(self, timeout_s: float) -> T | None:
        """Return the oldest item, None when there was none in time."""
        return self._waiting.popleft() if self._tokens.get(timeout_s) else None
