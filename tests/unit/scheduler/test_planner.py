"""The plan: a pure function, with a reason for everything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import CAMERAS, demand, demands, machines, supplies, supply, work_by_hand

from edged.plan import CameraPlan, CameraState, Mode, Plan, TaskPlan, TaskState
from edged.scheduler.demand import EngineLoad, Machine
from edged.scheduler.planner import make_plan
from edged.work import Cost

NAMES = "abcdef"
WORLDS = st.tuples(demands(*NAMES), supplies(), machines())
UNTIMED = settings(deadline=None)
BEFORE = st.tuples(demands(*NAMES), supplies(), machines())


def modes(plan):
    return {name: (one.mode, one.reason) for name, one in plan.cameras.items()}


def test_a_shared_camera_is_hot_once_at_the_highest_rate():
    plan = make_plan([demand("lane", "front", rate_hz=5), demand("cars", "front", rate_hz=15)], [supply("front")])
    assert plan.cameras == {
        "front": CameraPlan(Mode.HOT, 15, ("cars", "lane"), "needed by cars 15 Hz, lane 5 Hz"),
    }
    assert plan.tasks["lane"] == TaskPlan(TaskState.ACTIVE, ("front",), 5, "configured", 5)


def test_a_camera_that_nothing_needs_falls_to_its_mode_and_says_why():
    wishes = [demand("lane", "front", "left", active=False), demand("cars", "left", active=False)]
    plan = make_plan(wishes, [supply("front", unneeded=Mode.COLD), supply("left"), supply("rear", unneeded=Mode.WARM)])
    assert modes(plan) == {
        "front": (Mode.COLD, "only lane needs it and lane is inactive"),
        "left": (Mode.PARKED, "needed by cars, lane, all inactive"),
        "rear": (Mode.COLD, "no task names it"),
    }


def test_a_blocked_task_is_inactive_with_its_reason_and_needs_no_camera():
    plan = make_plan([demand("lane", "front", blocked="no engine; run: edged engine build lane")], [supply("front")])
    assert plan.tasks["lane"] == TaskPlan(TaskState.INACTIVE, (), 0.0, "no engine; run: edged engine build lane", 10)
    assert plan.cameras["front"].mode is Mode.PARKED


def test_a_task_without_all_its_cameras_is_degraded_and_names_them():
    cameras = [
        supply("front"),
        supply("left", CameraState.STALLED, since="2026-11-22T20:47:11Z"),
        supply("rear", CameraState.BACKOFF, "no route"),
    ]
    plan = make_plan([demand("lane", "front", "left", "rear")], cameras)
    reason = "left stalled since 2026-11-22T20:47:11Z; rear backoff: no route"
    assert plan.tasks["lane"] == TaskPlan(TaskState.DEGRADED, ("front", "left", "rear"), 10, reason, 10)
    assert {one.mode for one in plan.cameras.values()} == {Mode.HOT}


def test_a_camera_that_was_just_asked_for_is_connecting_and_not_missed():
    closed, connecting = (supply("front", state) for state in (CameraState.CLOSED, CameraState.CONNECTING))
    again = supply("front", CameraState.CONNECTING, "opening again: no route", tried=True)
    rests = make_plan([demand("lane", "front", active=False)], [supply("front", CameraState.CLOSED)], now_s=0.0)

    def seen(*world):
        plan = rests
        for now_s, camera in world:
            plan = make_plan([demand("lane", "front")], [camera], previous=plan, now_s=now_s)
        return plan.tasks["lane"].state, plan.tasks["lane"].reason

    waits = (TaskState.ACTIVE, "configured; connecting: front")
    assert seen((60.0, closed)) == waits
    assert seen((60.0, closed), (60.1, connecting)) == seen((60.0, closed), (61.9, connecting)) == waits
    assert seen((60.0, closed), (62.0, connecting)) == (TaskState.DEGRADED, "front connecting")
    assert seen((60.0, closed), (62.0, closed)) == (TaskState.DEGRADED, "front closed"), "its worker has ended"
    assert seen((60.0, closed), (60.1, again)) == (TaskState.DEGRADED, "front connecting: opening again: no route")
    assert seen((60.0, closed), (60.1, supply("front"))) == (TaskState.ACTIVE, "configured")


def test_a_camera_that_was_removed_is_named_by_the_task_that_still_wants_it():
    plan = make_plan([demand("lane", "front", "gone")], [supply("front")])
    assert (plan.tasks["lane"].state, plan.tasks["lane"].reason) == (TaskState.DEGRADED, "gone is not there")
    assert set(plan.cameras) == {"front"}


def test_a_camera_lingers_and_is_then_closed_until_it_is_needed():
    cameras, plan = [supply("front", unneeded=Mode.WARM, linger_s=5.0)], Plan()
    seen = []
    for now_s, active in [(1.0, True), (2.0, False), (6.9, False), (7.0, False), (60.0, False), (61.0, True)]:
        plan = make_plan([demand("lane", "front", active=active)], cameras, previous=plan, now_s=now_s)
        seen.append((plan.cameras["front"].mode, plan.cameras["front"].since_s))
        if now_s == 60.0:
            reason = "closed: not needed for 5 s; only lane needs it and lane is inactive"
            assert plan.cameras["front"].reason == reason
    warm, cold = (Mode.WARM, 2.0), (Mode.COLD, 7.0)
    assert seen == [(Mode.HOT, 1.0), warm, warm, cold, cold, (Mode.HOT, 61.0)]


def test_a_task_that_flips_does_not_close_its_camera():
    cameras, plan = [supply("front", linger_s=5.0)], Plan()
    for now_s in range(0, 60, 3):
        plan = make_plan([demand("lane", "front", active=now_s % 2 == 0)], cameras, previous=plan, now_s=float(now_s))
        assert plan.cameras["front"].mode is not Mode.COLD


def test_without_linger_a_camera_stays_in_its_mode():
    cameras, plan = [supply("front")], Plan()
    for now_s in (0.0, 1e6):
        plan = make_plan([demand("lane", "front", active=False)], cameras, previous=plan, now_s=now_s)
        assert plan.cameras["front"].mode is Mode.PARKED


@UNTIMED
@given(WORLDS, BEFORE, st.randoms(use_true_random=False))
def test_order_never_matters(world, before, rng: random.Random):
    wishes, cameras, machine = world
    previous = make_plan(*before)
    shuffled = [rng.sample(part, len(part)) for part in (wishes, cameras)]
    assert make_plan(wishes, cameras, machine, previous, 3.0) == make_plan(*shuffled, machine, previous, 3.0)


@UNTIMED
@given(WORLDS)
def test_what_every_plan_keeps(world):
    wishes, cameras, machine = world
    plan = make_plan(wishes, cameras, machine)
    wanted = {one.task: one for one in wishes if one.active and one.blocked is None}
    assert set(plan.cameras) == set(CAMERAS)
    assert set(plan.tasks) == {one.task for one in wishes}
    for name, task in plan.tasks.items():
        assert task.reason
        assert task.suspended == (name in wanted and task.rate_hz == 0)
        assert (task.state is TaskState.INACTIVE) == (task.rate_hz == 0) == (task.cameras == ())
        if task.rate_hz:
            wish = wanted[name]
            assert min(wish.rate_hz, max(wish.rate_min_hz, 0.1)) <= task.rate_hz <= wish.rate_hz
            assert (task.state is TaskState.DEGRADED) >= (task.rate_hz < wish.rate_hz)
    for one in cameras:
        planned = plan.cameras[one.camera]
        users = sorted(task.task for task in wishes if one.camera in task.cameras and plan.tasks[task.task].rate_hz)
        assert planned.tasks == tuple(users)
        assert (planned.mode is Mode.HOT) == bool(users)
        named = any(one.camera in wish.cameras for wish in wishes)
        assert planned.mode in (Mode.HOT, Mode.COLD, one.unneeded if named else Mode.COLD)
        assert planned.reason
        rates = [wanted[user].rate_hz if one.lossless else plan.tasks[user].rate_hz for user in users]
        assert planned.rate_hz == max(rates, default=0.0)


@UNTIMED
@given(WORLDS, BEFORE)
def test_no_plan_exceeds_a_budget(world, before):
    wishes, cameras, machine = world
    plan = make_plan(wishes, cameras, machine, make_plan(*before), 1.0)
    for device, seconds in work_by_hand(plan, wishes, cameras, machine).items():
        assert seconds <= machine.capacity.get(device, 1e9) + 1e-6
    for device, capacity in machine.capacity.items():
        share = plan.devices[device]
        assert share.capacity == capacity
        assert share.planned <= min(share.wanted, capacity) + 1e-6


@UNTIMED
@given(WORLDS, BEFORE, st.integers(0, 3))
def test_a_higher_priority_never_loses_to_a_lower_one(world, before, priority):
    wishes, cameras, machine = world
    previous = make_plan(*before)
    higher = [one for one in wishes if one.priority >= priority]
    alone, plan = make_plan(higher, cameras, machine, previous), make_plan(wishes, cameras, machine, previous)
    assert {one.task: plan.tasks[one.task] for one in higher} == alone.tasks


@UNTIMED
@given(
    WORLDS,
    demands("x", "y", cameras=("roof", "cabin"), engines=("e9",)),
    supplies(("roof", "cabin")),
    machines(("roof",), ("e9",), ("gpu1",)),
)
def test_tasks_on_other_cameras_and_another_device_change_nothing_else(world, more_wishes, more_cameras, more):
    wishes, cameras, machine = world
    both = type(machine)(
        {**machine.engines, **more.engines}, machine.decode_s, {**machine.capacity, **more.capacity}, machine.workers
    )
    alone = make_plan(wishes, cameras, machine)
    plan = make_plan(wishes + more_wishes, cameras + more_cameras, both)
    assert {name: plan.tasks[name] for name in alone.tasks} == alone.tasks
    assert {name: plan.cameras[name] for name in alone.cameras} == alone.cameras
    assert {name: plan.devices[name] for name in alone.devices} == alone.devices


@UNTIMED
@given(WORLDS, BEFORE, st.floats(0, 100))
def test_a_plan_is_its_own_next_plan(world, before, now_s):
    plan = make_plan(*world, make_plan(*before), now_s)
    assert make_plan(*world, plan, now_s) == plan


def test_a_suspended_task_names_the_device_that_lacks_and_not_one_that_only_lacks_a_margin():
    wishes = [demand("cars", "front", rate_hz=30, rate_min_hz=4, engine="e0"), demand("lane", "front", rate_hz=0.05)]
    engines = {"e0": EngineLoad("gpu0", Cost(0.0, 0.013), 1)}
    machine = Machine(engines, {"front": 0.01}, {"cpu": 0.3, "gpu0": 0.05})  # decoding fits to a hair
    plan = make_plan(wishes, [supply("front")], machine)
    assert plan.tasks["cars"].reason.startswith("suspended: gpu0 has 0.05 of 0.05 s/s left")
    assert make_plan(wishes, [supply("front")], machine, plan) == plan


def test_a_task_at_its_least_rate_rises_only_when_half_a_step_more_fits():
    wishes, engines = [demand("c", "front", rate_hz=12.5, rate_min_hz=4, engine="e")], {}
    engines["e"] = EngineLoad("cpu", Cost(0.0, 0.0073), 1)
    rates, plan = [], Plan()
    for capacity in (0.0293, 0.0298, 0.0298, 0.0306):  # 4.06 Hz takes 0.0297, half a step more 0.0304
        plan = make_plan(wishes, [supply("front")], Machine(engines, {}, {"cpu": capacity}), plan)
        rates.append(plan.tasks["c"].rate_hz)
    assert rates == [4.0, 4.0, 4.0, 4.06]


def test_how_work_was_added_up_changes_no_words():
    engines = {"e": EngineLoad("gpu0", Cost(0.0, 0.001), 1)}  # decoding: 0.275, or 0.27499999999999997
    machine = Machine(engines, {"front": 0.001, "left": 0.01}, {"cpu": 0.05})
    cameras = [supply("front", rate_hz=25.0), supply("left", rate_hz=25.0)]
    wishes = [demand("a", "front", "left", priority=1, engine="e"), demand("b", "front", engine="e")]
    assert make_plan(wishes, cameras, machine).tasks["a"] == make_plan(wishes[:1], cameras, machine).tasks["a"]


@UNTIMED
@given(demands(*NAMES), supplies(), machines(), machines())
def test_all_comes_back_when_the_load_goes(wishes, cameras, machine, short):
    able = type(machine)(machine.engines, machine.decode_s, {}, {})
    plan = make_plan(wishes, cameras, short)
    assert make_plan(wishes, cameras, able, plan).tasks == make_plan(wishes, cameras, able).tasks


@pytest.mark.parametrize("linger_s", [0.0, 0.5])
def test_a_camera_that_was_closed_at_once_stays_closed(linger_s):
    cameras = [supply("front", linger_s=linger_s)]
    first = make_plan([demand("lane", "front", active=False)], cameras)
    later = make_plan([demand("lane", "front", active=False)], cameras, previous=first, now_s=1.0)
    assert later.cameras["front"].mode is Mode.COLD
