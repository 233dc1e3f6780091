"""Reading the configuration again while the daemon runs: one reading at a time, which may fail or hang."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

from edged.assembly import Lineup, checked_guards
from edged.config import Config, Secrets, load_config
from edged.config.faults import NOTHING_STARTED
from edged.errors import EdgedError, WorkerFailed
from edged.log import about
from edged.publish.curve import Guarded
from edged.supervisor import ONCE, Supervisor

log = logging.getLogger(__name__)

T = TypeVar("T")
Prepare = Callable[[Config, Secrets], Lineup]

GIVE_UP_S = 1.0  # in which a thread that failed ends; one that is silent does not


@dataclass(frozen=True)
class Loaded:
    """A configuration that was read, checked, and whose engines are loaded, ready to take over.

    `guards` are its endpoints behind CURVE, by `publish` and `control`, with the keys that were read.
    """

    config: Config
    secrets: Secrets
    lineup: Lineup
    guards: Mapping[str, Guarded]


@dataclass(frozen=True)
class Refused:
    """A configuration that changes nothing, and why."""

    error: EdgedError


@dataclass(frozen=True)
class Read:
    """A reading of the configuration has an outcome."""

    number: int


class Reloader:
    """A thread that reads the configuration and loads what is new in it, while everything runs on.

    `outcome` is how it went, None as long as that is not known.

    Args:
        number: of this reading.
        directory: the configuration directory.
        prepare: loads what a configuration needs, and says what will serve each task.
        done: told once, from this thread, when there is an outcome.
    """

    name = "reload"

    def __init__(self, number: int, directory: Path, prepare: Prepare, done: Callable[[Read], None]) -> None:
        self.number, self.outcome = number, cast("Loaded | Refused | None", None)
        self._directory, self._prepare, self._done = directory, prepare, done

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:  # noqa: ARG002 - ends by itself
        """Load once."""
        beat()
        try:
            self.outcome = load(self._directory, self._prepare)
        except EdgedError as exc:
            exc.args = (str(exc).replace(NOTHING_STARTED, "nothing was changed"),)
            self.outcome = Refused(exc)
        self._done(Read(self.number))

    def wake(self) -> None:
        """Nothing waits here."""


class Readings(Generic[T]):
    """Who asked for a reload, and which reading answers whom. One thread's use.

    Who asks while a reading is under way waits for the next one: the files may have changed since it began.

    Args:
        start: begins a reading.
    """

    def __init__(self, start: Callable[[], None]) -> None:
        self._start = start
        self._now: list[T] | None = None
        self._next: list[T] | None = None

    def ask(self, who: T | None) -> None:
        """Have the configuration read; None for a signal, which nobody waits for."""
        asking = [] if who is None else [who]
        if self._now is None:
            self._now = asking
            self._start()
        else:
            self._next = [*(self._next or []), *asking]

    def ended(self) -> list[T]:
        """Return those whom the reading answers that is over, and begin the next one if somebody waits for it."""
        answered, self._now, self._next = self._now or [], self._next, None
        if self._now is not None:
            self._start()
        return answered


class Reloads(Generic[T]):
    """Reads the configuration again when somebody asks for it, one reading at a time. One thread's use.

    A reading that hangs is given up and refused. Until its thread ends no other begins: all are refused.

    Args:
        supervisor: owns the reading's thread, and tells when it is lost.
        reader: makes a reading of that number, which then comes to `read`.
        reloading: told when somebody's reading begins.
        settle: takes an outcome over, or refuses it, and returns how to answer who asked.
        discard: frees what a reading has loaded that nobody wants any more.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        reader: Callable[[int], Reloader],
        reloading: Callable[[], None],
        settle: Callable[[Loaded | Refused], Callable[[T], None]],
        discard: Callable[[], None],
    ) -> None:
        self._supervisor, self._make, self._reloading = supervisor, reader, reloading
        self._settle, self._discard = settle, discard
        self._readings: Readings[T] = Readings(self._begin)
        self._count = 0
        self._reader: Reloader | None = None  # whose thread may run
        self._given_up = False

    def ask(self, who: T | None) -> None:
        """Have the configuration read; None for a signal, which nobody waits for."""
        self._readings.ask(who)

    def read(self, event: Read) -> None:
        """Take the outcome of a reading."""
        reader = self._reader
        if reader is None or reader.number != event.number:
            return  # it was given up, and its thread has ended since
        if self._given_up:
            if self._ended(GIVE_UP_S):
                log.info("the reload that hung has ended; nothing has changed", extra=about(event="reload_refused"))
            return
        self._supervisor.stop([Reloader.name])
        self._reader = None
        self._end(cast("Loaded | Refused", reader.outcome))

    def lost(self, error: WorkerFailed) -> None:
        """Give up the reading that is under way: its thread has failed, or is silent for too long."""
        self._given_up = True
        self._ended(GIVE_UP_S)
        self._end(Refused(error))

    def _begin(self) -> None:
        self._reloading()
        if self._reader is not None and not self._ended(0.0):
            text = "the reload before this one hangs; restart the daemon, or try it again later"
            self._end(Refused(WorkerFailed(text)))
            return
        self._given_up, self._count = False, self._count + 1
        self._reader = self._make(self._count)
        self._supervisor.start(self._reader, ONCE)

    def _ended(self, timeout_s: float) -> bool:
        """Tell whether the thread of a reading that was given up has ended, and free what it loaded."""
        try:
            self._supervisor.stop([Reloader.name], timeout_s)
        except WorkerFailed:
            return False
        if self._reader is not None and isinstance(self._reader.outcome, Loaded):
            self._discard()
        self._reader = None
        return True

    def _end(self, outcome: Loaded | Refused) -> None:
        answer = self._settle(outcome)
        for who in self._readings.ended():
            answer(who)


def load(directory: Path, prepare: Prepare) -> Loaded:
    """Read, check and load a configuration directory. Raise `ConfigError` with every fault by file and line."""
    config = load_config(directory)
    secrets = Secrets.from_environment(directory)
    guards = checked_guards(config, secrets)
    return Loaded(config, secrets, prepare(config, secrets), guards)
