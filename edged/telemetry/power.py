"""Power rails, from the current monitors (INA3221, INA238 and their like) in /sys/class/hwmon."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edged.telemetry.readings import Rail
from edged.telemetry.sensor import Sensor
from edged.telemetry.sysfs import folders, number, text

SANE_MV, SANE_MA, SANE_UW = 100_000, 1_000_000, 10_000_000_000
NO_RAIL = ("NC", "shunt")  # not connected; "sum of shunt voltages", which is no rail


def rails(root: Path) -> Iterator[Sensor]:
    """Yield every labelled channel with a current, and the power of a monitor that has no labels."""
    taken: set[str] = set()
    for folder in folders(root / "class/hwmon", "hwmon*"):
        chip = text(folder / "name") or ""
        if not chip.startswith("ina"):
            continue
        channels = {label.name[2:-6]: text(label) or "" for label in folders(folder, "in*_label")}
        named = {
            channel: label
            for channel, label in channels.items()
            if label and not any(part in label for part in NO_RAIL) and (folder / f"curr{channel}_input").exists()
        }
        if not named and (folder / "power1_input").exists():
            named = {"1": text(folder / "power1_label") or chip}
        for channel, label in named.items():
            name = label if label not in taken else f"{label} {folder.name}"
            taken.add(name)
            yield Sensor(f"rail {name}", f"{folder}/*{channel}_input", partial(_rail, folder, channel, name))


def _rail(folder: Path, channel: str, name: str) -> Rail | None:
    milli_volts = _within(SANE_MV, folder / f"in{channel}_input")
    milli_amperes = _within(SANE_MA, folder / f"curr{channel}_input")
    micro_watts = _within(SANE_UW, folder / f"power{channel}_input") if milli_amperes is None else None
    volts = None if milli_volts is None else milli_volts / 1e3
    if milli_amperes is not None and volts is not None:
        return Rail(name, volts * milli_amperes / 1e3, volts, milli_amperes / 1e3)
    return None if micro_watts is None else Rail(name, micro_watts / 1e6, volts)


def _within(most: float, path: Path) -> float | None:
    """Return a file's number, None where it is unreadable or absurd."""
    value = number(path)
    return value if value is not None and abs(value) <= most else None
