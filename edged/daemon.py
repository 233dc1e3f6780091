"""Builds the daemon and joins its parts: start order, main loop, stop order."""

from __future__ import annotations

import logging
import secrets as random_source
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from edged.assembly import Lineup, plain_endpoints
from edged.camera.worker import CameraReport
from edged.cameras import gpu_of
from edged.config import Config, Secrets
from edged.control.protocol import Serve, check_arguments, taking
from edged.control.ration import Ration
from edged.control.server import ControlServer, Request
from edged.difference import Difference, Keys, difference, with_engines
from edged.engine_room import devices_of, places_of
from edged.errors import ConfigError, EdgedError, UsageError, WorkerFailed
from edged.log import about, set_level
from edged.metrics.exposition import Snapshot
from edged.metrics.server import MetricsServer
from edged.plan import CameraState, Mode, Plan, TaskState
from edged.planning import Failures, Stock, changes, demands, routes, with_views
from edged.publish.curve import Guarded
from edged.publish.publisher import Publisher
from edged.publish.wire import STATUS_TOPIC, status_message, task_message, task_topic
from edged.reload import Loaded, Read, Refused, Reloader, Reloads
from edged.results import Result
from edged.rundir import RuntimeLock, control_endpoint, publish_endpoint, runtime_directory
from edged.scheduler.activation import Activation
from edged.scheduler.admission import admit_all
from edged.scheduler.budget import Budget
from edged.scheduler.heat import Heat, Limit
from edged.scheduler.planner import make_plan
from edged.scheduler.rules import Summary
from edged.scheduler.signals import SignalBook
from edged.service import Service
from edged.shards.fleet import Fleet
from edged.shards.process import ShardProcess
from edged.shards.shard import Shard
from edged.signals import kinds_with
from edged.status import Now, StatusBook
from edged.supervisor import ENGINE, SERVICE, SIDELINE, Supervisor
from edged.telemetry.worker import TelemetryWorker
from edged.waiting import Inbox
from edged.work import Cost

log = logging.getLogger(__name__)

TICK_S = 0.1
STATUS_S = 1.0
INBOX_MAX = 256
REQUESTS_S = 0.03  # of each tick's time
LOOK_S = 0.05
STOPS = frozenset({signal.SIGTERM, signal.SIGINT})


class StoppedEarly(Exception):  # noqa: N818 - no error: what was asked for
    """The daemon was told to end before it had begun."""


@dataclass(frozen=True)
class Stop:
    """An order to end."""

    why: str


@dataclass(frozen=True)
class Reload:
    """An order to read the configuration again, from a signal."""


@dataclass(frozen=True)
class Look:
    """What a rule says has changed, or who subscribes to what."""


Event = Request | Stop | Reload | Look | Read


