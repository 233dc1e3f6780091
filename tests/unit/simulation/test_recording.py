"""From a configuration and a recorded status to a vehicle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edged.config import load_config
from edged.errors import UsageError
from edged.plan import Mode
from edged.scheduler.groups import Sync
from edged.simulation.assumed import Assumed
from edged.simulation.recording import Recording, read_recording, recorded_vehicle, wishes
from edged.simulation.vehicle import Device, SimCamera
from edged.work import Cost

FILE = {"source": "file:front.mp4"}
ASSUMED = Assumed()


@pytest.fixture
def config(site, task):
    """Return a loaded configuration of two cameras, by what its tasks say beside their network."""

    def config(edged=None, cameras=None, **tasks):
        known = cameras or {"front": FILE, "rear": {**FILE, "rate_hz": 12}}
        rows = {name: task(*more.pop("cameras", known), **more) for name, more in tasks.items()}
        return load_config(site(known, rows, edged))

    return config


def status(*tasks, **more):
    """Return a status of one engine that these tasks use, as a daemon's JSON has it."""
    engine = {"model": "net.onnx", "backend": "onnxruntime", "device": "cpu", "batch": 4, "tasks": list(tasks)}
    return {
        "boot": "1",
        "engines": [{**engine, "fixed_ms": 2.0, "picture_ms": 10.0, **more.pop("engine", {})}],
        "cameras": [{"id": "front", "stream_hz": 14.99, "decode_ms": 1.5}, {"id": "rear", "stream_hz": None}],
        "devices": [{"device": "cpu", "parallel": 2, "workers": 2}],
        **more,
    }


def vehicle(config, recorded, assumed=ASSUMED, **orders):
    return recorded_vehicle(
        config, wishes(config, orders), Recording.model_validate_json(json.dumps(recorded)), assumed
    )


def test_costs_rates_and_devices_are_the_recorded_ones(config):
    one = vehicle(config(lane={"rate_hz": 5, "priority": 3}), status("lane"), Assumed(own_ms=0.5, publish_ms=0.7))
    (load,) = one.engines.values()
    assert (load.device, load.cost, load.batch) == ("cpu", Cost(0.002, 0.01), 4)
    assert one.devices == {"cpu": Device(2.0, 2)}
    assert one.cameras[0] == SimCamera("front", 14.99, 0.0015, Mode.PARKED, one.cameras[0].linger_s)
    assert (one.own_s, one.publish_s) == (0.0005, 0.0007)
    assert (one.tasks[0].task, one.tasks[0].rate_hz, one.tasks[0].priority) == ("lane", 5, 3)


def test_what_was_not_recorded_of_a_camera_is_configured_or_assumed(config):
    cameras = {"front": FILE, "rear": {**FILE, "rate_hz": 12}, "top": FILE}
    one = vehicle(config(cameras=cameras, lane={}), status("lane"), Assumed(camera_hz=20.0, decode_ms=3.0))
    assert [(camera.rate_hz, camera.decode_s) for camera in one.cameras[1:]] == [(12.0, 0.003), (20.0, 0.003)]


def test_the_page_has_the_costs_that_are_assumed():
    page = (Path(__file__).parents[3] / "docs/simulator.md").read_text()
    said = re.search(r"about ([0-9.]+) ms of\s+CPU for a frame \(`--own-ms`\) and ([0-9.]+) ms for a result", page)
    assert [float(one) for one in said.groups()] == [ASSUMED.own_ms, ASSUMED.publish_ms]


def test_a_camera_falls_to_the_mode_and_has_the_linger_that_the_configuration_says(config):
    found = config(
        {"scheduler": {"unneeded": "cold"}}, lane={"cameras": ["front"], "unneeded": "warm", "linger_s": 7}, spare={}
    )
    front, rear = vehicle(found, status("lane", "spare")).cameras
    assert (front.unneeded, rear.unneeded) == (Mode.WARM, Mode.COLD)
    assert (front.linger_s, rear.linger_s) == (None, None)


