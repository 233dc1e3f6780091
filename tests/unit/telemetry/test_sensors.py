"""What is read of a board, of a machine without sensors, and of sensors that fail, lie or hang."""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from types import SimpleNamespace

import boards
import pytest
from parts import until

from edged.telemetry.readings import Clock, Load, Memory, Rail, Telemetry, Temperature
from edged.telemetry.sensors import SLOW_MAX, SLOW_S, Sensors
from edged.telemetry.worker import OLD_S, TelemetryWorker


@pytest.fixture(autouse=True)
def no_nvml(monkeypatch):
    """A machine without NVML, whatever this one has."""
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_an_orin(tmp_path):
    read = Sensors(boards.make(tmp_path, boards.ORIN)).read()
    assert read.temperatures == (
        Temperature("cpu-thermal", 52.968, 99.0),
        Temperature("gpu-thermal", 47.625, 99.0),
        Temperature("soc0-thermal", 49.531, 99.0),
        Temperature("tj-thermal", 52.968, 99.0),
    )
    assert read.clocks == (
        Clock("cpu0", 2201.6e6, 2201.6e6, 2201.6e6, "cpu", 4),
        Clock("cpu4", 1190.4e6, 1497.6e6, 2201.6e6, "cpu", 4),
        Clock("cpu8", 729.6e6, 2201.6e6, 2201.6e6, "cpu", 4),
        Clock("vic", 115.2e6, 729.6e6, 729.6e6),
        Clock("nvdec", 793.6e6, 793.6e6, 793.6e6),
        Clock("gpu0", 612e6, 1300.5e6, 1300.5e6, "gpu0"),
    )
    assert [(one.name, round(one.watts, 3), one.volts, one.amperes) for one in read.rails] == [
        ("VDD_GPU_SOC", 5.111, 18.792, 0.272),
        ("VDD_CPU_CV", 3.306, 18.784, 0.176),
        ("VIN_SYS_5V0", 5.498, 5.016, 1.096),
        ("VDDQ_VDD2_1V8AO", 0.901, 18.776, 0.048),
    ]
    assert read.loads == (
        Load("gpu0", 0.366),
        Load("nvdec", 0.25, "powered"),
        Load("nvdla0", 0.0, "powered"),
        Load("nvdla1", 1.0, "powered"),
    )
    assert read.missing == ("temperature cv0-thermal",)


def test_an_orin_with_jetpack_5(tmp_path):
    read = Sensors(boards.make(tmp_path, boards.ORIN_JETPACK_5)).read()
    assert [one.zone for one in read.temperatures] == ["CPU-therm"], "the PMIC's zone is a constant"
    assert [one.name for one in read.clocks] == ["vic", "gpu0"]
    assert read.loads == (Load("gpu0", 1.0), Load("vic", 0.702))


def test_a_thor(tmp_path):
    read = Sensors(boards.make(tmp_path, boards.THOR)).read()
    assert [one.zone for one in read.temperatures] == ["cpu-thermal", "soc012-thermal", "tj-thermal"]
    assert read.clocks[1:] == (
        Clock("gpu0", 1575e6, 1575e6, 1575e6, "gpu0"),
        Clock("nvd", 1692e6, 1692e6, 1692e6),
    )
    assert [(one.name, round(one.watts, 2)) for one in read.rails] == [
        ("VDD_GPU", 7.71), ("VDD_CPU_SOC_MSS", 11.56), ("VIN_SYS_5V0", 8.85), ("ina238", 22.04),
    ]  # fmt: skip
    assert read.loads == ()
    assert read.missing == ("temperature gpu0",)


def test_a_unit_is_powered_for_its_part_of_the_time_between_two_passes(tmp_path):
    sensors = Sensors(boards.make(tmp_path, boards.powered("15480000.nvdec", "30000", "90000")))
    assert sensors.read().loads == (Load("nvdec", 0.25, "powered"),)
    assert sensors.read().loads == (Load("nvdec", 0.25, "powered"),), "no time has passed"
    boards.make(tmp_path, boards.powered("15480000.nvdec", "30900", "90100"))
    assert sensors.read().loads == (Load("nvdec", 0.9, "powered"),)


