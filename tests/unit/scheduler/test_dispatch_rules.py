"""Which job starts when, in simulated time: urgency, what cannot be interrupted, batch windows, lateness, rates."""

from __future__ import annotations

import random

import pytest
from dispatch_parts import MS, Leases, World, losses, route
from hypothesis import given
from hypothesis import strategies as st

from edged.scheduler.claims import Claim
from edged.scheduler.dispatch import EngineLimits, TaskCounts
from edged.scheduler.gate import Gate
from edged.scheduler.urgency import Expected, WallCost, breaks, hold_ns, make_job
from edged.work import Cost


def two_tasks(low_s, *, high_s=0.010, deadline_ms=None, workers=1, high_hz=10, low_hz=1000, high_priority=9):
    """One engine for a task of high priority on camera `h`, another for one of low priority on `l`."""
    limits = {"high": EngineLimits(1, workers), "low": EngineLimits(1, workers)}
    world = World(limits, {"high": Cost(0, high_s), "low": Cost(0, low_s)}, workers)
    world.dispatcher.set_routes(
        {
            "h": (route("high", "high", high_hz, high_priority, deadline_ms),),
            "l": (route("low", "low", low_hz),),
        }
    )
    return world


def begun(world, engine):
    return [round(one.begin, 3) for one in world.served if one.engine == engine]


def test_a_long_inference_of_low_priority_waits_for_the_frame_that_it_would_make_late():
    world = two_tasks(0.080, deadline_ms=50)
    world.camera("h", 10, 1.0)
    world.frame("l", 540)  # until 620: the frame of 600 must start by 640
    world.run(2000)
    assert begun(world, "low") == [540]
    assert begun(world, "high") == [0, 100, 200, 300, 400, 500, 620, 700, 800, 900]
    world = two_tasks(0.095, deadline_ms=50)
    world.camera("h", 10, 1.0)
    world.frame("l", 560)
    world.run(2000)
    assert begun(world, "low") == [610]  # after the frame of 600 is done: 705 is still in time for the one of 700
    assert begun(world, "high") == [0, 100, 200, 300, 400, 500, 600, 705, 800, 900]
    assert losses(world.dispatcher, "high", "h") == {"offered": 10, "served": 10}
    world.end()


def test_a_second_worker_takes_the_long_inference_while_the_first_is_kept():
    world = two_tasks(0.5, deadline_ms=30, workers=2)
    world.camera("h", 10, 2.0)
    for n in range(20):
        world.frame("l", n * 100 + 50, n)
    world.run(3000)
    assert begun(world, "low")[:4] == [50, 510, 910, 1310]  # the next one as soon as the first ends before 630
    assert losses(world.dispatcher, "high", "h") == {"offered": 20, "served": 20}
    world.end()


def test_without_a_deadline_a_frame_of_high_priority_must_start_within_its_interval():
    world = two_tasks(0.120, high_hz=10)
    world.camera("h", 10, 2.0)
    world.frame("l", 150)
    world.run(3000)
    assert begun(world, "low") == [150]  # until 270: the frame of 200 may start until 290
    assert losses(world.dispatcher, "high", "h") == {"offered": 20, "served": 20}
    world = two_tasks(0.120, high_hz=10)
    world.camera("h", 10, 2.0)
    world.frame("l", 175)
    world.run(3000)
    assert begun(world, "low") == [210]
    assert losses(world.dispatcher, "high", "h") == {"offered": 20, "served": 20}
    world.end()


def test_equal_priorities_do_not_wait_for_each_other():
    world = two_tasks(0.080, deadline_ms=20, high_priority=0)
    world.camera("h", 10, 0.5)
    world.frame("l", 250)
    world.run(1000)
    assert begun(world, "low") == [250]
    world.end()


def test_an_unknown_cost_postpones_nothing():
    world = two_tasks(0.080, deadline_ms=20)
    world.dispatcher.set_costs({})
    fresh = World({"high": EngineLimits(1, 1), "low": EngineLimits(1, 1)})
    fresh.dispatcher.set_routes({"h": (route("high", "high", 10, 9, 20),), "l": (route("low", "low"),)})
    fresh.camera("h", 10, 0.5)
    fresh.frame("l", 290)
    fresh.run(1000)
    assert begun(fresh, "low") == [290]
    fresh.end()