def test_tasks_run_as_ordered_else_as_configured(config):
    found = config(on={}, off={"active": False}, listened={"active": "on_subscribe"}, ruled={"when": "speed_mps > 3"})
    assert {one.task: (one.active, one.why) for one in wishes(found, {})} == {
        "on": (True, "configured"),
        "off": (False, "active: false"),
        "listened": (True, "taken as active, on_subscribe"),
        "ruled": (True, "taken as active, whatever its rule"),
    }
    ordered = {one.task: (one.active, one.why) for one in wishes(found, {"on": False, "off": True})}
    assert ordered["on"] == (False, "deactivated by command")
    assert ordered["off"] == (True, "activated by command")


def test_a_task_that_groups_its_frames_still_does(config):
    one = vehicle(config(lane={"sync": {"tolerance_ms": 30, "wait_ms": 50}}), status("lane"))
    assert one.syncs == {"lane": Sync(30.0, 50.0, ("front", "rear"))}


def test_an_unknown_task_is_told_with_the_known_ones(config):
    with pytest.raises(UsageError, match="no task 'lan'; did you mean 'lane'"):
        wishes(config(lane={}), {"lan": True})


def test_a_running_task_whose_engine_is_not_in_the_recording_is_told(config):
    found = config(lane={}, other={})
    with pytest.raises(UsageError, match="has no engine for task other; it has those of: lane"):
        vehicle(found, status("lane"))
    assert [one.task for one in vehicle(found, status("lane"), other=False).tasks] == ["lane"]


def test_a_running_task_whose_engine_was_not_used_is_told(config):
    recorded = status("lane", engine={"fixed_ms": None, "picture_ms": None})
    with pytest.raises(UsageError, match="no cost of net.onnx, which was not used then; .* while task lane runs"):
        vehicle(config(lane={}), recorded)
    assert vehicle(config(lane={}), recorded, lane=False).tasks[0].active is False


def test_a_lossless_camera_has_no_rate_to_simulate(config):
    found = config(cameras={"front": {**FILE, "pace": "fast"}}, lane={})
    with pytest.raises(UsageError, match="camera front has pace: fast"):
        vehicle(found, status("lane"))


def test_an_engine_on_a_device_that_is_not_recorded_is_told(config):
    with pytest.raises(UsageError, match="does not fit together: engine net.onnx/0: no worker serves its device 'gpu'"):
        vehicle(config(lane={}), status("lane", engine={"device": "gpu"}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "Invalid JSON: EOF"),
        (b"[" * 100_000, "Invalid JSON: recursion limit"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "got \\[\\]|valid dictionary|valid object|an object"),
        (b"{}", "engines: Field required"),
        (json.dumps(status("lane", engines=3)).encode(), "engines: .*, got 3"),
        (json.dumps(status("lane", engine={"fixed_ms": -1})).encode(), "engines.0.fixed_ms: .*, got -1"),
        (json.dumps(status("lane", engine={"fixed_ms": float("nan")})).encode(), "engines.0.fixed_ms: .*, got nan"),
        (json.dumps(status("lane", engine={"batch": 0})).encode(), "engines.0.batch: .*, got 0"),
        (json.dumps(status("lane", engine={"tasks": "lane"})).encode(), "engines.0.tasks: .*, got 'lane'"),
        (json.dumps(status("lane", cameras=[{"id": "c", "stream_hz": 0}])).encode(), "cameras.0.stream_hz: .*, got 0"),
        (
            json.dumps(status("lane", devices=[{"device": "cpu", "parallel": True, "workers": 1}])).encode(),
            "devices.0.parallel: .*, got true",
        ),
    ],
)
def test_a_file_that_is_no_status_is_told_with_the_place_and_the_value(tmp_path, text, words):
    file = tmp_path / "status.json"
    file.write_bytes(text)
    with pytest.raises(UsageError, match=words) as told:
        read_recording(file)
    assert str(file) in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="gone.json: cannot be read: No such file"):
        read_recording(tmp_path / "gone.json")