def test_a_rail_of_which_only_the_power_is_measured(tmp_path):
    tree = boards.monitor(0, "ina260", power1_input="4113120")
    assert Sensors(boards.make(tmp_path, tree)).read().rails == (Rail("ina260", 4.11312),)


def test_names_stay_apart(tmp_path):
    zones = {**boards.zone(0, "acpitz", "40000"), **boards.zone(1, "acpitz", "41000")}
    rails = {
        **boards.monitor(0, "ina3221", in1_label="VDD", in1_input="5000", curr1_input="1000"),
        **boards.monitor(1, "ina3221", in1_label="VDD", in1_input="5000", curr1_input="2000"),
    }
    read = Sensors(boards.make(tmp_path, {**zones, **rails})).read()
    assert [(one.zone, one.celsius) for one in read.temperatures] == [("acpitz", 40.0), ("acpitz 1", 41.0)]
    assert [(one.name, one.watts) for one in read.rails] == [("VDD", 5.0), ("VDD hwmon1", 10.0)]


@pytest.mark.parametrize("nonsense", ["", "-", "hot", "-274000000", "9" * 12, "12.5", "nan", "\x00\xff"])
def test_nonsense_is_no_reading(tmp_path, nonsense):
    sensors = Sensors(boards.make(tmp_path, boards.ORIN))
    for name in (
        "class/devfreq/17000000.gpu/device/load",
        "class/hwmon/hwmon3/in1_input",
        "class/thermal/thermal_zone0/temp",
    ):
        (tmp_path / name).write_text(nonsense)
    assert {"load gpu0", "rail VDD_GPU_SOC", "temperature cpu-thermal"} <= set(sensors.read().missing)


def test_a_sensor_that_fails_is_left_out_said_once_and_read_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    sensors = Sensors(boards.make(tmp_path, boards.zone(0, "cpu-thermal", "52968")))
    path = tmp_path / "class/thermal/thermal_zone0/temp"
    path.write_text("")
    for _ in range(3):
        read = sensors.read()
        assert (read.temperatures, read.missing) == ((), ("temperature cpu-thermal",))
    assert caplog.messages == [f"telemetry: {path} gives nothing, and is left out while it does"]
    path.write_text("60000")
    assert sensors.read().temperatures == (Temperature("cpu-thermal", 60.0),)


def test_a_sensor_that_is_slow_again_and_again_is_read_no_more(tmp_path, caplog):
    now_s = [0.0]
    sensors = Sensors(
        boards.make(tmp_path, {**boards.zone(0, "quick", "40000"), **boards.zone(1, "slow", "50000")}),
        clock=lambda: now_s[0],
    )
    slow = sensors._sensors["temperature slow"]
    read = slow.read
    took_s = [2 * SLOW_S]

    def sleep():
        now_s[0] += took_s[0]
        return read()

    slow.read = sleep
    for took_s[0] in (2 * SLOW_S, 0.0, *[2 * SLOW_S] * SLOW_MAX):  # one quick read, and the count starts anew
        assert [one.zone for one in sensors.read().temperatures] == ["quick", "slow"]
    assert [one.zone for one in sensors.read().temperatures] == ["quick"]
    assert len([text for text in caplog.messages if "is read no more" in text]) == 1


def test_a_machine_without_sensors(tmp_path):
    read = Sensors(tmp_path / "none").read()
    assert read == Telemetry(read.mono_ns)


# ---- NVML ------------------------------------------------------------------------------------------------------------


class NvmlError(Exception):
    def __init__(self, value):
        super().__init__(f"error {value}")
        self.value = value


def fails_with(value):
    def answer(*_):
        raise NvmlError(value)

    return answer


NOT_SUPPORTED, GPU_IS_LOST = 3, 15


