"""Trees of /sys as boards have them. Made after documentation, not read from a board.

The paths and the order of the values are from:

- NVIDIA, Jetson Linux Developer Guide r36.3, "Jetson Orin Nano Series, Jetson Orin NX Series and Jetson AGX Orin
  Series": the thermal zones and their trips, cpufreq, devfreq, the INA3221 channels with their labels.
- The Linux kernel: Documentation/hwmon/ina3221.rst and ina238.rst (units, and the sum of shunt voltages as `in7`),
  Documentation/ABI/testing/sysfs-devices-power (`runtime_active_time`), sysfs-class-devfreq, sysfs-class-thermal.
- jetson_stats (https://github.com/rbonghi/jetson_stats), read as documentation: `device/load` in thousandths,
  `gpu-gpc-0` and `gpu-nvd-0` of a Thor.
- Readings that people published of their boards: tegrastats and `grep . /sys/class/hwmon/*/*` of an AGX Orin (JetPack
  5 and 6) and of an AGX Thor, whose gpu-thermal cannot be read while the GPU is powered down.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Tree = Mapping[str, str]


def zone(number: int, name: str, milli_c: str, passive: str = "", critical: str = "104500") -> Tree:
    folder = f"class/thermal/thermal_zone{number}"
    trips = [("critical", critical), *([("passive", passive)] if passive else [])]
    found = {f"{folder}/type": name, f"{folder}/temp": milli_c}
    for trip, (kind, value) in enumerate(trips):
        found |= {f"{folder}/trip_point_{trip}_type": kind, f"{folder}/trip_point_{trip}_temp": value}
    return found


def cpu(number: int, cores: str, khz: str, cap: str, highest: str) -> Tree:
    folder = f"devices/system/cpu/cpufreq/policy{number}"
    files = {"affected_cpus": cores, "scaling_cur_freq": khz, "scaling_max_freq": cap, "cpuinfo_max_freq": highest}
    return {f"{folder}/{name}": text for name, text in files.items()}


def devfreq(name: str, hz: str, cap: str, steps: str) -> Tree:
    folder = f"class/devfreq/{name}"
    return {f"{folder}/cur_freq": hz, f"{folder}/max_freq": cap, f"{folder}/available_frequencies": steps}


def powered(device: str, active_ms: str, suspended_ms: str) -> Tree:
    folder = f"bus/platform/devices/{device}/power"
    return {f"{folder}/runtime_active_time": active_ms, f"{folder}/runtime_suspended_time": suspended_ms}


def monitor(number: int, chip: str, **files: str) -> Tree:
    return {f"class/hwmon/hwmon{number}/{name}": text for name, text in {"name": chip, **files}.items()}


ORIN: Tree = {  # AGX Orin, JetPack 6
    **zone(0, "cpu-thermal", "52968", passive="99000"),
    **zone(1, "gpu-thermal", "47625", passive="99000"),
    **zone(2, "cv0-thermal", ""),  # its unit is powered down: reading gives EAGAIN
    **zone(5, "soc0-thermal", "49531", passive="99000"),
    **zone(8, "tj-thermal", "52968", passive="99000"),
    **cpu(0, "0 1 2 3", "2201600", "2201600", "2201600"),
    **cpu(4, "4 5 6 7", "1190400", "1497600", "2201600"),
    **cpu(8, "8 9 10 11", "729600", "2201600", "2201600"),
    **devfreq("17000000.gpu", "612000000", "1300500000", "306000000 408000000 510000000 612000000 1300500000"),
    **devfreq("15480000.nvdec", "793600000", "793600000", "256000000 396800000 793600000"),
    **devfreq("15340000.vic", "115200000", "729600000", "115200000 729600000"),
    **devfreq("154c0000.nvenc", "115200000", "729600000", "115200000 729600000"),
    "class/devfreq/17000000.gpu/device/load": "366",
    **powered("15480000.nvdec", "30000", "90000"),
    **powered("15880000.nvdla0", "0", "120000"),
    **powered("158c0000.nvdla1", "120000", "0"),
    **powered("15340000.vic", "0", "0"),  # no power management of its own
    **powered("3100000.serial", "120000", "0"),
    **monitor(
        3,
        "ina3221",
        in1_label="VDD_GPU_SOC", in1_input="18792", curr1_input="272",
        in2_label="VDD_CPU_CV", in2_input="18784", curr2_input="176",
        in3_label="VIN_SYS_5V0", in3_input="5016", curr3_input="1096",
        in4_input="280", in5_input="40", in6_input="760", in7_label="sum of shunt voltages", in7_input="1080",
    ),
    **monitor(
        4,
        "ina3221",
        in1_label="NC", in1_input="0", curr1_input="0",
        in2_label="VDDQ_VDD2_1V8AO", in2_input="18776", curr2_input="48",
    ),
    **monitor(0, "pwmfan", pwm1="54"),
}  # fmt: skip

ORIN_JETPACK_5: Tree = {
    **zone(0, "CPU-therm", "52968", passive="99000"),
    **zone(1, "PMIC-Die", "100000"),
    **devfreq("17000000.ga10b", "1300500000", "1300500000", "306000000 1300500000"),
    "class/devfreq/17000000.ga10b/device/load": "1000",
    **devfreq("15340000.vic", "729600000", "729600000", "115200000 729600000"),
    "bus/platform/devices/15340000.vic/load": "702",
}

THOR: Tree = {  # AGX Thor, JetPack 7: no load in /sys, NVML has it
    **zone(0, "cpu-thermal", "53700", passive="109000", critical="114500"),
    **zone(1, "gpu-thermal", "", passive="109000", critical="114500"),
    **zone(2, "soc012-thermal", "55100", passive="109000", critical="114500"),
    **zone(4, "tj-thermal", "55100", passive="109000", critical="114500"),
    **cpu(0, "0", "2601000", "2601000", "2601000"),
    **devfreq("gpu-gpc-0", "1575000000", "1575000000", "315000000 1575000000"),
    **devfreq("gpu-nvd-0", "1692000000", "1692000000", "324000000 1692000000"),
    **monitor(
        2,
        "ina3221",
        in1_label="VDD_GPU", in1_input="12040", curr1_input="640",
        in2_label="VDD_CPU_SOC_MSS", in2_input="12040", curr2_input="960",
        in3_label="VIN_SYS_5V0", in3_input="5088", curr3_input="1740",
        in7_label="sum of shunt voltages", in7_input="3340",
    ),
    **monitor(3, "ina238", in1_input="19960", curr1_input="1104", power1_input="22035840"),
}  # fmt: skip


def make(root: Path, tree: Tree) -> Path:
    """Write a tree below `root`. An empty text is a file that cannot be read, as when the kernel answers EAGAIN."""
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.write_text(f"{text}\n")
        else:
            path.mkdir(exist_ok=True)  # reading it fails, for root too
    return root
