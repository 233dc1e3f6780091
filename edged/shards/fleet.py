"""All shards of the daemon as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields

from edged.assembly import Lineup
from edged.camera.worker import CameraReport, not_started
from edged.config import Config, Secrets
from edged.engines.base import EngineFacts
from edged.engines.worker import StageCpu
from edged.errors import BackendUnavailable, EdgedError
from edged.plan import Plan
from edged.scheduler.dispatch import DeviceCounts, TaskCounts
from edged.shards.assign import assign
from edged.shards.shard import Part, ProcessReport, Routes
from edged.work import Cost


@dataclass(frozen=True)
class FleetReport:
    """What all shards are and have done so far. `processes` has a row for each that is not the daemon's own."""

    cameras: Mapping[str, CameraReport]
    counts: Mapping[tuple[str, str], TaskCounts]
    devices: Mapping[str, DeviceCounts]
    stages: StageCpu
    notes: Mapping[str, str]
    processes: tuple[ProcessReport, ...]


@dataclass(frozen=True)
class _Setting:
    """Which part has which camera, those that are gone too, and what each part has loaded."""

    placed: Mapping[str, int]
    cameras: tuple[str, ...]
    lineups: tuple[Lineup, ...]


class Fleet:
    """Gives each part its cameras and orders, and puts together what they say.

    Used by the daemon's main thread; `prepare` by any one.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._now = self._next = _Setting({}, (), ())
        self._costs: Mapping[str, Cost] = {}

    def prepare(self, config: Config, secrets: Secrets) -> Lineup:
        """Load what a configuration needs, beside what runs, and return what will serve each task.

        Raises:
            ConfigError: a model, parser, credential or group of cameras does not fit.
            BackendUnavailable: something cannot be had, or not in every process alike. Nothing is left prepared.
        """
        placed = assign(config, len(self._parts), self._now.placed)
        shares = [frozenset(c for c, part in placed.items() if part == n) for n in range(len(self._parts))]
        begun: list[Callable[[], None]] = []

        def load(part: Part, cameras: frozenset[str]) -> Lineup:
            begun.append(part.discard)
            return part.prepare(config, secrets, cameras)

        try:
            with ThreadPoolExecutor(len(self._parts)) as pool:
                lineups = tuple(pool.map(load, self._parts, shares))
            whole = joined(lineups)
        except BaseException:
            for discard in begun:
                with suppress(EdgedError):  # the first failure is the one to tell
                    discard()
            raise
        self._next = _Setting({**self._now.placed, **placed}, tuple(placed), lineups)
        return whole

    def discard(self) -> None:
        """Forget what was prepared. After `prepare` has ended."""
        for part in self._parts:
            part.discard()

    def take_over(self, changed: frozenset[str]) -> None:
        """Put what was prepared into service, and start the cameras that are new in it or changed."""
        self._now = self._next
        for part in self._parts:
            part.take_over(changed)
            if self._costs:
                part.set_costs(self._costs)  # an engine that others have had for long may be new to this one

    def engines(self) -> list[Mapping[str, EngineFacts]]:
        """Return the engines in service, by process."""
        return [lineup.engines for lineup in self._now.lineups]

    def let_go(self, cameras: frozenset[str], routes: Routes) -> None:
        """Follow routes that claim nothing of these cameras any more, and stop them."""
        for part in self._parts:
            part.let_go(cameras, routes)

    def follow(self, plan: Plan, routes: Routes) -> None:
        """Bring cameras and routes to a plan."""
        for part in self._parts:
            part.follow(plan, routes)

    def set_costs(self, costs: Mapping[str, Cost]) -> None:
        """Take what each engine's inferences cost."""
        self._costs = costs
        for part in self._parts:
            part.set_costs(costs)

    def cameras(self) -> dict[str, CameraReport]:
        """Return what every camera's stream is, in other processes as of their last report."""
        return self._known({camera: one for part in self._parts for camera, one in part.cameras().items()})

    def report(self) -> FleetReport:
        """Return what all of them are at this moment."""
        for part in self._parts:
            part.ask()
        reports = [part.report() for part in self._parts]
        return FleetReport(
            self._known({camera: one for report in reports for camera, one in report.cameras.items()}),
            {claim: one for report in reports for claim, one in report.counts.items()},
            _summed([report.devices for report in reports]),
            StageCpu.total(report.stages for report in reports),
            {key: note for report in reports for key, note in report.notes.items()},
            tuple(report.process for report in reports if report.process is not None),
        )

    def _known(self, reports: Mapping[str, CameraReport]) -> dict[str, CameraReport]:
        """Return a report for each camera there is: one that has said nothing yet is closed."""
        return {name: reports.get(name) or not_started(name) for name in self._now.cameras}

    def end(self) -> None:
        """Begin to end: nothing is inferred any more, and no camera waits."""
        for part in self._parts:
            part.end()

    def close(self) -> None:
        """Free all engines. The supervisor's workers have ended."""
        for part in self._parts:
            part.close()


def joined(lineups: Sequence[Lineup]) -> Lineup:
    """Return what all of them together have. Raise `BackendUnavailable` where a task is not served by all alike."""
    whole = Lineup({}, {}, {}, {})
    for lineup in lineups:
        for task, chosen in lineup.chosen.items():
            if task not in whole.chosen:
                continue
            if whole.chosen[task] != chosen:
                raise BackendUnavailable(
                    f"task {task} is served by {whole.chosen[task]} in one process and by {chosen} in another; "
                    "name the one that all can have in its engine.backend, or take fewer scheduler.processes"
                )
            if whole.task_engine.get(task) != lineup.task_engine.get(task):
                raise BackendUnavailable(
                    f"task {task}: files of its engine were changed while the processes read them; try it again"
                )
        whole = Lineup(*({**getattr(whole, one.name), **getattr(lineup, one.name)} for one in fields(Lineup)))
    return whole


def _summed(shares: Sequence[Mapping[str, DeviceCounts]]) -> dict[str, DeviceCounts]:
    """Return what each device has done for all processes together."""
    whole: dict[str, DeviceCounts] = {}
    for share in shares:
        for name, one in share.items():
            before = whole.get(name, DeviceCounts())
            lost = Counter(before.lost_by_priority) + Counter(one.lost_by_priority)
            whole[name] = DeviceCounts(before.served + one.served, dict(lost), before.busy_s + one.busy_s)
    return whole
