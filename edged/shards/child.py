"""The process of one shard: `python -m edged.shards.child CHANNEL NAME PARENT WATCHDOG_S`."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from edged.assembly import Lineup
from edged.config import Config, Secrets
from edged.errors import EdgedError, WorkerFailed
from edged.log import about, set_level, start_logging
from edged.processes import die_with, leave_signals_to_parent, rss_mb
from edged.results import Result
from edged.shards.shard import ProcessReport, Shard
from edged.supervisor import ONCE, Supervisor

log = logging.getLogger(__name__)

TICK_S = 0.1
LAST_WORD_S = 1.0
CLOSE_S = 4.0
LOADING_S = 0.2  # nothing but engines being loaded is at work, which cannot be told to end
WAITING_MAX = 1000  # results
ROUNDS_MAX = 8  # of sending for others, before a thread goes on with its own work


class Server:
    """Does what the daemon orders, in the order it came, and tells it what happened."""

    def __init__(self, channel: Connection, name: str, watchdog_s: float | None) -> None:
        self._channel, self._name = channel, name
        self._sending = threading.Lock()
        self._out: deque[tuple[Any, ...]] = deque()
        self._batches: deque[tuple[str, int, float]] = deque()
        self._supervisor = Supervisor(watchdog_s=watchdog_s)
        self._shard = Shard(self._supervisor, self._emit, self._note)
        self._level = "info"
        self._over = self._serving = False

    def run(self) -> int:
        """Serve until the daemon has no more orders. Returns the exit code."""
        try:
            while not self._over:
                self._turn()
        except WorkerFailed as exc:
            return self._fail(str(exc))
        except Exception as exc:  # the last line of the process: the daemon is told what it ends of
            log.exception("it failed")
            return self._fail(f"{type(exc).__name__}: {exc}")
        self._end()
        return 0

    def _turn(self) -> None:
        """Wait a tick for an order and obey it, then look after the workers."""
        self._send_waiting()
        if self._channel.poll(TICK_S):
            try:
                name, *args = self._channel.recv()
            except EOFError:
                self._over = True
                return
            getattr(self, f"_do_{name}")(*args)
        for lost in self._supervisor.check():
            text = "%s: the daemon goes on without it: %s"
            log.error(text, lost.name, lost.error, extra=about(event="worker_lost"))

    def _fail(self, why: str) -> int:
        self._out.append(("failed", why))
        if self._sending.acquire(timeout=LAST_WORD_S):
            self._send()
        return WorkerFailed.exit_code

    def _end(self) -> None:
        self._shard.end()
        try:
            self._supervisor.close(CLOSE_S if self._serving else LOADING_S)
        except WorkerFailed as exc:
            log.warning("%s; the process ends without waiting", exc)
            return
        self._shard.close()

    def _do_prepare(self, config: Config, cameras: frozenset[str]) -> None:
        self._level = config.edged.log.level
        self._supervisor.start(_Preparing(lambda: self._prepared(config, cameras)), ONCE)

    def _prepared(self, config: Config, cameras: frozenset[str]) -> None:
        try:
            answer: Lineup | EdgedError = self._shard.prepare(
                config, Secrets.from_environment(config.directory), cameras
            )
        except EdgedError as exc:
            answer = exc
        except Exception as exc:  # a plug-in's bug, say: the daemon waits for an answer, whatever it is
            log.exception("the configuration cannot be prepared")
            answer = WorkerFailed(f"{type(exc).__name__}: {exc}")
        self._say("prepared", answer)

    def _do_discard(self) -> None:
        self._supervisor.stop([_Preparing.name])
        self._shard.discard()

    def _do_take_over(self, changed: frozenset[str]) -> None:
        self._supervisor.stop([_Preparing.name])
        set_level(self._level)
        self._serving = True
        self._shard.take_over(changed)

    def _do_let_go(self, *args: Any) -> None:
        self._shard.let_go(*args)

    def _do_follow(self, *args: Any) -> None:
        self._shard.follow(*args)

    def _do_set_costs(self, *args: Any) -> None:
        self._shard.set_costs(*args)

    def _do_ask(self, number: int) -> None:
        report = self._shard.report()
        threads = tuple(self._supervisor.reports())
        process = ProcessReport(self._name, os.getpid(), time.process_time(), rss_mb(), threads)
        batches = [self._batches.popleft() for _ in range(len(self._batches))]
        self._say("report", number, replace(report, process=process), batches)

    def _note(self, engine: str, pictures: int, seconds: float) -> None:
        self._batches.append((engine, pictures, seconds))

    def _emit(self, result: Result, wait: bool) -> None:
        """Hand a result on, from an engine worker's thread. One that may wait goes when the daemon takes it.

        Where the daemon takes nothing for a while the others wait as well: then frames are superseded, and counted.
        """
        self._out.append(("result", result, wait))
        if wait or len(self._out) > WAITING_MAX:
            with self._sending:
                self._send()
        self._send_waiting()

    def _say(self, what: str, *values: Any) -> None:
        self._out.append((what, *values))
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Send what waits, or leave it to the thread that is sending; in the worst case to the next tick."""
        for _ in range(ROUNDS_MAX):
            if not self._out or not self._sending.acquire(blocking=False):
                return
            try:
                self._send()
            finally:
                self._sending.release()

    def _send(self) -> None:
        said = [self._out.popleft() for _ in range(len(self._out))]
        if said:
            with suppress(OSError):  # the daemon is gone or going, and so are we
                self._channel.send(said)


class _Preparing:
    """A thread that loads engines while everything runs on."""

    name = "prepare"

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:  # noqa: ARG002 - ends by itself
        """Load once."""
        beat()
        self._work()

    def wake(self) -> None:
        """Nothing waits here."""


def main() -> int:
    """Serve the daemon that started this process. Returns the exit code."""
    channel, name, parent, watchdog_s = sys.argv[1:]
    die_with(int(parent))
    leave_signals_to_parent()
    faulthandler.enable(2)
    start_logging("info")
    return Server(Connection(int(channel)), name, float(watchdog_s) or None).run()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a native library's threads and destructors must not keep the process