class Daemon:
    """The running program. Constructing it opens everything, `run` works until it is told to stop.

    Args:
        config: what to run.
        secrets: its credentials.
        guards: the endpoints behind CURVE, by `publish` and `control`.

    Raises:
        ConfigError: a model, parser or credential does not fit.
        BackendUnavailable: the runtime directory or an endpoint cannot be had.
        StoppedEarly: a signal to end came meanwhile. What was being loaded is left to the process's end.
    """

    def __init__(self, config: Config, secrets: Secrets, guards: Mapping[str, Guarded]) -> None:
        self._config, self._secrets, self._guards = config, secrets, guards
        self.boot = random_source.token_hex(8)
        self._inbox: Inbox[Event] = Inbox()
        self._requests = Ration(self._answer, REQUESTS_S)
        self._service = Service()
        self._supervisor = Supervisor(watchdog_s=self._service.watchdog_s)
        self._plan = Plan()
        self._costs: dict[str, Cost] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._started_with = config.edged
        self._looking = False
        with ExitStack() as undo:
            lock = RuntimeLock(runtime_directory())
            undo.callback(lock.close)
            self._budget = Budget({}, {})
            self._processes = self._make_processes()
            self._fleet = Fleet(self._processes or [Shard(self._supervisor, self._emit, self._budget.measured)])
            undo.callback(self._fleet.close)
            undo.callback(self._fleet.end)
            self._lineup = self._prepare()
            self._report(self._lineup)
            self._reloads: Reloads[Request] = Reloads(
                self._supervisor, self._reader, self._service.reloading, self._settle, self._fleet.discard
            )
            self._heat = Heat()
            self._limits: Mapping[str, Limit] = {}
            self._telemetry = TelemetryWorker()
            kinds, timeout_s = kinds_with(config.edged.signals), config.edged.scheduler.signal_timeout_s
            self._signals = SignalBook(kinds, timeout_s, self._look)
            self._activation = Activation(config.tasks, self._signals)
            self._followed = self._activation.followed()
            self._stock, self._failures = Stock(config), Failures()
            self._publisher = self._make_publisher(lock)
            undo.callback(self._publisher.close)
            self._commands: Mapping[str, Serve] = {
                "status": taking((), self._status),
                "task.list": taking((), self._task_list),
                "task.activate": taking(("tasks",), self._activate),
                "task.deactivate": taking(("tasks",), self._deactivate),
                "task.auto": taking(("tasks",), self._auto),
                "camera.list": taking((), self._camera_list),
                "signal.list": taking((), self._signals.listing),
            }
            self._control = self._make_control(lock)
            undo.callback(self._control.close)
            self._keys = Keys(self._guards)
            self._metrics = MetricsServer(listen) if (listen := config.edged.metrics.listen) else None
            undo.pop_all()
        self._lock = lock
        self._book = StatusBook(self.boot)
        self._supervisor.start(self._publisher, SERVICE)  # consumers before producers
        self._supervisor.start(self._control, SERVICE)
        self._supervisor.start(self._telemetry, SIDELINE)
        if self._metrics is not None:
            self._supervisor.start(self._metrics, SIDELINE)
        for process in self._processes:
            self._supervisor.start(process, ENGINE)
        self._start_fleet(frozenset(config.cameras))

    def run(self) -> int:
        """Work until a signal or `stop`. Returns the exit code; raises `WorkerFailed` when a vital worker is lost."""
        for number in STOPS:
            signal.signal(number, lambda number, _: self.stop(signal.Signals(number).name))
        signal.signal(signal.SIGHUP, lambda *_: self._inbox.put(Reload()))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOPS, signal.SIGHUP))
        try:
            self._loop()
        finally:
            self._close()
        return 0

    def stop(self, why: str) -> None:
        """Ask the main loop to end. May be called from any thread, and from a signal handler."""
        self._inbox.put(Stop(why))

    # ---- the main loop -----------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        next_tick_s = next_status_s = 0.0
        while True:
            now_s = time.monotonic()
            if now_s >= next_tick_s:
                next_tick_s = now_s + TICK_S
                self._tick()
                self._requests.renew()
            if now_s >= next_status_s:
                next_status_s = now_s + STATUS_S
                self._limits = self._heat.limits(self._telemetry.recent())
                self._publish_status()
            event = self._inbox.get(max(0.0, next_tick_s - time.monotonic()))
            if isinstance(event, Stop):
                log.info("stopping: %s", event.why, extra=about(event="stop"))
                return
            if event is not None:
                self._obey(event)

    def _tick(self) -> None:
        """Follow costs, losses, health and rules, and tell systemd."""
        seen = self._fleet.report()
        reports = seen.cameras
        for camera, report in reports.items():
            self._budget.decoded(camera, report.cpu_s, report.counts.decoded + report.counts.caught_up)
        self._budget.tick(self._plan.devices, seen.devices, self._limits)
        if (costs := self._budget.costs()) != self._costs:
            self._costs = costs
            self._fleet.set_costs(costs)
        running = {name for name, task in self._plan.tasks.items() if task.rate_hz > 0}
        self._failures.look(seen.counts, running, time.time_ns())
        self._replan(reports)
        for lost in self._supervisor.check():
            text = "%s: the daemon goes on without it: %s"
            log.error(text, lost.name, lost.error, extra=about(event="worker_lost"))
            if lost.name == Reloader.name:
                self._reloads.lost(lost.error)
        required = [name for name, task in self._config.tasks.items() if task.required]
        answered = {task for (task, _) in self._publisher.sent()}
        self._service.tick(self._plan, reports, required, answered, self._lineup.blocked)

    def _obey(self, event: Event) -> None:
        if isinstance(event, Request):
            self._requests.add(event)
        elif isinstance(event, Look):
            self._looking = False  # before the plan is made: what changes from here on asks for the next one
            self._replan()
        elif isinstance(event, Reload):
            self._reloads.ask(None)
        elif isinstance(event, Read):
            self._reloads.read(event)

    def _replan(self, reports: Mapping[str, CameraReport] | None = None) -> None:
        """Make a plan of what is now, and bring the running workers to it. Equal plans change nothing."""
        reports = self._fleet.cameras() if reports is None else reports
        plan = self._make_plan(reports)
        if plan != self._plan:
            self._follow(plan)
        self._publish_states(reports)

    def _make_plan(self, reports: Mapping[str, CameraReport]) -> Plan:
        return make_plan(
            demands(self._config, self._lineup, self._activation, self._failures),
            self._stock.supplies(reports),
            self._budget.machine(),
            self._plan,
            time.monotonic(),
        )

    def _follow(self, plan: Plan) -> None:
        """Bring cameras and routes to a plan: nothing is decoded that no route leads on, before as after."""
        for change in changes(self._plan, plan):
            log.info("%s", change, extra=about(camera=change.camera, task=change.task, event=change.event))
        self._plan = plan
        granted = {name: task.rate_hz for name, task in plan.tasks.items() if task.rate_hz > 0 or task.suspended}
        self._activation.planned(granted)
        self._fleet.follow(plan, routes(self._config, self._lineup, plan))

    def _publish_states(self, reports: Mapping[str, CameraReport]) -> None:
        reports = with_views(self._config, reports)
        for name, planned in self._plan.tasks.items():
            task = self._config.tasks[name]
            states = {camera: reports[camera].state for camera in task.cameras}
            lost = {
                camera: reports[camera].since_unix_ns
                for camera, state in states.items()
                if state is not CameraState.RUNNING
            }
            message = task_message(
                name, self.boot, planned.state, states, planned.reason, planned.rate_hz, task.rate_hz, lost
            )
            if self._states.get(name) != message:
                self._states[name] = message
                self._publisher.post_state(task_topic(name), message)

    def _publish_status(self) -> None:
        status = self._status({})
        self._publisher.post_state(STATUS_TOPIC, status_message(status), keep=False)
        if self._metrics is not None:
            self._metrics.show(Snapshot(time.time(), status, self._publisher.latencies()))

    # ---- orders ------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        try:
            if request.command != "reload":
                self._control.reply(request, self._commands[request.command](request.args))
                return
            check_arguments(request.args)
        except EdgedError as exc:
            self._control.refuse(request, "refused", str(exc))
            return
        self._reloads.ask(request)

    def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        sent = self._publisher.sent()  # before what the shards say: nothing is published that they have not counted
        seen = self._fleet.report()
        return self._book.status(
            Now(
                self._config,
                self._lineup,
                self._plan,
                with_views(self._config, seen.cameras),
                seen,
                sent,
                self._publisher.latencies(),
                self._budget,
                self._budget.machine(),
                self._signals.report(),
                self._telemetry.newest,
                self._supervisor.reports(),
            )
        )

    def _task_list(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"tasks": self._status({})["tasks"]}

    def _camera_list(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"cameras": self._status({})["cameras"]}

    def _activate(self, args: Mapping[str, Any]) -> dict[str, Any]:
        names = self._activation.check(args.get("tasks"))
        admission = self._admit(names)
        self._activation.command(names, active=True)
        self._replan()
        return self._task_list({}) | {"admission": admission}

    def _admit(self, names: list[str]) -> dict[str, str]:
        """Return what each task that does not run yet will get, in words.

        Raises:
            UsageError: one of them does not fit, and the configuration wants such a task refused.
        """
        new = [name for name in names if self._plan.tasks[name].state is TaskState.INACTIVE]
        wishes = demands(self._config, self._lineup, self._activation)
        stock, machine = self._stock.supplies(self._fleet.cameras()), self._budget.machine()
        told = {}
        for name, admission in admit_all(wishes, stock, machine, self._plan, new).items():
            told[name] = f"{admission.breaks}; {admission.numbers}" if admission.breaks else admission.numbers
            fits = admission.breaks is None and admission.granted_hz >= admission.wanted_hz
            blocked = name in self._lineup.blocked
            if self._config.edged.scheduler.admission == "refuse" and not fits and not blocked:
                raise UsageError(f"task {name} does not fit: {told[name]}; nothing was activated")
        return told

    def _deactivate(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self._activation.command(self._activation.check(args.get("tasks")), active=False)
        self._replan()
        return self._task_list({})

    def _auto(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self._activation.take_back(args.get("tasks"))
        self._replan()
        return self._task_list({})

    def _submit(self, request: Request) -> bool:
        if len(self._inbox) + len(self._requests) >= INBOX_MAX:
            return False
        self._inbox.put(request)
        return True

    def _listened_to(self, tasks: frozenset[str]) -> None:
        """Take who is subscribed to from the publisher's thread."""
        self._activation.listened_to(tasks)
        self._look()

    def _look(self) -> None:
        """Ask for a new plan, from any thread; once, however much changes before it is made."""
        if not self._looking:
            self._looking = True
            self._inbox.put(Look())

    def _emit(self, result: Result, wait: bool) -> None:
        """Take a result from an engine worker's thread."""
        if result.task in self._followed:
            self._activation.noted(Summary.of(result))
        self._publisher.post(result, wait)

    # ---- reload ------------------------------------------------------------------------------------------------------

    def _reader(self, number: int) -> Reloader:
        log.info("reading the configuration again", extra=about(event="reload"))
        return Reloader(number, self._config.directory, self._fleet.prepare, self._inbox.put)

    def _settle(self, outcome: Loaded | Refused) -> Callable[[Request], None]:
        """Take a configuration over, or say why not. Return how to answer who asked for it."""
        if isinstance(outcome, Loaded):
            answer = self._take_over(outcome)
            self._service.reloaded()
            return lambda request: self._control.reply(request, answer)
        error = outcome.error
        text = "the configuration was not taken over, nothing has changed:\n%s"
        log.error(text, error, extra=about(event="reload_refused"))
        self._service.reloaded()
        if isinstance(error, ConfigError):
            faults = error.faults
            return lambda request: self._control.refuse(request, "refused", str(error), faults)
        return lambda request: self._control.refuse(request, "failed", str(error))

    def _take_over(self, loaded: Loaded) -> dict[str, Any]:
        """Apply a changed configuration: what is equal in both goes on as it runs. Return what is answered."""
        found = difference(self._config, loaded.config, self._secrets, loaded.secrets, self._started_with)
        found = replace(found, cameras=found.cameras | self._moved(loaded, found))
        found = self._with_keys(loaded, with_engines(found, self._lineup, loaded.lineup))
        self._report(loaded.lineup)
        stock = Stock(loaded.config)
        self._let_go(found, stock)
        self._config, self._secrets, self._lineup = loaded.config, loaded.secrets, loaded.lineup
        edged = loaded.config.edged
        self._signals.redefine(kinds_with(edged.signals), edged.scheduler.signal_timeout_s)
        self._activation.reload(loaded.config.tasks)
        self._followed = self._activation.followed()
        self._stock = stock
        set_level(edged.log.level)
        self._start_fleet(found.cameras)
        for name in self._states.keys() - self._config.tasks.keys():
            self._publisher.forget_state(task_topic(name), self._gone(name))
            del self._states[name]
        reports = self._fleet.cameras()
        self._follow(self._make_plan(reports))  # an equal plan may lead to another engine
        self._publish_states(reports)
        text = "configuration taken over: %s; %d kept"
        log.info(text, ", ".join(found.words) or "no change", found.kept, extra=about(event="reloaded"))
        if found.restart:
            log.warning("these need a restart and are as before: %s", ", ".join(found.restart))
        return {"changed": list(found.words), "kept": found.kept, "restart": list(found.restart)}

    def _moved(self, loaded: Loaded, found: Difference) -> frozenset[str]:
        """Return the cameras whose engines go to another GPU, or leave it: they are decoded elsewhere from now on."""
        both = (self._config.cameras.keys() & loaded.config.cameras.keys()) - found.cameras
        return frozenset(
            name for name in both
            if gpu_of(name, self._config, self._lineup) != gpu_of(name, loaded.config, loaded.lineup)
        )  # fmt: skip

    def _with_keys(self, loaded: Loaded, found: Difference) -> Difference:
        """Let in the clients of the new configuration, and add what is to be told of its keys."""
        for name, socket in (("publish", self._publisher), ("control", self._control)):
            if name in loaded.guards:
                socket.admit(loaded.guards[name].clients)
        words, restart = self._keys.follow(loaded.guards)
        return replace(found, words=(*found.words, *words), restart=tuple(dict.fromkeys([*found.restart, *restart])))

    def _let_go(self, found: Difference, stock: Stock) -> None:
        """End the routes and workers of cameras that go or change; what the plan says of the others stays.

        It forgets of cameras at rest what they rested as where they are to be readier now: they begin that anew.
        """
        touched = found.gone | found.cameras
        kept = {
            name: one
            for name, one in self._plan.cameras.items()
            if name not in touched and (one.mode is Mode.HOT or not stock.readier(name, self._stock))
        }
        self._plan = Plan(kept, self._plan.tasks, self._plan.devices)
        self._fleet.let_go(touched & self._config.cameras.keys(), routes(self._config, self._lineup, self._plan))
        for camera in touched:
            self._budget.forget(camera)

    def _gone(self, name: str) -> dict[str, Any]:
        why = "removed from the configuration"
        return task_message(name, self.boot, TaskState.INACTIVE, {}, why, 0.0, 0.0, {})

    # ---- start and stop --------------------------------------------------------------------------------------------

    def _prepare(self) -> Lineup:
        """Load what the configuration needs, in a thread of its own: that may take longer than an end may."""
        loader = ThreadPoolExecutor(1, "prepare")
        loading = loader.submit(self._fleet.prepare, self._config, self._secrets)
        while not loading.done():
            time.sleep(LOOK_S)  # timed waits follow the wall clock on Python 3.10
            if asked := signal.sigpending() & STOPS:  # they are blocked until `run` can take them
                loader.shutdown(wait=False)
                raise StoppedEarly(signal.Signals(min(asked)).name)
        loader.shutdown()
        return loading.result()

    def _make_publisher(self, lock: RuntimeLock) -> Publisher:
        plain = plain_endpoints(publish_endpoint(lock.directory), self._config.edged.publish)
        waiting = self._config.edged.limits.send_queue
        return Publisher(plain, self.boot, self._listened_to, self._guards.get("publish"), waiting)

    def _make_control(self, lock: RuntimeLock) -> ControlServer:
        plain = plain_endpoints(control_endpoint(lock.directory), self._config.edged.control)
        commands = [*self._commands, "reload"]
        immediate = {"signal.set": taking(("signals", "mono_ns", "unix_ns"), self._signals.set)}
        request_max_bytes = self._config.edged.limits.request_kb * 1024
        guard = self._guards.get("control")
        return ControlServer(plain, commands, self._submit, guard, request_max_bytes, immediate)

    def _make_processes(self) -> list[ShardProcess]:
        """Return the processes that the cameras are shared out among; none where the daemon's own has them all."""
        count, made = self._config.edged.scheduler.processes, []
        try:
            for number in range(1, count + 1) if count > 1 else ():
                made.append(ShardProcess(number, self._service.watchdog_s, self._emit, self._budget.measured))
        except WorkerFailed:
            for process in made:
                process.close()
            raise
        return made

    def _start_fleet(self, cameras: frozenset[str]) -> None:
        """Put the engines that were prepared into service, and start these cameras."""
        self._fleet.take_over(cameras)
        self._budget.place(devices_of(self._fleet.engines()), places_of(self._lineup.engines))

    def _close(self) -> None:
        self._service.stopping()
        self._fleet.end()
        try:
            self._supervisor.close()
        except WorkerFailed as exc:
            log.warning("%s; the process ends without waiting", exc)
        if self._metrics is not None:
            self._metrics.close()
        self._fleet.close()
        self._lock.close()

    def _report(self, lineup: Lineup) -> None:
        for task, chosen in lineup.chosen.items():
            level = logging.WARNING if task in lineup.blocked else logging.INFO
            log.log(level, "task %s: %s", task, chosen, extra=about(task=task, event="engine"))


def run(config: Config, secrets: Secrets, guards: Mapping[str, Guarded]) -> int:
    """Run the daemon in the foreground. Returns the exit code."""
    try:
        daemon = Daemon(config, secrets, guards)
    except StoppedEarly as exc:
        for number in (*STOPS, signal.SIGHUP):  # one that is pending would end the process in its own way
            signal.signal(number, signal.SIG_IGN)
        log.info("stopping: %s, while engines were loaded", exc, extra=about(event="stop"))
        return 0
    return daemon.run()
