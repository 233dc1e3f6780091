"""Clocks and their caps, from /sys/devices/system/cpu/cpufreq and /sys/class/devfreq."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from edged.telemetry.readings import Clock
from edged.telemetry.sensor import Sensor
from edged.telemetry.sysfs import folders, number, text

HIGHEST_HZ = 1e10  # no clock is faster
GPU_NAMES = ("gpu", "gv11b", "ga10b", "gp10b")
NOT_GPU_NAMES = ("nvd", "nvdec", "nvenc")  # video engines that sit under a GPU's name


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


def _clock(now: Path, cap: Path, unit_hz: float, kind: Clock) -> Clock | None:
    hz, cap_hz = _hertz(now, unit_hz), _hertz(cap, unit_hz)
    if hz is None and cap_hz is None:
        return None
    return replace(kind, hz=hz, cap_hz=cap_hz)


def _highest_hz(folder: Path) -> float:
    texts = (text(folder / "available_frequencies") or "").split()
    return max((float(one) for one in texts if one.isdigit() and one.isascii() and len(one) < 16), default=0.0)


def _hertz(path: Path, unit_hz: float) -> float | None:
    value = number(path)
    return value * unit_hz if value is not None and 0 < value * unit_hz <= HIGHEST_HZ else None
