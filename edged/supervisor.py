"""The owner of every thread: start, restart, heartbeat, stop."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from edged.errors import WorkerFailed

log = logging.getLogger(__name__)

LEAST_SILENCE_S = 2.0  # under any watchdog: an idle worker beats once a second
LOOK_S = 1.0  # of the time between two looks counts as a worker's silence; the rest nobody listened


class Worker(Protocol):
    """Something that runs in a thread of its own."""

    name: str

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Work until `stop` is set, calling `beat` at least every `silence_s`.

        Raise to fail; `WorkerFailed` where only a new process helps, which ends the daemon whatever the policy says.
        """

    def wake(self) -> None:
        """Return soon from whatever `run` waits for; called from another thread once `stop` is set."""


@dataclass(frozen=True)
class Policy:
    """What is done about a worker that fails or falls silent.

    Where a watchdog watches the daemon, a vital worker may be silent for no more than `watchdog_share` of its time.
    """

    restarts: int = 5  # failures forgiven inside window_s
    window_s: float = 60.0
    backoff_s: float = 0.5  # doubles with each failure, at most silence_s / 2
    silence_s: float = 15.0  # longest gap between two beats
    vital: bool = True  # False: the daemon goes on without this worker
    watchdog_share: float = 0.5

    def under(self, watchdog_s: float | None) -> Policy:
        """Return the policy under a watchdog of that time."""
        if watchdog_s is None or not self.vital:
            return self
        limit_s = max(LEAST_SILENCE_S, self.watchdog_share * watchdog_s)
        return replace(self, silence_s=min(self.silence_s, limit_s))


CAMERA = Policy(vital=False, silence_s=30.0)
ENGINE = Policy(restarts=0, silence_s=60.0, watchdog_share=1.0)
"""A broken CUDA context outlives any thread: systemd restarts us. A batch on a slow device takes its time."""
SERVICE = Policy(restarts=0)
SIDELINE = Policy(vital=False, silence_s=60.0)  # what the daemon does beside its work
ONCE = Policy(restarts=0, vital=False, silence_s=600.0)  # a piece of work that ends by itself


@dataclass(frozen=True)
class Lost:
    """A worker the daemon goes on without, and what happened to it."""

    name: str
    error: WorkerFailed


@dataclass(frozen=True)
class WorkerReport:
    """A worker, how often it was started again after a failure, and whether the daemon goes on without it."""

    name: str
    restarts: int
    lost: bool


@dataclass
class _Slot:
    worker: Worker
    policy: Policy
    thread: threading.Thread = field(init=False)
    beats: int = 0
    beats_seen: int = 0
    silent_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    error: WorkerFailed | None = None
    fell_silent: bool = False  # which is its error, and may pass
    reported: bool = False
    fatal: bool = False
    restarts: int = 0


