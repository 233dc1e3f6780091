"""One share of the cameras, and the engines that serve them, in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edged.assembly import NOTHING, Assembled, Lineup, assemble
from edged.camera.pool import CameraPool
from edged.camera.worker import CameraReport
from edged.cameras import FanOut, camera_worker, gpu_of, views_of
from edged.config import Config, Secrets
from edged.engine_room import EngineRoom
from edged.engines.worker import StageCpu
from edged.plan import Plan
from edged.results import Result
from edged.scheduler.dispatch import DeviceCounts, Route, TaskCounts
from edged.supervisor import Supervisor, WorkerReport
from edged.work import Cost

Routes = Mapping[str, tuple[Route, ...]]
Emit = Callable[[Result, bool], None]
Measured = Callable[[str, int, float], None]


@dataclass(frozen=True)
class ProcessReport:
    """What a shard's process has used so far: CPU seconds and megabytes; and how its threads fare."""

    name: str
    pid: int
    cpu_s: float
    rss_mb: float
    threads: tuple[WorkerReport, ...]


@dataclass(frozen=True)
class ShardReport:
    """What a shard is and has done so far. Of one in a process of its own `process` says what that is."""

    cameras: Mapping[str, CameraReport] = field(default_factory=dict)
    counts: Mapping[tuple[str, str], TaskCounts] = field(default_factory=dict)
    devices: Mapping[str, DeviceCounts] = field(default_factory=dict)
    stages: StageCpu = field(default_factory=StageCpu)
    notes: Mapping[str, str] = field(default_factory=dict)
    process: ProcessReport | None = None


class Part(Protocol):
    """One shard, here or in a process of its own. Used by the daemon's main thread, but for `prepare` and `discard`."""

    def prepare(self, config: Config, secrets: Secrets, cameras: frozenset[str]) -> Lineup:
        """Load what these cameras need under a configuration, beside what runs. Any one thread may call it.

        Raises:
            ConfigError: a model, parser or credential does not fit.
            BackendUnavailable: something cannot be had.
        """

    def discard(self) -> None:
        """Forget what was prepared. Any one thread may call it, after `prepare` has ended."""

    def let_go(self, cameras: frozenset[str], routes: Routes) -> None:
        """Follow routes that claim nothing of these cameras any more, and stop them."""

    def take_over(self, changed: frozenset[str]) -> None:
        """Put what was prepared into service, and start the cameras that are new in it or changed."""

    def follow(self, plan: Plan, routes: Routes) -> None:
        """Bring cameras and routes to a plan."""

    def set_costs(self, costs: Mapping[str, Cost]) -> None:
        """Take what each engine's inferences cost."""

    def cameras(self) -> Mapping[str, CameraReport]:
        """Return what every camera's stream is; in another process, as of the last report."""

    def ask(self) -> None:
        """Begin to make a new report."""

    def report(self) -> ShardReport:
        """Return the report that was asked for, or the last one where it does not come in time."""

    def end(self) -> None:
        """Begin to end: nothing is inferred any more, and no camera waits."""

    def close(self) -> None:
        """Free all engines. The supervisor's workers have ended."""


@dataclass(frozen=True)
class _Prepared:
    config: Config
    secrets: Secrets
    cameras: frozenset[str]
    assembled: Assembled


class Shard:
    """A `Part` in this process.

    Args:
        supervisor: owner of the threads.
        emit: takes results from the engine workers' threads, and whether the sender must wait rather than drop.
        measured: told each batch's engine, pictures and seconds, from the workers' threads.
    """

    def __init__(self, supervisor: Supervisor, emit: Emit, measured: Measured) -> None:
        self._engines = EngineRoom(supervisor, emit, measured)
        self._dispatcher = self._engines.dispatcher
        self._fan_out = FanOut(self._dispatcher.offer, {})
        self._pool = CameraPool(supervisor, {})
        self._prepared: _Prepared | None = None
        self._assembled = NOTHING
        self._cameras: frozenset[str] = frozenset()
        self._settled = True  # the routes lead to the engines in service

    def prepare(self, config: Config, secrets: Secrets, cameras: frozenset[str]) -> Lineup:
        """Load what these cameras need; see `Part`."""
        tasks = {
            name for name, task in config.tasks.items() if not cameras.isdisjoint(map(config.decoder_of, task.cameras))
        }
        assembled = assemble(config, self._assembled, tasks)
        self._prepared = _Prepared(config, secrets, cameras, assembled)
        return assembled.lineup()

    def discard(self) -> None:
        """Free what was loaded for nothing."""
        prepared, self._prepared = self._prepared, None
        for key, loaded in prepared.assembled.engines.items() if prepared else ():
            if key not in self._assembled.engines:
                loaded.engine.close()

    def let_go(self, cameras: frozenset[str], routes: Routes) -> None:
        """Follow these routes, then stop these cameras."""
        self._set_routes(routes)
        self._pool.stop(cameras & self._cameras)
        self._cameras -= cameras

    def take_over(self, changed: frozenset[str]) -> None:
        """Put what was prepared into service."""
        prepared, self._prepared = self._prepared, None
        assert prepared is not None, "nothing was prepared"  # noqa: S101 - its caller's order
        config, self._cameras, self._settled = prepared.config, prepared.cameras, False
        self._engines.take_over(prepared.assembled)
        self._assembled = prepared.assembled
        self._fan_out.views = views_of(config)
        lineup, counter = prepared.assembled.lineup(), self._pool.counter
        self._pool.replace(
            {
                name: camera_worker(
                    name, config, prepared.secrets, self._fan_out, counter(name), gpu_of(name, config, lineup)
                )
                for name in config.cameras
                if name in changed and name in self._cameras
            }
        )

    def follow(self, plan: Plan, routes: Routes) -> None:
        """Bring cameras and routes to a plan: nothing is decoded that no route leads on, before as after."""
        self._pool.rest(plan)
        self._set_routes(routes)
        self._settled = True
        self._pool.wake(plan)

    def set_costs(self, costs: Mapping[str, Cost]) -> None:
        """Take what each engine's inferences cost."""
        self._dispatcher.set_costs(costs)

    def cameras(self) -> Mapping[str, CameraReport]:
        """Return what every camera's stream is at this moment."""
        return self._pool.reports()

    def ask(self) -> None:
        """A report is made where it is wanted."""

    def report(self) -> ShardReport:
        """Return what this shard is at this moment; also close engines that nobody uses any more."""
        if self._settled:
            self._engines.retire()
        return ShardReport(
            self._pool.reports(),
            self._dispatcher.counts(),
            self._dispatcher.devices(),
            self._engines.stages(),
            self._engines.notes(),
        )

    def end(self) -> None:
        """Let every camera go that waits for a place."""
        self._dispatcher.close()

    def close(self) -> None:
        """Free all engines."""
        self.discard()
        self._engines.close()

    def _set_routes(self, routes: Routes) -> None:
        mine = self._cameras | {name for camera in self._cameras for name, _ in self._fan_out.views.get(camera, ())}
        self._dispatcher.set_routes({camera: claimed for camera, claimed in routes.items() if camera in mine})
