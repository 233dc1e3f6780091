"""When it is said that a task has no results because all of its frames fail."""

from __future__ import annotations

from edged.planning import Failures
from edged.scheduler.dispatch import TaskCounts

S = 1_000_000_000


def look(failures, *, served=0, failed=0, at=0, running=("t",)):
    failures.look({("t", "a"): TaskCounts(served=served, failed=failed)}, running, at * S)
    return failures.of("t", ("a",))


def test_failures_in_a_row_are_told_with_the_time_of_the_first():
    failures = Failures()
    assert look(failures, served=5, failed=2, at=10) == ""
    assert look(failures, served=5, failed=3, at=11) == ""
    text = "every frame has failed since 00:00:11 UTC; the log says why"
    assert [look(failures, served=5, failed=count, at=17) for count in (4, 5, 90)] == ["", text, text]
    assert look(failures, served=5, failed=90, at=60) == text


def test_a_result_ends_it():
    failures = Failures()
    look(failures, failed=9, at=1)
    assert look(failures, failed=9, at=6)
    assert look(failures, served=1, failed=9, at=7) == ""
    assert look(failures, served=1, failed=20, at=8) == ""
    assert look(failures, served=1, failed=20, at=13) == "every frame has failed since 00:00:08 UTC; the log says why"


def test_now_and_then_a_result_is_enough():
    failures = Failures()
    said = [
        look(failures, served=at // 4, failed=at - at // 4, at=at) for at in range(60)
    ]  # three of four fail, at 1 Hz
    assert set(said) == {""}


def test_a_task_that_does_not_run_begins_anew():
    failures = Failures()
    look(failures, failed=9, at=1)
    assert look(failures, failed=9, at=6)
    assert look(failures, failed=9, at=7, running=()) == ""
    assert look(failures, failed=9, at=20) == ""


def test_nothing_is_said_of_tasks_without_frames():
    failures = Failures()
    failures.look({}, ("t",), 0)
    assert failures.of("t", ("a", "b")) == ""


def test_frames_that_are_all_late_or_in_no_group_are_told_too_of_each_camera():
    failures = Failures()

    def said(at, **counts):
        failures.look({("t", name): TaskCounts(**one) for name, one in counts.items()}, ("t",), at * S)
        return failures.of("t", ("a", "b"))

    assert said(1, a={"late": 4}, b={"late": 9, "superseded": 2}) == ""
    assert said(6, a={"late": 4}, b={"late": 9}) == "every frame has been late since 00:00:01 UTC, past its deadline_ms"
    text = "every frame of b has found no group since 00:00:01 UTC within tolerance_ms of its sync"
    assert said(7, a={"served": 1, "late": 4}, b={"late": 9, "unsynced": 10}) == text
    assert said(8, a={"served": 2}, b={"served": 1, "late": 9, "unsynced": 10}) == ""
    assert said(30, a={"served": 2}) == "", "b has left the task"
    said(31, a={"served": 2, "superseded": 1})
    text = "every frame of a has been superseded since 00:00:31 UTC: no worker was free for one"
    assert said(36, a={"served": 2, "superseded": 40}) == text
