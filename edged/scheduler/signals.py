"""The newest value of every vehicle signal, and when each was measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edged.config.text import show
from edged.errors import UsageError, did_you_mean
from edged.expression import Kind, Value
from edged.scheduler.rules import Rule, Truth, truth_of
from edged.signals import KINDS, SIGNALS

NUMBER_MAX = 1e12
TEXT_MAX = 64
FUTURE_MAX_S = {"mono_ns": 0.5, "unix_ns": 5.0}
OLDER_MAX_S = 0.001  # Unix times become monotonic ones by two clocks that are not read at the same instant


@dataclass(frozen=True)
class Readings:
    """Values and the times they were measured, in seconds of CLOCK_MONOTONIC. Never changed once it is made."""

    values: Mapping[str, Value] = field(default_factory=dict)
    times_s: Mapping[str, float] = field(default_factory=dict)


class SignalBook:
    """Takes signals from the control socket's thread, and gives them to the planner's. Any thread may call anything.

    Args:
        kinds: the kind of every signal there is.
        timeout_s: a signal that was not renewed for longer is stale.
        changed: is called, in the thread of `set`, when what a watched rule says has changed.
        clock: seconds of CLOCK_MONOTONIC.
        wall_clock: seconds of Unix time.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind] = KINDS,
        timeout_s: float = 1.0,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.kinds, self.timeout_s = kinds, timeout_s
        self._changed, self._clock, self._wall_clock = changed, clock, wall_clock
        self._lock = threading.Lock()
        self._readings = Readings()
        self._rules: list[Rule] = []
        self._said: list[Truth | None] = []
        self._readers: dict[str, list[int]] = {}

    @property
    def readings(self) -> Readings:
        """What is known now."""
        return self._readings

    def watch(self, rules: Iterable[Rule]) -> None:
        """Call `changed` from now on when what one of these rules says changes."""
        with self._lock:
            self._rules = list(rules)
            self._said = [None] * len(self._rules)
            readers: dict[str, list[int]] = {}
            for index, rule in enumerate(self._rules):
                for name in rule.names:
                    readers.setdefault(name, []).append(index)
            self._readers = readers
            self._look(range(len(self._rules)))

    def redefine(self, kinds: Mapping[str, Kind], timeout_s: float) -> None:
        """Go on with other signals. What is known of those that stay as they were is kept; no rule is watched."""
        with self._lock:
            self._rules, self._readers = [], {}
            kept = [name for name in self._readings.values if kinds.get(name) == self.kinds[name]]
            before, self.kinds, self.timeout_s = self._readings, kinds, timeout_s
            self._readings = Readings(
                {name: before.values[name] for name in kept}, {name: before.times_s[name] for name in kept}
            )

    def set(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Take new values, all of them or, where one is refused, none.

        Args:
            args: `signals` maps names to values; `mono_ns` or `unix_ns` says when they were measured, and is now when
                both are absent. With both, `mono_ns` counts.

        Returns:
            `{"signals": [...]}` with a map as of `report` for each of them.

        Raises:
            UsageError: an unknown signal, a value that is none of its kind, a time in the future, or one before what
                is known.
        """
        given = args.get("signals")
        if not isinstance(given, dict) or not given:
            raise UsageError(f"signals must be a map of names to values, got {show(given)}")
        with self._lock:
            now_s = self._clock()
            time_s = now_s - self._age_s(args, now_s)
            before, names = self._readings, self.kinds
            new = {name: _checked(name, value, names) for name, value in given.items()}
            fresh_s = now_s - self.timeout_s
            moved: set[int] = set()
            woken = False
            for name, value in new.items():
                known_s = before.times_s.get(name)
                if known_s is not None and time_s < known_s - OLDER_MAX_S:
                    raise UsageError(f"{name} is known from {known_s - time_s:.3f} s later; nothing was taken")
                if time_s >= fresh_s and (known_s is None or known_s < fresh_s):
                    woken = woken or name in self._readers  # it was stale, which no expression tells
                if before.values.get(name) != value:
                    moved.update(self._readers.get(name, ()))
            self._readings = Readings({**before.values, **new}, {**before.times_s, **dict.fromkeys(new, time_s)})
            changed = self._look(moved) or woken
            answer = {"signals": [self._entry(name, now_s) for name in new]}
        if changed:
            self._changed()
        return answer

    def missing(self, names: Iterable[str], now_s: float) -> str:
        """Return which of these signals have no value that counts, in words that do not change with the time."""
        times_s, oldest_s = self._readings.times_s, now_s - self.timeout_s
        faults = []
        for name in names:
            time_s = times_s.get(name)
            if time_s is None:
                faults.append(f"{name} was never set")
            elif time_s < oldest_s:
                faults.append(f"{name} is stale: nothing for more than {self.timeout_s:g} s")
        return "; ".join(sorted(faults))

    def report(self, now_s: float | None = None) -> list[dict[str, Any]]:
        """Return signal, value, age_ms and stale of every signal that was set or that a rule reads, by name."""
        at_s = self._clock() if now_s is None else now_s
        return [self._entry(name, at_s) for name in sorted(self._readings.values.keys() | self._readers.keys())]

    def listing(self, _: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return `{"signals": [...]}`: of every signal there is, also its kind, unit and meaning."""
        now_s = self._clock()
        return {"signals": [{**self._entry(name, now_s), **_described(name, self.kinds[name])} for name in self.kinds]}

    def _entry(self, name: str, now_s: float) -> dict[str, Any]:
        readings = self._readings
        time_s = readings.times_s.get(name)
        if time_s is None:
            return {"signal": name, "value": None, "age_ms": None, "stale": True}
        age_s = now_s - time_s
        return {
            "signal": name,
            "value": readings.values[name],
            "age_ms": round(age_s * 1000, 1),
            "stale": age_s > self.timeout_s,
        }

    def _age_s(self, args: Mapping[str, Any], now_s: float) -> float:
        """Return how long ago the values were measured."""
        age_s = 0.0
        for key in ("unix_ns", "mono_ns"):
            time_ns = args.get(key)
            if time_ns is None:
                continue
            if isinstance(time_ns, bool) or not isinstance(time_ns, int) or time_ns < 0:
                raise UsageError(f"{key} must be a whole number of nanoseconds, got {show(time_ns)}")
            age_s = (now_s if key == "mono_ns" else self._wall_clock()) - time_ns / 1e9
            if age_s < -FUTURE_MAX_S[key]:
                raise UsageError(f"{key} is {-age_s:.3f} s in the future; at most {FUTURE_MAX_S[key]:g} s are allowed")
        return max(0.0, age_s)

    def _look(self, rules: Iterable[int]) -> bool:
        """Evaluate rules, and return whether one of them says something else than it did."""
        values, changed = self._readings.values, False
        said: Truth | None
        for index in rules:
            try:
                said = truth_of(self._rules[index], values)
            except KeyError:
                said = None  # some of its signals were never set
            if said is not self._said[index] and said != self._said[index]:
                self._said[index] = said
                changed = True
        return changed


def _checked(name: Any, value: Any, kinds: Mapping[str, Kind]) -> Value:
    """Return a value as its signal's kind."""
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(_unknown(name, kinds))
    if kind.base == "number":
        if isinstance(value, (int, float)) and not isinstance(value, bool) and -NUMBER_MAX <= value <= NUMBER_MAX:
            return float(value)
        raise UsageError(f"{name} must be a number from -1e12 to 1e12, got {show(value)}")
    if kind.base == "flag":
        if isinstance(value, bool):
            return value
        raise UsageError(f"{name} must be true or false, got {show(value)}")
    if not isinstance(value, str) or len(value) > TEXT_MAX or not value.isprintable():
        raise UsageError(f"{name} must be a text of at most {TEXT_MAX} printable characters, got {show(value)}")
    if kind.allowed and value not in kind.allowed:
        raise UsageError(f"{name} must be one of {', '.join(kind.allowed)}, got {show(value)}")
    return value


def _unknown(name: Any, kinds: Mapping[str, Kind]) -> str:
    return f"no signal {show(name)}; " + did_you_mean(str(name), kinds, then=f"there are {', '.join(sorted(kinds))}")


def _described(name: str, kind: Kind) -> dict[str, Any]:
    built_in = SIGNALS.get(name)
    return {
        "kind": kind.base,
        "allowed": list(kind.allowed),
        "unit": built_in.unit if built_in else "",
        "meaning": built_in.meaning if built_in else "declared in edged.yaml",
    }
