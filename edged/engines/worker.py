"""The threads that run inferences: take a batch, fill, submit, complete, parse, hand the results on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from edged.engines.base import EngineError, Slot
from edged.engines.serving import (
    Dispatch,
    EngineHolder,
    EngineTable,
    LoadedEngine,
    Parse,
    Serving,
    Times,
    make_result,
)
from edged.geometry import Fit
from edged.log import about
from edged.results import EngineUse, Found, Result
from edged.trace import stage
from edged.work import Batch

__all__ = ["EngineHolder", "EngineTable", "EngineWorker", "LoadedEngine", "Parse", "StageCpu"]

log = logging.getLogger(__name__)

TAKE_S = 0.5
SLOT_S = 5.0


@dataclass(frozen=True)
class StageCpu:
    """CPU seconds of one worker's thread in each of its stages."""

    convert: float = 0.0
    infer: float = 0.0
    parse: float = 0.0

    @staticmethod
    def total(parts: Iterable[StageCpu]) -> StageCpu:
        """Return what all of them have spent together."""
        return StageCpu(*map(sum, zip(*map(astuple, parts), strict=True)))


class EngineWorker:
    """One of the threads that serve the engines of one device.

    Args:
        name: thread name.
        dispatch: where batches come from.
        holder: the engines and parsers.
        emit: takes results and whether the sender must wait rather than drop.
        measure: told each batch's engine, its pictures, and the seconds of its device they took: CPU time of this
            thread on the CPU, wall time elsewhere.
        device: the device whose engines it serves.
    """

    def __init__(
        self,
        name: str,
        dispatch: Dispatch,
        holder: EngineHolder,
        emit: Callable[[Result, bool], None],
        measure: Callable[[str, int, float], None] = lambda engine, pictures, seconds: None,
        device: str = "cpu",
    ) -> None:
        self.name = name
        self._dispatch, self._holder, self._emit = dispatch, holder, emit
        self._measure, self.device = measure, device
        self._cpu_ns = [0, 0, 0]

    def cpu(self) -> StageCpu:
        """Return the CPU seconds spent in each stage so far. Any thread may ask."""
        convert, infer, parse = self._cpu_ns
        return StageCpu(convert / 1e9, infer / 1e9, parse / 1e9)

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Serve batches until `stop` is set."""
        while not stop.is_set():
            beat()
            batch = self._dispatch.take(TAKE_S, self.device)
            if batch is not None:
                self._serve(batch)

    def wake(self) -> None:
        """End the wait in `take`; which worker's does not matter, all are woken together."""
        self._dispatch.nudge(self.device)

    def _serve(self, batch: Batch) -> None:
        """Serve one batch. Whatever happens, its leases are given back, its tasks counted, and this worker is free."""
        serving = Serving(batch, self._holder.table)
        wall_s: float | None = None
        try:
            waiting = self._infer(serving)
            wall_s = serving.measured_s(self._measure)
        finally:
            serving.give_up(self._dispatch)
            self._dispatch.finished(batch, wall_s)
        for result in waiting:
            self._emit(result, True)

    @stage("infer", lambda _, serving: f"{serving.loaded.model} {_cameras(serving)}")
    def _infer(self, serving: Serving) -> list[Result]:
        """Run one inference and hand the results on; those that may wait for the sender are returned instead."""
        loaded, batch = serving.loaded, serving.batch
        slot = loaded.engine.reserve(SLOT_S)
        if slot is None:
            raise TimeoutError(f"{loaded.model}: no slot came free in {SLOT_S:g} s")
        try:
            serving.begin()
            cpu_ns = serving.cpu_ns
            fits = self._fill(serving, slot)
            filled_ns = time.monotonic_ns()
            cpu_ns = self._spent(0, cpu_ns)
            slot.submit(len(batch.jobs))
            outputs = slot.complete()
            inferred_ns = time.monotonic_ns()
            self._spent(1, cpu_ns)
            times = Times(serving.begin_ns, filled_ns, inferred_ns)
            use = serving.use(slot)
            waiting = []
            for index, (job, fit) in enumerate(zip(batch.jobs, fits, strict=True)):
                results = self._finish(serving, outputs, index, fit, use, times)
                if job.lossless:
                    waiting += results
                    continue
                for result in results:
                    self._emit(result, False)
            return waiting
        finally:
            slot.release()

    @stage("convert", lambda _, serving, *__: _cameras(serving))
    def _fill(self, serving: Serving, slot: Slot) -> list[Fit]:
        fits = []
        for index, job in enumerate(serving.batch.jobs):
            fits.append(slot.fill(index, job.frame))
            serving.filled += 1
            job.frame.release()
        return fits

    def _spent(self, stage: int, since_ns: int) -> int:
        now_ns = time.thread_time_ns()
        self._cpu_ns[stage] += now_ns - since_ns
        return now_ns

    @stage("parse", lambda _, serving, __, index, *___: _job(serving, index))
    def _finish(
        self, serving: Serving, outputs: Mapping[str, Any], index: int, fit: Fit, use: EngineUse, times: Times
    ) -> list[Result]:
        """Parse one image once for every distinct parser, and return one result for each task that is still in time."""
        job = serving.batch.jobs[index]
        found: dict[Parse, Found] = {}
        failed: list[str] = []
        results = {}
        for task in job.tasks:
            parse = serving.table.parsers[task, job.engine]
            if parse not in found:
                begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
                try:
                    found[parse] = parse(outputs, index, fit)
                except EngineError:  # reading outputs may have to wait for the device
                    raise
                except Exception:  # a user's parser is foreign code: its bug costs its own results only
                    text = "task %s: its parser failed on %r"
                    log.exception(text, task, job.frame, extra=about(task=task, event="parser_failed"))
                    failed.append(task)
                    continue
                self._spent(2, cpu_ns)
                latency = times.latency(job, begin_ns, time.monotonic_ns())
            results[task] = make_result(task, job, latency, use, found[parse])
        serving.counted += 1
        return [results[task] for task in self._dispatch.done(job, failed)]


def _cameras(serving: Serving) -> str:
    return " ".join(job.frame.camera for job in serving.batch.jobs)


def _job(serving: Serving, index: int) -> str:
    job = serving.batch.jobs[index]
    return f"{' '.join(job.tasks)} {job.frame.camera}"
