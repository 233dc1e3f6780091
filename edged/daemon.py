"""Builds the daemon and joins its parts: start order, main loop, stop order."""

from __future__ import annotations

import logging
import queue
import secrets as random_source
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from edged.assembly import assemble, guarded, not_yet, source_opener
from edged.camera.pool import CameraPool
from edged.camera.worker import CameraReport, CameraWorker, Traits
from edged.config import Config, ControlConfig, PublishConfig, Secrets
from edged.control.server import ControlServer, Request
from edged.engines.worker import EngineWorker
from edged.errors import EdgedError, WorkerFailed
from edged.notify import notify
from edged.plan import Mode, Plan
from edged.publish.curve import Guarded
from edged.publish.publisher import Publisher
from edged.publish.wire import STATUS_TOPIC, VERSION, task_topic
from edged.rundir import RuntimeLock, check_ipc_path, control_endpoint, publish_endpoint, runtime_directory
from edged.scheduler.activation import Activation
from edged.scheduler.dispatch import Dispatcher, EngineLimits, Route
from edged.scheduler.planner import Demand, Supply, make_plan
from edged.status import StatusBook
from edged.supervisor import ENGINE, SERVICE, Supervisor

log = logging.getLogger(__name__)

TICK_S = 0.1
STATUS_S = 1.0
INBOX_MAX = 256
COMMANDS = ("status", "task.list", "task.activate", "task.deactivate", "camera.list")


@dataclass(frozen=True)
class Stop:
    """An order to end."""

    why: str


@dataclass(frozen=True)
class Listened:
    """The tasks whose results somebody subscribes to."""

    tasks: frozenset[str]


