"""What work costs, measured while running: running means, a line through them, and a steady figure of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.work import Cost

WEIGHT_MIN = 0.05  # of the newest measurement: the mean follows a change within some twenty inferences
OUTLIER = 3.0  # a measurement counts as at most so many means: one page fault is not what an inference costs
HALF_LIFE_S = 30.0  # of a batch size's weight while it is not used
SAMPLES_MIN = 3
CHANGE_MIN = 0.05  # a smaller change does not alter the published figure
REST_S = 5.0  # what was not used for longer may have become cheaper: nothing else would bring it back
RELIEF_PER_S = 0.05


@dataclass
class Mean:
    """A running mean of seconds, quick at first."""

    count: int = 0
    seconds: float = 0.0
    at_s: float = 0.0

    def add(self, seconds: float, now_s: float) -> None:
        """Take in one measurement."""
        if self.count >= SAMPLES_MIN:
            seconds = min(seconds, OUTLIER * self.seconds)
        self.count += 1
        self.seconds += max(1.0 / self.count, WEIGHT_MIN) * (seconds - self.seconds)
        self.at_s = now_s


@dataclass
class CostMeter:
    """One engine's cost: a mean for each batch size, and the line through them. The caller locks."""

    _sizes: dict[int, Mean] = field(default_factory=dict)
    _least_s: float | None = None
    _published: Cost | None = None

    def add(self, pictures: int, seconds: float, now_s: float) -> None:
        """Take in one inference. The first of each size is its warm-up and tells nothing."""
        if pictures not in self._sizes:
            self._sizes[pictures] = Mean()
        else:
            self._sizes[pictures].add(seconds, now_s)

    def scale(self, factor: float) -> None:
        """Expect all to take so many times as long from now on: the clock was changed."""
        for mean in self._sizes.values():
            mean.seconds *= factor
        if self._least_s is not None:
            self._least_s *= factor

    def cost(self, now_s: float) -> Cost | None:
        """Return the cost, None before it is known. It changes only when it changes by more than 5 %."""
        points = [(size, mean) for size, mean in self._sizes.items() if mean.count >= SAMPLES_MIN]
        if not points:
            return None
        cost = fit([(size, mean.seconds, _weight(mean, now_s)) for size, mean in points])
        least_s = self._least_s = min(cost.of(1), self._least_s or cost.of(1))
        relief = _relief(cost.of(1), least_s, now_s - max(mean.at_s for _, mean in points))
        cost = Cost(cost.fixed_s * relief, cost.picture_s * relief)
        sizes = [size for size, _ in points]
        if self._published is None or any(_differ(cost.of(n), self._published.of(n)) for n in (1, max(sizes))):
            self._published = Cost(float(f"{cost.fixed_s:.3g}"), float(f"{cost.picture_s:.3g}"))
        return self._published


@dataclass
class DecodeMeter:
    """One camera's decoding: CPU seconds a frame, from totals. The caller locks.

    The first frames after a rest tell nothing: making a decoder, or catching up, costs more than many of them.
    """

    seconds: float = 0.0
    frames: int = 0
    _at_s: float = -REST_S
    _mean: Mean = field(default_factory=Mean)
    _least_s: float | None = None
    _published: float | None = None

    def add(self, seconds: float, frames: int, now_s: float) -> float:
        """Take the new totals, and return the seconds since the last ones. Totals that fall begin anew."""
        more_s, more = seconds - self.seconds, frames - self.frames
        self.seconds, self.frames = seconds, frames
        if more_s < 0 or more < 0:
            return 0.0
        if more:
            if now_s - self._at_s < REST_S:
                self._mean.add(more_s / more, now_s)
                self._least_s = min(more_s / more, self._least_s or more_s / more)
            self._at_s = now_s
        return more_s

    def scale(self, factor: float) -> None:
        """Expect a frame to take so many times as long from now on: the clock was changed."""
        self._mean.seconds *= factor
        if self._least_s is not None:
            self._least_s *= factor

    def frame_s(self, now_s: float) -> float | None:
        """Return the seconds for one frame, None before they are known. They change only by more than 5 %."""
        if self._mean.count < SAMPLES_MIN:
            return None
        seconds = self._mean.seconds
        seconds *= _relief(seconds, self._least_s or seconds, now_s - self._mean.at_s)
        if self._published is None or _differ(seconds, self._published):
            self._published = float(f"{seconds:.3g}")
        return self._published


def fit(points: list[tuple[int, float, float]]) -> Cost:
    """Return the cost line by weighted least squares from (pictures, seconds, weight), with `fixed_s` >= 0.

    One size alone cannot tell what is fixed: all of it counts as cost of the pictures. Where larger batches take no
    longer, nearly all is fixed.
    """
    total = sum(weight for _, _, weight in points)
    mean_n = sum(weight * n for n, _, weight in points) / total
    mean_s = sum(weight * seconds for _, seconds, weight in points) / total
    spread = sum(weight * (n - mean_n) ** 2 for n, _, weight in points)
    if spread <= 0:
        return Cost(0.0, max(mean_s / mean_n, 1e-9))
    slope = sum(weight * (n - mean_n) * (seconds - mean_s) for n, seconds, weight in points) / spread
    slope = max(slope, 0.01 * mean_s / mean_n, 1e-9)
    fixed = mean_s - slope * mean_n
    if fixed < 0:
        squares = sum(weight * n * n for n, _, weight in points)
        return Cost(0.0, max(sum(weight * n * seconds for n, seconds, weight in points) / squares, 1e-9))
    return Cost(fixed, slope)


def _relief(seconds: float, least_s: float, rest_s: float) -> float:
    """Return the part of a cost that is still believed after a rest: it nears the least that was ever measured."""
    return max(least_s / seconds, (1 - RELIEF_PER_S) ** (rest_s - REST_S)) if rest_s > REST_S and seconds > 0 else 1.0


def _weight(mean: Mean, now_s: float) -> float:
    return float(min(mean.count, 1 / WEIGHT_MIN) * max(0.5 ** ((now_s - mean.at_s) / HALF_LIFE_S), 1e-6))


def _differ(new: float, old: float) -> bool:
    return abs(new - old) > CHANGE_MIN * old
