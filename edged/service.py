"""The daemon as a service: what systemd is told, and when."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping

from edged.camera.worker import CameraReport
from edged.log import about
from edged.notify import notify, watchdog_s
from edged.plan import CameraState, Mode, Plan, TaskState
from edged.planning import clock_text

log = logging.getLogger(__name__)

FEEDS = 4.0  # in the watchdog's time
FEED_MAX_S = 1.0
STATUS_S = 1.0
STATUS_MAX = 400  # characters
GONE = frozenset({CameraState.BACKOFF, CameraState.STALLED, CameraState.ENDED})


class Service:
    """Tells systemd of the watchdog, readiness, state and reloads. One thread's use, the daemon's main thread.

    `tick` is called while every worker's heartbeat is in order: whoever does not call it any more is restarted.
    """

    def __init__(self) -> None:
        self.watchdog_s = watchdog_s()
        self._feed_s = min(FEED_MAX_S, (self.watchdog_s or FEED_MAX_S) / FEEDS)
        self._next_feed_s = self._next_status_s = 0.0
        self._ready = self._owes_ready = False  # owes: it was said, and not taken
        self._status = ""
        self._lost: dict[str, int] = {}  # camera: Unix time when it was last running, or first wanted
        self._failed: set[str] = set()  # cameras in a back-off, also while they try again

    def tick(
        self,
        plan: Plan,
        reports: Mapping[str, CameraReport],
        required: Collection[str],
        answered: Collection[str],
        blocked: Mapping[str, str],
    ) -> None:
        """Feed the watchdog, say ready when that is so, and keep the state in words current.

        Args:
            plan: the plan in force.
            reports: every camera as it is.
            required: tasks that readiness waits for.
            answered: tasks that have published a result.
            blocked: tasks that cannot run, and why.
        """
        now_s = time.monotonic()
        if now_s >= self._next_feed_s:
            self._next_feed_s = now_s + self._feed_s
            if self.watchdog_s is not None:
                notify("WATCHDOG=1")
        self._follow(plan, reports)
        waiting = [] if self._ready else [name for name in required if name not in answered]
        become_ready = not self._ready and all(self._is_without_cameras(plan, name) for name in waiting)
        if become_ready or now_s >= self._next_status_s:
            self._next_status_s = now_s + STATUS_S
            self._tell(become_ready, [] if become_ready else waiting, plan, reports, blocked)

    def reloading(self) -> None:
        """Say that a changed configuration is being read."""
        if self._ready:
            self._owes_ready = False
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Say that it was taken over, or refused."""
        if self._ready:
            self._owes_ready = not notify("READY=1")

    def stopping(self) -> None:
        """Say that the daemon ends."""
        notify("STOPPING=1", "STATUS=stopping")

    def _follow(self, plan: Plan, reports: Mapping[str, CameraReport]) -> None:
        for name, report in reports.items():
            wanted = name in plan.cameras and plan.cameras[name].mode is not Mode.COLD
            if not wanted or report.state is CameraState.RUNNING:
                self._lost.pop(name, None)
                self._failed.discard(name)
                continue
            self._lost.setdefault(name, report.since_unix_ns)
            if report.state in GONE:
                self._failed.add(name)
        for name in self._lost.keys() - reports.keys():
            del self._lost[name]

    def _is_without_cameras(self, plan: Plan, task: str) -> bool:
        """Tell whether a task runs and each of its cameras is in a declared back-off: no result can be waited for."""
        return task in plan.tasks and bool(cameras := plan.tasks[task].cameras) and self._failed.issuperset(cameras)

    def _tell(
        self,
        ready: bool,
        waiting: Collection[str],
        plan: Plan,
        reports: Mapping[str, CameraReport],
        blocked: Mapping[str, str],
    ) -> None:
        words = "; ".join(self._words(waiting, plan, reports, blocked)).replace("\n", " ")
        status = words if len(words) <= STATUS_MAX else f"{words[: STATUS_MAX - 1]}…"
        if ready:
            self._ready = True
            log.info("ready: %s", status, extra=about(event="ready"))
        ready = ready or self._owes_ready
        if ready or status != self._status:
            taken = notify(*(("READY=1",) if ready else ()), f"STATUS={status}")
            self._owes_ready = ready and not taken
            self._status = status if taken else ""  # a systemd that takes nothing for a while is told again

    def _words(
        self,
        waiting: Collection[str],
        plan: Plan,
        reports: Mapping[str, CameraReport],
        blocked: Mapping[str, str],
    ) -> Iterator[str]:
        if waiting:
            yield f"waiting for the first result of {', '.join(waiting)}"
        wanted = [name for name, camera in plan.cameras.items() if camera.mode is not Mode.COLD]
        running = sum(name not in self._lost for name in wanted)
        closed = len(reports) - len(wanted)
        yield f"{running} of {len(wanted)} cameras running" + (f", {closed} not needed" if closed else "")
        for name, task in plan.tasks.items():
            degraded = task.state is TaskState.DEGRADED
            lost = [camera for camera in task.cameras if camera in self._lost]
            if degraded and lost:
                yield f"{name} degraded: {', '.join([self._missing(camera, reports[camera]) for camera in lost])}"
            elif task.suspended:
                yield f"{name} suspended: {task.reason}"
            elif degraded:
                yield f"{name} degraded: {task.reason}"
            elif name in blocked:
                yield f"{name} cannot run: {blocked[name]}"

    def _missing(self, camera: str, report: CameraReport) -> str:
        word = "lost" if report.opens else "not reached"
        return f"{camera} {word} since {clock_text(self._lost[camera])}"
