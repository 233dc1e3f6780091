"""What the planner is asked, and what its answer means: configuration and health -> demands, supplies, routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from edged.assembly import Lineup
from edged.camera.counter import FrameCounts
from edged.camera.worker import CameraReport
from edged.config import Config, TaskConfig
from edged.plan import CameraState, Mode, Plan
from edged.scheduler.activation import Activation
from edged.scheduler.dispatch import Route, TaskCounts
from edged.scheduler.groups import Sync
from edged.scheduler.planner import Demand, Supply

RATE_CHANGE = 0.08  # of a stream's rate; a smaller one is not told
READINESS = {Mode.COLD: 0, Mode.PARKED: 1, Mode.WARM: 2}
FAILURES, FAILING_S = 3, 5.0  # in a row, and for so long, until it is said
CAUSES = {  # of frames without a result: how it is said of all of them, and what may be done
    "failed": ("has failed", "; the log says why"),
    "late": ("has been late", ", past its deadline_ms"),
    "unsynced": ("has found no group", " within tolerance_ms of its sync"),
    "superseded": ("has been superseded", ": no worker was free for one"),
}


@dataclass
class _Run:
    """What became of one camera's frames for one task since it had a result."""

    good: TaskCounts = field(default_factory=TaskCounts)  # as they were when there was a result last
    bad: Counter[str] = field(default_factory=Counter)  # since then, by cause
    since_ns: int | None = None  # there has been any

    def fails(self, now_ns: int) -> bool:
        """Say whether it is long enough to be told."""
        return self.since_ns is not None and self.bad.total() >= FAILURES and now_ns - self.since_ns >= FAILING_S * 1e9


class Failures:
    """Which cameras of running tasks have had no result of late, though they were looked at. One thread's use."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], _Run] = {}
        self._now_ns = 0

    def look(self, counts: Mapping[tuple[str, str], TaskCounts], running: Container[str], unix_ns: int) -> None:
        """Take in what became of all frames so far; the tasks that are not `running` begin anew."""
        self._now_ns = unix_ns
        self._runs = {claim: self._runs.get(claim, _Run()) for claim in counts}
        for claim, now in counts.items():
            run = self._runs[claim]
            if claim[0] not in running or now.served != run.good.served:
                run.good, run.since_ns = now, None
            run.bad = Counter({cause: getattr(now, cause) - getattr(run.good, cause) for cause in CAUSES})
            if run.since_ns is None and run.bad.total():
                run.since_ns = unix_ns

    def of(self, task: str, cameras: Collection[str]) -> str:
        """Return what to say of a task with these cameras, "" where there is nothing to say."""
        runs = {camera: self._runs[task, camera] for camera in cameras if (task, camera) in self._runs}
        failing = {camera: run for camera, run in runs.items() if run.fails(self._now_ns)}
        if not failing:
            return ""
        bad = sum((run.bad for run in failing.values()), Counter())
        did, remedy = CAUSES[max(CAUSES, key=bad.__getitem__)]
        whose = f" of {', '.join(failing)}" if len(failing) < len(cameras) else ""
        since_ns = max(run.since_ns or 0 for run in failing.values())
        return f"every frame{whose} {did} since {clock_text(since_ns)}{remedy}"


def demands(config: Config, lineup: Lineup, activation: Activation, failures: Failures | None = None) -> list[Demand]:
    """Return what every task wants now."""
    failures = failures or Failures()
    return [
        demand(name, task, lineup, *activation.of(name), failures.of(name, task.cameras))
        for name, task in config.tasks.items()
    ]


def demand(name: str, task: TaskConfig, lineup: Lineup, active: bool, why: str, failing: str = "") -> Demand:
    """Return what one task wants."""
    return Demand(
        task=name,
        cameras=task.cameras,
        rate_hz=task.rate_hz,
        active=active,
        why=why,
        blocked=lineup.blocked.get(name),
        rate_min_hz=task.rate_min_hz,
        priority=task.priority,
        deadline_ms=task.deadline_ms,
        engine=lineup.task_engine.get(name, ""),
        failing=failing,
    )


class Stock:
    """What every camera is, and what it falls to when nothing needs it. One for each configuration; one thread's use.

    A camera falls to the readiest mode that its tasks ask for, and stays there for the longest linger of them; tasks on
    its views are its tasks.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        scheduler = config.edged.scheduler
        self._unneeded: dict[str, Mode] = {}
        self._linger_s: dict[str, float | None] = {}
        self._told_hz: dict[str, float] = {}
        for task in config.tasks.values():
            mode = Mode(task.unneeded or scheduler.unneeded)
            linger_s = scheduler.linger_s if task.linger_s is None else task.linger_s
            for camera in map(config.decoder_of, task.cameras):
                known = camera in self._unneeded
                self._unneeded[camera] = max(self._unneeded.get(camera, mode), mode, key=READINESS.__getitem__)
                self._linger_s[camera] = _longer(self._linger_s[camera], linger_s) if known else linger_s

    def readier(self, camera: str, before: Stock) -> bool:
        """Tell whether a camera that nothing needs is to rest in a readier mode than `before`, or for longer."""
        mode, old = self._unneeded.get(camera, Mode.COLD), before._unneeded.get(camera, Mode.COLD)
        linger_s, old_s = self._linger_s.get(camera, 0.0), before._linger_s.get(camera, 0.0)
        return READINESS[mode] > READINESS[old] or (linger_s != old_s and _longer(linger_s, old_s) == linger_s)

    def supplies(self, reports: Mapping[str, CameraReport]) -> list[Supply]:
        """Return every camera as it is, and every view as its camera is."""
        cameras = {camera: self._supply(camera, report) for camera, report in reports.items()}
        return [*cameras.values(), *(_view_of(cameras[one.view_of], name) for name, one in self._config.views.items())]

    def _supply(self, camera: str, report: CameraReport) -> Supply:
        return Supply(
            camera=camera,
            state=report.state,
            reason=report.reason,
            unneeded=self._unneeded.get(camera, Mode.COLD),
            linger_s=self._linger_s.get(camera),
            lossless=self._config.cameras[camera].pace == "fast",
            rate_hz=self._rate_hz(camera, report.stream_hz),
            since="" if report.state is CameraState.RUNNING else clock_text(report.since_unix_ns),
            tried=report.tried,
        )

    def _rate_hz(self, camera: str, measured_hz: float | None) -> float | None:
        """Return a stream's rate in figures that stand still: each change of a digit would be a new plan."""
        told_hz = self._told_hz.get(camera)
        if measured_hz is not None and (told_hz is None or abs(measured_hz - told_hz) > RATE_CHANGE * told_hz):
            told_hz = self._told_hz[camera] = float(f"{measured_hz:.2g}")
        return told_hz


