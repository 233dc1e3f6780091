"""What `status`, `task` and `reload` print of a daemon's answers, asked over a real socket."""

from __future__ import annotations

import argparse
import json
import threading

import pytest

from edged.cli import reload, status, task
from edged.cli.camera import print_cameras
from edged.control.server import ControlServer
from edged.errors import ConfigError

COUNTS = {"offered": 9, "served": 5, "rate": 1, "superseded": 1, "late": 1, "stopped": 0, "failed": 0}
TASK = {
    "task": "lane", "state": "degraded", "active": True, "cameras": ["front"], "rate_hz": 4.2, "reason": "cpu is full",
    "engine": "onnxruntime on cpu, fp32", "frames": {"front": {**COUNTS, "published": 5, "dropped": 0}},
}  # fmt: skip
CAMERA = {
    "id": "front", "mode": "hot", "state": "running", "reason": "needed by lane", "rate_hz": 25.0, "age_ms": 12.0,
    "backend": "pyav", "stream": "h264", "frames": {"read": 9},
}  # fmt: skip
ENGINE = {
    "model": "lane.onnx", "backend": "onnxruntime", "device": "cpu", "precision": "fp32", "batch": 4, "tasks": ["lane"]
}  # fmt: skip
STATE = {
    "version": "1", "pid": 7, "boot": "b", "uptime_s": 3, "cpu_cores": 0.5, "rss_mb": 80,
    "tasks": [TASK], "cameras": [CAMERA], "engines": [ENGINE],
}  # fmt: skip


@pytest.fixture
def daemon(tmp_path):
    """Start a control socket that answers with these values, or refuses with an error; return its endpoint."""
    endpoint, stop, running = f"ipc://{tmp_path}/control.sock", threading.Event(), []

    def start(**answers):
        def submit(request):
            value = answers[request.command.replace(".", "_")]
            if isinstance(value, str):
                server.refuse(request, "refused", value)
            else:
                server.reply(request, value)
            return True

        commands = [name.replace("_", ".") for name in answers]
        server = ControlServer([endpoint], commands, submit)
        thread = threading.Thread(target=server.run, args=(stop, lambda: None))
        thread.start()
        running.append((server, thread))
        return endpoint

    yield start
    stop.set()
    for server, thread in running:
        server.wake()
        thread.join(5)


@pytest.fixture
def command(capsys):
    """Run a command of one module; return what it printed."""

    def command(module, *args):
        parser = argparse.ArgumentParser()
        module.add(parser.add_subparsers())
        found = parser.parse_args(args)
        assert found.run(found) == 0
        return capsys.readouterr().out

    return command


def test_status_prints_what_there_is(command, daemon):
    plain = command(status, "status", "--connect", daemon(status=STATE))
    assert "s/s planned" not in plain
    assert "SIGNAL" not in plain
    assert "COST_MS" not in plain
    assert "LATENCY_MS" not in plain
    assert "temperature" not in plain
    assert "4.2  front" in plain


def test_status_prints_devices_costs_signals_and_new_causes(command, daemon):
    state = {
        **STATE,
        "devices": [
            {"device": "cpu", "capacity": 1.8, "planned": 1.42, "done": 1.31, "note": "capped at 1.2 of 2.2 GHz"},
            {"device": "gpu0", "capacity": None, "planned": 0.1, "done": None, "note": ""},
        ],
        "tasks": [{**TASK, "wanted_hz": 10.0, "frames": {"front": {**TASK["frames"]["front"], "unsynced": 77}}}],
        "engines": [{**ENGINE, "cost_ms": {"4": 31.0, "1": 10.25}}],
        "signals": [
            {"signal": "speed_mps", "value": 3.5, "age_ms": 20.0, "stale": False},
            {"signal": "gear", "value": None, "age_ms": None, "stale": True},
        ],
    }
    text = command(status, "status", "--connect", daemon(status=state))
    assert "cpu 1.42 of 1.80 s/s planned, 1.31 done (capped at 1.2 of 2.2 GHz)\ngpu0 0.10 s/s planned\n" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["speed_mps", "3.5", "20", "no"] in rows
    assert not any(row[:1] == ["gear"] for row in rows)
    assert any("4.2/10" in row for row in rows)
    assert ["lane.onnx", "onnxruntime", "cpu", "fp32", "4", "1:10.2", "4:31.0", "lane"] in rows
    header, row = rows[-2:]
    assert (header[-1], row[-1]) == ("UNSYNCED", "77")
    assert row == ["lane", "front", "9", "5", "1", "1", "1", "0", "0", "0", "77"]


