"""What is given up first, with the numbers in the reasons; and admission."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import demand, supply

from edged.plan import CameraState, DeviceShare, Mode, Plan, TaskState
from edged.scheduler.admission import admit
from edged.scheduler.demand import EngineLoad, Machine
from edged.scheduler.planner import make_plan
from edged.work import Cost

FOUR = ("front", "left", "rear", "right")
CAMERAS = [supply(name, rate_hz=25.0) for name in FOUR]
MACHINE = Machine(
    engines={
        "ped": EngineLoad("cpu", Cost(0.0, 0.02), 1),
        "lane": EngineLoad("cpu", Cost(0.0, 0.01), 1),
        "big": EngineLoad("gpu0", Cost(0.006, 0.002), 4),
    },
    capacity={"cpu": 1.0, "gpu0": 0.9},
    workers={"cpu": 2, "gpu0": 1},
)
PED = demand("pedestrian", *FOUR, engine="ped", priority=10)  # 0.8 s/s
LANE = demand("lane", *FOUR, engine="lane")  # 0.4 s/s


def rates(plan):
    return {name: task.rate_hz for name, task in plan.tasks.items()}


def test_the_lower_priority_gives_way_and_says_so_with_numbers():
    plan = make_plan([PED, LANE], CAMERAS, MACHINE)
    assert rates(plan) == {"pedestrian": 10, "lane": 4.81}
    assert plan.tasks["pedestrian"].state is TaskState.ACTIVE
    assert plan.tasks["lane"].state is TaskState.DEGRADED
    assert plan.tasks["lane"].reason == "4.81 of 10 Hz: cpu is full, 0.99 of 1.00 s/s, priority 0 gives way"
    assert plan.cameras["front"].reason == "needed by lane 4.81 Hz, pedestrian 10 Hz"
    assert plan.devices["cpu"] == DeviceShare(1.0, 0.992, 1.2, ((10, 0.8), (0, 0.992)))


def test_equal_priorities_share_alike():
    plan = make_plan([PED, replace(LANE, priority=10)], CAMERAS, MACHINE)
    assert rates(plan) == {"pedestrian": 8.22, "lane": 8.22}


def test_a_task_falls_to_its_least_rate_and_is_then_suspended_and_its_cameras_rest():
    slow, front = replace(LANE, rate_min_hz=4.9), replace(PED, cameras=FOUR[:2])  # 0.4 s/s
    assert make_plan([front, slow], CAMERAS, replace(MACHINE, capacity={"cpu": 0.6})).tasks["lane"].rate_hz == 4.9
    plan = make_plan([front, slow], CAMERAS, replace(MACHINE, capacity={"cpu": 0.58}))
    task = plan.tasks["lane"]
    assert (task.state, task.cameras, task.rate_hz, task.suspended) == (TaskState.INACTIVE, (), 0.0, True)
    assert task.reason == "suspended: cpu has 0.18 of 0.58 s/s left, 4.9 Hz would take 0.20, priority 0 gives way"
    assert plan.cameras["rear"].mode is Mode.PARKED
    assert plan.cameras["rear"].reason == "only lane needs it and lane is suspended"


def test_below_a_tenth_of_a_hertz_a_task_is_suspended():
    machine = replace(MACHINE, capacity={"cpu": 0.802})
    assert make_plan([PED, LANE], CAMERAS, machine).tasks["lane"].suspended
    assert make_plan([PED, LANE], CAMERAS, replace(MACHINE, capacity={"cpu": 0.805})).tasks["lane"].rate_hz >= 0.1


def test_a_device_that_is_full_slows_nobody_on_another():
    big = demand("big", "front", engine="big", rate_hz=20)
    plan = make_plan([replace(PED, priority=0), LANE, big], CAMERAS, MACHINE)
    assert plan.tasks["big"].rate_hz == 20
    assert plan.tasks["lane"].rate_hz < 10


def test_a_network_that_two_tasks_use_on_a_camera_is_paid_once():
    rider = replace(PED, task="rider", rate_hz=5.0, priority=0)
    plan = make_plan([PED, rider], CAMERAS, replace(MACHINE, capacity={"cpu": 0.8}))
    assert rates(plan) == {"pedestrian": 10, "rider": 5}
    assert plan.devices["cpu"].planned == 0.8


def test_a_shared_camera_is_decoded_once_at_its_streams_rate():
    machine = replace(MACHINE, engines={}, decode_s={"front": 0.002})
    wishes = [demand("a", "front"), demand("b", "front", rate_hz=3.0, priority=1)]
    assert make_plan(wishes, CAMERAS, machine).devices["cpu"].planned == 0.05
    unknown = [supply("front"), *CAMERAS[1:]]
    assert make_plan(wishes, unknown, machine).devices["cpu"].planned == 0.02


def test_no_more_pictures_count_than_the_stream_gives():
    plan = make_plan([replace(PED, rate_hz=100.0)], [replace(one, rate_hz=5.0) for one in CAMERAS], MACHINE)
    assert plan.devices["cpu"].planned == 0.4
    assert rates(plan) == {"pedestrian": 100}


def test_full_batches_cost_less():
    plan = make_plan([demand("big", *FOUR, engine="big")], CAMERAS, MACHINE)
    assert plan.devices["gpu0"].planned == pytest.approx(40 * 0.014 / 4)
    assert make_plan([demand("big", "front", engine="big")], CAMERAS, MACHINE).devices["gpu0"].planned == 0.08


def test_lossless_and_ended_cameras_are_in_no_budget():
    offline = [replace(one, lossless=True) for one in CAMERAS]
    plan = make_plan([replace(PED, rate_hz=1000.0)], offline, MACHINE)
    assert plan.tasks["pedestrian"].rate_hz == 1000
    assert plan.devices["cpu"].planned == 0
    ended = [replace(one, state=CameraState.ENDED) for one in CAMERAS]
    assert make_plan([PED], ended, MACHINE).devices["cpu"].planned == 0


def test_a_lossless_camera_is_never_slowed():
    cameras = [replace(CAMERAS[0], lossless=True), *CAMERAS[1:]]
    plan = make_plan([replace(PED, rate_hz=30.0)], cameras, MACHINE)
    assert plan.tasks["pedestrian"].rate_hz < 30
    assert plan.cameras["front"].rate_hz == 30
    assert plan.cameras["left"].rate_hz == plan.tasks["pedestrian"].rate_hz


def test_the_note_of_a_device_is_in_the_reasons():
    machine = replace(MACHINE, notes={"cpu": "cpu capped at 1.2 of 2.2 GHz"})
    reason = make_plan([PED, LANE], CAMERAS, machine).tasks["lane"].reason
    assert "s/s (cpu capped at 1.2 of 2.2 GHz), priority" in reason


def test_several_reasons_are_joined():
    cameras = [replace(CAMERAS[0], state=CameraState.STALLED), *CAMERAS[1:]]
    reason = make_plan([PED, replace(LANE, deadline_ms=5.0)], cameras, MACHINE).tasks["lane"].reason
    assert reason == (
        "front stalled; 4.81 of 10 Hz: cpu is full, 0.99 of 1.00 s/s, priority 0 gives way; "
        "deadline_ms 5 is shorter than one inference, 10 ms"
    )


def test_a_deadline_shorter_than_the_inference_is_told_and_runs():
    task = make_plan([replace(PED, deadline_ms=15.0)], CAMERAS, MACHINE).tasks["pedestrian"]
    assert (task.state, task.rate_hz) == (TaskState.ACTIVE, 10)
    assert task.reason == "configured; deadline_ms 15 is shorter than one inference, 20 ms"


def test_rates_fall_at_once_and_rise_only_by_a_clear_step():
    plan, seen = Plan(), []
    for capacity in [0.994, 0.991, 0.994, 0.992, 0.993, 0.991] * 3:
        plan = make_plan([PED, LANE], CAMERAS, replace(MACHINE, capacity={"cpu": capacity}), plan)
        seen.append(plan.tasks["lane"].rate_hz)
    assert seen[0] == 4.81
    assert set(seen[1:]) == {4.58}
    plan = make_plan([PED, LANE], CAMERAS, replace(MACHINE, capacity={"cpu": 1.1}), plan)
    assert plan.tasks["lane"].rate_hz > 6.5
    assert make_plan([PED, LANE], CAMERAS, replace(MACHINE, capacity={"cpu": 1.2}), plan).tasks["lane"].rate_hz == 10


def test_a_suspended_task_does_not_come_and_go_with_a_trembling_capacity():
    slow, plan, seen = replace(LANE, rate_min_hz=5.0), Plan(), []
    for capacity in [1.0, 0.99, 1.0, 0.995, 1.0, 1.005]:
        plan = make_plan([PED, slow], CAMERAS, replace(MACHINE, capacity={"cpu": capacity}), plan)
        seen.append(plan.tasks["lane"].suspended)
    assert seen == [False, True, True, True, True, True]
    assert not make_plan([PED, slow], CAMERAS, replace(MACHINE, capacity={"cpu": 1.02}), plan).tasks["lane"].suspended


ONE = replace(MACHINE, workers={"cpu": 1, "gpu0": 1})
QUICK = replace(PED, engine="lane", deadline_ms=25.0)  # 10 ms of 25
SLOW = replace(LANE, task="slow", engine="ped", rate_hz=1.0)  # 20 ms


def test_an_inference_that_would_break_a_higher_deadline_is_suspended_with_numbers():
    task = make_plan([QUICK, SLOW], CAMERAS, ONE).tasks["slow"]
    assert task.suspended
    assert task.reason == (
        "suspended: one inference takes 20 ms and cannot be interrupted, and pedestrian, of priority 10, "
        "needs 10 ms of its 25 ms on the one worker of cpu"
    )


@pytest.mark.parametrize(
    ("quick", "slow", "machine"),
    [
        (QUICK, SLOW, MACHINE),  # a second worker is kept free
        (replace(QUICK, deadline_ms=30.0), SLOW, ONE),  # both fit
        (replace(QUICK, deadline_ms=5.0), SLOW, ONE),  # lost anyway
        (replace(QUICK, deadline_ms=None), SLOW, ONE),
        (replace(QUICK, active=False), SLOW, ONE),
        (QUICK, replace(SLOW, priority=10), ONE),
        (QUICK, replace(SLOW, engine="lane"), ONE),  # the same network: its pictures are inferred anyway
        (QUICK, replace(SLOW, engine="big"), ONE),
    ],
)
def test_what_breaks_no_deadline_runs(quick, slow, machine):
    assert make_plan([quick, slow], CAMERAS, machine).tasks["slow"].rate_hz > 0


def test_admission_tells_what_is_left_and_what_is_wanted():
    told = admit([PED, replace(LANE, active=False)], CAMERAS, MACHINE, Plan(), "lane")
    assert (told.granted_hz, told.wanted_hz, told.breaks) == (4.81, 10, None)
    assert told.numbers == "gets 4.81 of 10 Hz: cpu has 0.20 of 1.00 s/s left, it wants 0.40"


def test_admission_leaves_out_those_who_would_give_way():
    told = admit([replace(PED, active=False), LANE], CAMERAS, MACHINE, Plan(), "pedestrian")
    assert told.numbers == "gets 10 of 10 Hz: cpu has 1.00 of 1.00 s/s left, it wants 0.80"


def test_admission_tells_which_deadline_would_break():
    told = admit([QUICK, replace(SLOW, active=False)], CAMERAS, ONE, Plan(), "slow")
    assert told.granted_hz == 0
    assert told.breaks is not None
    assert "pedestrian, of priority 10" in told.breaks
    assert told.numbers.startswith("gets 0 of 1 Hz: suspended: one inference takes 20 ms")
    two = admit([QUICK, replace(SLOW, active=False)], CAMERAS, MACHINE, Plan(), "slow")
    assert two.breaks is None
    assert two.numbers.endswith("; one of 2 workers of cpu stays free of it for pedestrian")


def test_admission_of_what_cannot_run_or_is_not_measured():
    assert admit([replace(LANE, blocked="no engine")], CAMERAS, MACHINE, Plan(), "lane").numbers == "no engine"
    told = admit([replace(LANE, engine="new")], CAMERAS, MACHINE, Plan(), "lane")
    assert told.numbers == "gets 10 of 10 Hz: its inference is not measured yet"
