"""How busy the GPU, the video decoder and the DLAs are, from their device folders in /sys."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edged.telemetry.clocks import is_gpu
from edged.telemetry.readings import Load
from edged.telemetry.sensor import Sensor
from edged.telemetry.sysfs import folders, number

UNITS = ("nvdec", "nvdla", "vic")
PER_MILLE = 1000


def loads(root: Path) -> Iterator[Sensor]:
    """Yield the units that say how busy they are, or else how long they were powered."""
    gpus = [folder / "device" for folder in folders(root / "class/devfreq", "*") if is_gpu(folder.name)]
    for gpu in gpus[:1]:
        if (gpu / "load").exists():
            yield Sensor("load gpu0", str(gpu / "load"), partial(_busy, gpu / "load", "gpu0"))
    for folder in folders(root / "bus/platform/devices", "*.*"):
        unit = folder.name.rpartition(".")[2]
        if not unit.startswith(UNITS):
            continue
        if (folder / "load").exists():
            yield Sensor(f"load {unit}", str(folder / "load"), partial(_busy, folder / "load", unit))
        elif number(folder / "power/runtime_active_time") or number(folder / "power/runtime_suspended_time"):
            yield Sensor(f"load {unit}", str(folder / "power"), _Powered(folder / "power", unit).read)


def _busy(path: Path, unit: str) -> Load | None:
    value = number(path)
    return Load(unit, value / PER_MILLE) if value is not None and 0 <= value <= PER_MILLE else None


class _Powered:
    """The share of time between two reads that a unit was powered; the first time it is that since it was found."""

    def __init__(self, folder: Path, unit: str) -> None:
        self._folder, self._unit = folder, unit
        self._before = (0.0, 0.0)
        self._share: float | None = None

    def read(self) -> Load | None:
        """Return it, None where the kernel does not say."""
        active_ms = number(self._folder / "runtime_active_time")
        suspended_ms = number(self._folder / "runtime_suspended_time")
        if active_ms is None or suspended_ms is None:
            return None
        active, suspended = active_ms - self._before[0], suspended_ms - self._before[1]
        self._before = (active_ms, suspended_ms)
        if active >= 0 and suspended >= 0 and active + suspended > 0:
            self._share = active / (active + suspended)
        return None if self._share is None else Load(self._unit, self._share, "powered")