def _view_of(supply: Supply, view: str) -> Supply:
    reason = _of_camera(supply.camera, supply.reason) or f"it is a view of {supply.camera}"
    return replace(supply, camera=view, reason=reason, of=supply.camera)


def _of_camera(camera: str, reason: str) -> str:
    return f"{camera}: {reason}" if reason else ""


def with_views(config: Config, reports: Mapping[str, CameraReport]) -> dict[str, CameraReport]:
    """Return the reports of all cameras, and one of each view: that of its camera, which alone reads and decodes."""
    seen = {
        name: replace(
            reports[one.view_of],
            camera=name,
            reason=_of_camera(one.view_of, reports[one.view_of].reason),
            stream=f"view of {one.view_of}",
            size=(one.width_px, one.height_px),
            counts=FrameCounts(),
            cpu_s=0.0,
            kept_packets=0,
            kept_s=0.0,
        )
        for name, one in config.views.items()
    }
    return {**reports, **seen}


def _longer(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def clock_text(unix_ns: int) -> str:
    """Return a moment in words: UTC, to the second."""
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, timezone.utc).strftime("%H:%M:%S UTC")


def routes(config: Config, lineup: Lineup, plan: Plan) -> dict[str, tuple[Route, ...]]:
    """Return the claims on every camera's frames, at the rates that the plan grants."""
    return {
        camera: tuple(_route(task, camera, config, lineup, plan) for task in wanted.tasks)
        for camera, wanted in plan.cameras.items()
    }


def _route(name: str, camera: str, config: Config, lineup: Lineup, plan: Plan) -> Route:
    task = config.tasks[name]
    lossless = config.cameras[config.decoder_of(camera)].pace == "fast"  # never slowed: its reader waits
    rate_hz = task.rate_hz if lossless else plan.tasks[name].rate_hz
    return Route(name, lineup.task_engine[name], rate_hz, task.priority, task.deadline_ms, sync_of(task, config))


def sync_of(task: TaskConfig, config: Config) -> Sync | None:
    """Return how a task groups its frames in time, None where it does not."""
    if task.sync is None:
        return None
    views = {camera: config.views[camera].view_of for camera in task.cameras if camera in config.views}
    return Sync(task.sync.tolerance_ms, task.sync.wait_ms, task.cameras, views)


@dataclass(frozen=True)
class Change:
    """What has become of one task or camera, and why. As a text it is a log line."""

    what: str
    why: str
    task: str | None = None
    camera: str | None = None

    def __str__(self) -> str:
        return (
            f"task {self.task}: {self.what}: {self.why}"
            if self.task
            else f"camera {self.camera}: {self.what}: {self.why}"
        )

    @property
    def event(self) -> str:
        """The name of what happened, as the journal has it."""
        return f"{'task' if self.task else 'camera'}_{self.what}"


def changes(old: Plan, new: Plan) -> Iterator[Change]:
    """Yield every task and camera whose state or mode is another one."""
    for name, task in new.tasks.items():
        before = old.tasks.get(name)
        if before is None or before.state is not task.state:
            yield Change(task.state.value, task.reason, task=name)
    for name, camera in new.cameras.items():
        had = old.cameras.get(name)
        if had is None or had.mode is not camera.mode:
            yield Change(camera.mode.value, camera.reason, camera=name)
