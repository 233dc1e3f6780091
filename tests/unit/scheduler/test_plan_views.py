"""Views in the plan: an inference of their own, decoding and mode of their camera."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import CAMERAS, demand, demands, machines, supplies, supply, work_by_hand

from edged.plan import CameraPlan, CameraState, Mode, Plan, TaskState
from edged.scheduler.demand import EngineLoad, Machine
from edged.scheduler.planner import make_plan
from edged.work import Cost

VIEWS = ("roof_left", "roof_right")
MACHINE = Machine(
    engines={"net": EngineLoad("cpu", Cost(0.0, 0.01), 1)},
    decode_s={"roof": 0.004},
    capacity={"cpu": 4.0},
    workers={"cpu": 4},
)


def roof(state=CameraState.RUNNING, reason="", **more):
    """Return the camera `roof` and its two views, all in one state."""
    base = supply("roof", state, reason, **more)
    return [base, *(replace(base, camera=name, of="roof") for name in VIEWS)]


def test_a_camera_is_hot_for_its_views_at_the_highest_rate_and_says_so():
    wishes = [
        demand("cars", "roof_left", rate_hz=15),
        demand("lane", *VIEWS, rate_hz=5),
        demand("off", "roof", active=False),
    ]
    plan = make_plan(wishes, roof())
    assert plan.cameras == {
        "roof": CameraPlan(Mode.HOT, 15, (), "needed by cars 15 Hz, lane 5 Hz (roof_left, roof_right)"),
        "roof_left": CameraPlan(Mode.HOT, 15, ("cars", "lane"), "view of roof: needed by cars 15 Hz, lane 5 Hz"),
        "roof_right": CameraPlan(Mode.HOT, 5, ("lane",), "view of roof: needed by lane 5 Hz"),
    }


def test_a_task_on_the_whole_picture_claims_that_and_no_view():
    plan = make_plan([demand("cars", "roof", rate_hz=15)], roof())
    assert plan.cameras["roof"] == CameraPlan(Mode.HOT, 15, ("cars",), "needed by cars 15 Hz")
    assert plan.cameras["roof_left"] == CameraPlan(Mode.HOT, 0, (), "view of roof: no task names it")


def test_modes_and_lingering_are_the_cameras():
    cameras, plan, seen = roof(unneeded=Mode.WARM, linger_s=5.0), Plan(), []
    for now_s, active in [(1.0, True), (2.0, False), (6.9, False), (7.0, False), (61.0, True)]:
        plan = make_plan([demand("lane", "roof_left", active=active)], cameras, previous=plan, now_s=now_s)
        assert plan == make_plan([demand("lane", "roof_left", active=active)], cameras, previous=plan, now_s=now_s)
        assert len({(one.mode, one.since_s) for one in plan.cameras.values()}) == 1
        seen.append((plan.cameras["roof"].mode, plan.cameras["roof"].since_s))
    warm, cold = (Mode.WARM, 2.0), (Mode.COLD, 7.0)
    assert seen == [(Mode.HOT, 1.0), warm, warm, cold, (Mode.HOT, 61.0)]


def test_a_camera_that_no_task_needs_for_any_view_is_closed():
    plan = make_plan([demand("lane", "roof_left", active=False)], roof())
    assert plan.cameras["roof"].mode is Mode.PARKED
    assert plan.cameras["roof"].reason == "only lane needs it and lane is inactive"
    assert plan.cameras["roof_left"].reason == "view of roof: only lane needs it and lane is inactive"
    assert make_plan([], roof()).cameras["roof"].mode is Mode.COLD


def test_a_task_on_a_view_of_a_lost_camera_is_degraded_and_names_it():
    plan = make_plan([demand("lane", *VIEWS)], roof(CameraState.BACKOFF, "roof: no route"))
    assert plan.tasks["lane"].state is TaskState.DEGRADED
    assert plan.tasks["lane"].reason == "roof_left backoff: roof: no route; roof_right backoff: roof: no route"
    assert plan.cameras["roof"].mode is Mode.HOT


def test_decoding_is_paid_once_for_all_views_and_inference_for_each():
    cameras = roof(rate_hz=25.0)
    one = make_plan([demand("cars", "roof_left", engine="net")], cameras, MACHINE)
    assert one.devices["cpu"].planned == round(25 * 0.004 + 10 * 0.01, 3)
    both = make_plan([demand("cars", *VIEWS, engine="net"), demand("lane", "roof", engine="net")], cameras, MACHINE)
    assert both.devices["cpu"].planned == round(25 * 0.004 + 3 * 10 * 0.01, 3)


def test_a_view_that_does_not_fit_gives_way_and_its_camera_stays_for_the_other():
    machine = replace(MACHINE, capacity={"cpu": 0.21})
    wishes = [
        demand("cars", "roof_left", engine="net", priority=1),
        demand("lane", "roof_right", engine="net", rate_min_hz=5.0),
    ]
    plan = make_plan(wishes, roof(rate_hz=25.0), machine)
    assert (plan.tasks["cars"].rate_hz, plan.tasks["lane"].suspended) == (10, True)
    assert plan.cameras["roof"].reason == "needed by cars 10 Hz (roof_left)"
    assert plan.cameras["roof_right"].reason == "view of roof: only lane needs it and lane is suspended"


def test_lossless_and_ended_cameras_with_views_are_in_no_budget():
    for cameras in (roof(lossless=True), roof(CameraState.ENDED)):
        plan = make_plan([demand("cars", *VIEWS, engine="net")], cameras, MACHINE)
        assert plan.devices["cpu"].planned == 0
        assert plan.cameras["roof"].mode is Mode.HOT


def viewed(cameras):
    """Return supplies of which the last two are views of the first one."""
    first = cameras[0]
    return [*cameras[:2], *(replace(first, camera=one.camera, of=first.camera) for one in cameras[2:])]


WORLDS = st.tuples(demands(*"abcdef"), supplies().map(viewed), machines())


@settings(deadline=None)
@given(WORLDS, WORLDS)
def test_no_plan_exceeds_a_budget_and_every_view_is_as_its_camera(world, before):
    wishes, cameras, machine = world
    plan = make_plan(wishes, cameras, machine, make_plan(*before), 1.0)
    for device, seconds in work_by_hand(plan, wishes, cameras, machine).items():
        assert seconds <= machine.capacity.get(device, 1e9) + 1e-6
    for one in cameras:
        planned, camera = plan.cameras[one.camera], plan.cameras[one.of or one.camera]
        assert (planned.mode, planned.since_s) == (camera.mode, camera.since_s)
        running = [wish for wish in wishes if one.camera in wish.cameras and plan.tasks[wish.task].rate_hz > 0]
        assert set(planned.tasks) == {wish.task for wish in running}
        if running:
            assert camera.mode is Mode.HOT
            assert camera.rate_hz >= max(plan.tasks[wish.task].rate_hz for wish in running)
    family = {cameras[0].camera, *(one.camera for one in cameras[2:])}
    needed = any(family & set(wish.cameras) and plan.tasks[wish.task].rate_hz > 0 for wish in wishes)
    assert (plan.cameras[cameras[0].camera].mode is Mode.HOT) == needed


@settings(deadline=None)
@given(WORLDS, WORLDS, st.randoms())
def test_the_order_never_matters_and_an_equal_world_gives_an_equal_plan(world, before, random):
    wishes, cameras, machine = world
    previous = make_plan(*before)
    plan = make_plan(wishes, cameras, machine, previous)
    mixed = make_plan(random.sample(wishes, len(wishes)), random.sample(cameras, len(CAMERAS)), machine, previous)
    assert mixed == plan
    assert make_plan(wishes, cameras, machine, plan) == plan


@settings(deadline=None)
@given(demands(*"abcdef"), supplies(), machines())
def test_a_view_that_nobody_names_changes_nothing_else(wishes, cameras, machine):
    plan = make_plan(wishes, cameras, machine)
    more = make_plan(wishes, [*cameras, replace(cameras[0], camera="extra", of=cameras[0].camera)], machine)
    assert more.tasks == plan.tasks
    assert more.devices == plan.devices
    assert {name: one for name, one in more.cameras.items() if name != "extra"} == plan.cameras
