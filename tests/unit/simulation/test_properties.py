"""What holds for every vehicle: the real planner, budget and dispatcher in simulated time."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vehicles import net, rates_at, sums, task, vehicle, vehicles

from edged.plan import Mode
from edged.simulation.simulation import Simulation
from edged.simulation.vehicle import Order

SECONDS = 3.0
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(vehicles())
def test_no_plan_gives_out_more_of_a_device_than_it_can_do(one):
    for _, plan in Simulation(one).run(SECONDS).plans:
        for name, share in plan.devices.items():
            assert share.planned <= share.capacity + 1e-3, (name, share)


@few
@given(vehicles(grouped=True))
def test_every_frame_that_was_offered_is_served_lost_for_a_cause_or_on_its_way(one):
    outcome = Simulation(one).run(SECONDS)
    left = 0
    for claim, counts in outcome.counts.items():
        spent = asdict(counts)
        on_their_way = spent.pop("offered") - sum(spent.values())
        assert on_their_way >= 0, claim
        assert all(count >= 0 for count in spent.values()), claim
        left += on_their_way
    assert (left == 0) == (outcome.leased == 0)


@few
@given(
    rates_hz=st.tuples(st.sampled_from((2.0, 5.0, 10.0)), st.sampled_from((2.0, 5.0, 10.0))),
    picture_ms=st.floats(2.0, 100.0),
    deadline_ms=st.sampled_from((None, 250.0)),
)
def test_a_higher_priority_keeps_at_least_the_share_of_its_wanted_rate_that_a_lower_one_gets(
    rates_hz, picture_ms, deadline_ms
):
    engines = {"net0": net(picture_ms), "net1": net(picture_ms)}
    tasks = [
        task("low", rate_hz=rates_hz[0], engine="net0", deadline_ms=deadline_ms),
        task("high", rate_hz=rates_hz[1], engine="net1", deadline_ms=deadline_ms, priority=1),
    ]
    for _, plan in Simulation(vehicle(*tasks, engines=engines)).run(SECONDS).plans:
        low, high = plan.tasks["low"], plan.tasks["high"]
        assert high.rate_hz / high.wanted_hz >= 0.99 * low.rate_hz / low.wanted_hz


@few
@given(vehicles(0.02, 0.2, active=st.just(True)))
def test_with_enough_capacity_every_task_gets_its_rate_and_loses_nothing(one):
    cameras = {camera.id: replace(camera, decode_s=0.0005) for camera in one.cameras}
    tasks = tuple(replace(task, deadline_ms=None) for task in one.tasks)
    one = replace(one, cameras=tuple(cameras.values()), tasks=tasks)
    outcome = Simulation(one).run(SECONDS)
    for wanted in tasks:
        counts = sums(outcome, wanted.task)
        due = SECONDS * sum(min(wanted.rate_hz, cameras[name].rate_hz) for name in wanted.cameras)
        assert counts["served"] == pytest.approx(due, abs=(1 + 0.1 * due / len(wanted.cameras)) * len(wanted.cameras))
        assert counts["superseded"] == counts["late"] == 0


@few
@given(vehicles(0.5, 1.5, active=st.just(True)), st.integers(0, 5))
def test_equal_seeds_give_equal_outcomes(one, seed):
    orders = [Order(1.0, device="cpu", share=0.5), Order(2.0, device="cpu")]
    assert Simulation(one, orders, seed).run(SECONDS) == Simulation(one, orders, seed).run(SECONDS)


def with_room(one):
    """Return it without deadlines that one wait for another inference breaks: these lose frames at any load."""
    longest_ms = 1000 * max(engine.cost.of(1) for engine in one.engines.values())
    tasks = (
        replace(task, deadline_ms=None) if task.deadline_ms and task.deadline_ms < 3 * longest_ms else task
        for task in one.tasks
    )
    return replace(one, tasks=tuple(tasks))


@few
@given(vehicles(0.3, 0.75, active=st.just(True)))
def test_rates_are_back_within_two_and_a_half_seconds_of_the_end_of_a_load(one):
    one = with_room(one)
    orders = [Order(3.0, device="cpu", share=0.5), Order(8.0, device="cpu")]
    outcome = Simulation(one, orders).run(10.6)
    before, after = rates_at(outcome, 2.9), rates_at(outcome, 10.5)
    assert after == pytest.approx(before, rel=0.06)  # rates that were lowered move in steps of 5 %


@few
@given(vehicles(0.1, 2.0, grouped=True), st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8))
def test_after_random_activations_exactly_the_needed_cameras_are_hot_and_no_frame_is_kept(one, flips):
    names = [task.task for task in one.tasks]
    simulation, active = Simulation(one), {task.task for task in one.tasks if task.active}
    simulation.run(0.5)
    for number, on in flips:
        name = names[number % len(names)]
        active = active | {name} if on else active - {name}
        simulation.obey(Order(0.0, name, on))
        outcome = simulation.run(0.3)
        plan = outcome.plans[-1][1]
        running = [task for task in one.tasks if plan.tasks[task.task].rate_hz > 0]
        assert {task.task for task in running} <= active
        needed = {camera for task in running for camera in task.cameras}
        assert {name for name, one in plan.cameras.items() if one.mode is Mode.HOT} == needed
    for name in names:
        simulation.obey(Order(0.0, name, active=False))
    assert simulation.run(5.0).leased == 0
