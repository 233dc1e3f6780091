"""One activation rule as pure functions: what its expressions say now, and what it therefore is.

A rule goes on when its condition is true, and off when `until` is true; without `until`, when its condition is not.
`until` outweighs, so a rule whose both are true is off, and one whose neither is true stays what it was. Between two
changes it waits `min_on_s` or `min_off_s`. A fault (a signal that is missing, a division by zero) makes it false at
once, whatever these say. A gap (the followed task is suspended, or has no result) makes it false too, but waits: it may
be for this very task's work that there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edged.config.task import AfterConfig, WhenConfig
from edged.expression import Expression, Kind, Undefined, Value, parse
from edged.results import Result
from edged.signals import RESULT_KINDS


@dataclass(frozen=True)
class Rule:
    """A rule of one task: over signals, or over the results of the task that it `follows`.

    `word` is what it is called in reasons: "when", or "after lane".
    """

    word: str
    condition: Expression
    until: Expression | None = None
    min_on_s: float = 0.0
    min_off_s: float = 0.0
    follows: str = ""

    @property
    def names(self) -> frozenset[str]:
        """What its expressions read."""
        return self.condition.names | (self.until.names if self.until else frozenset())


@dataclass(frozen=True)
class Truth:
    """What a rule's expressions say now: to go on, to go off. With a fault or a gap they say nothing."""

    on: bool = False
    off: bool = True
    fault: str = ""
    gap: str = ""


_ON, _OFF = Truth(True, False), Truth(False, True)


@dataclass(frozen=True)
class RuleState:
    """What a rule is: since when, on the clock of `advanced`, and why in words that change only when the state does."""

    active: bool = False
    since_s: float = -math.inf
    why: str = ""


@dataclass(frozen=True)
class Summary:
    """What `after` looks at in one result: the highest score of detections and lanes, 0 without, and their numbers."""

    task: str
    camera: str
    score: float
    count: int
    lanes: int

    @classmethod
    def of(cls, result: Result) -> Summary:
        """Return the summary of a result."""
        boxes, lanes = result.found.boxes, result.found.lanes or ()
        score = max(max((box.score for box in boxes), default=0.0), max((lane.score for lane in lanes), default=0.0))
        return cls(result.task, result.camera, float(score), len(boxes), len(lanes))

    @property
    def values(self) -> dict[str, Value]:
        """The names that an expression may read."""
        return {"score": self.score, "count": float(self.count), "lanes": float(self.lanes)}


def when_rule(config: WhenConfig, kinds: Mapping[str, Kind]) -> Rule:
    """Return the rule over signals of these kinds. Raises ValueError for an expression that `check` refuses."""
    return _rule("when", config, kinds)


def after_rule(config: AfterConfig) -> Rule:
    """Return the rule over another task's results. Raises ValueError for an expression that `check` refuses."""
    return _rule(f"after {config.task}", config, RESULT_KINDS, config.task)


def _rule(word: str, config: WhenConfig | AfterConfig, kinds: Mapping[str, Kind], follows: str = "") -> Rule:
    until = None if config.until is None else parse(config.until, kinds)
    return Rule(word, parse(config.condition, kinds), until, config.min_on_s, config.min_off_s, follows)


def truth_of(rule: Rule, values: Mapping[str, Value]) -> Truth:
    """Return what a rule's expressions say of these values, which must have all of the rule's names."""
    try:
        on = rule.condition.value(values)
        if rule.until is None:
            return _ON if on else _OFF
        return Truth(on, rule.until.value(values))
    except Undefined as exc:
        return Truth(fault=str(exc))


def truth_of_any(truths: Iterable[Truth]) -> Truth:
    """Unite what a rule says of several cameras: on where it is for one, off where it is for all.

    A camera with a fault counts only when none is without.
    """
    found = list(truths)
    sound = [truth for truth in found if not truth.fault]
    if not sound:
        return min(found, key=lambda truth: truth.fault)
    off = all(truth.off for truth in sound)
    return Truth(any(truth.on for truth in sound), off)


def advanced(rule: Rule, state: RuleState, now_s: float, truth: Truth) -> RuleState:
    """Return what a rule is after what was read at a time. The same reading again changes nothing.

    Args:
        rule: the rule.
        state: what it was, `RuleState()` at first.
        now_s: seconds on a clock that is never set back.
        truth: what its expressions say.
    """
    if truth.fault:
        return _become(state, False, now_s, f"{rule.word} is false: {truth.fault}")
    wanted = not truth.off if state.active else truth.on and not truth.off
    held_s = rule.min_on_s if state.active else rule.min_off_s
    if wanted != state.active and now_s - state.since_s < held_s:
        return _become(state, state.active, now_s, _held(rule, state.active))
    return _become(state, wanted, now_s, _reason(rule, wanted, truth))


def _become(state: RuleState, active: bool, now_s: float, why: str) -> RuleState:
    if (active, why) == (state.active, state.why):
        return state
    return RuleState(active, state.since_s if active == state.active else now_s, why)


def _held(rule: Rule, active: bool) -> str:
    if active:
        return f"{rule.word} stays true for at least {rule.min_on_s:g} s: {rule.condition.text}"
    return f"{rule.word} stays false for at least {rule.min_off_s:g} s: {rule.condition.text}"


def _reason(rule: Rule, active: bool, truth: Truth) -> str:
    if truth.gap:
        return f"{rule.word} is false: {truth.gap}"
    if active and not truth.on and rule.until is not None:
        return f"{rule.word} stays true until {rule.until.text}"
    if truth.on and not active and rule.until is not None:
        return f"{rule.word} is false, for until is true: {rule.until.text}"
    return f"{rule.word} is {'true' if active else 'false'}: {rule.condition.text}"
