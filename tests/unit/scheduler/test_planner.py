"""The plan: a pure function, with a reason for everything."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from edged.plan import CameraPlan, CameraState, Mode, TaskPlan, TaskState
from edged.scheduler.planner import Demand, Supply, make_plan

CAMERAS = ("front", "left", "rear", "right")


def supply(camera, state=CameraState.RUNNING, reason="", unneeded=Mode.PARKED):
    return Supply(camera, state, reason, unneeded)


def demand(task, *cameras, rate_hz=10.0, active=True, why="configured", blocked=None):
    return Demand(task, cameras, rate_hz, active, why, blocked)


def test_a_shared_camera_is_hot_once_at_the_highest_rate():
    plan = make_plan([demand("lane", "front", rate_hz=5), demand("cars", "front", rate_hz=15)], [supply("front")])
    assert plan.cameras == {
        "front": CameraPlan(Mode.HOT, 15, ("cars", "lane"), "needed by cars 15 Hz, lane 5 Hz"),
    }
    assert plan.tasks["lane"] == TaskPlan(TaskState.ACTIVE, ("front",), 5, "configured")


def test_a_camera_that_nothing_needs_falls_to_its_mode_and_says_why():
    demands = [demand("lane", "front", "left", active=False), demand("cars", "left", active=False)]
    plan = make_plan(demands, [supply("front", unneeded=Mode.COLD), supply("left"), supply("rear", unneeded=Mode.WARM)])
    assert {name: (one.mode, one.reason) for name, one in plan.cameras.items()} == {
        "front": (Mode.COLD, "only lane needs it and lane is inactive"),
        "left": (Mode.PARKED, "needed by cars, lane, all inactive"),
        "rear": (Mode.COLD, "no task names it"),
    }


def test_a_blocked_task_is_inactive_with_its_reason_and_needs_no_camera():
    plan = make_plan([demand("lane", "front", blocked="no engine; run: edged engine build lane")], [supply("front")])
    assert plan.tasks["lane"] == TaskPlan(TaskState.INACTIVE, (), 0.0, "no engine; run: edged engine build lane")
    assert plan.cameras["front"].mode is Mode.PARKED


def test_a_task_without_all_its_cameras_is_degraded_and_names_them():
    supplies = [supply("front"), supply("left", CameraState.STALLED), supply("rear", CameraState.BACKOFF, "no route")]
    plan = make_plan([demand("lane", "front", "left", "rear")], supplies)
    wanted = TaskPlan(TaskState.DEGRADED, ("front", "left", "rear"), 10, "left stalled; rear backoff: no route")
    assert plan.tasks["lane"] == wanted
    assert {one.mode for one in plan.cameras.values()} == {Mode.HOT}


@st.composite
def worlds(draw):
    supplies = [
        supply(
            name,
            draw(st.sampled_from(CameraState)),
            draw(st.sampled_from(["", "why"])),
            draw(st.sampled_from([Mode.WARM, Mode.PARKED, Mode.COLD])),
        )
        for name in CAMERAS
    ]
    demands = [
        demand(
            task,
            *draw(st.lists(st.sampled_from(CAMERAS), min_size=1, unique=True)),
            rate_hz=draw(st.sampled_from([1.0, 5.0, 30.0])),
            active=draw(st.booleans()),
            blocked=draw(st.sampled_from([None, "no engine"])),
        )
        for task in draw(st.lists(st.sampled_from("abcdef"), unique=True))
    ]
    return demands, supplies


@given(worlds(), st.randoms(use_true_random=False))
def test_order_never_matters(world, rng: random.Random):
    demands, supplies = world
    shuffled = [rng.sample(part, len(part)) for part in world]
    assert make_plan(demands, supplies) == make_plan(*shuffled)


@given(worlds())
def test_what_every_plan_keeps(world):
    demands, supplies = world
    plan = make_plan(demands, supplies)
    running = {one.task: one for one in demands if one.active and one.blocked is None}
    assert set(plan.cameras) == set(CAMERAS)
    assert set(plan.tasks) == {one.task for one in demands}
    for one in supplies:
        planned = plan.cameras[one.camera]
        users = sorted(task for task, wish in running.items() if one.camera in wish.cameras)
        assert planned.tasks == tuple(users)
        assert (planned.mode is Mode.HOT) == bool(users)
        named = any(one.camera in wish.cameras for wish in demands)
        assert planned.mode in (Mode.HOT, one.unneeded if named else Mode.COLD)
        assert planned.reason
    for one in demands:
        assert (plan.tasks[one.task].state is TaskState.INACTIVE) == (one.task not in running)
        assert plan.tasks[one.task].reason
