"""The threads that run inferences: take a batch, fill, submit, complete, parse, hand the results on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edged.engines.base import Engine
from edged.geometry import Fit
from edged.results import EngineUse, Found, Latency, Result
from edged.work import Batch, Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

TAKE_S = 0.5
SLOT_S = 5.0

Parse = Callable[[Mapping[str, "NDArray[np.generic]"], int, Fit], Found]


class Dispatch(Protocol):
    """Where workers get their orders, and say how they ended."""

    def take(self, timeout_s: float) -> Batch | None:
        """Return the most urgent batch, or None."""

    def done(self, job: Job, failed: tuple[str, ...] = ()) -> None:
        """Count a job's tasks as served, or as failed."""

    def nudge(self) -> None:
        """End one wait in `take`."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine with the file name it was loaded from, as messages name it."""

    engine: Engine
    model: str


@dataclass(frozen=True)
class StageCpu:
    """CPU seconds of one worker's thread in each of its stages."""

    convert: float
    infer: float
    parse: float


class EngineWorker:
    """One of the threads that serve the engines of one device.

    Args:
        name: thread name.
        dispatch: where batches come from.
        engines: engine key -> engine.
        parsers: task -> how its raw outputs become findings; equal parsers run once for a frame.
        emit: takes results and whether the sender must wait rather than drop.
    """

    def __init__(
        self,
        name: str,
        dispatch: Dispatch,
        engines: Mapping[str, LoadedEngine],
        parsers: Mapping[str, Parse],
        emit: Callable[[Result, bool], None],
    ) -> None:
        self.name = name
        self._dispatch, self._engines, self._parsers, self._emit = dispatch, engines, parsers, emit
        self._cpu_ns = [0, 0, 0]

    def cpu(self) -> StageCpu:
        """Return the CPU seconds spent in each stage so far. Any thread may ask."""
        convert, infer, parse = self._cpu_ns
        return StageCpu(convert / 1e9, infer / 1e9, parse / 1e9)

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Serve batches until `stop` is set."""
        while not stop.is_set():
            beat()
            batch = self._dispatch.take(TAKE_S)
            if batch is not None:
                self._serve(batch)

    def wake(self) -> None:
        """End the wait in `take`; which worker's does not matter, all are woken together."""
        self._dispatch.nudge()

    def _serve(self, batch: Batch) -> None:
        loaded = self._engines[batch.engine]
        slot = loaded.engine.reserve(SLOT_S)
        if slot is None:
            raise TimeoutError(f"{loaded.model}: no slot came free in {SLOT_S:g} s")
        begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        fits = []
        for index, job in enumerate(batch.jobs):
            fits.append(slot.fill(index, job.frame))
            job.frame.release()
        filled_ns = time.monotonic_ns()
        cpu_ns = self._spent(0, cpu_ns)
        try:
            slot.submit(len(batch.jobs))
            outputs = slot.complete()
            inferred_ns = time.monotonic_ns()
            self._spent(1, cpu_ns)
            batch_size = slot.capacity if loaded.engine.fixed_batch else len(batch.jobs)
            use = EngineUse(
                loaded.model, loaded.engine.backend, loaded.engine.device, loaded.engine.precision, batch_size
            )
            times = _Times(begin_ns, filled_ns, inferred_ns)
            for index, job in enumerate(batch.jobs):
                self._finish(job, outputs, index, fits[index], use, times)
        finally:
            slot.release()

    def _spent(self, stage: int, since_ns: int) -> int:
        now_ns = time.thread_time_ns()
        self._cpu_ns[stage] += now_ns - since_ns
        return now_ns

    def _finish(
        self, job: Job, outputs: Mapping[str, Any], index: int, fit: Fit, use: EngineUse, times: _Times
    ) -> None:
        """Parse one image once for every distinct parser, and hand on one result for each task."""
        found: dict[Parse, Found] = {}
        failed: list[str] = []
        results = []
        for task in job.tasks:
            parse = self._parsers[task]
            if parse not in found:
                begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
                try:
                    found[parse] = parse(outputs, index, fit)
                except Exception:  # a user's parser is foreign code: its bug costs its own results only
                    log.exception("task %s: its parser failed on %r", task, job.frame)
                    failed.append(task)
                    continue
                self._spent(2, cpu_ns)
                latency = times.latency(job, begin_ns, time.monotonic_ns())
            results.append(_result(task, job, latency, use, found[parse]))
        self._dispatch.done(job, tuple(failed))
        for result in results:
            self._emit(result, job.lossless)


@dataclass(frozen=True)
class _Times:
    begin_ns: int
    filled_ns: int
    inferred_ns: int

    def latency(self, job: Job, parse_ns: int, done_ns: int) -> Latency:
        frame = job.frame
        return Latency(
            decode=frame.decode_ns / 1e6,
            convert=(self.filled_ns - self.begin_ns) / 1e6,
            wait=(self.begin_ns - frame.decoded_ns) / 1e6,
            infer=(self.inferred_ns - self.filled_ns) / 1e6,
            parse=(done_ns - parse_ns) / 1e6,
            total=(done_ns - frame.capture.mono_ns) / 1e6,
        )


def _result(task: str, job: Job, latency: Latency, use: EngineUse, found: Found) -> Result:
    frame = job.frame
    picture, capture = frame.picture, frame.capture
    return Result(
        task, frame.camera, frame.id, picture.width, picture.height, capture.unix_ns, capture.mono_ns, capture.clock,
        latency, use, found,
    )  # fmt: skip