class Supervisor:
    """Owns every thread. Start consumers before producers; `close` stops in the reverse order.

    Used by one thread, the daemon's main thread.

    Args:
        clock: monotonic seconds.
        watchdog_s: the time of the watchdog that `check` feeds; None without one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, watchdog_s: float | None = None) -> None:
        self._clock, self._watchdog_s = clock, watchdog_s
        self._looked_s = clock()
        self._slots: dict[str, _Slot] = {}

    def start(self, worker: Worker, policy: Policy) -> None:
        """Run `worker` in a new thread of its name. Raise `ValueError` when that name is taken."""
        if worker.name in self._slots:
            raise ValueError(f"a worker named {worker.name!r} runs already")
        slot = _Slot(worker, policy.under(self._watchdog_s))
        slot.thread = threading.Thread(target=self._keep_running, args=(slot,), name=worker.name, daemon=True)
        self._slots[worker.name] = slot
        slot.thread.start()
        _show_name(slot.thread)

    def check(self) -> list[Lost]:
        """Return the workers lost since the last call. Raise `WorkerFailed` if a vital one is.

        One that was only silent, and beats again, is lost no more.

        A worker is silent while its beats are looked for and do not come: a process that was stopped, or starved,
        finds none of its workers silent when it goes on.
        """
        lost = []
        now_s = self._clock()
        looked_s, self._looked_s = min(now_s - self._looked_s, LOOK_S), now_s
        for slot in self._slots.values():
            beats = slot.beats
            slot.silent_s = slot.silent_s + looked_s if beats == slot.beats_seen else 0.0
            slot.beats_seen = beats
            if slot.fell_silent and slot.silent_s == 0.0 and slot.thread.is_alive():
                log.warning("%s: was silent, and goes on", slot.worker.name)
                slot.error, slot.fell_silent, slot.reported = None, False, False
            if slot.thread.is_alive() and slot.error is None and slot.silent_s > slot.policy.silence_s:
                slot.error = WorkerFailed(f"{slot.worker.name}: silent for {slot.silent_s:.1f} s")
                slot.fell_silent = True
            if slot.error is not None and not slot.reported:
                slot.reported = True
                if slot.policy.vital or slot.fatal:
                    raise slot.error
                lost.append(Lost(slot.worker.name, slot.error))
        return lost

    def stop(self, names: list[str], timeout_s: float = 4.0) -> None:
        """Stop these workers, all at once. Raise `WorkerFailed` with the names of those that did not end."""
        slots = [self._slots[name] for name in names]
        for slot in slots:
            slot.stop.set()
            slot.worker.wake()
        until_s = self._clock() + timeout_s
        for slot in slots:
            slot.thread.join(max(0.0, until_s - self._clock()))
            if not slot.thread.is_alive():
                del self._slots[slot.worker.name]
        deaf = [slot.worker.name for slot in slots if slot.thread.is_alive()]
        if deaf:
            raise WorkerFailed(f"still running {timeout_s:.1f} s after stop: {', '.join(deaf)}")

    def close(self, timeout_s: float = 4.0) -> None:
        """Stop all workers, the last started first; those of one kind (`kind:name`) stop together.

        Deaf workers of one kind leave the others their share of the time.
        """
        until_s = self._clock() + timeout_s
        deaf: list[str] = []
        kinds = list(dict.fromkeys(_kind(name) for name in self._slots))
        while kinds:
            share_s = max(0.1, (until_s - self._clock()) / len(kinds))
            kind = kinds.pop()
            names = [name for name in self._slots if _kind(name) == kind]
            try:
                self.stop(names, share_s)
            except WorkerFailed as exc:
                deaf.append(str(exc))
        if deaf:
            raise WorkerFailed("; ".join(deaf))

    def names(self) -> list[str]:
        """Return the names of all workers that were started and not stopped."""
        return list(self._slots)

    def reports(self) -> list[WorkerReport]:
        """Return how each of them has fared."""
        return [WorkerReport(name, slot.restarts, slot.error is not None) for name, slot in self._slots.items()]

    def _keep_running(self, slot: _Slot) -> None:
        name, policy = slot.worker.name, slot.policy
        failures: deque[float] = deque()

        def beat() -> None:
            slot.beats += 1

        while not slot.stop.is_set():
            try:
                return slot.worker.run(slot.stop, beat)
            except WorkerFailed as exc:
                slot.fatal, slot.error = True, exc
                return None
            except BaseException as exc:  # noqa: BLE001 - the one broad except around our own code, and what it calls
                beat()
                failures.append(self._clock())
                while failures[-1] - failures[0] > policy.window_s:
                    failures.popleft()
                if len(failures) > policy.restarts:
                    error = WorkerFailed(f"{name}: gave up after {len(failures)} failure(s): {exc}")
                    error.__cause__ = exc
                    slot.error = error
                    return None
                slot.restarts += 1
                log.exception("%s: failed, restart %d of %d", name, len(failures), policy.restarts)
                slot.stop.wait(min(policy.silence_s / 2, policy.backoff_s * 2 ** (len(failures) - 1)))
        return None


def _kind(name: str) -> str:
    return name.partition(":")[0]


def _show_name(thread: threading.Thread) -> None:
    """Give a thread its name for `top -H` and debuggers too, as Python does from 3.14 on; 15 characters fit."""
    with suppress(OSError):
        Path(f"/proc/self/task/{thread.native_id}/comm").write_text(thread.name[:15], "utf-8")
