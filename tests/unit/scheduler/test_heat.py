"""What heat and power states leave, from the sensors of a fabricated tree and of this machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.scheduler.heat import Heat, Limit
from edged.telemetry.sensors import SYSFS, Sensors


class Machine:
    """The limits of a machine whose sensors are below `root`."""

    def __init__(self, root: Path = SYSFS) -> None:
        self.sensors, self.heat = Sensors(root), Heat()

    def limits(self) -> dict[str, Limit]:
        return self.heat.limits(self.sensors.read())


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def zone(root: Path, number: int, kind: str, milli_c: str, passive: str = "95000") -> Path:
    folder = root / f"class/thermal/thermal_zone{number}"
    trips = {"trip_point_0_type": "critical", "trip_point_0_temp": "105000"}
    trips |= {"trip_point_1_type": "passive", "trip_point_1_temp": passive}
    return put(folder, type=kind + "\n", temp=milli_c + "\n", **trips)


def policy(root: Path, number: int, cap_khz: str, highest_khz: str = "2201600", cpus: str = "0 1 2 3") -> Path:
    folder = root / f"devices/system/cpu/cpufreq/policy{number}"
    return put(folder, scaling_max_freq=cap_khz, cpuinfo_max_freq=highest_khz, affected_cpus=cpus)


def gpu(root: Path, cap_hz: str, name: str = "17000000.gpu") -> Path:
    return put(
        root / f"class/devfreq/{name}", max_freq=cap_hz, available_frequencies="306000000 612000000 1300500000 \n"
    )


def test_a_cool_machine_at_its_full_clock_has_no_limit(tmp_path):
    zone(tmp_path, 0, "tj-thermal", "61500")
    policy(tmp_path, 0, "2201600")
    gpu(tmp_path, "1300500000")
    assert Machine(tmp_path).limits() == {}


def test_a_capped_clock_is_told_with_its_frequencies(tmp_path):
    policy(tmp_path, 0, "1200000")
    policy(tmp_path, 4, "2201600", cpus="4 5")
    gpu(tmp_path, "612000000")
    limits = Machine(tmp_path).limits()
    assert limits["cpu"] == Limit(clock=0.697, words="cpu capped at 1.2 of 2.2 GHz")
    assert limits["gpu0"] == Limit(clock=0.471, words="gpu0 capped at 0.612 of 1.3 GHz")
    assert limits["cpu"].factor == 0.697


def test_a_zone_near_its_passive_trip_leaves_less_time_to_its_devices(tmp_path):
    policy(tmp_path, 0, "2201600")
    gpu(tmp_path, "1300500000", "17000000.ga10b")
    folder = zone(tmp_path, 0, "tj-thermal", "92500")
    zone(tmp_path, 1, "PMIC-Die", "100000", passive="100000")
    machine = Machine(tmp_path)
    limit = Limit(heat=0.88, words="tj-thermal 92.5 C, 2.5 below its passive trip")
    assert machine.limits() == {"cpu": limit, "gpu0": limit}
    put(folder, temp="97000")
    assert machine.limits()["cpu"] == Limit(heat=0.65, words="tj-thermal 97 C, 2 above its passive trip")
    put(folder, temp="112000")
    assert machine.limits()["cpu"].heat == 0.5
    put(folder, temp="70000")
    assert machine.limits() == {}


def test_clock_and_heat_add_up(tmp_path):
    policy(tmp_path, 0, "1100800")
    zone(tmp_path, 0, "CPU-therm", "95000")
    limit = Machine(tmp_path).limits()["cpu"]
    assert (limit.clock, limit.heat, limit.factor) == (0.5, 0.75, 0.375)
    assert limit.words == "cpu capped at 1.1 of 2.2 GHz; cpu-therm 95 C, 0 above its passive trip"


def test_a_temperature_that_trembles_does_not_change_the_words(tmp_path):
    policy(tmp_path, 0, "2201600")
    folder = zone(tmp_path, 0, "cpu-thermal", "92500")
    machine = Machine(tmp_path)
    first = machine.limits()
    for milli_c in ("92900", "91800", "93400", "92500"):
        put(folder, temp=milli_c)
        assert machine.limits() == first


@pytest.mark.parametrize(
    "nonsense", ["", "hot", "-274000", "9" * 12, "9" * 5000, "12.5", "nan", "\x00\xff", "0x10", "²²"]
)
def test_nonsense_is_no_limit(tmp_path, nonsense):
    policy(tmp_path, 0, nonsense)
    policy(tmp_path, 1, "2201600", highest_khz=nonsense)
    zone(tmp_path, 0, "cpu-thermal", nonsense)
    zone(tmp_path, 1, "gpu-thermal", "99000", passive=nonsense)
    zone(tmp_path, 2, nonsense.replace("\x00", ""), "99000")
    gpu(tmp_path, nonsense)
    assert Machine(tmp_path).limits() == {}


def test_a_video_engine_is_no_gpu(tmp_path):
    gpu(tmp_path, "306000000", "gpu-nvd-0")
    assert Machine(tmp_path).limits() == {}


def test_files_that_vanish_or_cannot_be_read_are_no_limit(tmp_path):
    zones, policies = zone(tmp_path, 0, "cpu-thermal", "99000"), policy(tmp_path, 0, "1100800")
    machine = Machine(tmp_path)
    assert machine.limits()["cpu"].factor < 0.5
    (zones / "temp").unlink()
    (zones / "temp").mkdir()  # reading it gives EISDIR, as a sleeping sensor gives EAGAIN
    (policies / "scaling_max_freq").unlink()
    assert machine.limits() == {}


def test_a_tree_that_is_not_there_is_no_limit(tmp_path):
    assert Machine(tmp_path / "none").limits() == {}


def test_this_machine_can_be_read_and_nothing_stays_open():
    before = len(list(Path("/proc/self/fd").iterdir()))
    machine = Machine()
    for _ in range(3):
        for device, limit in machine.limits().items():
            assert device in ("cpu", "gpu0")
            assert 0 < limit.factor <= 1
            assert limit.words
    assert len(list(Path("/proc/self/fd").iterdir())) == before
