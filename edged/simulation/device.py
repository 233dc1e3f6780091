"""A device that several pieces of work share: the cores of a CPU, or one GPU."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

DONE_S = 1e-10  # what is left of a piece of work after rounding; a tenth of the clock's nanosecond


class SharedDevice:
    """Processor sharing: `parallel` pieces of work run at full speed side by side, more of them share alike.

    That is how a fair operating system runs threads on cores, and how a GPU runs streams. As all that runs here is
    equally fast, each piece is over when the work that every one of them was given since then has grown by its
    seconds: one running sum and a heap, however many there are. (Kleinrock, Queueing Systems II, 4.4)

    Attributes:
        parallel: above 0; may be changed while work runs.
        busy_s: work done so far, in seconds.
    """

    def __init__(self, parallel: float) -> None:
        self.parallel = parallel
        self.busy_s = 0.0
        self._each_s = 0.0  # what a piece that runs since the start was given
        self._order = itertools.count()
        self._work: list[tuple[float, int, Callable[[], None]]] = []

    def start(self, seconds: float, done: Callable[[], None]) -> None:
        """Begin a piece of work that takes `seconds` alone; `done` is called when it is over."""
        heapq.heappush(self._work, (self._each_s + seconds, next(self._order), done))

    def next_done_s(self) -> float | None:
        """Return the seconds until the first piece is over if nothing else begins; None when nothing runs."""
        if not self._work:
            return None
        return max(0.0, self._work[0][0] - self._each_s) / self._speed()

    def advance(self, seconds: float) -> list[Callable[[], None]]:
        """Let `seconds` pass, within which no piece but the first is over. Return the `done` of each that is."""
        over: list[Callable[[], None]] = []
        if self._work:
            more_s = seconds * self._speed()
            self._each_s += more_s
            self.busy_s += more_s * len(self._work)
        while self._work and self._work[0][0] <= self._each_s + DONE_S:
            over.append(heapq.heappop(self._work)[2])
        return over

    def _speed(self) -> float:
        return min(1.0, self.parallel / len(self._work))
