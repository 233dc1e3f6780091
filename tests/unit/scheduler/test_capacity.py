"""A device's capacity in simulated time: the real planner, the real control, and a machine that is slower than told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edged.plan import CameraState, Mode, Plan
from edged.scheduler.capacity import FLOOR, Capacity, Sample
from edged.scheduler.demand import Demand, EngineLoad, Machine, Supply
from edged.scheduler.planner import make_plan
from edged.work import Cost

TICK_S = 0.1
NOMINAL = 1.8
SUPPLIES = [
    Supply(name, CameraState.RUNNING, "", Mode.PARKED, rate_hz=25.0) for name in ("front", "left", "rear", "right")
]
CAMERAS = tuple(supply.camera for supply in SUPPLIES)
HIGH = Demand("high", CAMERAS, 10.0, True, "configured", priority=10, engine="high_net")  # 0.4 s/s
LOW = Demand("low", CAMERAS, 10.0, True, "configured", engine="low_net")  # 1.2 s/s
ENGINES = {"high_net": EngineLoad("cpu", Cost(0.0, 0.01), 1), "low_net": EngineLoad("cpu", Cost(0.0, 0.03), 1)}


@dataclass
class Tick:
    """What one simulated tick gave: the level, the rates by task, and the part of the planned frames that was lost."""

    at_s: float
    level: float
    rates: dict[str, float]
    lost: int
    frames: int


def simulate(seconds: float, able: Callable[[float], float], error: float = 1.0, low: Demand = LOW) -> list[Tick]:
    """Plan, work and control. `able` is what the machine really does; work really takes `error` times what is told."""
    control, plan, trace, lost_part = Capacity(NOMINAL), Plan(), [], 0.0
    for number in range(round(seconds / TICK_S)):
        now_s = number * TICK_S
        plan = make_plan([HIGH, low], SUPPLIES, Machine(ENGINES, {}, {"cpu": control.level}), plan, now_s)
        rates = {name: task.rate_hz for name, task in plan.tasks.items()}
        share = plan.devices["cpu"]
        really = share.planned * error
        frames = sum(rates.values()) * len(CAMERAS) * TICK_S
        lost_part += frames * max(0.0, 1 - able(now_s) / really) if really > able(now_s) else 0.0
        lost, lost_part = int(lost_part), lost_part % 1
        done = min(really, able(now_s))
        control.tick(now_s, Sample(share.planned, share.wanted, done, round(frames) - lost, lost))
        trace.append(Tick(now_s, control.level, rates, lost, round(frames)))
    return trace


def after(trace: list[Tick], start_s: float, end_s: float = 1e9) -> list[Tick]:
    return [tick for tick in trace if start_s <= tick.at_s < end_s]


def lost_part(trace: list[Tick]) -> float:
    return sum(tick.lost for tick in trace) / sum(tick.frames for tick in trace)


def test_nothing_changes_while_all_is_done():
    assert {tick.level for tick in simulate(10, lambda _: 2.0)} == {NOMINAL}


@pytest.mark.parametrize("able", [0.5, 0.8, 1.0, 1.3])
def test_under_a_constant_load_it_settles_near_what_is_delivered_with_few_losses(able):
    trace = simulate(30, lambda _: able)
    steady = after(trace, 2.0)
    assert min(tick.level for tick in steady) >= 0.8 * able
    assert max(tick.level for tick in steady) <= 1.2 * able
    assert lost_part(steady) < 0.04
    assert {tick.rates["high"] for tick in trace} == {10.0}  # the lower priority pays alone


@pytest.mark.parametrize("able", [0.3, 0.6, 1.0, 1.4])
@pytest.mark.parametrize("ends_s", [4.0, 7.3, 10.1, 10.4, 10.7, 11.0])
def test_all_is_back_within_two_seconds_of_the_end_of_a_load(able, ends_s):
    trace = simulate(20, lambda now_s: able if 1.0 <= now_s < ends_s else 2.0)
    assert {tick.rates["low"] for tick in after(trace, ends_s + 2.0)} == {10.0}
    assert {tick.rates["low"] for tick in after(trace, 0.0, 1.0)} == {10.0}


@pytest.mark.parametrize("error", [1.5, 2.0, 3.0])
def test_an_estimate_that_is_too_low_is_made_good_by_a_lower_capacity(error):
    trace = simulate(30, lambda _: NOMINAL, error)
    steady = after(trace, 3.0)
    assert lost_part(steady) < 0.04
    assert min(tick.level for tick in steady) * error >= 0.75 * NOMINAL


def test_one_blip_changes_nothing():
    assert {tick.level for tick in simulate(5, lambda now_s: 0.5 if 2.0 <= now_s < 2.15 else 2.0)} == {NOMINAL}


def test_losses_that_last_lower_it_within_half_a_second():
    trace = simulate(5, lambda now_s: 0.8 if now_s >= 2.0 else 2.0)
    assert {tick.level for tick in after(trace, 0.0, 2.0)} == {NOMINAL}
    assert after(trace, 2.45)[0].level <= 0.85


def test_a_suspended_task_that_cannot_stay_is_tried_ever_less_often():
    low = Demand("low", CAMERAS, 10.0, True, "configured", rate_min_hz=8.0, engine="low_net")  # 0.96 s/s or nothing
    trace = simulate(60, lambda _: 1.0, low=low)
    running = [tick.rates["low"] > 0 for tick in after(trace, 20.0)]
    returns = sum(1 for before, now in zip(running, running[1:], strict=False) if now and not before)
    assert 1 <= returns <= 12
    assert {tick.rates["high"] for tick in trace} == {10.0}


def test_it_never_falls_below_its_floor_nor_rises_above_what_heat_leaves():
    control = Capacity(2.0)
    for number in range(50):
        assert control.tick(number * TICK_S, Sample(2.0, 2.0, 0.0, 0, 50)) >= FLOOR * 2.0
    assert control.level == FLOOR * 2.0
    for number in range(50, 150):
        control.tick(number * TICK_S, Sample(control.level, 4.0, control.level, 50, 0), limit=0.6)
    assert control.level == pytest.approx(1.2)


def test_where_nothing_more_is_wanted_a_load_that_is_over_is_forgotten():
    """Else who asks what there is room for would be told of that load for ever."""
    control = Capacity(2.0)
    for number in range(20):
        control.tick(number * TICK_S, Sample(2.0, 2.0, 1.0, 25, 25))
    low = control.level
    levels = [control.tick(number * TICK_S, Sample(low / 2, low / 2, low / 2, 25, 0)) for number in range(20, 220)]
    assert levels[90] == low < 1.5
    assert levels[-1] == 2.0
    for number in range(220, 240):
        control.tick(number * TICK_S, Sample(2.0, 2.0, 1.0, 25, 25))
    assert control.level < 1.5, "a loss is still one"


def test_it_stays_where_it_is_while_all_that_is_wanted_fits():
    control = Capacity(2.0)
    for number in range(20):
        control.tick(number * TICK_S, Sample(2.0, 2.0, 1.0, 25, 25))
    low = control.level
    for number in range(20, 100):
        control.tick(number * TICK_S, Sample(low / 2, low / 2, low / 2, 25, 0))
    assert control.level == low < 1.5
