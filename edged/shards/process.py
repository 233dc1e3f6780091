"""The daemon's end of a shard in a process of its own."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from edged.assembly import Lineup
from edged.camera.worker import CameraReport
from edged.config import Config, Secrets
from edged.errors import EdgedError, WorkerFailed
from edged.plan import Plan
from edged.processes import environment, python
from edged.shards.shard import Emit, Measured, Routes, ShardReport
from edged.waiting import make_tokens
from edged.work import Cost

log = logging.getLogger(__name__)

CHILD = "edged.shards.child"
REPORT_S = 0.25
SEND_S = 5.0
END_S = 4.0  # of the five seconds that a stop may take; it is asked for in all processes at once
DIED_S = 1.0


class ShardProcess:
    """A `Part` in a process of its own, and the worker that hears what it says.

    Orders go one way and what happened the other, pickled, over a socket that only these two have. A process that
    ends, fails or falls silent ends the daemon: its reader is a vital worker, and beats while reports come.

    Args:
        number: from 1.
        watchdog_s: the time of the watchdog that the daemon feeds, None without one.
        emit: takes the shard's results, from the reader's thread.
        measured: told each of its batches' engine, pictures and seconds, from the reader's thread.

    Raises:
        WorkerFailed: it cannot be started.
    """

    def __init__(self, number: int, watchdog_s: float | None, emit: Emit, measured: Measured) -> None:
        self.name = f"shard:{number}"
        self._emit, self._measured = emit, measured
        self._sending = threading.Lock()
        self._reading = False
        self._asked = self._seen = 0
        self._report = ShardReport()
        self._changed, self._changed_after = frozenset[str](), 0
        self._failed: WorkerFailed | None = None
        self._ends_s = 0.0
        self._reported, self._answered = make_tokens(), make_tokens()
        self._answer: Lineup | EdgedError | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_S), 0))
            arguments = [str(theirs.fileno()), self.name, str(os.getpid()), str(watchdog_s or 0)]
            try:
                self._process = subprocess.Popen(
                    python(CHILD, *arguments),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env=environment(),
                )
            except OSError as exc:
                self._socket.close()
                raise WorkerFailed(f"{self.name}: its process cannot be started: {exc.strerror}") from exc
        self._channel = Connection(os.dup(self._socket.fileno()))

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Hear what the shard says until `stop` is set. It is alive while it makes the reports that it is asked for."""
        self._reading = True
        try:
            while not stop.is_set():
                if self._seen == self._asked:
                    beat()
                self._hear()
        except WorkerFailed as exc:
            if not stop.is_set():
                self._failed = exc
                raise
        finally:
            self._failed = self._failed or WorkerFailed(f"{self.name}: nobody hears it any more")
            self._answered.put()

    def wake(self) -> None:
        """End the wait for what it says, for good."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def prepare(self, config: Config, secrets: Secrets, cameras: frozenset[str]) -> Lineup:  # noqa: ARG002
        """Have it load what these cameras need; see `Part`. It reads the secrets for itself: they are not sent."""
        self._answer = None
        self._order("prepare", config.as_values(), cameras)
        while self._answer is None:
            if self._failed is not None:
                raise self._failed
            if self._reading:
                self._answered.get(1.0)
            else:
                self._hear()  # at the start nobody else does
        if isinstance(self._answer, EdgedError):
            raise self._answer
        return self._answer

    def discard(self) -> None:
        """Have it free what was loaded for nothing."""
        self._order("discard")

    def let_go(self, cameras: frozenset[str], routes: Routes) -> None:
        """Have it follow these routes, then stop these cameras."""
        self._order("let_go", cameras, routes)

    def take_over(self, changed: frozenset[str]) -> None:
        """Have it put what was prepared into service."""
        self._order("take_over", changed)
        self._changed, self._changed_after = changed, self._asked
        self._report = _without(self._report, changed)

    def follow(self, plan: Plan, routes: Routes) -> None:
        """Have it follow a plan."""
        self._order("follow", plan, routes)

    def set_costs(self, costs: Mapping[str, Cost]) -> None:
        """Tell it what inferences cost."""
        self._order("set_costs", costs)

    def cameras(self) -> Mapping[str, CameraReport]:
        """Return what every camera's stream was when it last reported."""
        return self._report.cameras

    def ask(self) -> None:
        """Have it make a report, unless one is under way."""
        if self._seen == self._asked:
            while self._reported.get(0.0):
                pass
            self._asked += 1
            self._order("ask", self._asked)

    def report(self) -> ShardReport:
        """Return the report that was asked for, or the last one where it does not come in time."""
        until_s = time.monotonic() + REPORT_S
        while self._seen < self._asked and (left_s := until_s - time.monotonic()) > 0:
            self._reported.get(left_s)
        return self._report

    def end(self) -> None:
        """Have it end, once it has done what it was ordered."""
        self._ends_s = time.monotonic() + END_S
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Wait for its end, by force if need be."""
        if not self._ends_s:
            self.end()
        self._channel.close()
        self._socket.close()
        try:
            self._process.wait(max(0.0, self._ends_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s did not end in time and is killed", self.name)
            self._process.kill()
            self._process.wait()

    def _order(self, name: str, *args: Any) -> None:
        with self._sending:
            try:
                self._channel.send((name, *args))
            except OSError as exc:
                raise self._failed or WorkerFailed(f"{self.name}: {self._how_it_ended()}") from exc

    def _hear(self) -> None:
        try:
            said = self._channel.recv()
        except (EOFError, OSError) as exc:
            raise WorkerFailed(f"{self.name}: {self._how_it_ended()}") from exc
        for what, *values in said:
            getattr(self, f"_on_{what}")(*values)

    def _on_result(self, result: Any, wait: bool) -> None:
        self._emit(result, wait)

    def _on_report(self, number: int, report: ShardReport, batches: list[tuple[str, int, float]]) -> None:
        for engine, pictures, seconds in batches:
            self._measured(engine, pictures, seconds)
        self._report = _without(report, self._changed) if number <= self._changed_after else report
        self._seen = number
        self._reported.put()

    def _on_prepared(self, answer: Lineup | EdgedError) -> None:
        self._answer = answer
        self._answered.put()

    def _on_failed(self, text: str) -> None:
        raise WorkerFailed(f"{self.name}: {text}")

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(DIED_S)
        except subprocess.TimeoutExpired:
            return "its process hung up"
        return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with code {code}"


def _without(report: ShardReport, cameras: frozenset[str]) -> ShardReport:
    """Return a report that says nothing of some cameras: they are others by now."""
    return replace(report, cameras={name: one for name, one in report.cameras.items() if name not in cameras})