def test_another_device_does_not_compete():
    limits = {"high": EngineLimits(1, 1, "cpu"), "low": EngineLimits(1, 1, "gpu0")}
    world = World(limits, {"high": Cost(0, 0.010), "low": Cost(0, 0.080)})
    world.dispatcher.set_routes({"h": (route("high", "high", 10, 9, 20),), "l": (route("low", "low"),)})
    world.camera("h", 10, 0.5)
    world.frame("l", 290)
    world.run(1000)
    assert begun(world, "low") == [290]
    assert {name: (one.served, one.lost_for_want_of_worker) for name, one in world.dispatcher.devices().items()} == {
        "cpu": (5, 0),
        "gpu0": (1, 0),
    }
    world.end()


def test_a_job_that_was_postponed_for_a_camera_that_fell_silent_goes_in_the_end():
    world = two_tasks(0.090, deadline_ms=30)
    world.camera("h", 10, 0.5)  # the last frame at 400, the next would come at 500
    world.frame("l", 450)
    world.run(5000)
    assert begun(world, "low") == [pytest.approx(700, abs=1)]  # two frames after it was due
    world.end()


def test_overload_is_no_reason_to_wait_for_what_comes_too_late_anyway():
    """The high one alone is more than the worker can do: the low one then gets a turn now and then."""
    world = two_tasks(0.005, high_s=0.150, deadline_ms=160)
    world.camera("h", 10, 5.0)
    world.camera("l", 10, 5.0, phase_ms=3)
    world.run(10_000)
    assert losses(world.dispatcher, "low", "l")["served"] > 5
    world.end()


@given(
    st.integers(1, 3),
    st.sampled_from([5, 10, 15]),
    st.sampled_from([0.005, 0.012, 0.020]),
    st.sampled_from([0.030, 0.060, 0.150]),
    st.floats(0, 99),
)
def test_a_task_of_low_priority_takes_no_result_from_one_of_high(workers, high_hz, high_s, low_s, phase_ms):
    """With steady cameras, the higher priority keeps all its deadlines, whatever the lower one wants."""
    world = two_tasks(low_s, high_s=high_s, deadline_ms=60, workers=workers, high_hz=high_hz)
    world.camera("h", high_hz, 4.0, phase_ms=7)
    world.camera("l", 25, 4.0, phase_ms=phase_ms, begin_s=0.6)
    world.run(6000)
    assert losses(world.dispatcher, "high", "h") == {"offered": 4 * high_hz, "served": 4 * high_hz}
    if workers > 1 or low_s + high_s < 0.050:
        assert losses(world.dispatcher, "low", "l")["served"] >= 3
    world.end()


def four_cameras(cost, *, max_batch=4, deadline_ms=None, workers=1, hz=10.0):
    world = World({"e": EngineLimits(max_batch, workers)}, {"e": cost}, workers)
    world.dispatcher.set_routes({f"c{n}": (route("t", "e", hz, 0, deadline_ms),) for n in range(4)})
    return world


def after(world, begin_ms):
    return [one for one in world.served if one.begin >= begin_ms]


def test_a_batch_waits_for_cameras_that_are_due_while_that_saves_more_than_it_costs():
    world = four_cameras(Cost(0.010, 0.002))
    for n in range(4):
        world.camera(f"c{n}", 10, 1.0, phase_ms=3 * n)
    world.run(2000)
    late = after(world, 200)
    assert {len(one.jobs) for one in late} == {4}
    assert [round(one.begin % 100, 3) for one in late] == [9.0] * len(late)  # when the last is in, no later
    world.end()


def test_a_batch_does_not_wait_longer_than_that_saves():
    world = four_cameras(Cost(0.010, 0.002))
    for n in range(4):
        world.camera(f"c{n}", 10, 1.0, phase_ms=20 * n)
    world.run(2000)
    assert {len(one.jobs) for one in after(world, 200)} == {1}
    assert {round(one.begin % 20, 3) for one in after(world, 200)} == {0.0}
    world.end()


