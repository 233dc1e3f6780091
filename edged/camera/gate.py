"""Which frames a rate can do without."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median

WINDOW = 33  # packets whose times and order the interval between two frames is taken from
ENOUGH = 9
FRESH_S = 1.0  # where no packet's time is exact, one a second is taken as it is
PASSED = 16  # frames a decoder may reorder, and some more
SLACK = 0.03  # of the wanted interval: a rate that divides the stream's is met exactly although both are measured


class RateGate:
    """Passes so many frames of one stream that none of its takers' gates ever waits longer than the wanted interval.

    A frame may go only if the one after it still comes in time, counted from the last that passed: then between two
    frames that pass, in presentation order, there is never more than the wanted interval, and a gate of the same or a
    lower rate behind this one is never short of a frame, whatever its phase. Positions are counted in frames, so that
    nothing depends on the units of `pts` nor on the jitter of arrivals.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._seen_count = 0
        self._places: deque[int] = deque(maxlen=WINDOW)
        self._passed: deque[int] = deque(maxlen=PASSED)
        self._named = True
        self._count = 0

    @property
    def interval_s(self) -> float | None:
        """The mean time between two packets, rough at first, None before the second. For any thread."""
        seen = tuple(self._seen)
        if len(seen) < 2:
            return None
        return (seen[-1][0] - seen[0][0]) / (seen[-1][1] - seen[0][1])

    def saw(self, at_s: float, exact: bool = True) -> None:
        """A packet came in at this time, of any clock; or before it, when it is not `exact`."""
        self._seen_count += 1
        if exact or not self._seen or at_s - self._seen[-1][0] > FRESH_S:
            self._seen.append((at_s, self._seen_count))

    def wants(self, pts: int | None, disposable: bool, rate_hz: float) -> bool:
        """Return whether a packet, in decode order, is to be decoded. All are that others refer to."""
        if self._named is not (pts is not None):
            self.restart()
            self._named = pts is not None
        self._count += 1
        place = self._count if pts is None else pts
        self._places.append(place)
        if disposable and self._spare(place, rate_hz):
            return False
        self._passed.append(place)
        return True

    def restart(self) -> None:
        """The stream's `pts` begin anew, or frames were left out."""
        self._places.clear()
        self._passed.clear()

    def _spare(self, place: int, rate_hz: float) -> bool:
        interval_s = self.interval_s
        before = [passed for passed in self._passed if passed <= place]
        if not before or not interval_s or rate_hz <= 0 or len(self._places) < ENOUGH:
            return False
        step = median(right - left for left, right in pairwise(sorted(self._places)))
        furthest = max(before) + step * (1 + SLACK) / (rate_hz * interval_s)
        after = min((passed for passed in self._passed if passed > place), default=place + step)
        return min(after, place + step) <= furthest
