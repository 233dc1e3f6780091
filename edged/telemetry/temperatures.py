"""Thermal zones, from /sys/class/thermal."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edged.telemetry.readings import Temperature
from edged.telemetry.sensor import Sensor
from edged.telemetry.sysfs import folders, number, text

SANE_C = (-40.0, 150.0)
NO_SENSOR = "pmic"  # these zones give a constant


def zones(root: Path) -> Iterator[Sensor]:
    """Yield every thermal zone; one whose name is taken has its number behind it."""
    taken: set[str] = set()
    for folder in folders(root / "class/thermal", "thermal_zone*"):
        name = text(folder / "type") or ""
        if not name or name.lower().startswith(NO_SENSOR):
            continue
        name = name if name not in taken else f"{name} {folder.name.removeprefix('thermal_zone')}"
        taken.add(name)
        unit = "gpu0" if name.lower().startswith("gpu") and name == text(folder / "type") else name
        yield Sensor(
            f"temperature {unit}",
            str(folder / "temp"),
            partial(_temperature, folder / "temp", name, _passive_c(folder)),
        )


def _temperature(path: Path, zone: str, passive_c: float | None) -> Temperature | None:
    found = _celsius(path)
    return None if found is None else Temperature(zone, found, passive_c)


def _passive_c(folder: Path) -> float | None:
    trips = [
        _celsius(folder / trip.name.replace("_type", "_temp"))
        for trip in folders(folder, "trip_point_*_type")
        if text(trip) == "passive"
    ]
    return min((trip for trip in trips if trip is not None and trip > 0), default=None)


def _celsius(path: Path) -> float | None:
    """Return a temperature given in millidegrees, None where it is unreadable or absurd."""
    value = number(path)
    return value / 1000 if value is not None and SANE_C[0] <= value / 1000 <= SANE_C[1] else None
