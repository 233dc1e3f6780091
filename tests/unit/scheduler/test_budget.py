"""What is measured: costs, decoding, and what the devices deliver. Time is injected."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.plan import DeviceShare
from edged.scheduler.budget import HEADROOM, Budget, Device, EngineCounts, Place
from edged.scheduler.claims import DeviceCounts
from edged.scheduler.costs import fit
from edged.scheduler.demand import EngineLoad
from edged.scheduler.heat import Limit
from edged.work import Cost

DEVICES = {"cpu": Device(2.0, 2), "gpu0": Device(1.0, 1)}


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def budget(clock):
    return Budget(DEVICES, {"net": Place("cpu", 4), "other": Place("gpu0", 1)}, clock)


def measure(budget, pictures, seconds, times=10, engine="net"):
    for _ in range(times):
        budget.measured(engine, pictures, seconds)


def test_nothing_is_known_before_it_is_measured(budget):
    machine = budget.machine()
    assert (machine.engines, machine.decode_s, machine.notes) == ({}, {}, {})
    assert machine.capacity == {"cpu": 2 * HEADROOM, "gpu0": HEADROOM}
    assert machine.workers == {"cpu": 2, "gpu0": 1}


def test_the_warm_up_does_not_count(budget):
    budget.measured("net", 1, 5.0)
    measure(budget, 1, 0.01)
    assert budget.machine().engines == {"net": EngineLoad("cpu", Cost(0.0, 0.01), 4)}


def test_two_batch_sizes_tell_what_is_fixed(budget):
    measure(budget, 1, 0.012)
    measure(budget, 4, 0.036)
    cost = budget.costs()["net"]
    assert cost.fixed_s == pytest.approx(0.004)
    assert cost.picture_s == pytest.approx(0.008)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 64), st.floats(1e-6, 10), st.floats(1e-3, 20)),
        min_size=1,
        max_size=6,
        unique_by=lambda point: point[0],
    )
)
def test_a_cost_never_falls_with_more_pictures(points):
    cost = fit(points)
    assert cost.fixed_s >= 0
    assert cost.picture_s > 0
    assert 0 < cost.of(1) < cost.of(2)


def test_a_device_that_takes_all_batches_in_one_time_has_a_fixed_cost(budget):
    measure(budget, 1, 0.010)
    measure(budget, 4, 0.010)
    cost = budget.costs()["net"]
    assert cost.of(1) == pytest.approx(0.010, rel=0.03)
    assert cost.of(4) == pytest.approx(0.010, rel=0.03)


def test_noise_does_not_change_the_picture(budget):
    rng = random.Random(3)
    measure(budget, 1, 0.01, 40)
    before = budget.machine()
    for _ in range(200):
        budget.measured("net", 1, 0.01 * rng.uniform(0.9, 1.1))
        assert budget.machine() == before


def test_a_cost_that_changes_is_followed_and_one_page_fault_is_not(budget):
    measure(budget, 1, 0.01, 40)
    budget.measured("net", 1, 3.0)
    assert budget.costs()["net"].of(1) < 0.012
    measure(budget, 1, 0.02, 60)
    assert budget.costs()["net"].of(1) == pytest.approx(0.02, rel=0.06)


def test_an_engine_that_rests_is_given_another_chance(budget, clock):
    measure(budget, 1, 0.01, 40)
    assert budget.costs()["net"].of(1) == 0.01
    measure(budget, 1, 0.04, 200)
    dear = budget.costs()["net"].of(1)
    clock.now_s += 5
    assert budget.costs()["net"].of(1) == dear > 0.035
    clock.now_s += 300
    assert budget.costs()["net"].of(1) == pytest.approx(0.01, rel=0.06)


def test_decoding_is_the_difference_of_totals(budget):
    for second in range(1, 6):
        budget.decoded("front", 0.05 * second, 25 * second)
    assert budget.machine().decode_s == {"front": pytest.approx(0.002)}
    budget.decoded("front", 0.01, 5)  # the worker was replaced: its totals begin anew
    budget.decoded("front", 0.02, 10)
    assert budget.machine().decode_s == {"front": pytest.approx(0.002)}
    budget.tick({}, {}, {})
    budget.tick({}, {}, {"cpu": Limit(clock=0.5, words="cpu capped at 1.1 of 2.2 GHz")})
    assert budget.machine().decode_s == {"front": pytest.approx(0.004)}
    budget.forget("front")
    assert budget.machine().decode_s == {}


def test_what_a_decoder_costs_to_make_is_not_what_a_frame_costs(budget, clock):
    """Otherwise a machine with many cameras thinks at its start that it can decode none, and never finds out."""
    budget.decoded("front", 2.5, 3)
    for tick in range(1, 5):
        clock.now_s += 0.1
        budget.decoded("front", 2.5 + 0.003 * tick, 3 + 3 * tick)
    assert budget.machine().decode_s == {"front": pytest.approx(0.001)}
    clock.now_s += 60  # it rested, and makes its decoder anew
    budget.decoded("front", 5.0, 20)
    clock.now_s += 0.1
    budget.decoded("front", 5.003, 23)
    assert budget.machine().decode_s == {"front": pytest.approx(0.001)}


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_absurd_measurements_are_left_out(budget, seconds):
    measure(budget, 1, 0.01)
    before = budget.machine()
    measure(budget, 1, seconds)
    budget.measured("net", 0, 0.01)
    budget.measured("gone", 1, 0.01)
    assert budget.machine() == before


def test_a_reload_keeps_what_was_measured_of_engines_that_stay(budget):
    measure(budget, 1, 0.01)
    measure(budget, 1, 0.01, engine="other")
    budget.place({"cpu": Device(2, 2)}, {"net": Place("cpu", 4), "other": Place("cpu", 1), "new": Place("cpu", 1)})
    assert set(budget.costs()) == {"net"}


def test_a_device_that_no_engine_is_on_any_more_is_no_part_of_the_picture(budget):
    assert set(budget.machine().capacity) == {"cpu", "gpu0"}
    budget.place({"cpu": DEVICES["cpu"]}, {"other": Place("cpu", 1)})
    assert set(budget.machine().capacity) == set(budget.machine().workers) == {"cpu"}


def test_batches_are_counted_by_size_for_as_long_as_their_engine_stays(budget):
    measure(budget, 1, 0.25, 2)
    measure(budget, 4, 0.5, 1)
    measure(budget, 1, 0.5, 1, engine="other")
    assert budget.engines()["net"] == EngineCounts({1: 2, 4: 1}, 1.0)
    assert budget.engines()["other"] == EngineCounts({1: 1}, 0.5)
    budget.place({"cpu": Device(2, 2)}, {"net": Place("cpu", 4), "new": Place("cpu", 1)})
    assert budget.engines() == {"net": EngineCounts({1: 2, 4: 1}, 1.0), "new": EngineCounts()}


def half_lost(budget, clock, busy, levels=(), priority=0):
    """Lose every other frame for half a second, on workers that are busy for a part of their time."""
    share, served, lost, busy_s = DeviceShare(1.8, 1.8, 2.4, levels), 0, 0, 0.0
    budget.measured("net", 1, 0.01)
    for _ in range(6):
        budget.tick({"cpu": share}, {"cpu": DeviceCounts(served, {priority: lost}, busy_s)}, {})
        clock.now_s += 0.1
        measure(budget, 1, 0.01, 9)  # 0.9 s/s
        served, lost, busy_s = served + 9, lost + 9, busy_s + 2 * busy * 0.1
    return budget.machine().capacity


def test_work_that_is_lost_lowers_the_capacity_to_what_was_done(budget, clock):
    capacity = half_lost(budget, clock, busy=1.0)
    assert capacity["cpu"] == pytest.approx(0.9, abs=0.04)
    assert capacity["gpu0"] == HEADROOM


def test_work_that_is_lost_while_workers_are_idle_is_not_lost_for_want_of_them(budget, clock):
    assert half_lost(budget, clock, busy=0.6)["cpu"] == 2 * HEADROOM


def test_what_a_low_priority_loses_is_not_taken_from_a_higher_one(budget, clock):
    levels = ((10, 1.4), (1, 1.8))
    assert half_lost(budget, clock, 1.0, levels, priority=1)["cpu"] >= 1.4


def test_what_a_high_priority_loses_is_taken_from_all(budget, clock):
    levels = ((10, 1.4), (1, 1.8))
    assert half_lost(budget, clock, 1.0, levels, priority=10)["cpu"] == pytest.approx(0.9, abs=0.04)


def test_heat_lowers_the_capacity_and_says_why(budget, clock):
    hot = Limit(heat=0.5, words="tj-thermal 99 C, 4 above its passive trip")
    for _ in range(3):
        budget.tick({}, {}, {"gpu0": hot})
        clock.now_s += 0.1
    machine = budget.machine()
    assert machine.capacity["gpu0"] == pytest.approx(0.45, abs=0.02)
    assert machine.notes == {"gpu0": hot.words}
    for _ in range(30):
        budget.tick({"gpu0": DeviceShare(0.45, 0.45, 0.8)}, {}, {})
        clock.now_s += 0.1
    machine = budget.machine()
    assert (machine.capacity["gpu0"], machine.notes) == (HEADROOM, {})


def test_a_lower_clock_makes_work_dearer_at_once_and_leaves_the_capacity(budget, clock):
    measure(budget, 1, 0.01, 40)
    budget.tick({}, {}, {})
    clock.now_s += 0.1
    budget.tick({}, {}, {"cpu": Limit(clock=0.5, words="cpu capped at 1.1 of 2.2 GHz")})
    machine = budget.machine()
    assert machine.engines["net"].cost.of(1) == pytest.approx(0.02)
    assert machine.capacity["cpu"] == 2 * HEADROOM
    budget.tick({}, {}, {})
    assert budget.costs()["net"].of(1) == pytest.approx(0.01)


def test_a_clock_that_was_low_from_the_start_is_in_the_measurements_already(budget):
    measure(budget, 1, 0.02, 40)
    budget.tick({}, {}, {"cpu": Limit(clock=0.5, words="cpu capped at 1.1 of 2.2 GHz")})
    assert budget.costs()["net"].of(1) == 0.02


def test_many_threads_may_measure_at_once(budget):
    def work():
        for number in range(500):
            budget.measured("net", 1 + number % 4, 0.01)
            budget.machine()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        budget.tick({}, {}, {})
    for thread in threads:
        thread.join()
    assert budget.costs()["net"].of(1) == pytest.approx(0.01, rel=0.1)


def test_a_device_that_more_workers_serve_can_do_more(budget):
    """A reload brought the GPU into a second process."""
    budget.place({**DEVICES, "gpu0": Device(2.0, 2)}, {"other": Place("gpu0", 1)})
    assert budget.machine().capacity == {"cpu": 2 * HEADROOM, "gpu0": 2 * HEADROOM}
