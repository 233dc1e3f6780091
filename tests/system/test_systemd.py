"""The service under the real systemd: watchdog, restarts, stop and reload, confinement, credentials, power cuts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from booted import boot_checkout, why_not
from parts import until

ROOT = Path(os.environ["EDGED_SYSTEMD_ROOT"]) if os.environ.get("EDGED_SYSTEMD_ROOT") else None
WHY_NOT = why_not(ROOT)
pytestmark = [pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(300)]

WATCHDOG_S = 10
SECRETS = {"front": "viewer:Kanarienvogel-7", "curve": "Blaumeise(9)"}
WORDS = ("Kanarienvogel", "Blaumeise")
DEMO = "/opt/edged/configs/demo"
CAMERA = {"source": f"file:{DEMO}/clips/front_left.mp4", "loop": True}
MODEL = {"onnx": f"{DEMO}/models/lane_lines.onnx", "parser": "lane_mask", "labels": ["line"]}
DROPIN = "/etc/systemd/system/edged.service.d/90-test.conf"
STANDIN = "Environment=PYTHONPATH=/opt/edged/tests/jetson JETSON=hang"
FORGET = """
systemctl stop edged edged-argus.path edged-argus.service; systemctl reset-failed
rm -rf /etc/systemd/system/edged.service.d /etc/systemd/system/edged-doctor.service.d /run/edged-breaks
"""
BREAKS = """
import os
from edged.device.base import DeviceError
from edged.engines.ort import OrtSlot
complete = OrtSlot.complete
def broken(self):
    if os.path.exists("/run/edged-breaks"):
        raise DeviceError("CUDA: CUDA_ERROR_ILLEGAL_ADDRESS")
    return complete(self)
OrtSlot.complete = broken
"""  # a sitecustomize: what an engine's worker sees when the CUDA context is gone


def task(*cameras, **more):
    return {"cameras": list(cameras), "rate_hz": 5, "model": MODEL, "required": True, **more}


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    booted = boot_checkout(ROOT, tmp_path_factory.mktemp("boot") / "console.log")
    yield booted
    booted.close()


@pytest.fixture
def service(machine):
    """Return a starter of the service on a configuration; afterwards it is stopped and forgotten."""
    machine.mark()

    def start(cameras=None, tasks=None, *, edged=None, dropin="", wait=True):
        machine.sh("rm -rf /etc/edged; mkdir -p /etc/edged/tasks")
        machine.write("/etc/edged/cameras.yaml", json.dumps({"cameras": cameras or {"a": CAMERA}}))
        for name, values in (tasks or {"lane": task("a")}).items():
            machine.write(f"/etc/edged/tasks/{name}.yaml", json.dumps(values))
        if edged:
            machine.write("/etc/edged/edged.yaml", json.dumps(edged))
        machine.write(DROPIN, f"[Service]\n{dropin}\n")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "edged", check=wait)
        return machine

    yield start
    machine.sh(FORGET, check=False)
    machine.run("systemctl", "daemon-reload")


def main_pid(machine):
    return int(machine.show("MainPID"))


def thread(machine, pid, name):
    """Return the host's number of a thread of the daemon."""
    for folder in Path(f"/proc/{machine.host_pid(pid)}/task").iterdir():
        if (folder / "comm").read_text().strip() == name:
            return int(folder.name)
    raise AssertionError(f"no thread {name}")


def restarted(machine, pid):
    """Wait for systemd to run another daemon, and return the seconds that took."""
    begin_s = time.monotonic()
    until(lambda: main_pid(machine) not in (0, pid), 3 * WATCHDOG_S, lambda: machine.journal()[-20:], every_s=0.1)
    return time.monotonic() - begin_s