def test_status_prints_the_sensors_and_what_the_stages_took(command, daemon):
    telemetry = {
        "age_s": 0.3,
        "temperatures": [{"zone": "tj-thermal", "celsius": 52.968, "passive_c": 99.0}],
        "clocks": [
            {"name": "cpu0", "hz": 2.2e9, "cap_hz": None, "highest_hz": 2.2e9},
            {"name": "gpu0", "hz": None, "cap_hz": 1.3e9, "highest_hz": 1.3e9},
        ],
        "rails": [{"name": "VDD_CPU_CV", "watts": 3.306, "volts": 18.784, "amperes": 0.176}],
        "loads": [
            {"unit": "gpu0", "share": 0.366, "measure": "busy"},
            {"unit": "nvdla0", "share": 0.0, "measure": "powered"},
        ],
        "memories": [{"unit": "gpu1", "used_bytes": 1_500_000_000, "total_bytes": 80_000_000_000}],
        "missing": ["temperature cv0-thermal"],
    }
    latency = {"decode": 2.04, "total": 103.0, "publish": 0.75}
    state = {**STATE, "telemetry": telemetry, "tasks": [{**TASK, "latency_ms": latency}]}
    lines = command(status, "status", "--connect", daemon(status=state)).splitlines()
    assert lines[1:7] == [
        "temperature: tj-thermal 53.0 C",
        "clock: cpu0 2.20 GHz",
        "power: VDD_CPU_CV 3.31 W",
        "load: gpu0 37 %, nvdla0 0 % powered",
        "memory: gpu1 1.5 of 80.0 GB",
        "no reading: temperature cv0-thermal",
    ]
    rows = [line.split() for line in lines]
    assert ["LATENCY_MS", "DECODE", "TOTAL", "PUBLISH"] in rows
    assert ["lane", "2.0", "103.0", "0.8"] in rows


def test_a_camera_that_caught_up_shows_how_many_frames(capsys):
    print_cameras([{**CAMERA, "frames": {"caught_up": 12}}, {**CAMERA, "id": "rear"}])
    header, front, rear = (line.split() for line in capsys.readouterr().out.splitlines())
    at = header.index("CAUGHT_UP")
    assert (front[at], rear[at]) == ("12", "0")
    assert "LOST" not in header


def test_a_camera_whose_driver_lost_frames_shows_how_many(capsys):
    print_cameras([CAMERA, {**CAMERA, "id": "rear", "frames": {"caught_up": 0, "lost": 3}}])
    header, front, rear = (line.split() for line in capsys.readouterr().out.splitlines())
    at = header.index("LOST")
    assert (front[at], rear[at]) == ("0", "3")
    assert "CAUGHT_UP" not in header


def test_activation_prints_what_the_machine_can_give(command, daemon):
    answer = {"tasks": [TASK], "admission": {"lane": "gets 4.2 of 10 Hz"}}
    endpoint = daemon(task_activate=answer)
    assert command(task, "task", "activate", "lane", "--connect", endpoint).endswith("\nlane: gets 4.2 of 10 Hz\n")
    assert json.loads(command(task, "task", "activate", "lane", "--connect", endpoint, "--json")) == answer


def test_reload_prints_what_changed(command, daemon):
    answer = {"changed": ["camera front changed", "task lane added"], "kept": 5, "restart": ["publish.endpoints"]}
    assert command(reload, "reload", "--connect", daemon(reload=answer)).splitlines() == [
        "camera front changed",
        "task lane added",
        "needs a restart: publish.endpoints",
        "2 changed, 5 camera(s) and task(s) kept",
    ]


def test_a_reload_without_a_change_says_so(command, daemon):
    answer = {"changed": [], "kept": 5, "restart": []}
    assert command(reload, "reload", "--connect", daemon(reload=answer)) == (
        "nothing changed, 5 camera(s) and task(s) kept\n"
    )


def test_a_faulty_configuration_is_refused_with_its_faults_and_78(command, daemon):
    faults = "conf/tasks/lane.yaml:3: rate_hz: must be above 0, got -1\n1 fault(s); nothing was changed"
    with pytest.raises(ConfigError) as caught:
        command(reload, "reload", "--connect", daemon(reload=faults))
    assert (str(caught.value), caught.value.exit_code) == (faults, 78)
    assert caught.value.faults == ()  # an older daemon's
