"""Which of a camera's formats, sizes and rates serves a wish. Pure: a device is only asked through callables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from edged.errors import CameraError

PREFERRED = (
    "NV12", "NM12", "YU12", "YM12", "YV12", "422P", "NV16", "NV21", "YUYV", "UYVY", "YVYU", "VYUY", "RGB3", "BGR3",
    "MJPG", "JPEG", "H264", "HEVC", "GREY",
)  # fmt: skip
"""What is read here, cheapest first: as it lies there, taken apart, decoded; grey only where nothing has colors."""

ENOUGH_HZ = 30  # without a wish a cheaper format is worth more than a higher rate
RATE_SLACK = Fraction(1, 100)  # 29.97 Hz is 30 Hz
TEXT_MAX = 1200


@dataclass(frozen=True)
class Span:
    """The values low, low + step, … up to high."""

    low: int
    high: int
    step: int = 1

    def __contains__(self, value: int) -> bool:
        return self.low <= value <= self.high and (value - self.low) % (self.step or 1) == 0


@dataclass(frozen=True)
class Sizes:
    """One size, or a range of them."""

    width: Span
    height: Span

    def has(self, width: int, height: int) -> bool:
        """Whether this size is among them."""
        return width in self.width and height in self.height

    def __str__(self) -> str:
        low, high = f"{self.width.low}x{self.height.low}", f"{self.width.high}x{self.height.high}"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Intervals:
    """One time from frame to frame in seconds, or all from the shortest to the longest."""

    shortest: Fraction
    longest: Fraction

    def nearest(self, interval: Fraction) -> Fraction:
        """Return the one that is nearest."""
        return min(max(interval, self.shortest), self.longest)

    def __str__(self) -> str:
        fast = f"{float(1 / self.shortest):.4g}"
        return fast if self.shortest == self.longest else f"{float(1 / self.longest):.4g} to {fast}"


@dataclass(frozen=True)
class Wish:
    """What the configuration asks for; None is the camera's own."""

    pixel_format: str | None = None
    size: tuple[int, int] | None = None
    rate_hz: float | None = None

    def __str__(self) -> str:
        words = [self.pixel_format or ""]
        words.append(f"{self.size[0]}x{self.size[1]}" if self.size else "")
        words.append(f"{self.rate_hz:g} Hz" if self.rate_hz else "")
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Choice:
    """What to ask the device for. `interval` is None where its own is to stay."""

    fourcc: str
    width: int
    height: int
    interval: Fraction | None


@dataclass(frozen=True)
class Menu:
    """What a device gives: sizes of each format as its driver lists them, and intervals of each size when asked."""

    name: str
    sizes: Mapping[str, Sequence[Sizes]]
    intervals: Callable[[str, int, int], Sequence[Intervals]]
    current: tuple[int, int]


def choose(menu: Menu, wish: Wish) -> Choice:
    """Return the best of what serves a wish.

    Without a rate those formats come first that reach 30 Hz, or the most that the device can; then the cheapest. A
    size that is not wished for is the one that the device is set to, else the format's largest.

    Raises:
        CameraError: nothing serves it; the text lists what the device gives.
    """
    best: tuple[tuple[float, int], Choice] | None = None
    for place, fourcc in enumerate(PREFERRED):
        if fourcc not in menu.sizes or wish.pixel_format not in (None, fourcc):
            continue
        size = _size(menu.sizes[fourcc], wish.size, menu.current)
        if size is None:
            continue
        served, interval, reach_hz = _rate(menu.intervals(fourcc, *size), wish.rate_hz)
        if not served:
            continue
        rank = (-reach_hz, place)
        if best is None or rank < best[0]:
            best = rank, Choice(fourcc, *size, interval)
    if best is None:
        raise CameraError(f"{menu.name} gives no {str(wish) or 'picture'}; {listing(menu)}")
    return best[1]


def _size(sizes: Sequence[Sizes], wanted: tuple[int, int] | None, current: tuple[int, int]) -> tuple[int, int] | None:
    if not sizes:  # the driver lists none: what it grants will be looked at
        return wanted or current
    if wanted is not None:
        return wanted if any(one.has(*wanted) for one in sizes) else None
    if any(one.has(*current) for one in sizes):
        return current
    return max(((one.width.high, one.height.high) for one in sizes), key=lambda size: size[0] * size[1])


def _rate(found: Sequence[Intervals], wanted_hz: float | None) -> tuple[bool, Fraction | None, float]:
    """Return whether a rate is served, the interval to set, and how far the format gets towards `ENOUGH_HZ`."""
    if wanted_hz is None:
        fastest = min((one.shortest for one in found), default=None)
        return True, None, min(ENOUGH_HZ, round(1 / fastest)) if fastest else ENOUGH_HZ
    wanted = 1 / Fraction(wanted_hz).limit_denominator(1001)
    if not found:
        return True, wanted, 0
    nearest = min((one.nearest(wanted) for one in found), key=lambda one: abs(one - wanted))
    return is_near(nearest, wanted), nearest, 0


def is_near(granted: Fraction, wanted: Fraction) -> bool:
    """Whether a granted interval is the wanted one, but for what a rate such as 29.97 Hz is off."""
    return abs(granted - wanted) <= wanted * RATE_SLACK


def listing(menu: Menu) -> str:
    """Say what a device gives, formats with the same sizes and rates together."""
    groups: dict[str, list[str]] = {}
    for fourcc in PREFERRED:
        if fourcc in menu.sizes:
            groups.setdefault(_sizes_text(menu, fourcc), []).append(fourcc)
    text = "; ".join(f"{', '.join(names)}: {sizes}" for sizes, names in groups.items())
    if len(text) > TEXT_MAX:
        text = text[:TEXT_MAX].rpartition(",")[0] + ", …"
    others = sorted(menu.sizes.keys() - set(PREFERRED))
    unread = f"; not read here: {', '.join(others)}"[:200] if others else ""
    return f"it gives {text or 'nothing that is read here'}{unread}"


def _sizes_text(menu: Menu, fourcc: str) -> str:
    """Sizes with the same rates stand together."""
    by_rate: dict[str, list[str]] = {}
    for one in menu.sizes[fourcc]:
        found = menu.intervals(fourcc, one.width.high, one.height.high)
        rates = ", ".join(str(interval) for interval in sorted(found, key=lambda each: each.shortest))
        by_rate.setdefault(f"at {rates} Hz" if rates else "at its own rate", []).append(str(one))
    return ", ".join(f"{', '.join(sizes)} {rates}" for rates, sizes in by_rate.items()) or "any size"
