"""A device that several pieces of work share: the cores of a CPU, or one GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

DONE_S = 1e-12  # what is left of a piece of work after rounding


@dataclass
class _Work:
    left_s: float
    done: Callable[[], None]


@dataclass
class SharedDevice:
    """Processor sharing: `parallel` pieces of work run at full speed side by side, more of them share alike.

    That is how a fair operating system runs threads on cores, and how a GPU runs streams.
    """

    parallel: float
    busy_s: float = 0.0
    """Work done so far, in seconds."""
    _work: list[_Work] = field(default_factory=list)

    def start(self, seconds: float, done: Callable[[], None]) -> None:
        """Begin a piece of work that takes `seconds` alone; `done` is called when it is over."""
        self._work.append(_Work(seconds, done))

    def next_done_s(self) -> float | None:
        """Return the seconds until the first piece is over if nothing else begins; None when nothing runs."""
        if not self._work:
            return None
        return max(0.0, min(work.left_s for work in self._work)) / self._speed()

    def advance(self, seconds: float) -> list[Callable[[], None]]:
        """Let `seconds` pass. Return the `done` of every piece that is over, in the order they began."""
        if not self._work:
            return []
        each_s = seconds * self._speed()
        over: list[_Work] = []
        for work in self._work:
            work.left_s -= each_s
            if work.left_s <= DONE_S:
                over.append(work)
        self.busy_s += each_s * len(self._work)
        if over:
            self._work = [work for work in self._work if work.left_s > DONE_S]
        return [work.done for work in over]

    def _speed(self) -> float:
        return min(1.0, self.parallel / len(self._work))
