"""Writes pictures into the memory of one ring, without numpy."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from dataclasses import replace

from edged.camera.shm import kernel, layout
from edged.camera.shm.layout import PictureHead, RingHead, State


class Writer:
    """Writes pictures into the ring of an open file. Used by one thread; owns `fd`.

    Args:
        fd: an empty file of shared memory, open for reading and writing.
        head: what the ring will be.
        sequence: of the picture before the first.
    """

    def __init__(self, fd: int, head: RingHead, sequence: int = 0) -> None:
        self.fd, self.head, self.sequence = fd, head, sequence
        os.ftruncate(fd, head.file_bytes)
        self._map = mmap.mmap(fd, head.file_bytes)
        self._bytes = memoryview(self._map)
        self._longs, self._ints = self._bytes.cast("Q"), self._bytes.cast("I")  # one store a word
        self._bell = ctypes.addressof(ctypes.c_uint32.from_buffer(self._map, layout.BELL_AT))
        self._sequences = [0] * head.slots
        self._newest = -1
        self._bytes[: layout.FIXED.size] = replace(head, state=State.MAKING).pack()
        self.beat()
        kernel.fence()
        self.set_state(head.state)

    def beat(self) -> None:
        """Say that the feeder is alive, though it has no picture."""
        self._longs[layout.BEAT_AT // 8] = time.monotonic_ns()

    def set_state(self, state: State) -> None:
        """Change what the ring is, and wake its readers."""
        self._ints[layout.STATE_AT // 4] = state
        self._ring()

    def reserve(self) -> int | None:
        """Return a slot that nobody reads, or None when readers hold them all: the picture is then dropped."""
        held = self._held()
        for slot in sorted(range(self.head.slots), key=self._sequences.__getitem__):
            if slot == self._newest or held >> slot & 1:
                continue
            word = (layout.HEADER_BYTES + slot * self.head.slot_bytes) // 8
            self._longs[word] = 0
            kernel.fence()
            if not self._held() >> slot & 1:  # a reader that came between saw the 0 and lets go
                return slot
            self._longs[word] = self._sequences[slot]
        self._longs[layout.DROPPED_AT // 8] += 1
        return None

    def planes(self, slot: int, head: PictureHead) -> list[memoryview]:
        """Return the writable bytes of a reserved slot's planes."""
        start = layout.HEADER_BYTES + slot * self.head.slot_bytes
        return [
            self._bytes[start + plane.offset : start + plane.offset + plane.stride * plane.rows]
            for plane in head.planes
        ]

    def commit(self, slot: int, head: PictureHead) -> int:
        """Publish a reserved slot whose planes are written, and return its sequence."""
        start = layout.HEADER_BYTES + slot * self.head.slot_bytes
        self._bytes[start + 8 : start + layout.HEAD.size] = head.pack()
        self.sequence += 1
        kernel.fence()
        self._longs[start // 8] = self._sequences[slot] = self.sequence
        kernel.fence()
        self._longs[layout.NEWEST_AT // 8] = self.sequence << 8 | slot
        self._newest = slot
        self.beat()
        self._ring()
        return self.sequence

    def close(self) -> None:
        """Close the file; readers keep what they have mapped."""
        if self.fd >= 0:
            give_up(self.fd)
            self.fd = -1

    def _held(self) -> int:
        held = 0
        for entry in range(layout.READERS):
            word = self._longs[(layout.HELD_AT + entry * layout.HELD_STEP) // 8]
            if word and word & ~held and kernel.is_locked(self.fd, layout.READER_BYTE + entry):
                held |= word
        return held

    def _ring(self) -> None:
        self._ints[layout.BELL_AT // 4] = (self._ints[layout.BELL_AT // 4] + 1) & 0xFFFFFFFF
        kernel.wake(self._bell)


def give_up(fd: int) -> None:
    """Close a ring's file and give its locks back."""
    kernel.unlock(fd)
    os.close(fd)
