"""Who reads the lossless cameras: a reader that waits for a place is not silent, nor is any camera that it reads."""

from __future__ import annotations

import threading


class Readers:
    """Threads that hand in the frames of one lossless camera, or of several: the views of one.

    Not thread-safe: the dispatcher's lock guards it.
    """

    def __init__(self) -> None:
        self._of: dict[str, int] = {}  # camera -> the thread that reads it
        self._waiting: set[int] = set()
        self._went_on: dict[int, int] = {}  # thread -> when it last had waited

    def reads(self, camera: str) -> None:
        """Say that the calling thread has a frame of this camera."""
        self._of[camera] = threading.get_ident()

    def waits(self) -> None:
        """Say that the calling thread waits for a place."""
        self._waiting.add(threading.get_ident())

    def goes_on(self, now_ns: int) -> None:
        """Say that the calling thread has waited."""
        thread = threading.get_ident()
        self._waiting.discard(thread)
        self._went_on[thread] = now_ns

    def excused_ns(self, camera: str, now_ns: int) -> int:
        """Return until when the silence of a camera means nothing: now, while its reader waits; 0 if it never did."""
        thread = self._of.get(camera)
        if thread is None:
            return 0
        return now_ns if thread in self._waiting else self._went_on.get(thread, 0)
