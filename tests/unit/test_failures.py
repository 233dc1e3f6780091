"""When it is said that a task has no results because all of its frames fail."""

from __future__ import annotations

from edged.planning import Failures
from edged.scheduler.dispatch import TaskCounts

S = 1_000_000_000


def look(failures, *, served=0, failed=0, at=0, running=("t",)):
    counts = {("t", "a"): TaskCounts(served=served, failed=failed), ("t", "b"): TaskCounts(served=served)}
    failures.look(counts, running, at * S)
    return failures.of("t")


def test_failures_in_a_row_are_told_with_the_time_of_the_first():
    failures = Failures()
    assert look(failures, served=5, failed=2, at=10) == ""
    assert look(failures, served=5, failed=3, at=11) == ""
    text = "every frame has failed since 00:00:11 UTC; the log says why"
    assert [look(failures, served=5, failed=count, at=12) for count in (4, 5, 5, 90)] == ["", text, text, text]


def test_a_result_ends_it():
    failures = Failures()
    assert look(failures, failed=9, at=1)
    assert look(failures, served=1, failed=9, at=2) == ""
    assert look(failures, served=2, failed=20, at=3) == ""
    assert look(failures, served=2, failed=23, at=4) == "every frame has failed since 00:00:04 UTC; the log says why"


def test_a_task_that_does_not_run_begins_anew():
    failures = Failures()
    assert look(failures, failed=9, at=1)
    assert look(failures, failed=9, at=2, running=()) == ""
    assert look(failures, failed=9, at=3) == ""


def test_nothing_is_said_of_tasks_without_frames():
    failures = Failures()
    failures.look({}, ("t",), 0)
    assert failures.of("t") == ""
