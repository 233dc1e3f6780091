"""`edged plan --simulate` as a process: on the bundled configuration, with a recording, and with bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parts import edged, until

from edged.demo.bundle import demo_config

pytestmark = pytest.mark.side_by_side

LOSSES = {"rate", "superseded", "late", "stopped", "unsynced"}


def plan(config: Path, *args: str):
    return edged("--config", str(config), "plan", "--simulate", *args)


def simulated(config: Path, *args: str):
    """Return the JSON of a simulation that went well."""
    ended = plan(config, "--json", *args)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def recorded(shared_daemon, site, task, clip, tmp_path_factory):
    """Return a configuration with a looped camera and the recorded status of a daemon that ran it."""
    looped = {"source": f"file:{clip(frames=50)}", "loop": True}
    lane, spare = task("front", rate_hz=5), task("front", rate_hz=5, active=False, net={"score_min": 0.7})
    config = site({"front": looped, "rear": looped}, {"lane": lane, "spare": spare})
    running = shared_daemon(config)

    def measured():
        status = running.request("status")
        return status if "fixed_ms" in status["engines"][0] and status["cameras"][0]["decode_ms"] is not None else None

    file = tmp_path_factory.mktemp("recorded") / "status.json"
    file.write_text(json.dumps(until(measured, what="costs")))
    return config, file


def test_the_demo_is_simulated_with_costs_that_are_measured_here():
    found = simulated(demo_config(), "--seconds", "3")
    assert found.keys() == {"seconds", "tasks", "cameras", "devices"}
    assert found["seconds"] == 3
    assert [one["task"] for one in found["tasks"]] == ["lane", "pedestrian", "vehicle"]
    for one in found["tasks"]:
        assert one["losses"].keys() == LOSSES
        assert one["offered"] == one["served"] + one["waiting"] + sum(one["losses"].values())
    assert {one["mode"] for one in found["cameras"]} == {"hot"}
    assert found["devices"][0]["busy"] > 0


def test_a_recorded_status_gives_its_costs_and_the_same_figures_each_time(recorded):
    config, file = recorded
    found = simulated(config, "--load", str(file), "--seconds", "4")
    assert found == simulated(config, "--load", str(file), "--seconds", "4")
    lane, spare = found["tasks"]
    assert lane["rate_hz"] == pytest.approx(5, abs=0.5)
    assert (lane["state"], lane["in_time"]) == ("active", 1.0)
    assert (spare["state"], spare["reason"], spare["in_time"]) == ("inactive", "active: false", None)
    assert [(one["id"], one["mode"]) for one in found["cameras"]] == [("front", "hot"), ("rear", "cold")]
    assert found != simulated(config, "--load", str(file), "--seconds", "4", "--seed", "2")


def test_tasks_can_be_taken_as_active_and_inactive(recorded):
    config, file = recorded
    found = simulated(config, "--load", str(file), "--seconds", "2", "--activate", "spare", "--deactivate", "lane")
    assert {one["task"]: one["state"] for one in found["tasks"]} == {"lane": "inactive", "spare": "active"}


def test_the_table_has_a_row_for_each_task_camera_and_device(recorded):
    config, file = recorded
    ended = plan(config, "--load", str(file), "--seconds", "2")
    assert (ended.returncode, ended.stderr) == (0, "")
    first, tasks, cameras, devices = ended.stdout.strip().split("\n\n")
    assert first.startswith("2 s simulated")
    heads = ["TASK", "STATE", "HZ", "GRANTED", "WANTED", "IN_TIME", "AGE_P50", "AGE_P99"]
    header, lane, spare = tasks.splitlines()
    assert header.split()[:8] == heads
    assert lane.split()[:2] == ["lane", "active"]
    assert spare.split()[:4] == ["spare", "inactive", "0.00", "0"]
    assert [line.split()[0] for line in cameras.splitlines()] == ["CAMERA", "front", "rear"]
    assert [line.split()[0] for line in devices.splitlines()] == ["DEVICE", "cpu"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--load", "gone.json"], "gone.json: cannot be read: No such file"),
        (["--activate", "lan"], "no task 'lan'; did you mean 'lane'?"),
        (["--deactivate", "xyz"], "no task 'xyz'; allowed: lane, spare"),
        (["--activate", "lane", "--deactivate", "lane"], "task lane is both in --activate and in --deactivate"),
        (["--seconds", "0"], "argument --seconds: must be a number from 0.001 to 1e+06, got '0'"),
        (["--seconds", "soon"], "argument --seconds: must be a number from 0.001 to 1e+06, got 'soon'"),
        (["--seconds", "nan"], "argument --seconds: must be a number from 0.001 to 1e+06, got 'nan'"),
        (["--camera-hz", "-1"], "argument --camera-hz: must be"),
        (["--decode-ms", "inf"], "argument --decode-ms: must be a number from 0 to 1e+06, got 'inf'"),
        (["--seed", "x"], "argument --seed: invalid int value: 'x'"),
    ],
)
def test_bad_input_is_told_and_ends_with_2(recorded, args, words):
    ended = plan(recorded[0], *args)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_no_recording_is_told(recorded, tmp_path):
    config, file = recorded
    (tmp_path / "list.json").write_text("[]")
    ended = plan(config, "--load", str(tmp_path / "list.json"))
    assert ended.returncode == 2
    assert "is no recorded `edged status --json` of this version" in ended.stderr
    ended = plan(config, "--load", str(config / "cameras.yaml"))
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_recording_of_other_tasks_is_told(recorded, site, task, clip):
    other = site({"front": {"source": f"file:{clip()}"}}, {"parking": task("front")})
    ended = plan(other, "--load", str(recorded[1]))
    assert ended.returncode == 2
    assert "the recording has no engine for task parking; it has those of: lane, spare" in ended.stderr


def test_an_engine_that_cannot_be_had_here_ends_with_69_unless_its_task_does_not_run(site, task, clip):
    far = task("front", engine={"backend": ["onnxruntime"], "device": "gpu"})
    config = site({"front": {"source": f"file:{clip()}"}}, {"near": task("front", rate_hz=5), "far": far})
    ended = plan(config)
    assert (ended.returncode, ended.stdout) == (69, "")
    assert "cannot be measured here; record `edged status --json` where these tasks run" in ended.stderr
    assert "task far: " in ended.stderr
    assert plan(config, "--deactivate", "far", "--seconds", "1").returncode == 0


def test_without_simulate_it_says_what_is_missing(recorded):
    ended = edged("--config", str(recorded[0]), "plan")
    assert ended.returncode == 2
    assert "--simulate" in ended.stderr
