"""GPUs by NVIDIA's management library: what /sys does not say of them. Optional: the package nvidia-ml-py."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from edged.telemetry.readings import Clock, Load, Memory, Rail, Reading, Temperature
from edged.telemetry.sensor import Sensor

log = logging.getLogger(__name__)

GPUS_MAX = 16


def gpus() -> Iterator[Sensor]:
    """Yield what NVML tells of each GPU, but for what a GPU has none of; nothing without NVML or a GPU."""
    try:
        import pynvml
    except ImportError:
        return
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(min(GPUS_MAX, pynvml.nvmlDeviceGetCount()))]
    except pynvml.NVMLError as exc:
        log.info("telemetry: NVML has no GPU: %s", exc)
        return
    for number, handle in enumerate(handles):
        for what, ask in ASKED.items():
            unit = f"gpu{number}"
            if _has(pynvml, ask, handle, unit):
                yield Sensor(f"{what} {unit}", f"NVML {unit} {what}", partial(_asked, pynvml, ask, handle, unit))


def _has(nvml: Any, ask: Callable[[Any, Any, str], Reading], handle: Any, unit: str) -> bool:
    try:
        ask(nvml, handle, unit)
    except nvml.NVMLError as exc:
        return bool(exc.value != nvml.NVML_ERROR_NOT_SUPPORTED)
    return True


def _asked(nvml: Any, ask: Callable[[Any, Any, str], Reading], handle: Any, unit: str) -> Reading | None:
    try:
        return ask(nvml, handle, unit)
    except nvml.NVMLError:
        return None


def _temperature(nvml: Any, handle: Any, unit: str) -> Temperature:
    return Temperature(unit, float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)))


def _clock(nvml: Any, handle: Any, unit: str) -> Clock:
    highest_hz = 1e6 * nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
    return Clock(unit, 1e6 * nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM), None, highest_hz)


def _power(nvml: Any, handle: Any, unit: str) -> Rail:
    return Rail(unit, nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)


def _busy(nvml: Any, handle: Any, unit: str) -> Load:
    return Load(unit, nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)


def _decoding(nvml: Any, handle: Any, unit: str) -> Load:
    return Load(f"{unit} nvdec", nvml.nvmlDeviceGetDecoderUtilization(handle)[0] / 100)


def _memory(nvml: Any, handle: Any, unit: str) -> Memory:
    about = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Memory(unit, about.used, about.total)


ASKED: Mapping[str, Callable[[Any, Any, str], Reading]] = {
    "temperature": _temperature,
    "clock": _clock,
    "rail": _power,
    "load": _busy,
    "decoder load": _decoding,
    "memory": _memory,
}
