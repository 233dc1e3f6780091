"""What a batch is served with, and how far it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edged.engines.base import Engine, EngineFacts, Slot
from edged.geometry import Fit
from edged.results import EngineUse, Found, Latency, Result
from edged.work import Batch, Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Parse = Callable[[Mapping[str, "NDArray[np.generic]"], int, Fit], Found]


class Dispatch(Protocol):
    """Where workers get their orders, and say how they ended."""

    def take(self, timeout_s: float, device: str) -> Batch | None:
        """Return the batch that a free worker of the device should start, or None."""

    def done(self, job: Job, failed: Sequence[str] = ()) -> tuple[str, ...]:
        """Count a job's tasks, and return those whose result is in time."""

    def finished(self, batch: Batch, wall_s: float | None = None) -> None:
        """Say that the worker is free again, and what the batch took; None when it failed."""

    def nudge(self, device: str) -> None:
        """End one wait in `take`."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine with the file name it was loaded from, as messages name it."""

    engine: Engine
    model: str

    def facts(self) -> EngineFacts:
        """Return what it is."""
        one = self.engine
        return EngineFacts(
            self.model, one.backend, one.device, one.precision, one.max_batch, one.fixed_batch, one.workers, one.note
        )


@dataclass(frozen=True)
class EngineTable:
    """What batches are served with.

    `engines` are by engine key, `parsers` by task and engine key: how the task's raw outputs become findings. Equal
    parsers run once for a frame.
    """

    engines: Mapping[str, LoadedEngine]
    parsers: Mapping[tuple[str, str], Parse]

    def facts(self) -> dict[str, EngineFacts]:
        """Return what each engine is."""
        return {key: loaded.facts() for key, loaded in self.engines.items()}


class EngineHolder:
    """The table that all workers use. Its owner may put another in its place while they run.

    A batch goes on with the table it began with. To take an engine away: put a table with the old and the new ones
    here, lead the routes to the new ones, wait until the dispatcher has no batch of the old one `in_flight`, put the
    table without it here, close it.
    """

    def __init__(self, table: EngineTable) -> None:
        self.table = table


class Serving:
    """One batch while it is served: how far it came, so that what an error leaves can be cleared away."""

    def __init__(self, batch: Batch, table: EngineTable) -> None:
        self.batch, self.table = batch, table
        self.filled = self.counted = 0  # jobs
        self.begin_ns = self.cpu_ns = 0

    @property
    def loaded(self) -> LoadedEngine:
        """The engine that serves it."""
        return self.table.engines[self.batch.engine]

    def begin(self) -> None:
        """Start the clocks, once the slot is there."""
        self.begin_ns, self.cpu_ns = time.monotonic_ns(), time.thread_time_ns()

    def use(self, slot: Slot) -> EngineUse:
        """Return what results say of their engine."""
        engine = self.loaded.engine
        size = slot.capacity if engine.fixed_batch else len(self.batch.jobs)
        return EngineUse(self.loaded.model, engine.backend, engine.device, engine.precision, size)

    def measured_s(self, measure: Callable[[str, int, float], None]) -> float:
        """Tell what the batch took of its device, and return what it took on the clock."""
        wall_s = (time.monotonic_ns() - self.begin_ns) / 1e9
        on_cpu = self.loaded.engine.device == "cpu"
        seconds = (time.thread_time_ns() - self.cpu_ns) / 1e9 if on_cpu else wall_s
        measure(self.batch.engine, len(self.batch.jobs), seconds)
        return wall_s

    def give_up(self, dispatch: Dispatch) -> None:
        """Give back and count what was not served; nothing, unless an error came."""
        for job in self.batch.jobs[self.filled :]:
            job.frame.release()
        for job in self.batch.jobs[self.counted :]:
            dispatch.done(job, job.tasks)


@dataclass(frozen=True)
class Times:
    """When a batch began, was converted, and was inferred: CLOCK_MONOTONIC."""

    begin_ns: int
    filled_ns: int
    inferred_ns: int

    def latency(self, job: Job, parse_ns: int, done_ns: int) -> Latency:
        """Return what one job spent where, parsed from `parse_ns` to `done_ns`."""
        frame = job.frame
        return Latency(
            decode=frame.decode_ns / 1e6,
            convert=(self.filled_ns - self.begin_ns) / 1e6,
            wait=(self.begin_ns - frame.decoded_ns) / 1e6,
            infer=(self.inferred_ns - self.filled_ns) / 1e6,
            parse=(done_ns - parse_ns) / 1e6,
            total=(done_ns - frame.capture.mono_ns) / 1e6,
        )


def make_result(task: str, job: Job, latency: Latency, use: EngineUse, found: Found) -> Result:
    """Return one task's findings in a job's frame, with all that is known of it."""
    frame = job.frame
    picture, capture = frame.picture, frame.capture
    return Result(
        task, frame.camera, frame.id, picture.width, picture.height, capture.unix_ns, capture.mono_ns, capture.clock,
        latency, use, found, job.group,
    )  # fmt: skip