@pytest.mark.parametrize(("name", "words"), [
    ("main", "Watchdog timeout"),
    ("publisher", "publisher: silent for"),
    ("control", "control: silent for"),
    ("engine:cpu:0", "engine:cpu:0: silent for"),
])  # fmt: skip
def test_a_frozen_thread_is_found_and_the_daemon_started_anew(service, record_property, name, words):
    machine = service()
    pid = main_pid(machine)
    tid = machine.host_pid(pid) if name == "main" else thread(machine, pid, name)
    script = Path(__file__).with_name("freeze.py")
    with subprocess.Popen([sys.executable, str(script), str(tid)], stdout=subprocess.PIPE) as freezer:
        assert freezer.stdout.readline() == b"frozen\n"
        took_s = restarted(machine, pid)
        freezer.kill()
    record_property("restarted_after_s", round(took_s, 1))
    assert took_s < 2 * WATCHDOG_S
    text = "\n".join(str(entry["MESSAGE"]) for entry in machine.journal())
    by_watchdog = "Watchdog timeout" in text  # also where the frozen thread held a lock that the others need
    assert by_watchdog or words in text
    print(f"{name} frozen: restarted after {took_s:.1f} s{', by the watchdog' if by_watchdog else ''}")
    if by_watchdog:
        assert 'File "/opt/edged/edged/daemon.py"' in text, "the journal has where each thread stood"
    until(lambda: machine.show("ActiveState") == "active", 20, lambda: machine.journal()[-20:])


def test_a_broken_device_ends_it_with_70_and_it_is_started_anew(service):
    machine = service(dropin="Environment=PYTHONPATH=/run/breaks", wait=False)
    machine.write("/run/breaks/sitecustomize.py", BREAKS)
    machine.run("systemctl", "restart", "edged")
    pid = main_pid(machine)
    machine.sh("touch /run/edged-breaks")
    took_s = restarted(machine, pid)
    print(f"exit 70: restarted after {took_s:.1f} s")
    assert took_s < 2 * WATCHDOG_S
    text = "\n".join(str(entry["MESSAGE"]) for entry in machine.journal())
    assert "CUDA: CUDA_ERROR_ILLEGAL_ADDRESS" in text
    assert "status=70" in text
    machine.sh("rm /run/edged-breaks")
    until(lambda: machine.show("ActiveState") == "active", 20, lambda: machine.journal()[-20:])


def test_a_process_with_a_share_of_the_cameras_that_hangs_or_dies_is_started_anew_with_the_others(service):
    cameras = dict.fromkeys("abcd", CAMERA)
    machine = service(cameras, {"lane": task(*cameras)}, edged={"scheduler": {"processes": 2}})
    for signal, words in (("KILL", "shard:2: its process was killed by signal 9"), ("STOP", "shard:2: silent for")):
        pid = main_pid(machine)
        first, second = sorted(map(int, machine.sh(f"pgrep -P {pid}").split()))
        machine.sh(f"kill -{signal} {second}")
        took_s = restarted(machine, pid)
        print(f"SIG{signal} of one of two processes: restarted after {took_s:.1f} s")
        assert took_s < 2 * WATCHDOG_S
        assert words in str(machine.journal())
        until(lambda: machine.show("ActiveState") == "active", 20, lambda: machine.journal()[-20:])
        there = machine.sh("cat /sys/fs/cgroup/system.slice/edged.service/cgroup.procs").split()
        assert str(main_pid(machine)) in there
        assert len(there) == 3, "the new one and its two"
        assert not {str(pid), str(first), str(second)} & set(there), "nothing is left of the one before"
    assert machine.sh("RUNTIME_DIRECTORY=/run/edged edged sub --count 3 --seconds 20").count("lane") == 3
    begin_s = time.monotonic()
    machine.run("systemctl", "stop", "edged")
    assert time.monotonic() - begin_s < 5
    assert machine.show("Result") == "success"


