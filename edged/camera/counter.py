"""Frame numbers in presentation order, and where every one of them went."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

from edged.frame import Capture

REORDER_MAX = 64  # more packets than any decoder holds back: what is older was lost inside it


@dataclass(frozen=True)
class FrameCounts:
    """`read` frames so far were `decoded`, skipped `undecoded` on purpose, `damaged`, or are still in the decoder."""

    read: int = 0
    decoded: int = 0
    undecoded: int = 0
    damaged: int = 0


class FrameCounter:
    """Gives each frame of a camera its number. Lives as long as the camera; used by its worker's thread only.

    A packet takes a place when it enters the decoder; the picture that comes out gets the number of its rank in
    presentation order, and the capture time of that rank: packets of a stream with B-frames come in another order than
    their pictures, but time never runs back. Packets that are skipped, or that never come out, use their numbers up.
    """

    def __init__(self) -> None:
        self._next_id = 0
        self._decoded = self._undecoded = self._damaged = 0
        self._pending: list[tuple[float, int]] = []
        self._captures: list[Capture] = []  # of the pending packets, oldest first
        self._packets = 0

    @property
    def counts(self) -> FrameCounts:
        """A snapshot; from another thread it may miss the newest frame."""
        read = self._next_id + len(self._pending)
        return FrameCounts(read, self._decoded, self._undecoded, self._damaged)

    def packet(self, pts: int | None, capture: Capture) -> None:
        """A packet goes into the decoder. Without `pts` it is taken to be in presentation order."""
        self._packets += 1
        key = float(pts) if pts is not None else (self._pending[-1][0] if self._pending else 0.0)
        insort(self._pending, (key, self._packets))
        insort(self._captures, capture, key=lambda one: one.mono_ns)
        if len(self._pending) > REORDER_MAX:
            self._lose(1)

    def frame(self, pts: int | None) -> tuple[int, Capture] | None:
        """A picture came out: return its number and capture time, or None for one that no packet stands for."""
        if not self._pending:
            return None
        place = bisect_left(self._pending, (float(pts), 0)) if pts is not None else 0
        if place < len(self._pending) and pts is not None and self._pending[place][0] == pts:
            self._lose(place)
        self._pending.pop(0)
        number, capture = self._next_id, self._captures.pop(0)
        self._next_id += 1
        self._decoded += 1
        return number, capture

    def skip(self) -> None:
        """A packet was read and not decoded."""
        self._next_id += 1
        self._undecoded += 1

    def rest(self) -> None:
        """What the decoder held was dropped on purpose."""
        self._next_id += len(self._pending)
        self._undecoded += len(self._pending)
        self._pending.clear()
        self._captures.clear()

    def end(self) -> None:
        """The stream ended or broke: what has not come out never will."""
        self._lose(len(self._pending))

    def _lose(self, count: int) -> None:
        del self._pending[:count], self._captures[:count]
        self._next_id += count
        self._damaged += count
