"""What each running task gets of the machine, from the highest priority down; and in words why it is not all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from edged.plan import DeviceShare, Plan
from edged.scheduler.clusters import Grouping
from edged.scheduler.demand import CPU, Demand, EngineLoad, Machine
from edged.scheduler.ledger import EPSILON_S, Claim, Ledger, Load
from edged.scheduler.rates import LEAST_HZ, STEP, granted_hz, steps_down, steps_to


class Share(NamedTuple):
    """What one task gets: its rate per camera, 0 while it is suspended, and why that is less than it wants.

    `breaks` marks a task that is suspended because it would break a deadline of higher priority.
    """

    rate_hz: float
    why: str = ""
    breaks: bool = False


class _Guard(NamedTuple):
    """How long a task with a deadline can wait for a device that does one inference at a time."""

    slack_s: float
    cost_s: float
    demand: Demand


class Shares:
    """Gives out the machine. `of` has a share for each running task, by its position; `devices` the sums."""

    def __init__(self, tasks: Sequence[Demand], grouping: Grouping, machine: Machine, previous: Plan) -> None:
        self._machine = machine
        self._previous = previous
        self._ledger = Ledger(grouping.clusters, machine.capacity)
        self._guards: dict[str, list[_Guard]] = {}
        self._wanted: dict[str, float] = {}
        self._levels: dict[str, list[tuple[int, float]]] = {}
        self.of: dict[int, Share] = {}
        claims = _claims(tasks, grouping.by_task, machine)
        claims.sort(key=lambda claim: (-claim.demand.priority, claim.position))
        for priority, level in groupby(claims, key=lambda claim: claim.demand.priority):
            self._level(list(level))
            for device, used in self._ledger.used.items():
                levels = self._levels.setdefault(device, [])
                if not levels or _rounded(used) > levels[-1][1]:
                    levels.append((priority, _rounded(used)))

    @property
    def devices(self) -> dict[str, DeviceShare]:
        """What each limited device can do, what is given out and what was wanted, rounded."""
        used, wanted = self._ledger.used, self._wanted
        return {
            device: DeviceShare(
                _rounded(capacity),
                _rounded(used.get(device, 0.0)),
                _rounded(wanted.get(device, 0.0)),
                tuple(self._levels.get(device, ())),
            )
            for device, capacity in sorted(self._machine.capacity.items())
        }

    def _level(self, level: list[Claim]) -> None:
        """Give one priority its part: all of it if it fits, else evenly less on each device that is full."""
        level = [claim for claim in level if not self._blocked(claim)]
        for claim in level:  # what is inferred for others is not taken away
            claim.least_hz = max(claim.least_hz, min(claim.wanted_hz, self._ledger.anyway_hz(claim)))
        load, factors = self._ledger.load(level), dict[str, float]()
        work = load.work()
        for device, seconds in work.items():
            self._wanted[device] = self._wanted.get(device, 0.0) + seconds
        if self._ledger.lacking(work):
            if self._ledger.lacking(load.least(), max(map(self._margin, level))):
                level = self._admitted(level)
                load = self._ledger.load(level)
            factors = self._factors(level, load)
            work = load.work(factors)
        rates = {claim.position: granted_hz(claim, factors) for claim in level}
        self._ledger.give(level, load, rates, work)
        for claim in level:
            self.of[claim.position] = Share(rates[claim.position], self._slowed(claim, rates[claim.position]))
            self._guard(claim)

    def _admitted(self, level: Iterable[Claim]) -> list[Claim]:
        """Return the claims whose least rates fit, in the order of their names; the others are suspended."""
        ledger, admitted = self._ledger.copy(), []
        for claim in level:
            load = ledger.load([claim])
            need = load.least()
            # named is what lacks without a margin: else the words would change with the next plan
            lacking = ledger.lacking(need) or ledger.lacking(need, self._margin(claim))
            if lacking is None:
                ledger.give([claim], load, {claim.position: claim.least_hz}, need)
                admitted.append(claim)
            else:
                why = self._suspended(claim, lacking, ledger.left(lacking), need[lacking])
                self.of[claim.position] = Share(0.0, why)
        return admitted

    def _margin(self, claim: Claim) -> float:
        """Return how much of its least work must fit: a step more for one that was suspended, lest it come and go."""
        before = self._previous.tasks.get(claim.demand.task)
        return STEP if before is not None and before.suspended else 1.0

    def _factors(self, level: Sequence[Claim], load: Load) -> dict[str, float]:
        """Return by what factor the rates must be lowered on each device that is short of time."""
        factors = {}
        for device in sorted({part.device for part in load.parts}):
            left = self._ledger.left(device) - (load.decode if device == CPU else 0.0)
            claims = [claim for claim in level if claim.device == device]
            known = [(self._previous.tasks.get(claim.demand.task), claim) for claim in claims]
            before = max([steps_to(claim, old.rate_hz) for old, claim in known if old and old.rate_hz > 0], default=0)
            steps = steps_down(load.on(device), left, claims, before)
            if steps > 0:
                factors[device] = STEP**-steps
        return factors

    def _blocked(self, claim: Claim) -> bool:
        """Suspend a claim if one inference of it, which nothing can interrupt, breaks a deadline of higher priority."""
        cost_s = claim.load.cost.of(1) if claim.load else 0.0
        for guard in self._guards.get(claim.device or "", ()):
            other = guard.demand
            if cost_s > guard.slack_s + EPSILON_S and other.engine != claim.demand.engine:
                why = (
                    f"suspended: one inference takes {_ms(cost_s)} and cannot be interrupted, and {other.task}, of "
                    f"priority {other.priority}, needs {_ms(guard.cost_s)} of its {other.deadline_ms:g} ms "
                    f"on the one worker of {claim.device}"
                )
                self.of[claim.position] = Share(0.0, why, breaks=True)
                return True
        return False

    def _guard(self, claim: Claim) -> None:
        deadline_ms, load = claim.demand.deadline_ms, claim.load
        if deadline_ms is None or load is None or self._machine.workers.get(load.device) != 1:
            return
        cost_s = load.cost.of(1)
        if cost_s <= deadline_ms / 1000:
            guards = self._guards.setdefault(load.device, [])
            guards.append(_Guard(deadline_ms / 1000 - cost_s, cost_s, claim.demand))
            guards.sort(key=lambda guard: (guard.slack_s, guard.demand.task))

    def _slowed(self, claim: Claim, rate_hz: float) -> str:
        device = claim.device
        if rate_hz >= claim.wanted_hz or device is None:
            return ""
        return (
            f"{rate_hz:g} of {claim.wanted_hz:g} Hz: {device} is full, "
            f"{_words(self._ledger.used.get(device, 0.0))} of {self._capacity(device)}{self._note(device)}, "
            f"priority {claim.demand.priority} gives way"
        )

    def _suspended(self, claim: Claim, device: str, left: float, need: float) -> str:
        return (
            f"suspended: {device} has {_words(left)} of {self._capacity(device)} left{self._note(device)}, "
            f"{claim.least_hz:g} Hz would take {_words(need)}, priority {claim.demand.priority} gives way"
        )

    def _capacity(self, device: str) -> str:
        return f"{_words(self._machine.capacity[device])} s/s"

    def _note(self, device: str) -> str:
        note = self._machine.notes.get(device)
        return f" ({note})" if note else ""


def _claims(tasks: Sequence[Demand], by_task: Sequence[list[int]], machine: Machine) -> list[Claim]:
    return [
        Claim(
            position,
            demand,
            _load(demand, machine),
            min(demand.rate_hz, max(demand.rate_min_hz, LEAST_HZ)),
            by_task[position],
        )
        for position, demand in enumerate(tasks)
        if demand.active and demand.blocked is None
    ]


def _load(demand: Demand, machine: Machine) -> EngineLoad | None:
    load = machine.engines.get(demand.engine)
    return load if load is not None and load.cost.of(1) > 0 else None


def _rounded(seconds: float) -> float:
    """Return seconds per second for the plan, the same in whatever order they were added up."""
    return round(round(seconds, 9), 3)


def _words(seconds: float) -> str:
    return f"{round(seconds, 9):.2f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
