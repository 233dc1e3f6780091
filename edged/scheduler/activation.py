"""Which tasks are wanted, and by whom: configuration, command, rule over signals, subscription, other results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from edged.config import TaskConfig
from edged.errors import UsageError, did_you_mean
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
from edged.scheduler.signals import SignalBook

PATIENCE = 3.0  # a result counts for three intervals of its task's granted rate, and for signal_timeout_s at least


class Activation:
    """The active set. A command outweighs everything else until it is taken back, or the daemon ends.

    One thread's use, save for `noted` and `listened_to`.

    Args:
        tasks: every task by name, as `check` let them pass.
        book: the signals that `when` reads, watched for them; only the built-in ones where there is no book.
        clock: seconds of CLOCK_MONOTONIC, the book's own.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskConfig],
        book: SignalBook | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._book = book or SignalBook(clock=clock)
        self._commanded: dict[str, bool] = {}
        self._listened: frozenset[str] = frozenset()
        self._rates_hz: Mapping[str, float] = {}
        self._results: dict[tuple[str, str], tuple[Summary, float, float]] = {}
        self._states: dict[str, RuleState] = {}
        self._rules: dict[str, Rule] = {}
        self.reload(tasks)

    def reload(self, tasks: Mapping[str, TaskConfig], book: SignalBook | None = None) -> None:
        """Go on with other tasks. Commands of those that still exist hold; rules that are equal keep their state."""
        before = self._rules
        self._tasks, self._book = tasks, book or self._book
        whens = {name: when_rule(task.when, self._book.kinds) for name, task in tasks.items() if task.when}
        self._rules = whens | {name: after_rule(task.after) for name, task in tasks.items() if task.after}
        self._book.watch(whens.values())
        self._commanded = {name: active for name, active in self._commanded.items() if name in tasks}
        self._states = {
            name: self._states.get(name, RuleState()) if before.get(name) == rule else RuleState()
            for name, rule in self._rules.items()
        }

    def of(self, task: str) -> tuple[bool, str]:
        """Return whether a task is wanted now, and why, in words that change only when the answer's cause does."""
        rule = self._rules.get(task)
        if rule is not None:
            now_s = self._clock()
            truth = self._after(rule, now_s) if rule.follows else self._when(rule, now_s)
            self._states[task] = advanced(rule, self._states[task], now_s, truth)
        if task in self._commanded:
            active = self._commanded[task]
            outweighed = "" if rule is None else f", which outweighs {rule.word}: {rule.condition.text}"
            return active, f"{'activated' if active else 'deactivated'} by command{outweighed}"
        if rule is not None:
            return self._states[task].active, self._states[task].why
        active_is = self._tasks[task].active
        if active_is == "on_subscribe":
            listened = task in self._listened
            return listened, "somebody subscribes" if listened else "nobody subscribes"
        return bool(active_is), "configured" if active_is else "active: false"

    def check(self, tasks: Any) -> list[str]:
        """Return the tasks that a command names.

        Raises:
            UsageError: not a list of known names; the text has the nearest one and all that there are.
        """
        if not isinstance(tasks, (list, tuple)) or not tasks or not all(isinstance(name, str) for name in tasks):
            raise UsageError(f"tasks must be a list of task names; there are {', '.join(self._tasks)}")
        for name in tasks:
            if name not in self._tasks:
                hint = did_you_mean(name, self._tasks, then=f"there are {', '.join(self._tasks)}")
                raise UsageError(f"no task {name[:64]!r}; {hint}")
        return list(tasks)

    def command(self, tasks: Any, active: bool) -> None:
        """Activate or deactivate tasks, all of them or, where `check` finds a fault, none."""
        self._commanded.update(dict.fromkeys(self.check(tasks), active))

    def take_back(self, tasks: Any) -> None:
        """Let what the configuration says decide about tasks again, all of them or, with a fault, none."""
        for name in self.check(tasks):
            self._commanded.pop(name, None)

    def listened_to(self, tasks: frozenset[str]) -> None:
        """Take note of the tasks whose results somebody subscribes to. May be called from any thread."""
        self._listened = tasks

    def followed(self) -> frozenset[str]:
        """Return the tasks whose results other tasks wait for: `noted` needs no others."""
        return frozenset(rule.follows for rule in self._rules.values() if rule.follows)

    def planned(self, rates_hz: Mapping[str, float]) -> None:
        """Take note of the rates that the newest plan grants, 0 to a suspended task.

        Results of tasks that are not among them are forgotten; those of a suspended one count until they are too old.
        """
        for key in [key for key in tuple(self._results) if key[0] not in rates_hz]:
            self._results.pop(key, None)
        self._rates_hz = rates_hz

    def noted(self, summary: Summary) -> None:
        """Take note of a result of a followed task. May be called from any thread."""
        self._results[summary.task, summary.camera] = (summary, self._clock(), self._patience_s(summary.task))

    def _when(self, rule: Rule, now_s: float) -> Truth:
        missing = self._book.missing(rule.names, now_s)
        return Truth(fault=missing) if missing else truth_of(rule, self._book.readings.values)

    def _after(self, rule: Rule, now_s: float) -> Truth:
        followed = rule.follows
        if followed not in self._rates_hz:
            return Truth(fault=f"{followed} is not running")
        patience_s = self._patience_s(followed)
        truths = []
        for camera in self._tasks[followed].cameras:
            result, noted_s, then_s = self._results.get((followed, camera), (None, 0.0, 0.0))
            if result is not None and now_s - noted_s <= max(patience_s, then_s):  # the rate may just have changed
                truths.append(truth_of(rule, result.values))
        if truths:
            return truth_of_any(truths)
        suspended = not self._rates_hz[followed]
        return Truth(
            gap=f"{followed} is suspended" if suspended else f"{followed} has no result of the last {patience_s:.3g} s"
        )

    def _patience_s(self, followed: str) -> float:
        """Return how long a result of a task counts, at the rate that it is granted."""
        task = self._tasks.get(followed)
        rate_hz = self._rates_hz.get(followed) or (task.rate_hz if task else 0.0)
        return max(self._book.timeout_s, PATIENCE / rate_hz) if rate_hz else self._book.timeout_s