def test_without_a_fixed_cost_no_batch_waits():
    world = four_cameras(Cost(0.0, 0.004))
    for n in range(4):
        world.camera(f"c{n}", 10, 1.0, phase_ms=n)
    world.run(2000)
    assert [round(one.begin % 100, 3) for one in after(world, 200)][::2] == [0.0] * 8
    world.end()


def test_a_batch_that_waits_for_a_camera_that_fails_to_come_goes_when_the_wait_is_over():
    world = four_cameras(Cost(0.010, 0.002), max_batch=2)
    world.camera("c0", 10, 2.0)
    world.camera("c1", 10, 1.0, phase_ms=5)
    world.run(3000)
    assert [round(one.begin, 3) for one in after(world, 1000)][:2] == [1010, 1100]
    world.end()


def test_a_wait_ends_early_enough_for_the_deadline():
    world = four_cameras(Cost(0.010, 0.002), deadline_ms=30)
    for n in range(4):
        world.camera(f"c{n}", 10, 1.0, phase_ms=5 * n)  # all four would be in after 15 ms, and done after 33
    world.run(2000)
    assert sum(losses(world.dispatcher, "t", f"c{n}")["served"] for n in range(4)) == 40
    assert max(world.latencies("t")) <= 30
    assert [len(one.jobs) for one in after(world, 200)] == [3, 1] * 8
    world.end()


@given(
    st.floats(0, 0.02),
    st.floats(0.001, 0.005),
    st.floats(30, 90),
    st.lists(st.floats(0, 99), min_size=4, max_size=4),
    st.integers(1, 3),
    st.integers(1, 4),
    st.floats(0, 3),
)
def test_no_deadline_is_broken_by_waiting_for_a_batch(fixed, picture, deadline_ms, phases, workers, max_batch, jitter):
    """Where every camera alone would be in time in any order, batching makes no one late."""
    worst_ms = (4 * fixed + 4 * picture) * 1e3
    deadline_ms = max(deadline_ms, worst_ms + fixed * 1e3 + 5)
    world = four_cameras(Cost(fixed, picture), max_batch=max_batch, deadline_ms=deadline_ms, workers=workers, hz=4)
    rng = random.Random(int(sum(phases)))
    for n, phase in enumerate(phases):
        world.camera(f"c{n}", 4, 3.0, phase_ms=phase, jitter=lambda: rng.uniform(0, jitter))
    world.run(5000)
    for n in range(4):
        assert losses(world.dispatcher, "t", f"c{n}") == {"offered": 12, "served": 12}
    world.end()


def test_nothing_long_starts_while_a_batch_waits_that_it_would_make_late():
    limits = {"e": EngineLimits(2, 1), "f": EngineLimits(1, 1)}
    world = World(limits, {"e": Cost(0.010, 0.002), "f": Cost(0, 0.050)})
    world.dispatcher.set_routes(
        {**{f"c{n}": (route("t", "e", 10, 0, 30),) for n in range(2)}, "x": (route("x", "f", 10),)}
    )
    for n in range(2):
        world.camera(f"c{n}", 10, 2.0, phase_ms=8 * n)
    world.camera("x", 10, 2.0, phase_ms=3, begin_s=1)
    world.run(3000)
    assert [one.begin % 100 for one in after(world, 1000) if one.engine == "f"] == [22] * 10
    for n in range(2):
        assert losses(world.dispatcher, "t", f"c{n}") == {"offered": 20, "served": 20}
    world.end()


def test_what_would_be_late_anyway_is_no_reason_to_postpone():
    late = Expected(latest_ns=50, ready_ns=60, took_ns=10, gone_ns=100)
    fine = Expected(latest_ns=80, ready_ns=60, took_ns=10, gone_ns=100)
    assert not breaks([late], [], now_ns=0, took_ns=70)
    assert breaks([fine], [], now_ns=0, took_ns=90)
    assert breaks([late, fine], [], now_ns=0, took_ns=90)
    assert not breaks([late, fine], [], now_ns=0, took_ns=80)
    assert not breaks([fine], [70], now_ns=0, took_ns=90)
    assert breaks([fine], [90], now_ns=0, took_ns=90)


