from __future__ import annotations

import pytest

from edged.demo.schedule import ACTS, ROUND_MAX_S, active_tasks

ALL = frozenset({"pedestrian", "lane", "vehicle"})


def sets(seconds: float, step_s: float) -> list[frozenset[str]]:
    """The task sets in the order they come, each once."""
    seen: list[frozenset[str]] = []
    for number in range(int(seconds / step_s) + 1):
        now = active_tasks(seconds, number * step_s)
        if not seen or seen[-1] != now:
            seen.append(now)
    return seen


@pytest.mark.parametrize("seconds", [5.0, 20.0, 30.0, ROUND_MAX_S])
def test_a_short_show_plays_every_act_once(seconds: float) -> None:
    assert sets(seconds, 0.01) == [tasks for _, tasks in ACTS]


def test_the_acts_are_relative_to_the_whole_time() -> None:
    assert active_tasks(10.0, 0.0) == {"pedestrian"}
    assert active_tasks(10.0, 1.49) == {"pedestrian"}
    assert active_tasks(10.0, 1.5) == {"pedestrian", "lane"}
    assert active_tasks(20.0, 2.9) == {"pedestrian"}
    assert active_tasks(20.0, 3.0) == {"pedestrian", "lane"}


def test_a_long_show_repeats_the_acts() -> None:
    assert sets(3600.0, 0.1) == [tasks for _, tasks in ACTS] * 60


@pytest.mark.parametrize("seconds", [5.0, 61.0, 7200.0])
def test_everything_is_on_at_the_end_and_something_is_always_on(seconds: float) -> None:
    assert active_tasks(seconds, seconds) == active_tasks(seconds, seconds * 2) == ALL
    assert active_tasks(seconds, seconds - 0.001) == ALL
    assert all(sets(seconds, 0.5))


def test_each_switch_shows_one_thing() -> None:
    for (_, before), (_, after) in zip(ACTS[:-2], ACTS[1:-1], strict=True):
        assert len(before ^ after) == 1
