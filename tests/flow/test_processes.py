"""Cameras that are shared out among processes: one daemon for whoever looks at it, and one plan."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest
from parts import Running, children_of, edged, number_in, until

from edged.client import CommandRefused

CAMERAS = ("a", "b", "c", "d")
FRAMES = 50
TWO = {"scheduler": {"processes": 2}}


def source(clip, number, **more):
    return {"source": f"file:{clip(frames=FRAMES, first=number * 100)}", "loop": True, **more}


@pytest.fixture(scope="module")
def running(shared_daemon, site, task, clip):
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    tasks = {
        "all": task(*CAMERAS),
        "ends": task("a", "d", rate_hz=10),
        "after": task("b", after={"task": "all", "if": "count >= 1"}),
        "off": task("c", active=False),
    }
    running = shared_daemon(site(cameras, tasks, TWO))
    until(lambda: running.task("all")["rate_hz"] > 20, what="results")
    return running


def collect(running, results, topic="edged/1/det/all/"):
    found = defaultdict(list)
    with running.subscriber(topic) as subscriber:
        while sum(map(len, found.values())) < results:
            result = subscriber.receive(5)
            assert result is not None
            found[result.camera].append(result)
    return found


def shards(running):
    return {one["process"]: one for one in running.request("status")["processes"]}


def test_results_of_all_cameras_come_through_one_socket_and_show_their_own_frames(running):
    found = collect(running, 200)
    assert set(found) == set(CAMERAS)
    for number, camera in enumerate(CAMERAS):
        seqs = [one.seq for one in found[camera]]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        for one in found[camera]:
            assert number_in(one.message["detections"]) == number * 100 + one.frame_id % FRAMES


def test_each_process_serves_its_share_with_engines_and_threads_of_its_own(running):
    status = running.request("status")
    assert set(shards(running)) == {"shard:1", "shard:2"}
    assert {one["pid"] for one in status["processes"]} == children_of(running.process.pid)
    names = {one["name"] for one in status["threads"]}
    assert {"shard:1/camera:a", "shard:1/camera:b", "shard:2/camera:c", "shard:2/camera:d"} <= names
    assert not {one for one in names if one.startswith(("camera:", "engine:"))}
    assert {"shard:1/engine:cpu:0", "shard:2/engine:cpu:0", "shard:1", "shard:2", "publisher"} <= names
    assert status["rss_mb"] > sum(one["rss_mb"] for one in status["processes"])
    assert status["cpu_s"]["total"] > sum(one["cpu_s"] for one in status["processes"]) > 0
    (engine,) = status["engines"]
    assert sum(engine["batches"].values()) > 0


def test_one_plan_and_one_account_for_all_of_them(running):
    until(lambda: running.task("ends")["rate_hz"] == pytest.approx(10, abs=2), what="a rate of 10 Hz in both processes")
    for camera in ("a", "d"):
        frames = running.task("ends")["frames"][camera]
        losses = sum(frames[cause] for cause in ("rate", "superseded", "late", "stopped", "failed", "dropped"))
        assert 0 <= frames["offered"] - frames["published"] - losses <= 3


def test_a_task_that_another_ones_results_activate_may_be_in_any_process(running):
    until(lambda: running.task("after")["rate_hz"] > 5, what="a task after another one's results")


def test_the_last_task_that_leaves_a_camera_prunes_it_wherever_it_runs(running):
    running.request("task.deactivate", tasks=["all", "ends"])
    until(lambda: running.camera("d")["mode"] == "parked" and running.camera("a")["mode"] == "parked")
    decoded = {camera: running.camera(camera)["frames"]["decoded"] for camera in ("a", "d")}
    time.sleep(0.3)
    assert decoded == {camera: running.camera(camera)["frames"]["decoded"] for camera in ("a", "d")}
    running.request("task.activate", tasks=["all", "ends"])
    until(lambda: running.task("all")["rate_hz"] > 20, what="results")


def test_a_reload_touches_what_changed_in_the_process_that_has_it(running, clip, task, site):
    before, pids = {name: running.camera(name) for name in CAMERAS}, shards(running)
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    cameras["d"] = source(clip, 7)
    cameras["new"] = source(clip, 8)
    tasks = {"all": task(*CAMERAS, "new"), "off": task("c", active=False)}
    (running.config / "cameras.yaml").write_text(json.dumps({"cameras": cameras}))
    for name in ("ends", "after"):
        (running.config / "tasks" / f"{name}.yaml").unlink()
    (running.config / "tasks" / "all.yaml").write_text(json.dumps(tasks["all"]))
    answer = running.request("reload")
    assert answer["restart"] == []
    assert {"camera d changed", "camera new added", "task all changed", "task ends removed"} <= set(answer["changed"])
    found = collect(running, 300)
    assert number_in(found["new"][-1].message["detections"]) >= 800
    assert number_in(found["d"][-1].message["detections"]) >= 700
    assert found["d"][0].frame_id >= before["d"]["frames"]["read"]
    for name in ("a", "b", "c"):
        assert running.camera(name)["opens"] == before[name]["opens"]
    assert {name: one["pid"] for name, one in shards(running).items()} == {n: one["pid"] for n, one in pids.items()}


def test_a_reload_that_one_process_refuses_changes_nothing(running, task):
    good = (running.config / "tasks" / "off.yaml").read_text()
    wrong = task("c", active=False, net={"labels": ["only one"]})
    (running.config / "tasks" / "off.yaml").write_text(json.dumps(wrong))
    with pytest.raises(Exception, match=r"off\.yaml:1: model"):
        running.request("reload")
    (running.config / "tasks" / "off.yaml").write_text(good)
    assert running.request("reload")["changed"] == []
    assert running.task("all")["state"] == "active"


def test_the_number_of_processes_needs_a_restart(running):
    (running.config / "edged.yaml").write_text(json.dumps({"scheduler": {"processes": 3}}))
    assert running.request("reload")["restart"] == ["scheduler.processes"]
    (running.config / "edged.yaml").write_text(json.dumps(TWO))
    running.request("reload")


def test_lossless_cameras_lose_nothing_on_their_way_through_another_process(daemon, site, task, clip):
    cameras = {name: {"source": f"file:{clip(frames=333)}", "pace": "fast"} for name in ("a", "b")}
    running = daemon(site(cameras, {"t": task("a", "b", rate_hz=1000, active=False)}, TWO))
    with running.subscriber() as subscriber:
        assert subscriber.receive(0.3) is None
        running.request("task.activate", tasks=["t"])
        found = defaultdict(list)
        while sum(map(len, found.values())) < 666:
            result = subscriber.receive(5)
            assert result is not None
            found[result.camera].append(result.frame_id)
    assert {camera: sorted(ids) for camera, ids in found.items()} == dict.fromkeys(("a", "b"), list(range(333)))


@pytest.fixture
def two(site, task, clip, tmp_path):
    """A daemon of two processes that a test may end in its own way."""
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    running = Running(site(cameras, {"t": task(*CAMERAS)}, TWO), tmp_path / "log", {})
    running.child.wait_until_answering()
    until(lambda: running.task("t")["rate_hz"] > 20, what="results")
    yield running
    running.control.close()
    running.child.stop()


def ended(running, pids):
    """Wait for the end of a daemon and all its processes, and return its exit code."""
    code = running.process.wait(10)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 3, "the end of its processes")
    return code


def test_a_process_that_dies_ends_the_daemon_so_that_it_begins_anew(two):
    pids = children_of(two.process.pid)
    victim = shards(two)["shard:2"]["pid"]
    os.kill(victim, signal.SIGKILL)
    assert ended(two, pids) == 70
    assert "shard:2: its process was killed by signal 9" in two.log


def test_a_daemon_that_is_killed_leaves_no_process(two):
    pids = children_of(two.process.pid)
    assert len(pids) == 2
    two.process.kill()
    assert ended(two, pids) == -signal.SIGKILL


def test_a_process_that_hangs_is_found_like_a_thread_that_does(site, task, clip, tmp_path):
    from test_systemd_protocol import Systemd

    systemd = Systemd(tmp_path / "notify")
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    config = site(cameras, {"t": task(*CAMERAS)}, TWO)
    running = Running(config, tmp_path / "log", {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "2000000"})
    try:
        running.child.wait_until_answering()
        until(lambda: systemd.count("READY=1"), what="readiness")
        pids, victim = children_of(running.process.pid), shards(running)["shard:1"]["pid"]
        os.kill(victim, signal.SIGSTOP)
        begin_s = time.monotonic()
        assert ended(running, pids) == 70
        assert time.monotonic() - begin_s < 8
        assert "shard:1: silent for" in running.log
    finally:
        running.control.close()
        running.child.stop()
        systemd.close()


def test_a_fault_that_only_loading_finds_is_told_with_its_line_and_nothing_starts(site, task, clip, tmp_path):
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    config = site(cameras, {"t": task("d", net={"labels": ["only one"]}), "u": task("a")}, TWO)
    done = edged("--config", str(config), "run", rundir=tmp_path)
    assert done.returncode == 78
    assert "t.yaml:1: model" in done.stderr
    assert "Traceback" not in done.stderr
    assert "is killed" not in done.stderr


@pytest.fixture
def buggy(plug_in):
    """The environment with a plug-in parser `buggy`, whose constructor raises what is no error of ours."""
    code = """
        from edged.tasks.yolo import Yolov8

        class Buggy(Yolov8):
            def __init__(self, model, settings):
                raise RuntimeError("a bug in a plug-in")
    """
    return plug_in("buggy", code)


def test_a_plug_in_s_bug_at_the_start_is_a_fault_of_the_configuration(site, task, clip, tmp_path, buggy):
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    config = site(cameras, {"t": task("d", net={"parser": "buggy"}), "u": task("a")}, TWO)
    done = edged("--config", str(config), "run", rundir=tmp_path / "run", timeout_s=20, **buggy)
    assert done.returncode == 78
    assert (
        "t.yaml:1: model: parser 'buggy' of the plug-in 'buggy' fails when it is made: RuntimeError: a b" in done.stderr
    )


def test_a_plug_in_s_bug_in_a_reload_refuses_it_and_the_next_one_is_taken(daemon, site, task, clip, buggy):
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    running = daemon(site(cameras, {"t": task(*CAMERAS)}, TWO), **buggy)
    until(lambda: running.task("t")["rate_hz"] > 20, what="results")
    more = running.config / "tasks" / "more.yaml"
    more.write_text(json.dumps(task("d", net={"parser": "buggy"})))
    with pytest.raises(CommandRefused, match="a bug in a plug-in"):
        running.request("reload")
    more.write_text(json.dumps(task("d")))
    assert running.request("reload")["changed"] == ["task more added"]
    until(lambda: running.task("more")["rate_hz"] > 20, what="results of the new task")


def test_a_camera_that_is_removed_and_comes_back_goes_on_counting(daemon, site, task, clip):
    cameras = {name: source(clip, number) for number, name in enumerate(CAMERAS)}
    running = daemon(site(cameras, {"t": task(*CAMERAS)}, TWO))
    until(lambda: running.task("t")["rate_hz"] > 20, what="results")
    last = {one.camera: one for ones in collect(running, 40, "edged/1/det/t/").values() for one in ones}

    def reload(names):
        (running.config / "cameras.yaml").write_text(json.dumps({"cameras": {name: cameras[name] for name in names}}))
        (running.config / "tasks" / "t.yaml").write_text(json.dumps(task(*names)))
        running.request("reload")

    reload("abc")
    assert "d" not in running.task("t")["cameras"]
    reload("abd")
    reload("abcd")
    found = collect(running, 60, "edged/1/det/t/")
    for camera in CAMERAS:
        assert found[camera][0].frame_id > last[camera].frame_id
        assert found[camera][0].seq > last[camera].seq
    until(lambda: running.task("t")["rate_hz"] > 20, what="a rate of all cameras")


def test_a_process_that_hangs_does_not_hold_the_end_up(two):
    pids = children_of(two.process.pid)
    os.kill(shards(two)["shard:1"]["pid"], signal.SIGSTOP)
    begin_s = time.monotonic()
    two.process.terminate()
    assert ended(two, pids) == 0
    assert time.monotonic() - begin_s < 5
    assert "shard:1 did not end in time and is killed" in two.log
