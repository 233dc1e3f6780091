"""What one reader keeps of a ring, announced in its own word there, and the life of the ring's descriptor."""

from __future__ import annotations

import os
import threading

from edged.camera.shm import kernel, layout

SPARE_SLOTS = 3  # the newest, the one being written, and one to choose from: never kept for long


class Holds:
    """The slots that a reader keeps from the feeder. Used from any thread; owns `fd`.

    Without an entry of its own in the ring a reader announces nothing, and must copy.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self._fd, self._slots = fd, slots
        self._lock = threading.Lock()
        self._held = 0
        self._open = True
        self._entry: int | None = None

    def join(self) -> bool:
        """Take an entry of the ring. False when other readers have them all."""
        for entry in range(layout.READERS):
            if kernel.lock(self._fd, layout.READER_BYTE + entry):
                self._entry = entry
                self._announce()
                return True
        return False

    @property
    def announced(self) -> bool:
        """Whether the feeder knows what is kept."""
        return self._entry is not None

    def take(self, slot: int) -> None:
        """Announce a slot, before it is looked at."""
        if self._entry is not None:
            with self._lock:
                self._held |= 1 << slot
                self._announce()
            kernel.fence()

    def give(self, slot: int) -> None:
        """Give a slot back to the feeder."""
        if self._entry is None:
            return
        kernel.fence()  # what was read there was read before this
        with self._lock:
            self._held &= ~(1 << slot)
            if self._fd >= 0:
                self._announce()
            self._close_when_unused()

    def room(self) -> bool:
        """Whether what all readers keep together leaves the feeder room."""
        if self._entry is None:
            return False
        data = os.pread(self._fd, layout.READERS * layout.HELD_STEP, layout.HELD_AT)
        with self._lock:
            held = self._held
        for entry in range(layout.READERS):
            word = int.from_bytes(data[entry * layout.HELD_STEP :][:8], "little")
            if word & ~held and entry != self._entry and kernel.is_locked(self._fd, layout.READER_BYTE + entry):
                held |= word
        return held.bit_count() <= self._slots - SPARE_SLOTS

    def close(self) -> None:
        """Close the descriptor with the last slot given back."""
        with self._lock:
            self._open = False
            self._close_when_unused()

    def _announce(self) -> None:
        """Write our word of the ring, of which one bit changed; not through a mapping: the file may be cut short."""
        assert self._entry is not None
        os.pwrite(self._fd, self._held.to_bytes(8, "little"), layout.HELD_AT + self._entry * layout.HELD_STEP)

    def _close_when_unused(self) -> None:
        if not self._open and not self._held and self._fd >= 0:
            kernel.unlock(self._fd)
            os.close(self._fd)
            self._fd = -1
