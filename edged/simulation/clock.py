"""Simulated time, and what is to happen at which moment of it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

START_NS = 1_000_000_000  # like CLOCK_MONOTONIC it does not begin at 0, which stands for "never" in places


class EventClock:
    """A clock that stands still until it is told the time, with a list of what is due. One thread's use."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self._order = itertools.count()
        self._due: list[tuple[int, int, Callable[[], None]]] = []

    @property
    def now_s(self) -> float:
        """The time in seconds."""
        return self.now_ns / 1e9

    @property
    def since_start_s(self) -> float:
        """The seconds that have passed."""
        return (self.now_ns - START_NS) / 1e9

    @property
    def next_ns(self) -> int | None:
        """When something is due next."""
        return self._due[0][0] if self._due else None

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Have something happen so much later. What is due at the same moment happens in the order it was asked for."""
        heapq.heappush(self._due, (self.now_ns + int(seconds * 1e9), next(self._order), what))

    def run_due(self) -> None:
        """Do all that is due by now, also what that makes due at once."""
        while self._due and self._due[0][0] <= self.now_ns:
            heapq.heappop(self._due)[2]()
