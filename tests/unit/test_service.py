"""What systemd is told of the daemon, on a socket of this test's own: the words, and what readiness waits for."""

from __future__ import annotations

import os
import socket

import pytest

from edged.camera.counter import FrameCounts
from edged.camera.worker import CameraReport
from edged.plan import CameraPlan, CameraState, Mode, Plan, TaskPlan, TaskState
from edged.service import STATUS_MAX, Service

NOON_NS = 1_700_000_000_000_000_000  # 22:13:20 UTC
RUNNING, BACKOFF, CONNECTING = CameraState.RUNNING, CameraState.BACKOFF, CameraState.CONNECTING


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Return a function: what was told since it was last called, one text for each message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", os.fspath(tmp_path / "notify"))
        monkeypatch.setattr("edged.service.STATUS_S", 0.0)

        def told():
            texts = []
            while True:
                try:
                    texts.append(listener.recv(4096).decode())
                except BlockingIOError:
                    return texts

        yield told


def report(state=RUNNING, *, opens=1, since_ns=NOON_NS):
    return CameraReport("", Mode.HOT, state, "", 0, 0.0, None, "pyav", "", None, opens, FrameCounts(), 0.0, since_ns)


def plan(tasks, modes):
    cameras = {name: CameraPlan(mode, 5.0, (), "") for name, mode in modes.items()}
    return Plan(cameras, tasks)


def runs(*cameras, state=TaskState.ACTIVE):
    return TaskPlan(state, cameras, 5.0, "")


ALL = {"left": Mode.HOT, "right": Mode.PARKED, "rear": Mode.COLD}


def tick(service, tasks, reports, required=(), answered=(), blocked=(), modes=ALL):
    service.tick(plan(tasks, modes), reports, required, answered, dict(blocked))


def test_a_camera_is_lost_since_it_last_ran_however_often_it_is_tried_again(told):
    service = Service()
    for state, since_s in ((RUNNING, 0), (BACKOFF, 60), (CONNECTING, 61), (BACKOFF, 62)):
        reports = {"left": report(state, since_ns=NOON_NS + since_s * 10**9), "right": report(), "rear": report()}
        task = runs("left", "right", state=TaskState.ACTIVE if state is RUNNING else TaskState.DEGRADED)
        tick(service, {"pedestrian": task}, reports)
    assert told() == [
        "READY=1\nSTATUS=2 of 2 cameras running, 1 not needed",
        "STATUS=1 of 2 cameras running, 1 not needed; pedestrian degraded: left lost since 22:14:20 UTC",
    ]


def test_a_task_whose_camera_was_just_asked_for_is_not_degraded(told):
    tick(Service(), {"lane": runs("left")}, {"left": report(CONNECTING, opens=0), "right": report()})
    assert told() == ["READY=1\nSTATUS=1 of 2 cameras running"]


def test_tasks_that_get_less_or_nothing_are_named_with_their_reason(told):
    tasks = {
        "lane": TaskPlan(TaskState.INACTIVE, (), 0.0, "needs 0.9, there is 0.5 of cpu", suspended=True),
        "sign": TaskPlan(TaskState.DEGRADED, ("left",), 2.0, "2 of 5 Hz: the machine is full"),
        "car": TaskPlan(TaskState.INACTIVE, (), 0.0, "no engine"),
        "off": TaskPlan(TaskState.INACTIVE, (), 0.0, "active: false"),
    }
    tick(Service(), tasks, {name: report() for name in ALL}, blocked={"car": "no engine;\nbuild one"})
    assert told()[0].partition("STATUS=")[2].split("; ", 1)[1] == (
        "lane suspended: needs 0.9, there is 0.5 of cpu; sign degraded: 2 of 5 Hz: the machine is full; "
        "car cannot run: no engine; build one"
    )


def test_ready_waits_for_answers_and_not_for_cameras_that_have_failed(told):
    service, tasks = Service(), {"here": runs("left"), "there": runs("right", state=TaskState.DEGRADED)}
    required = ["here", "there"]
    both = {"left": report(), "right": report(CONNECTING, opens=0)}
    tick(service, tasks, both, required)
    assert told() == ["STATUS=waiting for the first result of here, there; 1 of 2 cameras running; "
                      "there degraded: right not reached since 22:13:20 UTC"]  # fmt: skip
    failed = {"left": report(), "right": report(BACKOFF, opens=0)}
    tick(service, tasks, failed, required)
    assert not any("READY=1" in text for text in told()), "a camera that runs will give a result"
    again = {"left": report(), "right": report(CONNECTING, opens=0)}
    tick(service, tasks, again, required, ["here"])
    assert told() == ["READY=1\nSTATUS=1 of 2 cameras running; there degraded: right not reached since 22:13:20 UTC"]
    tick(service, tasks, both, required, ["here"])
    assert told() == [], "once, and only what is new"


def test_a_required_task_that_does_not_run_is_waited_for(told):
    off = {"off": TaskPlan(TaskState.INACTIVE, (), 0.0, "active: false")}
    tick(Service(), off, {"left": report(BACKOFF)}, ["off"], modes={"left": Mode.COLD})
    assert told() == ["STATUS=waiting for the first result of off; 0 of 0 cameras running, 1 not needed"]


def test_a_reload_before_readiness_is_not_told(told):
    service = Service()
    service.reloading()
    service.reloaded()
    assert told() == []


def test_the_status_has_an_end(told):
    blocked = {"car": "x" * 5000}
    tick(Service(), {"car": TaskPlan(TaskState.INACTIVE, (), 0.0, "")}, {}, blocked=blocked, modes={})
    (text,) = told()
    assert len(text.partition("STATUS=")[2]) == STATUS_MAX


def test_what_a_busy_systemd_does_not_take_is_said_again(told, monkeypatch):
    monkeypatch.setattr("edged.notify.PATIENCE_S", 0.01)
    service = Service()

    def busy():
        """Let other services fill its queue."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            other.connect(os.environ["NOTIFY_SOCKET"])
            with pytest.raises(BlockingIOError):
                while True:
                    other.send(b"X=1")

    def heard():
        return [text for text in told() if text != "X=1"]

    ready = "READY=1\nSTATUS=0 of 0 cameras running"
    busy()
    tick(service, {}, {}, modes={})
    assert heard() == []
    tick(service, {}, {}, modes={})
    tick(service, {}, {}, modes={})
    assert heard() == [ready], "once it is taken it is not said again"
    service.reloading()
    assert [text.partition("\n")[0] for text in heard()] == ["RELOADING=1"]
    busy()
    service.reloaded()
    assert heard() == []
    tick(service, {}, {}, modes={})
    tick(service, {}, {}, modes={})
    assert heard() == [ready]
    busy()
    lost = {"left": report(BACKOFF)}
    tick(service, {}, lost, modes={"left": Mode.HOT})
    assert heard() == []
    tick(service, {}, lost, modes={"left": Mode.HOT})
    assert heard() == ["STATUS=0 of 1 cameras running"]
