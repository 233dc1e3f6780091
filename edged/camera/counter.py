"""Frame numbers in presentation order, and where every one of them went."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import NamedTuple

from edged.frame import Capture

REORDER_MAX = 64  # more packets than any decoder holds back: what is older was lost inside it


@dataclass(frozen=True)
class FrameCounts:
    """`read` frames so far were `decoded`, skipped `undecoded` on purpose, `damaged`, or are still in the decoder.

    `caught_up` and `lost` stand beside that sum. Those caught up with are undecoded frames that were decoded later
    after all, only so that those after them could be. Those lost never came: the driver counted them and had no buffer
    for them, or newer ones were there. Nobody was handed either.
    """

    read: int = 0
    decoded: int = 0
    undecoded: int = 0
    damaged: int = 0
    caught_up: int = 0
    lost: int = 0


class _Place(NamedTuple):
    """A packet's place in presentation order; `skipped` ones only take part in the numbering."""

    rank: float
    order: int
    pts: int | None
    skipped: bool


class FrameCounter:
    """Gives each frame of a camera its number. Lives as long as the camera; used by its worker's thread only.

    A packet takes a place when it enters the decoder; the picture that comes out gets the number of its rank in
    presentation order, and the capture time of that rank: packets of a stream with B-frames come in another order than
    their pictures, but time never runs back. Packets that are skipped, or that never come out, use their numbers up.
    """

    def __init__(self) -> None:
        self._next_id = 0
        self._decoded = self._undecoded = self._damaged = self._caught_up = self._lost = 0
        self._places: list[_Place] = []
        self._captures: list[Capture] = []  # of these places, oldest first
        self._behind: list[int | None] = []  # packets in the decoder whose numbers are used up already
        self._packets = self._inside = 0

    @property
    def counts(self) -> FrameCounts:
        """A snapshot; from another thread it may miss the newest frame."""
        read = self._decoded + self._undecoded + self._damaged + self._inside
        return FrameCounts(read, self._decoded, self._undecoded, self._damaged, self._caught_up, self._lost)

    def packet(self, pts: int | None, capture: Capture) -> None:
        """A packet goes into the decoder. Without `pts` it is taken to be in presentation order."""
        self._inside += 1
        self._take_place(pts, capture, skipped=False)

    def frame(self, pts: int | None) -> tuple[int, Capture] | None:
        """A picture came out: return its number and capture time, or None for one that nobody is to be handed.

        That is a picture of a packet that was only decoded to catch up, or one that no packet stands for.
        """
        if self._behind and self._is_behind(pts):
            return None
        if pts is not None:
            place = bisect_left(self._places, (float(pts),))
            if place < len(self._places) and self._places[place].rank == pts:
                self._pass(place)
            self._behind = [late for late in self._behind if late is None or late > pts]
        while self._places and self._places[0].skipped:
            self._pass(1)
        if not self._places:
            return None
        self._places.pop(0)
        number, capture = self._next_id, self._captures.pop(0)
        self._next_id += 1
        self._inside -= 1
        self._decoded += 1
        return number, capture

    def skip(self, pts: int | None = None, capture: Capture | None = None) -> None:
        """A packet was read and not decoded.

        While its neighbours are decoded it needs `pts` and `capture`: its number lies between theirs.
        """
        self._undecoded += 1
        if capture is None or not self._places:
            self._next_id += 1
        else:
            self._take_place(pts, capture, skipped=True)

    def catch_up(self, pts: int | None) -> None:
        """A packet that was counted as skipped goes into the decoder after all."""
        self._behind.append(pts)

    def lose(self, count: int) -> None:
        """Frames went missing before the packet that comes now; they use up their numbers."""
        self._next_id += count
        self._lost += count

    def pause(self) -> None:
        """Nothing is decoded for a while: what the decoder holds is not wanted, but may come out later."""
        behind = self._behind + [place.pts for place in self._places if not place.skipped]
        self.rest()
        self._behind = behind

    def rest(self) -> None:
        """What the decoder held was dropped on purpose."""
        self._next_id += len(self._places)
        self._undecoded += self._inside
        self._clear()

    def end(self) -> None:
        """The stream ended or broke: what has not come out never will."""
        self._pass(len(self._places))
        self._clear()

    def _take_place(self, pts: int | None, capture: Capture, skipped: bool) -> None:
        self._packets += 1
        rank = float(pts) if pts is not None else (self._places[-1].rank if self._places else 0.0)
        insort(self._places, _Place(rank, self._packets, pts, skipped))
        insort(self._captures, capture, key=lambda one: one.mono_ns)
        if len(self._places) > REORDER_MAX:
            self._pass(1)

    def _is_behind(self, pts: int | None) -> bool:
        if pts not in self._behind:
            return False
        self._behind.remove(pts)
        self._caught_up += 1
        return True

    def _pass(self, count: int) -> None:
        """Use up the first numbers; what was in the decoder is lost."""
        lost = sum(not place.skipped for place in self._places[:count])
        del self._places[:count], self._captures[:count]
        self._next_id += count
        self._inside -= lost
        self._damaged += lost

    def _clear(self) -> None:
        self._places.clear()
        self._captures.clear()
        self._behind.clear()
        self._inside = 0