def test_a_batch_that_will_be_shared_out_among_workers_does_not_wait():
    job = make_job(Leases().frame("c", at_ms=0), "e", [Claim(route(), TaskCounts(), Gate())], 0, lossless=False)
    cost = WallCost(Cost(0.010, 0.001))
    assert hold_ns([job], [5 * MS], room=3, workers=1, cost=cost) == 10 * MS
    assert hold_ns([job], [5 * MS], room=3, workers=2, cost=cost) == 0
    assert hold_ns([job], [5 * MS, 6 * MS], room=3, workers=2, cost=cost) == 10 * MS
    assert hold_ns([job], [11 * MS], room=3, workers=1, cost=cost) == 0


def test_an_inference_that_takes_longer_on_the_clock_than_it_costs_is_followed():
    cost = WallCost(Cost(0.010, 0.002))
    for _ in range(100):
        cost.measured(5, 0.060)
    assert cost.ns(1) == pytest.approx(36 * MS, rel=0.01)
    cost.measured(5, 0.0)
    cost.measured(5, 1e9)
    assert cost.ns(1) < 50 * MS


def test_a_batch_grows_only_while_all_of_it_stays_in_time():
    world = four_cameras(Cost(0.0, 0.010), deadline_ms=25)
    for n in range(4):
        world.frame(f"c{n}", 0)
    world.run(1000)
    assert [len(one.jobs) for one in world.served] == [2]
    assert world.latencies("t") == [20, 20]
    world.end()


def test_a_frame_that_cannot_be_done_in_time_any_more_is_dropped_at_once():
    world = two_tasks(0.040, high_s=0.040, deadline_ms=60, high_hz=1000)
    world.frame("h", 0)
    world.frame("h", 30, 1)  # free at 40: done at 80, in time until 90
    world.frame("h", 50, 2, lag_ms=25)  # taken at 50, comes at 75: free at 80, done at 120, wanted until 110
    world.run(1000)
    assert begun(world, "high") == [0, 40]
    assert losses(world.dispatcher, "high", "h") == {"offered": 3, "served": 2, "late": 1}
    assert world.dispatcher.devices()["cpu"].lost_for_want_of_worker == 0  # it had no time left when it came
    world.end()


def test_a_deadline_shorter_than_the_inference_is_inferred_and_measured_and_late():
    world = two_tasks(0.010, high_s=0.080, deadline_ms=50)
    world.camera("h", 10, 1.0)
    world.run(2000)
    assert len(begun(world, "high")) == 10
    assert losses(world.dispatcher, "high", "h") == {"offered": 10, "late": 10}
    assert world.dispatcher.devices()["cpu"].lost_for_want_of_worker == 0
    world.end()


def test_an_engine_that_is_thought_too_slow_is_tried_again():
    world = two_tasks(0.010, high_s=0.010, deadline_ms=50)
    world.dispatcher.set_costs({"high": Cost(0, 0.045)})  # an estimate that is wrong by far
    world.camera("h", 10, 10.0, lag_ms=10)
    world.run(12_000)
    assert losses(world.dispatcher, "high", "h")["served"] > 5
    assert losses(world.dispatcher, "high", "h")["late"] > 5
    world.end()


def test_each_task_of_a_shared_frame_has_its_own_deadline():
    world = World({"e": EngineLimits(1, 1)}, {"e": Cost(0, 0.040)})
    world.dispatcher.set_routes({"c": (route("strict", deadline_ms=30), route("loose", deadline_ms=500))})
    world.frame("c", 0)
    world.run(1000)
    assert losses(world.dispatcher, "strict") == {"offered": 1, "late": 1}
    assert losses(world.dispatcher, "loose") == {"offered": 1, "served": 1}
    world.end()


def test_losses_for_want_of_a_worker_are_counted_for_the_budget():
    world = two_tasks(0.010, high_s=0.100, high_hz=100, deadline_ms=150)
    world.camera("h", 20, 1.0)
    world.run(3000)
    counts = world.dispatcher.counts()["high", "h"]
    device = world.dispatcher.devices()["cpu"]
    assert device.served == counts.served
    assert device.lost_for_want_of_worker == counts.superseded + counts.late >= 9
    world.end()


