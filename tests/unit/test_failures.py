"""When it is said that a task has no results because all of its frames fail."""

from __future__ import annotations

from edged.planning import Failures
from edged.scheduler.dispatch import TaskCounts

S = 1_000_000_000


def look(failures, *, served=0, failed=0, at=0, running=("t",)):
    counts = {("t", "a"): TaskCounts(served=served, failed=failed), ("t", "b"): TaskCounts(late=served)}
    failures.look(counts, running, at * S)
    return failures.of("t")


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
    assert failures.of("t") == ""
