"""All sensors of this machine, found once and read together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edged.telemetry import clocks, load, nvml, power, temperatures
from edged.telemetry.readings import Clock, Load, Memory, Rail, Reading, Telemetry, Temperature
from edged.telemetry.sensor import Sensor

log = logging.getLogger(__name__)

SYSFS = Path("/sys")
SLOW_S = 0.25  # a read; some drivers sleep until their device has measured
SLOW_MAX = 3  # reads in a row: then it is read no more, for it makes all others late

R = TypeVar("R", bound=Reading)


class Sensors:
    """Finds the sensors below `root` and reads them. One thread's use.

    A sensor that gives nothing is left out of that pass, and said once; many do so while their unit is powered down.
    One that is slow again and again is read no more.
    """

    def __init__(self, root: Path = SYSFS, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sensors: dict[str, Sensor] = {}
        for sensor in _found(root):
            self._sensors.setdefault(sensor.measures, sensor)

    def read(self) -> Telemetry:
        """Read them all, once."""
        found: list[Reading] = []
        missing: list[str] = []
        for sensor in tuple(self._sensors.values()):
            reading = self._read(sensor)
            if reading is not None:
                found.append(reading)
            else:
                missing.append(sensor.measures)
        return Telemetry(
            time.monotonic_ns(),
            _of(Temperature, found),
            _of(Clock, found),
            _of(Rail, found),
            _of(Load, found),
            _of(Memory, found),
            tuple(missing),
        )

    def _read(self, sensor: Sensor) -> Reading | None:
        begin_s = self._clock()
        reading = sensor.read()
        took_s = self._clock() - begin_s
        sensor.slow = sensor.slow + 1 if took_s > SLOW_S else 0
        if sensor.slow >= SLOW_MAX:
            log.warning("telemetry: %s takes %.1f s to read, and is read no more", sensor.name, took_s)
            del self._sensors[sensor.measures]
        if reading is None and not sensor.told:
            sensor.told = True
            log.info("telemetry: %s gives nothing, and is left out while it does", sensor.name)
        return reading


def _found(root: Path) -> Iterator[Sensor]:
    """Yield every sensor; of two that measure the same, the kernel's comes first."""
    yield from temperatures.zones(root)
    yield from clocks.cpu_clocks(root)
    yield from clocks.unit_clocks(root, load.UNITS)
    yield from power.rails(root)
    yield from load.loads(root)
    yield from nvml.gpus()


def _of(kind: type[R], readings: list[Reading]) -> tuple[R, ...]:
    return tuple(reading for reading in readings if isinstance(reading, kind))
