"""What a device can do: what it has delivered while it was saturated. A control loop of ten ticks a second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

FLOOR = 0.05  # of the nominal capacity: never less, or nothing would ever be measured again
LOSS_MIN = 0.02  # of the planned frames; fewer are accidents
WINDOW_S = 0.4
LASTING_S = 0.25  # from the first loss to the last one in the window: not one blip
MEAN_TICKS = 4  # over which delivered work is averaged
SATURATED = 0.85  # of the workers' time
SAFE = 0.04  # of the nominal capacity, above what is safe: rounding must not take from it
FALL = 0.95  # the least fall
SETTLE_S = 0.2  # after a change of level: what was let in before it still comes out
STEPS = (0.05, 0.1, 0.2, 0.4)  # of the level: a rise begins with a small probe, and doubles while nothing is lost
STEP_MIN = 0.1  # of the nominal capacity, at the third step; more at each later one
WATCHES_S = (0.35, 0.2)  # how long the probe, and each later step, must go well
WAITS_S = (0.2, 0.4, 0.6)  # before a probe, longer each time that one failed; short enough to notice a load that ends
UNUSED = 1.15  # level to planned work: beyond it, that nothing is lost proves nothing
FORGET_S = 10.0  # without a loss while nothing more is wanted: what was is no measure of what could be
UNUSED_WAITS_S = (0.6, 1.2, 2.4, 4.8, 8.0)


@dataclass(frozen=True)
class Sample:
    """One tick of a device: work planned, wanted and done in seconds per second; planned frames served, and lost.

    Lost are only frames that the plan had granted and for which no worker was free in time. `safe` is the work planned
    for the priorities above all that lost any: the device can do at least that. `busy` is the part of its workers' time
    that they were at work, 0..1: frames that are late while workers are idle are not late for want of capacity.
    """

    planned: float
    wanted: float
    done: float
    served: int
    lost: int
    safe: float = 0.0
    busy: float = 1.0


class Capacity:
    """One device's capacity in seconds per second, between 5 % and all of what is nominal.

    It falls to what was delivered when losses last for 0.3 s. While work is wanted that the plan had no room for, and
    nothing is lost, it rises: first by a probe of 5 %, then by doubling steps, each watched. A probe that loses is
    taken back, and the next one waits longer, 0.6 s at most, so that a load that ends is noticed and made good within
    2 s. Where the room of a rise was used only by a suspended task's return, which then lost, the wait grows to 8 s.
    Where nothing more is wanted it is all again after 10 s without a loss, for whoever asks what there is room for.
    """

    def __init__(self, nominal: float) -> None:
        self.nominal = nominal
        self.level = nominal
        self._window: deque[tuple[float, Sample]] = deque()
        self._done: deque[float] = deque(maxlen=MEAN_TICKS)
        self._steps = 0  # up, since the last fall
        self._failures = 0
        self._unused = False
        self._next_s = 0.0  # no rise before
        self._settled_s = 0.0

    def tick(self, now_s: float, sample: Sample, limit: float = 1.0) -> float:
        """Take in what happened since the last tick and return the capacity. `limit` (0..1) is what heat leaves."""
        top = max(FLOOR, limit) * self.nominal
        self.level = min(self.level, top)
        self._done.append(sample.done)
        if now_s >= self._settled_s:
            self._window.append((now_s, sample))
        while self._window and now_s - self._window[0][0] > WINDOW_S:
            self._window.popleft()
        if self._losing():
            self._fall(now_s)
        elif now_s >= self._next_s and not (self._saturated() and any(one.lost for _, one in self._window)):
            if self.level >= top:
                self._steps, self._failures, self._unused = 0, 0, False
            elif sample.wanted > sample.planned + 1e-6:
                self._rise(now_s, top, sample.planned)
            elif now_s - self._next_s >= FORGET_S:
                self.level = top
        return self.level

    def _losing(self) -> bool:
        """Tell whether planned work is lost: once is enough for a rise that is being watched, else it must last."""
        if not self._saturated():
            return False
        lost = sum(one.lost for _, one in self._window)
        served = sum(one.served for _, one in self._window)
        ticks = [at_s for at_s, one in self._window if one.lost]
        lasted = len(ticks) >= 2 and ticks[-1] - ticks[0] >= LASTING_S
        return (lasted or (bool(ticks) and self._steps > 0)) and lost > LOSS_MIN * (lost + served)

    def _saturated(self) -> bool:
        return sum(one.busy for _, one in self._window) >= SATURATED * len(self._window) > 0

    def _fall(self, now_s: float) -> None:
        losing = [one for _, one in self._window if one.lost]
        lost, served = sum(one.lost for one in losing), sum(one.served for one in losing)
        planned = sum(one.planned for one in losing) / len(losing)
        done = sum(one.done for one in losing) / len(losing)
        if done < planned:
            delivered = max(done, FALL * sum(self._done) / len(self._done))  # a few ticks' work comes in lumps
        else:
            delivered = planned * served / (served + lost)
        safe = min(one.safe for one in losing)
        least = min(self.level, max(FLOOR * self.nominal, safe + SAFE * self.nominal if safe else 0.0))
        self.level = max(least, min(delivered, FALL * self.level))
        failed = 0 < self._steps <= len(STEPS)
        waits = UNUSED_WAITS_S if self._unused else WAITS_S
        self._next_s = now_s + waits[min(self._failures, len(waits) - 1)]
        self._failures = self._failures + 1 if failed else 0
        self._steps, self._unused = 0, False
        self._settled_s = now_s + SETTLE_S
        self._window.clear()

    def _rise(self, now_s: float, top: float, planned: float) -> None:
        step = STEPS[min(self._steps, len(STEPS) - 1)] * self.level
        self._unused = self._unused or self.level > UNUSED * planned
        step = max(step, STEP_MIN * self.nominal * (self._steps - 1))
        self.level = min(top, self.level + step)
        self._next_s = now_s + WATCHES_S[min(self._steps, len(WATCHES_S) - 1)]
        self._steps += 1
