"""What heat and power states leave of each device, read from the kernel's /sys. Reading never fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

NEAR_C = 5.0  # below its passive trip, where work is reduced before the kernel lowers the clock
LEAST = 0.5  # of the capacity is left, 5 degrees above the trip and beyond
STEADY_C = 1.0  # a zone's told temperature moves only by more
SANE_C = (-40.0, 150.0)
HIGHEST_HZ = 1e10  # no clock is faster
READ_MAX_BYTES = 4096
GPU_NAMES = ("gpu", "gv11b", "ga10b", "gp10b")
NOT_GPU_NAMES = ("nvd", "nvdec", "nvenc")  # video engines that sit under a GPU's name


@dataclass(frozen=True)
class Limit:
    """What a device may do, and why in words ("" without a limit).

    `clock` is the part of its highest clock that it may run at, `heat` the part of its time that its temperature
    leaves, both 0..1. Work at a lower clock takes longer and is measured so; only `heat` lowers the capacity.
    """

    clock: float = 1.0
    heat: float = 1.0
    words: str = ""

    @property
    def factor(self) -> float:
        """The part of its best that the device can do."""
        return self.clock * self.heat


@dataclass
class _Zone:
    """A thermal zone, with what was told of it last."""

    folder: Path
    name: str
    devices: tuple[str, ...]
    trip_c: float
    told_c: float | None = None


@dataclass(frozen=True)
class _Clock:
    """A clock that the kernel may cap: where its cap is read, its highest value, and how many units there are to it."""

    device: str
    cap: Path
    highest: float
    hz: float  # of one unit
    cores: int = 1


@dataclass
class Heat:
    """Thermal zones and clocks below `root`, found once. Cheap enough to read once a second. One thread's use.

    Zones count for the device in their names; those of the whole chip ("tj", "soc") for all. A zone without a passive
    trip, such as a regulator's, tells nothing.
    """

    root: Path = Path("/sys")
    _zones: list[_Zone] = field(default_factory=list, init=False)
    _clocks: list[_Clock] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._clocks = [*_cpu_clocks(self.root), *_gpu_clocks(self.root)]
        self._zones = list(_zones(self.root, any(clock.device == "gpu0" for clock in self._clocks)))

    def read(self) -> dict[str, Limit]:
        """Return the limits by device, "cpu" and "gpu0". A device without one is missing."""
        limits: dict[str, Limit] = {}
        for device in sorted({clock.device for clock in self._clocks}):
            limit = _capped(device, [clock for clock in self._clocks if clock.device == device])
            if limit is not None:
                limits[device] = limit
        for zone in self._zones:
            heat, words = _near(zone)
            for device in zone.devices if heat < 1.0 else ():
                known = limits.get(device, Limit())
                joined = "; ".join(text for text in (known.words, words) if text)
                limits[device] = replace(known, heat=min(known.heat, heat), words=joined)
        return limits


def _capped(device: str, clocks: list[_Clock]) -> Limit | None:
    """Return a device's clock limit, over all its clocks by their cores; the words are about the most capped one."""
    ratios = [(_ratio(clock), clock) for clock in clocks]
    cores = sum(clock.cores for clock in clocks)
    mean = sum(ratio * clock.cores for ratio, clock in ratios) / cores
    ratio, lowest = min(ratios, key=lambda pair: pair[0])
    if ratio >= 1.0:
        return None
    ghz = lowest.highest * lowest.hz / 1e9
    return Limit(clock=round(mean, 3), words=f"{device} capped at {ratio * ghz:.3g} of {ghz:.3g} GHz")


def _ratio(clock: _Clock) -> float:
    cap = _number(clock.cap)
    return min(1.0, cap / clock.highest) if cap is not None and cap > 0 else 1.0


def _near(zone: _Zone) -> tuple[float, str]:
    """Return what a zone's temperature leaves: all to 5 degrees below its trip, half to 5 above, a line in between."""
    read_c = _celsius(zone.folder / "temp")
    if read_c is None:
        return 1.0, ""
    if zone.told_c is None or abs(read_c - zone.told_c) > STEADY_C:
        zone.told_c = round(read_c * 2) / 2
    below_c = zone.trip_c - zone.told_c
    if below_c >= NEAR_C:
        return 1.0, ""
    heat = max(LEAST, 1.0 - (1.0 - LEAST) * (NEAR_C - below_c) / (2 * NEAR_C))
    place = f"{below_c:g} below" if below_c > 0 else f"{abs(below_c):g} above"
    return round(heat, 2), f"{zone.name} {zone.told_c:g} C, {place} its passive trip"


def _zones(root: Path, gpu: bool) -> Iterator[_Zone]:
    for folder in _folders(root / "class/thermal", "thermal_zone*"):
        name = (_text(folder / "type") or "").lower()
        devices = _devices(name) if gpu else tuple(device for device in _devices(name) if device == "cpu")
        trips = [
            _celsius(folder / trip.name.replace("_type", "_temp"))
            for trip in _folders(folder, "trip_point_*_type")
            if _text(trip) == "passive"
        ]
        known = [trip for trip in trips if trip is not None and trip > 0]
        if devices and known:
            yield _Zone(folder, name, devices, min(known))


def _devices(zone: str) -> tuple[str, ...]:
    if zone.startswith(("cpu", "x86_pkg")):
        return ("cpu",)
    if zone.startswith("gpu"):
        return ("gpu0",)
    return ("cpu", "gpu0") if zone.startswith(("tj", "soc")) else ()


def _cpu_clocks(root: Path) -> Iterator[_Clock]:
    for policy in _folders(root / "devices/system/cpu/cpufreq", "policy*"):
        highest = _number(policy / "cpuinfo_max_freq")
        if highest is not None and 0 < highest * 1e3 <= HIGHEST_HZ:
            cores = len((_text(policy / "affected_cpus") or "0").split()) or 1
            yield _Clock("cpu", policy / "scaling_max_freq", highest, 1e3, cores)


def _gpu_clocks(root: Path) -> Iterator[_Clock]:
    for folder in _folders(root / "class/devfreq", "*"):
        name = folder.name.lower()
        if any(part in name for part in NOT_GPU_NAMES) or not any(part in name for part in GPU_NAMES):
            continue
        texts = (_text(folder / "available_frequencies") or "").split()
        highest = max((float(text) for text in texts if text.isdigit() and len(text) < 16), default=0.0)
        if 0 < highest <= HIGHEST_HZ:
            yield _Clock("gpu0", folder / "max_freq", highest, 1.0)


def _folders(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _text(path: Path) -> str | None:
    """Return a small file's text, None where it cannot be read: gone, refused, or busy (EPERM, EAGAIN, EINVAL)."""
    try:
        with path.open("rb") as file:
            return file.read(READ_MAX_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return None


def _number(path: Path) -> float | None:
    text = _text(path)
    if text is None or not text.removeprefix("-").isdigit() or len(text) > 15:
        return None
    return float(text)


def _celsius(path: Path) -> float | None:
    """Return a temperature given in millidegrees, None where it is unreadable or absurd."""
    value = _number(path)
    return value / 1000 if value is not None and SANE_C[0] <= value / 1000 <= SANE_C[1] else None