@pytest.fixture
def nvml(monkeypatch):
    """The functions of nvidia-ml-py that are used, as they answer for one GPU without a video decoder."""
    answers = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda number: f"handle {number}",
        "nvmlDeviceGetTemperature": lambda handle, sensor: 41,
        "nvmlDeviceGetMaxClockInfo": lambda handle, clock: 1980,
        "nvmlDeviceGetClockInfo": lambda handle, clock: 345,
        "nvmlDeviceGetPowerUsage": lambda handle: 70_500,
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=37, memory=5),
        "nvmlDeviceGetDecoderUtilization": fails_with(NOT_SUPPORTED),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=10, total=80),
    }
    errors = {"NVML_ERROR_NOT_SUPPORTED": NOT_SUPPORTED}
    double = SimpleNamespace(NVMLError=NvmlError, NVML_TEMPERATURE_GPU=0, NVML_CLOCK_SM=1, **errors, **answers)
    monkeypatch.setitem(sys.modules, "pynvml", double)
    return double


def test_a_gpu_by_nvml(nvml, tmp_path):
    read = Sensors(tmp_path).read()
    assert read.temperatures == (Temperature("gpu0", 41.0),)
    assert read.clocks == (Clock("gpu0", 345e6, None, 1980e6),)
    assert read.rails == (Rail("gpu0", 70.5),)
    assert read.loads == (Load("gpu0", 0.37),)
    assert read.memories == (Memory("gpu0", 10, 80),)
    assert read.missing == ()


def test_a_gpu_that_is_lost_gives_nothing_and_comes_back(nvml, tmp_path):
    sensors, power = Sensors(tmp_path), nvml.nvmlDeviceGetPowerUsage
    nvml.nvmlDeviceGetPowerUsage = fails_with(GPU_IS_LOST)
    assert sensors.read().missing == ("rail gpu0",)
    nvml.nvmlDeviceGetPowerUsage = power
    assert sensors.read().rails == (Rail("gpu0", 70.5),)


def test_nvml_tells_only_what_the_kernel_does_not(nvml, tmp_path):
    read = Sensors(boards.make(tmp_path, boards.THOR)).read()
    assert "gpu0" not in [one.zone for one in read.temperatures]
    assert [one.hz for one in read.clocks if one.name == "gpu0"] == [1575e6]
    assert read.loads == (Load("gpu0", 0.37),)


def test_nvml_without_a_driver_is_no_gpu(nvml, tmp_path):
    nvml.nvmlInit = fails_with(9)
    assert Sensors(tmp_path).read().clocks == ()


# ---- the thread ------------------------------------------------------------------------------------------------------


def test_the_thread_reads_again_and_again_and_ends_when_it_is_told(tmp_path):
    path = boards.make(tmp_path, boards.zone(0, "cpu-thermal", "50000")) / "class/thermal/thermal_zone0/temp"
    worker, stop, beats = TelemetryWorker(lambda: Sensors(tmp_path)), threading.Event(), []
    assert worker.newest == Telemetry()
    thread = threading.Thread(target=worker.run, args=(stop, lambda: beats.append(1)))
    thread.start()
    try:
        until(lambda: worker.newest.temperatures == (Temperature("cpu-thermal", 50.0),), what="a first pass")
        path.write_text("51000")
        worker.wake()  # instead of waiting for the second to pass
        until(lambda: worker.newest.temperatures == (Temperature("cpu-thermal", 51.0),), what="a second pass")
    finally:
        stop.set()
        worker.wake()
        thread.join(5)
    assert not thread.is_alive()
    assert len(beats) >= 3


def test_readings_that_are_too_old_are_told_and_not_gone_by():
    """A driver that hangs leaves the last ones for ever."""
    hot, seconds = (Temperature("cpu-thermal", 99.0, 99.0),), itertools.cycle([0, 2 * OLD_S])

    class Hanging:
        def read(self):
            return Telemetry(time.monotonic_ns() - int(next(seconds) * 1e9), hot)

    worker, stop = TelemetryWorker(Hanging), threading.Event()
    assert worker.recent() == Telemetry()
    thread = threading.Thread(target=worker.run, args=(stop, lambda: None))
    thread.start()
    try:
        until(lambda: worker.recent().temperatures == hot, what="a pass")
        worker.wake()
        until(lambda: worker.newest.temperatures == hot and worker.recent() == Telemetry(), what="an old one")
    finally:
        stop.set()
        worker.wake()
        thread.join(5)
    assert not thread.is_alive()