@pytest.mark.parametrize("camera_hz", [9.9, 15, 25, 30])
@pytest.mark.parametrize(("high_hz", "low_hz"), [(10, 5), (10, 7), (10, 9), (25, 10), (12, 1), (30, 30), (7, 6.5)])
def test_the_lower_rate_takes_frames_that_the_higher_has_inferred_and_keeps_its_average(camera_hz, high_hz, low_hz):
    world = World({"e": EngineLimits(1, 1)}, {"e": Cost(0, 0.001)})
    world.dispatcher.set_routes({"c": (route("low", rate_hz=low_hz), route("high", rate_hz=high_hz))})
    rng = random.Random(1)
    world.camera("c", camera_hz, 40.0, jitter=lambda: rng.uniform(0, 100 / camera_hz))
    world.run(41_000)
    for task, hz in (("high", high_hz), ("low", low_hz)):
        wanted = min(hz, camera_hz) * 40
        assert abs(losses(world.dispatcher, task)["served"] - wanted) <= max(1, 0.02 * wanted)
    assert len(world.served) == losses(world.dispatcher, "high")["served"]
    world.end()


def test_a_rate_that_changes_keeps_its_phase_and_its_average():
    world = World({"e": EngineLimits(1, 1)}, {"e": Cost(0, 0.001)})
    rates = [10, 9.5, 9, 8.5, 8, 8.5, 9, 9.5] * 10
    for n, rate_hz in enumerate(rates):
        routes = {"c": (route(rate_hz=rate_hz),)}
        world.at(n * 300, lambda routes=routes: world.dispatcher.set_routes(routes))
    world.camera("c", 100, 24.0)
    world.run(25_000)
    wanted = sum(rates) * 0.3
    assert abs(losses(world.dispatcher)["served"] - wanted) <= 0.02 * wanted
    gaps = [b.begin - a.begin for a, b in zip(world.served, world.served[1:], strict=False)]
    assert min(gaps) >= 70
    world.end()


def test_twice_the_load_costs_the_lower_priority_alone():
    """Two tasks that each fill the worker: the higher keeps 99 % in time, the lower gets what is left."""
    world = two_tasks(0.030, high_s=0.030, deadline_ms=100, high_hz=20, low_hz=20)
    world.camera("h", 20, 30.0)
    world.camera("l", 20, 30.0, phase_ms=11)
    world.run(31_000)
    high, low = losses(world.dispatcher, "high", "h"), losses(world.dispatcher, "low", "l")
    assert high["served"] >= 0.99 * high["offered"]
    assert low["served"] >= 0.5 * low["offered"]  # 40 % of the worker is left: two thirds of what it wants
    world.end()


def test_engines_that_routes_lead_to_cannot_be_taken_away_and_others_can():
    world = World({"e": EngineLimits(1, 1), "old": EngineLimits(1, 1)})
    dispatcher = world.dispatcher
    dispatcher.set_routes({"c": (route(engine="old"),)})
    dispatcher.offer(world.leases.frame("c", 0, at_ms=0))
    batch = dispatcher.take(0)
    assert dispatcher.in_flight("old") == 1
    dispatcher.offer(world.leases.frame("c", 1, at_ms=100))
    with pytest.raises(ValueError, match="routes lead to engines without limits: old"):
        dispatcher.set_limits({"e": EngineLimits(1, 1)})
    with pytest.raises(ValueError, match="without limits: new"):
        dispatcher.set_routes({"c": (route(engine="new"),)})
    dispatcher.set_routes({"c": (route(engine="e"),)})
    assert losses(dispatcher) == {"offered": 2, "stopped": 1}
    dispatcher.set_limits({"e": EngineLimits(1, 1)})
    batch.jobs[0].frame.release()
    assert dispatcher.done(batch.jobs[0]) == ("t",)
    dispatcher.finished(batch, 0.01)
    assert dispatcher.in_flight("old") == 0
    dispatcher.offer(world.leases.frame("c", 2, at_ms=200))
    assert dispatcher.take(0).engine == "e"
