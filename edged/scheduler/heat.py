"""What heat and power states leave of each device, worked out from the telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edged.telemetry.readings import Clock, Telemetry, Temperature

NEAR_C = 5.0  # below its passive trip, where work is reduced before the kernel lowers the clock
LEAST = 0.5  # of the capacity is left, 5 degrees above the trip and beyond
STEADY_C = 1.0  # a zone's told temperature moves only by more


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
class Heat:
    """Turns readings into limits. One thread's use.

    Zones count for the device in their names; those of the whole chip ("tj", "soc") for all. A zone without a passive
    trip, such as a regulator's, tells nothing, and neither does one that gives no reading.
    """

    _told_c: dict[str, float] = field(default_factory=dict, init=False)

    def limits(self, telemetry: Telemetry) -> dict[str, Limit]:
        """Return the limits by device, "cpu" and "gpu0". A device without one is missing."""
        limits: dict[str, Limit] = {}
        clocks = [clock for clock in telemetry.clocks if clock.device]
        for device in sorted({clock.device for clock in clocks}):
            limit = _capped(device, [clock for clock in clocks if clock.device == device])
            if limit is not None:
                limits[device] = limit
        gpu = any(clock.device == "gpu0" for clock in clocks)
        for zone in telemetry.temperatures:
            devices = [device for device in _devices(zone.zone.lower()) if gpu or device == "cpu"]
            heat, words = self._near(zone) if devices else (1.0, "")
            for device in devices if heat < 1.0 else ():
                known = limits.get(device, Limit())
                joined = "; ".join(text for text in (known.words, words) if text)
                limits[device] = replace(known, heat=min(known.heat, heat), words=joined)
        return limits

    def _near(self, zone: Temperature) -> tuple[float, str]:
        """Return what a temperature leaves: all to 5 degrees below its trip, half to 5 above, a line in between."""
        if zone.passive_c is None:
            return 1.0, ""
        told_c = self._told_c.get(zone.zone)
        if told_c is None or abs(zone.celsius - told_c) > STEADY_C:
            told_c = self._told_c[zone.zone] = round(zone.celsius * 2) / 2
        below_c = zone.passive_c - told_c
        if below_c >= NEAR_C:
            return 1.0, ""
        heat = max(LEAST, 1.0 - (1.0 - LEAST) * (NEAR_C - below_c) / (2 * NEAR_C))
        place = f"{below_c:g} below" if below_c > 0 else f"{abs(below_c):g} above"
        return round(heat, 2), f"{zone.zone.lower()} {told_c:g} C, {place} its passive trip"


def _capped(device: str, clocks: Sequence[Clock]) -> Limit | None:
    """Return a device's clock limit, over all its clocks by their cores; the words are about the most capped one."""
    ratios = [(_ratio(clock), clock) for clock in clocks]
    cores = sum(clock.cores for clock in clocks)
    mean = sum(ratio * clock.cores for ratio, clock in ratios) / cores
    ratio, lowest = min(ratios, key=lambda pair: pair[0])
    if ratio >= 1.0:
        return None
    ghz = lowest.highest_hz / 1e9
    return Limit(clock=round(mean, 3), words=f"{device} capped at {ratio * ghz:.3g} of {ghz:.3g} GHz")


def _ratio(clock: Clock) -> float:
    return 1.0 if clock.cap_hz is None else min(1.0, clock.cap_hz / clock.highest_hz)


def _devices(zone: str) -> tuple[str, ...]:
    if zone.startswith(("cpu", "x86_pkg")):
        return ("cpu",)
    if zone.startswith("gpu"):
        return ("gpu0",)
    return ("cpu", "gpu0") if zone.startswith(("tj", "soc")) else ()