def test_dead_mute_and_hung_cameras_never_restart_it(service):
    """Among them one in open(2) for good, a pipe nobody writes to; and a process that is stopped again and again."""
    mute = "import socket,time; s=socket.create_server(('127.0.0.1',9001)); time.sleep(600)"
    machine = service(
        {
            "a": CAMERA,
            "gone": {"source": "file:/none.mp4", "loop": True},
            "refused": {"source": "tcp://127.0.0.1:9"},
            "mute": {"source": "tcp://127.0.0.1:9001"},
            "pipe": {"source": "file:/run/pipe"},
            "hung": {"source": "csi:0", "backend": ["jetson_utils"], "stall_timeout_s": 0.2},
        },
        {"lane": task("a", "gone", "refused", "mute", "pipe", "hung")},
        dropin=STANDIN,
        wait=False,
    )
    machine.sh("mkfifo /run/pipe; chown edged /run/pipe")
    machine.run("systemd-run", "--quiet", "--unit=mute", "python3", "-c", mute)
    machine.run("systemctl", "restart", "edged")
    pid = main_pid(machine)
    begin_s = time.monotonic()
    stopped = 0
    while time.monotonic() - begin_s < 5 * WATCHDOG_S:
        for child in machine.sh(f"pgrep -P {pid}", check=False).split():
            machine.sh(f"kill -STOP {child}", check=False)
            stopped += 1
        time.sleep(1)
    assert stopped > 5
    assert (main_pid(machine), machine.show("NRestarts"), machine.show("ActiveState")) == (pid, "0", "active")
    status = machine.show("StatusText")
    print(f"status: {status}")
    assert "camera:pipe: the daemon goes on without it: camera:pipe: silent for" in str(machine.journal())
    assert status.startswith("1 of 6 cameras running; lane degraded: gone not reached since ")
    assert machine.sh("RUNTIME_DIRECTORY=/run/edged edged sub --count 3 --seconds 20").count("lane") == 3
    begin_s = time.monotonic()
    machine.run("systemctl", "stop", "edged")
    print(f"stop with hung cameras: {time.monotonic() - begin_s:.1f} s")
    assert machine.show("Result") == "success"
    machine.run("systemctl", "stop", "mute")