class Daemon:
    """The running program. Constructing it opens everything, `run` works until it is told to stop.

    Raises:
        ConfigError: a model, parser or credential does not fit.
        BackendUnavailable: the runtime directory or an endpoint cannot be had.
    """

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._config = config
        self.boot = random_source.token_hex(8)
        self._inbox: queue.SimpleQueue[Request | Stop | Listened] = queue.SimpleQueue()
        self._supervisor = Supervisor()
        self._plan = Plan()
        self._states: dict[str, dict[str, Any]] = {}
        self._required = {name for name, task in config.tasks.items() if task.required}
        self._ready = False
        with ExitStack() as undo:
            lock = RuntimeLock(runtime_directory())
            undo.callback(lock.close)
            self._assembled = assemble(config)
            self._report_choices()
            for line in not_yet(config):
                log.warning("%s", line)
            self._activation = Activation(config.tasks)
            self._dispatcher = self._make_dispatcher()
            self._publisher = self._make_publisher(lock, secrets)
            undo.callback(self._publisher.close)
            self._control = self._make_control(lock, secrets)
            undo.pop_all()
        self._lock = lock
        self._book = StatusBook(self.boot, config, self._assembled)
        self._commands: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "status": self._status,
            "task.list": self._task_list,
            "task.activate": self._activate,
            "task.deactivate": self._deactivate,
            "camera.list": self._camera_list,
        }
        self._workers: list[EngineWorker] = []
        self._pool = self._start_workers(secrets)

    def run(self) -> int:
        """Work until a signal or `stop`. Returns the exit code; raises `WorkerFailed` when a vital worker is lost."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self.stop(signal.Signals(number).name))
        signal.signal(signal.SIGHUP, lambda *_: log.warning("reload is not available in this version; restart"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        try:
            self._loop()
        finally:
            self._close()
        return 0

    def stop(self, why: str) -> None:
        """Ask the main loop to end. May be called from any thread, and from a signal handler."""
        self._inbox.put(Stop(why))

    def _loop(self) -> None:
        next_status_s = 0.0
        while True:
            self._replan()
            if time.monotonic() >= next_status_s:
                next_status_s = time.monotonic() + STATUS_S
                self._publisher.post_state(STATUS_TOPIC, {"v": VERSION, **self._status({})}, keep=False)
            for lost in self._supervisor.check():
                log.error("%s: the daemon goes on without it: %s", lost.name, lost.error)
            self._tell_ready()
            notify("WATCHDOG=1")
            try:
                event = self._inbox.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if isinstance(event, Stop):
                log.info("stopping: %s", event.why)
                return
            if isinstance(event, Listened):
                self._activation.listened_to(event.tasks)
            else:
                self._answer(event)

    def _replan(self) -> None:
        """Make a plan of what is now, and bring the running workers to it. Equal plans change nothing."""
        reports = self._pool.reports()
        plan = make_plan(self._demands(), self._supplies(reports))
        if plan != self._plan:
            self._log_changes(plan)
            self._plan = plan
            self._pool.rest(plan)  # nothing is decoded that no route leads on, before as after
            self._dispatcher.set_routes(self._routes(plan))
            self._pool.wake(plan)
        self._publish_states(reports)

    def _demands(self) -> list[Demand]:
        return [
            Demand(
                name,
                task.cameras,
                task.rate_hz,
                *self._activation.of(name),
                self._assembled.blocked.get(name),
            )
            for name, task in self._config.tasks.items()
        ]

    def _supplies(self, reports: Mapping[str, CameraReport]) -> list[Supply]:
        unneeded = self._config.edged.scheduler.unneeded
        wishes: dict[str, list[str]] = {camera: [] for camera in reports}
        for task in self._config.tasks.values():
            for camera in task.cameras:
                wishes[camera].append(task.unneeded or unneeded)
        return [  # a camera is kept as ready as one of its tasks asks for; this version parks instead of keeping warm
            Supply(
                camera,
                report.state,
                _steady(report),
                Mode.COLD if set(wishes[camera] or [unneeded]) == {"cold"} else Mode.PARKED,
            )
            for camera, report in reports.items()
        ]

    def _routes(self, plan: Plan) -> dict[str, tuple[Route, ...]]:
        routes: dict[str, tuple[Route, ...]] = {}
        for camera, wanted in plan.cameras.items():
            routes[camera] = tuple(self._route(task) for task in wanted.tasks)
        return routes

    def _route(self, name: str) -> Route:
        task = self._config.tasks[name]
        return Route(name, self._assembled.task_engine[name], task.rate_hz, task.priority, task.deadline_ms)

    def _publish_states(self, reports: Mapping[str, CameraReport]) -> None:
        for name, planned in self._plan.tasks.items():
            cameras = {camera: reports[camera].state.value for camera in self._config.tasks[name].cameras}
            state = {"state": planned.state.value, "cameras": cameras, "reason": planned.reason}
            if self._states.get(name) != state:
                self._states[name] = state
                message = {"v": VERSION, "task": name, "boot": self.boot, **state}
                self._publisher.post_state(task_topic(name), message)

    def _answer(self, request: Request) -> None:
        try:
            self._control.reply(request, self._commands[request.command](request.args))
        except EdgedError as exc:
            self._control.refuse(request, "refused", str(exc))

    def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return self._book.status(self._plan, self._pool.reports(), self._workers, self._dispatcher, self._publisher)

    def _task_list(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"tasks": self._status({})["tasks"]}

    def _camera_list(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"cameras": self._status({})["cameras"]}

    def _activate(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self._activation.command(args.get("tasks"), active=True)
        self._replan()
        return self._task_list({})

    def _deactivate(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self._activation.command(args.get("tasks"), active=False)
        self._replan()
        return self._task_list({})

    def _tell_ready(self) -> None:
        if self._ready:
            return
        answered = {task for (task, _) in self._publisher.sent()}
        if self._required <= answered:
            self._ready = True
            notify("READY=1", f"STATUS={len(self._config.tasks)} tasks, {len(self._config.cameras)} cameras")
            log.info("ready")

    def _submit(self, request: Request) -> bool:
        if self._inbox.qsize() >= INBOX_MAX:
            return False
        self._inbox.put(request)
        return True

    def _make_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            {
                key: EngineLimits(loaded.engine.max_batch, loaded.engine.workers)
                for key, loaded in self._assembled.engines.items()
            }
        )

    def _make_publisher(self, lock: RuntimeLock, secrets: Secrets) -> Publisher:
        plain, guarded = _doors(publish_endpoint(lock.directory), self._config.edged.publish, secrets)
        queue = self._config.edged.limits.send_queue
        return Publisher(plain, self.boot, lambda tasks: self._inbox.put(Listened(tasks)), guarded, queue)

    def _make_control(self, lock: RuntimeLock, secrets: Secrets) -> ControlServer:
        plain, guarded = _doors(control_endpoint(lock.directory), self._config.edged.control, secrets)
        request_max_bytes = self._config.edged.limits.request_kb * 1024
        return ControlServer(plain, COMMANDS, self._submit, guarded, request_max_bytes)

    def _start_workers(self, secrets: Secrets) -> CameraPool:
        """Start consumers before producers."""
        start = self._supervisor.start
        start(self._publisher, SERVICE)
        start(self._control, SERVICE)
        parsers = {task: parser.parse for task, parser in self._assembled.parsers.items()}
        workers = max((loaded.engine.workers for loaded in self._assembled.engines.values()), default=0)
        for number in range(workers):
            name = f"engine:{number}"
            engines = self._assembled.engines
            worker = EngineWorker(name, self._dispatcher, engines, parsers, self._publisher.post)
            self._workers.append(worker)
            start(worker, ENGINE)
        cameras = {}
        picture_max_px = int(self._config.edged.limits.picture_mpx * 1e6)
        for name, camera in self._config.cameras.items():
            backend, opener = source_opener(name, camera, secrets)
            traits = Traits(
                camera=name,
                loop=camera.loop,
                fast=camera.pace == "fast",
                stall_timeout_s=camera.stall_timeout_s,
                picture_max_px=picture_max_px,
                patience_s=camera.open_timeout_s + camera.stall_timeout_s,
            )
            cameras[name] = CameraWorker(traits, backend, opener, self._dispatcher.offer)
        return CameraPool(self._supervisor, cameras)

    def _close(self) -> None:
        notify("STOPPING=1")
        self._dispatcher.close()
        try:
            self._supervisor.close()
        except WorkerFailed as exc:
            log.warning("%s; the process ends without waiting", exc)
        for loaded in self._assembled.engines.values():
            loaded.engine.close()
        self._lock.close()

    def _report_choices(self) -> None:
        for task, chosen in self._assembled.chosen.items():
            level = logging.WARNING if task in self._assembled.blocked else logging.INFO
            log.log(level, "task %s: %s", task, chosen)

    def _log_changes(self, plan: Plan) -> None:
        for task, planned in plan.tasks.items():
            before = self._plan.tasks.get(task)
            if before is None or before.state is not planned.state:
                log.info("task %s: %s: %s", task, planned.state.value, planned.reason)
        for camera, wanted in plan.cameras.items():
            had = self._plan.cameras.get(camera)
            if had is None or had.mode is not wanted.mode:
                log.info("camera %s: %s: %s", camera, wanted.mode.value, wanted.reason)


def _doors(own: str, config: PublishConfig | ControlConfig, secrets: Secrets) -> tuple[list[str], Guarded | None]:
    """Return the plain endpoints of one socket, and those behind CURVE where keys are configured."""
    for endpoint in (own, *config.endpoints):
        check_ipc_path(endpoint)
    doors = guarded(config, secrets)
    return ([own, *config.endpoints] if doors is None else [own]), doors


def _steady(report: CameraReport) -> str:
    """A stalled camera's reason counts seconds: the plan must not change with each of them."""
    return "" if report.reason.startswith("nothing came for") else report.reason


def run(config: Config, secrets: Secrets) -> int:
    """Run the daemon in the foreground. Returns the exit code."""
    return Daemon(config, secrets).run()
