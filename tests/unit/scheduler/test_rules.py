"""What a rule becomes: hysteresis, minimum times, faults, and reasons that stay while nothing changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.config.task import AfterConfig, WhenConfig
from edged.results import Box, EngineUse, Found, Lane, Latency, Result
from edged.scheduler.rules import (
    Rule,
    RuleState,
    Summary,
    Truth,
    advanced,
    after_rule,
    truth_of,
    truth_of_any,
    when_rule,
)
from edged.signals import KINDS


def when(condition: str = "speed_mps < 5", **more: object) -> Rule:
    return when_rule(WhenConfig.model_validate({"if": condition, **more}), KINDS)


BAND = when(until="speed_mps > 8")


def at(rule: Rule, state: RuleState, now_s: float, **values: float) -> RuleState:
    return advanced(rule, state, now_s, truth_of(rule, values))


def test_a_rule_is_what_its_condition_is():
    rule = when()
    state = at(rule, RuleState(), 1, speed_mps=3.0)
    assert (state.active, state.since_s, state.why) == (True, 1, "when is true: speed_mps < 5")
    state = at(rule, state, 2, speed_mps=5.0)
    assert (state.active, state.since_s, state.why) == (False, 2, "when is false: speed_mps < 5")


def test_between_if_and_until_a_rule_stays_what_it_was():
    state = at(BAND, RuleState(), 0, speed_mps=6.0)
    assert not state.active
    state = at(BAND, state, 1, speed_mps=4.0)
    assert state.active
    state = at(BAND, state, 2, speed_mps=8.0)
    assert (state.active, state.since_s, state.why) == (True, 1, "when stays true until speed_mps > 8")
    state = at(BAND, state, 3, speed_mps=8.1)
    assert (state.active, state.why) == (False, "when is false: speed_mps < 5")
    assert not at(BAND, state, 4, speed_mps=6.0).active


def test_until_outweighs():
    rule = when("speed_mps < 10", until="speed_mps > 5")
    state = at(rule, RuleState(), 0, speed_mps=7.0)
    assert (state.active, state.why) == (False, "when is false, for until is true: speed_mps > 5")
    assert at(rule, at(rule, state, 1, speed_mps=4.0), 2, speed_mps=7.0).active is False


def test_minimum_times_hold():
    rule = when(min_on_s=2, min_off_s=3)
    on = at(rule, RuleState(), 10, speed_mps=1.0)  # nothing holds a rule that was never true
    assert on.active
    held = at(rule, on, 11.9, speed_mps=9.0)
    assert (held.active, held.since_s, held.why) == (True, 10, "when stays true for at least 2 s: speed_mps < 5")
    off = at(rule, held, 12, speed_mps=9.0)
    assert (off.active, off.since_s) == (False, 12)
    held = at(rule, off, 14.9, speed_mps=1.0)
    assert (held.active, held.why) == (False, "when stays false for at least 3 s: speed_mps < 5")
    assert at(rule, held, 15, speed_mps=1.0).active


def test_a_fault_ends_it_at_once_and_says_so():
    rule = when("1 / speed_mps > 0.1", min_on_s=60)
    on = at(rule, RuleState(), 0, speed_mps=1.0)
    off = at(rule, on, 1, speed_mps=0.0)
    assert (off.active, off.since_s, off.why) == (False, 1, "when is false: division by zero")
    stale = advanced(rule, on, 1, Truth(fault="speed_mps is stale: nothing for more than 1 s"))
    assert stale.why == "when is false: speed_mps is stale: nothing for more than 1 s"
    until = when(until="1 / speed_mps > 0.1")
    assert at(until, RuleState(), 0, speed_mps=0.0).why == "when is false: division by zero"


def test_of_several_cameras_one_is_enough_to_go_on_and_all_are_needed_to_go_off():
    on, off, between, fault = (
        Truth(True, False),
        Truth(False, True),
        Truth(False, False),
        Truth(fault="division by zero"),
    )
    assert truth_of_any([on, off]) == on
    assert truth_of_any([off, between]) == between
    assert truth_of_any([off, off]) == off
    assert truth_of_any([fault, on]) == on
    assert truth_of_any([fault, fault]) == fault


def test_a_summary_has_the_highest_score_and_the_numbers():
    def found(**what: object) -> Summary:
        times = Latency(0, 0, 0, 0, 0, 0)
        use = EngineUse("m", "b", "cpu", "fp32", 1)
        return Summary.of(Result("lane", "front", 1, 10, 10, 1, 1, "media", times, use, found=Found(**what)))

    boxes = (Box("a", 0, 0.4, 0, 0, 1, 1), Box("a", 0, 0.7, 0, 0, 1, 1))
    lanes = (Lane("line", 0.9, ()),)
    assert found(boxes=boxes, lanes=lanes) == Summary("lane", "front", 0.9, 2, 1)
    assert found(boxes=boxes) == Summary("lane", "front", 0.7, 2, 0)
    assert found(lanes=()).values == {"score": 0.0, "count": 0.0, "lanes": 0.0}


def test_a_rule_over_results_reads_their_summary():
    rule = after_rule(
        AfterConfig.model_validate({"task": "lane", "if": "score < 0.5 or count > 3", "until": "lanes > 1"})
    )
    assert (rule.word, rule.follows, rule.names) == ("after lane", "lane", {"score", "count", "lanes"})
    assert truth_of(rule, Summary("lane", "a", 0.4, 0, 2).values) == Truth(True, True)


# ---- properties ------------------------------------------------------------------------------------------------------

readings = st.lists(st.tuples(st.floats(0, 2), st.floats(0, 12)), max_size=40)
minima = st.floats(0, 5)


@given(readings, minima, minima)
def test_whatever_is_read_no_change_comes_sooner_than_its_minimum(steps, min_on_s, min_off_s):
    rule = when(until="speed_mps > 8", min_on_s=min_on_s, min_off_s=min_off_s)
    state, now_s, changes = RuleState(), 0.0, []
    for pause_s, speed_mps in steps:
        now_s += pause_s
        after = at(rule, state, now_s, speed_mps=speed_mps)
        if after.active != state.active:
            changes.append((now_s, after.active))
            assert after.since_s == now_s
        state = after
    for (before_s, was), (after_s, _) in zip(changes, changes[1:], strict=False):
        assert after_s - before_s >= (min_on_s if was else min_off_s)


@given(readings)
def test_inside_the_band_it_never_flips(steps):
    state = RuleState()
    for now_s, (_, speed_mps) in enumerate(steps):
        after = at(BAND, state, now_s, speed_mps=speed_mps)
        if 5 <= speed_mps <= 8:
            assert after.active == state.active
        else:
            assert after.active == (speed_mps < 5)
        state = after


@given(readings, minima, minima)
def test_reading_the_same_again_changes_nothing(steps, min_on_s, min_off_s):
    rule = when(until="speed_mps > 8", min_on_s=min_on_s, min_off_s=min_off_s)
    once = twice = RuleState()
    now_s = 0.0
    for pause_s, speed_mps in steps:
        now_s += pause_s
        once = at(rule, once, now_s, speed_mps=speed_mps)
        twice = at(rule, at(rule, twice, now_s, speed_mps=speed_mps), now_s, speed_mps=speed_mps)
        assert twice == once


truths = st.builds(Truth, st.booleans(), st.booleans(), st.sampled_from(["", "", "a", "b"]))


@given(st.lists(truths, min_size=1, max_size=6), st.randoms())
def test_the_order_of_cameras_never_matters(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    united, other = truth_of_any(found), truth_of_any(shuffled)
    assert united.fault == other.fault
    assert united.fault or united == other
