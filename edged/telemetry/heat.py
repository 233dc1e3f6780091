"""Thermal zones and clocks, from /sys/class/thermal, /sys/devices/system/cpu/cpufreq and /sys/class/devfreq."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edged.telemetry.readings import Clock, Temperature
from edged.telemetry.sensor import Sensor
from edged.telemetry.sysfs import folders, number, text

SANE_C = (-40.0, 150.0)
HIGHEST_HZ = 1e10  # no clock is faster
GPU_NAMES = ("gpu", "gv11b", "ga10b", "gp10b")
NOT_GPU_NAMES = ("nvd", "nvdec", "nvenc")  # video engines that sit under a GPU's name
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


def cpu_clocks(root: Path) -> Iterator[Sensor]:
    """Yield the clock of every group of cores that share one: "cpu0" is that of the group whose first core is 0."""
    for policy in folders(root / "devices/system/cpu/cpufreq", "policy*"):
        highest = number(policy / "cpuinfo_max_freq")
        if highest is not None and 0 < highest * 1e3 <= HIGHEST_HZ:
            cores = len((text(policy / "affected_cpus") or "0").split()) or 1
            name = f"cpu{policy.name.removeprefix('policy')}"
            files = policy / "scaling_cur_freq", policy / "scaling_max_freq"
            kind = Clock(name, None, None, highest * 1e3, "cpu", cores)
            yield Sensor(f"clock {name}", str(policy), partial(_clock, *files, 1e3, kind))


def unit_clocks(root: Path, units: tuple[str, ...]) -> Iterator[Sensor]:
    """Yield the clocks of the integrated GPU and of these other units: "nvdec" is 15480000.nvdec."""
    gpus = 0
    for folder in folders(root / "class/devfreq", "*"):
        name, device = folder.name.lower().rpartition(".")[2], ""
        if is_gpu(folder.name):
            name, device = ("gpu0", "gpu0") if gpus == 0 else (folder.name, "gpu0")
            gpus += 1
        elif name == "gpu-nvd-0":  # the video engines of a Thor have one clock
            name = "nvd"
        elif not name.startswith(units):
            continue
        highest = _highest_hz(folder)
        if 0 < highest <= HIGHEST_HZ:
            files = folder / "cur_freq", folder / "max_freq"
            kind = Clock(name, None, None, highest, device)
            yield Sensor(f"clock {name}", str(folder), partial(_clock, *files, 1.0, kind))


def is_gpu(name: str) -> bool:
    """Tell whether a devfreq device is the integrated GPU."""
    name = name.lower()
    return any(part in name for part in GPU_NAMES) and not any(part in name for part in NOT_GPU_NAMES)


def _temperature(path: Path, zone: str, passive_c: float | None) -> Temperature | None:
    found = _celsius(path)
    return None if found is None else Temperature(zone, found, passive_c)


def _clock(now: Path, cap: Path, unit_hz: float, kind: Clock) -> Clock | None:
    hz, cap_hz = _hertz(now, unit_hz), _hertz(cap, unit_hz)
    if hz is None and cap_hz is None:
        return None
    return Clock(kind.name, hz, cap_hz, kind.highest_hz, kind.device, kind.cores)


def _passive_c(folder: Path) -> float | None:
    trips = [
        _celsius(folder / trip.name.replace("_type", "_temp"))
        for trip in folders(folder, "trip_point_*_type")
        if text(trip) == "passive"
    ]
    return min((trip for trip in trips if trip is not None and trip > 0), default=None)


def _highest_hz(folder: Path) -> float:
    texts = (text(folder / "available_frequencies") or "").split()
    return max((float(one) for one in texts if one.isdigit() and one.isascii() and len(one) < 16), default=0.0)


def _hertz(path: Path, unit_hz: float) -> float | None:
    value = number(path)
    return value * unit_hz if value is not None and 0 < value * unit_hz <= HIGHEST_HZ else None


def _celsius(path: Path) -> float | None:
    """Return a temperature given in millidegrees, None where it is unreadable or absurd."""
    value = number(path)
    return value / 1000 if value is not None and SANE_C[0] <= value / 1000 <= SANE_C[1] else None