def test_three_hung_csi_cameras_restart_argus_and_not_the_daemon(service):
    machine = service(
        {"a": CAMERA, "hung": {"source": "csi:0", "backend": ["jetson_utils"], "stall_timeout_s": 0.2}},
        {"lane": task("a", "hung")},
        dropin=STANDIN,
        wait=False,
    )
    machine.write("/etc/systemd/system/nvargus-daemon.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "nvargus-daemon", "edged-argus.path")
    machine.run("systemctl", "restart", "edged")
    pid, argus = main_pid(machine), machine.show("MainPID", "nvargus-daemon")
    until(lambda: machine.show("MainPID", "nvargus-daemon") not in ("0", argus), 60, lambda: machine.journal()[-20:])
    assert (main_pid(machine), machine.show("NRestarts")) == (pid, "0")
    assert "a restart of Argus is asked for" in str(machine.journal())
    assert machine.show("ActiveState", "edged-argus.service") == "activating", "it rests before it does so again"
    machine.run("systemctl", "stop", "nvargus-daemon")


def test_argus_is_left_alone_after_five_restarts_within_an_hour(service):
    machine = service()
    asked = "/run/edged/restart-argus"
    commands = f"ExecStart=\nExecStart=/bin/rm -rf {asked}\nExecStart=-/bin/systemctl try-restart nvargus-daemon"
    machine.write("/etc/systemd/system/edged-argus.service.d/90-test.conf", f"[Service]\n{commands}\n")
    machine.sh("systemctl daemon-reload; systemctl reset-failed; systemctl restart edged-argus.path")
    for _ in range(5):
        machine.sh(f"runuser -u edged -- touch {asked}")
        until(lambda: machine.sh(f"ls {asked}", check=False) == "", 10, "a request that is taken")
        until(lambda: machine.show("ActiveState", "edged-argus.service") == "inactive", 10, "the helper's end")
    machine.sh(f"runuser -u edged -- touch {asked}")
    until(lambda: machine.show("ActiveState", "edged-argus.path") == "failed", 10, "the end of patience")
    assert machine.show("ActiveState") == "active"
    machine.sh("rm -r /etc/systemd/system/edged-argus.service.d")


def test_a_faulty_configuration_rests_in_failed_with_file_and_line(service):
    machine = service({"a": {**CAMERA, "rate": 3}}, wait=False)
    until(lambda: machine.show("ActiveState") == "failed", 20)
    time.sleep(3)  # longer than RestartSec
    assert (machine.show("ExecMainStatus"), machine.show("NRestarts")) == ("78", "0")
    assert machine.show("ActiveState") == "failed"
    errors = [entry for entry in machine.journal() if entry["PRIORITY"] == "3" and "cameras.yaml" in entry["MESSAGE"]]
    assert errors[0]["MESSAGE"].startswith("edged: /etc/edged/cameras.yaml:1: cameras.a.rate: unknown key")


def test_reload_stop_restart(service):
    machine = service()
    pid = main_pid(machine)
    machine.write("/etc/edged/cameras.yaml", json.dumps({"cameras": {"a": CAMERA, "b": CAMERA}}))
    machine.run("systemctl", "reload", "edged")
    until(lambda: "configuration taken over" in str(machine.journal()), 20, lambda: machine.journal()[-10:])
    machine.write("/etc/edged/cameras.yaml", "{")
    machine.run("systemctl", "reload", "edged")
    until(lambda: "nothing has changed" in str(machine.journal()), 20, lambda: machine.journal()[-10:])
    until(lambda: machine.show("ActiveState") == "active", 10)
    assert main_pid(machine) == pid
    machine.write("/etc/edged/cameras.yaml", json.dumps({"cameras": {"a": CAMERA}}))
    machine.run("systemctl", "restart", "edged")
    assert main_pid(machine) != pid
    begin_s = time.monotonic()
    machine.run("systemctl", "stop", "edged")
    took_s = time.monotonic() - begin_s
    print(f"stop: {took_s:.1f} s")
    assert took_s < 5
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")
    assert machine.sh("ls -d /run/edged", check=False) == ""


def test_results_are_received_by_a_member_of_its_group_and_by_nobody_else(service):
    machine = service()
    command = "RUNTIME_DIRECTORY=/run/edged timeout 20 edged sub --count 5 --seconds 15 --json"
    got = [json.loads(row) for row in machine.run("runuser", "-u", "guest", "--", "sh", "-c", command).splitlines()]
    assert [one["topic"] for one in got] == ["edged/1/det/lane/a/"] * 5
    assert machine.run("runuser", "-u", "nobody", "--", "sh", "-c", command, check=False) == ""


def test_the_journal_has_fields(service):
    machine = service({"a": CAMERA, "gone": {"source": "file:/none.mp4"}}, {"lane": task("a", "gone")})
    until(lambda: machine.journal("edged.service", "EDGED_EVENT=ready"), 10)
    of_camera = machine.journal("edged.service", "EDGED_CAMERA=gone")
    assert {entry["EDGED_EVENT"] for entry in of_camera} >= {"camera_hot", "camera_backoff"}
    assert {entry["_TRANSPORT"] for entry in of_camera} == {"journal"}
    lost = next(entry for entry in of_camera if "backoff" in entry["MESSAGE"])
    assert (lost["PRIORITY"], lost["SYSLOG_IDENTIFIER"]) == ("4", "edged")
    assert machine.journal("edged.service", "EDGED_TASK=lane", "EDGED_EVENT=task_degraded")


def test_the_exposure_is_small(machine, record_property):
    text = machine.run("systemd-analyze", "security", "--no-pager", "edged.service", check=False)
    value = float(re.search(r"Overall exposure level for edged.service: ([\d.]+)", text)[1])
    record_property("exposure", value)
    print("\n".join(row for row in text.splitlines() if row.startswith("✗")))
    print(f"exposure {value}")
    assert value <= 2.5
    noise = machine.sh("systemd-analyze verify /etc/systemd/system/edged*.service /etc/systemd/system/edged*.path 2>&1")
    assert noise == ""


def test_the_doctor_sees_from_inside_the_confinement(service):
    machine = service()
    machine.sh("ln -sfn edged.service.d /etc/systemd/system/edged-doctor.service.d; systemctl daemon-reload")
    machine.run("systemctl", "start", "edged-doctor", timeout_s=90)
    text = "\n".join(str(entry["MESSAGE"]) for entry in machine.journal("edged-doctor.service"))
    for row in ("ok      confinement: no new privileges, system calls filtered, no capabilities",
                "ok      state: /var/lib/edged can be written", "ok      runtime: /run/edged can be written",
                "ok      everything else: cannot be written", "ok      AF_NETLINK", "ok      code made at run time",
                "ok      daemon: runs: cameras are not opened here"):  # fmt: skip
        assert row in text, text
    assert machine.show("ActiveState") == "active", "the doctor's end leaves the daemon its runtime directory"
    assert machine.sh("ls /run/edged").split()


def test_no_secret_shows_anywhere(service):
    machine = service(
        {
            "a": CAMERA,
            "net": {"source": "http://${cred:front}@127.0.0.1:9/stream"},
            "rtsp": {"source": "rtsp://${cred:front}@127.0.0.1:9/stream", "backend": ["jetson_utils", "pyav"]},
            "mute": {"source": "tcp://${cred:front}@127.0.0.1:9"},
        },
        {"lane": task("a", "net", "rtsp", "mute")},
        dropin=f"{STANDIN}\n" + "\n".join(f"LoadCredential={name}:/etc/credstore/{name}" for name in SECRETS),
        wait=False,
    )
    for name, value in SECRETS.items():
        machine.write(f"/etc/credstore/{name}", f"{value}\n", 0o600)
    machine.run("systemctl", "restart", "edged")
    pid = main_pid(machine)
    until(lambda: "net not reached" in machine.show("StatusText"), 20, lambda: machine.journal()[-20:])
    seen = {
        "status": machine.sh("RUNTIME_DIRECTORY=/run/edged edged status --json"),
        "cameras": machine.sh("RUNTIME_DIRECTORY=/run/edged edged camera list --json"),
        "doctor": machine.sh("edged doctor --json", check=False),
        "systemctl": machine.sh("systemctl status edged; systemctl show edged", check=False),
        "processes": machine.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'", check=False),
        "core pattern": machine.sh("cat /proc/sys/kernel/core_pattern"),
        "messages": machine.sh("RUNTIME_DIRECTORY=/run/edged edged sub --topic edged/1/ --json --seconds 3"),
    }
    assert "net" in seen["cameras"]
    assert "backoff" in seen["messages"]
    machine.sh(f"kill -ABRT {pid}")
    restarted(machine, pid)
    seen["journal"] = machine.run("journalctl", "-o", "export", "--all")
    searched = "/var /etc /run /tmp /dev/shm /root /home --exclude-dir=credstore --exclude-dir=credentials"
    seen["files"] = machine.sh(f"grep -rlaE '{'|'.join(WORDS)}' {searched}", check=False, timeout_s=120)
    assert "Fatal Python error: Aborted" in seen["journal"]
    for where, text in seen.items():
        for word in WORDS:
            assert word not in text, f"{where}: {text[max(0, text.find(word) - 200) :][:400]}"
    assert seen["files"] == ""
    assert machine.sh("find / -xdev -name 'core*' -size +1M -newer /etc/credstore/front", check=False) == ""
    limits = machine.sh(f"grep 'Max core' /proc/{main_pid(machine)}/limits").split()
    assert limits[4:6] == ["0", "0"]
