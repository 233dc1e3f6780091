"""Runs two engines over the same frames: what they find, how far their outputs differ, how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Engine, EngineError, Slot
from edged.engines.build.agree import SCORE_SHARE, Agreement, agreement
from edged.engines.worker import Parse
from edged.frame import Frame
from edged.geometry import Fit
from edged.results import Found
from edged.tensor import ModelSpec

ROUNDS = 12
RUNS_A_ROUND = 5
SLOT_S = 5.0

Outputs = Mapping[str, "NDArray[np.generic]"]


@dataclass(frozen=True)
class TaskCheck:
    """How a task judges an engine.

    `parse` builds its parser for a model and a score threshold, on a frame of the network's own size. `limit` is
    the task's max_accuracy_drop; masks that are only made for the comparison do not count for it (`judge_masks`).
    """

    task: str
    parse: Callable[[ModelSpec, float], Parse]
    score_min: float
    limit: float
    judge_masks: bool = True


@dataclass(frozen=True)
class Comparison:
    """Agreement of each task, and of each output the root of the squared difference over that of the squares."""

    agreements: Mapping[str, Agreement]
    output_error: Mapping[str, float]

    def excess(self, checks: Iterable[TaskCheck]) -> float:
        """Return by how much the worst task's drop is over its limit; not above 0 means good enough."""
        drops = [(self.agreements[check.task].drop, check.limit) for check in checks]
        return max(1.0 if drop is None else drop - limit for drop, limit in drops)


def compare(reference: Engine, other: Engine, frames: Iterable[Frame], checks: Sequence[TaskCheck]) -> Comparison:
    """Run both engines over the frames, one at a time, and parse both outputs as each task does."""
    parsers = [[check.parse(engine.model, check.score_min * SCORE_SHARE) for check in checks]
               for engine in (reference, other)]  # fmt: skip
    found: list[list[list[Found]]] = [[[] for _ in checks] for _ in parsers]
    wrong: dict[str, float] = {}
    right: dict[str, float] = {}
    size = (0, 0)
    for frame in frames:
        size = (frame.picture.width, frame.picture.height)
        kept = []
        for side, engine in enumerate((reference, other)):
            fit, outputs = infer(engine, frame)
            kept.append(outputs)
            for row, parse in enumerate(parsers[side]):
                found[side][row].append(parse(outputs, 0, fit))
        for name, value in kept[0].items():
            if kept[1][name].shape != value.shape:
                continue  # as many rows as were found: nothing to subtract
            exact = value.astype(np.float64)
            right[name] = right.get(name, 0.0) + float((exact**2).sum())
            wrong[name] = wrong.get(name, 0.0) + float(((kept[1][name].astype(np.float64) - exact) ** 2).sum())
    agreements = {
        check.task: agreement(found[0][row], found[1][row], check.score_min, size, check.judge_masks)
        for row, check in enumerate(checks)
    }
    return Comparison(agreements, {name: round((wrong[name] / (right[name] or 1.0)) ** 0.5, 6) for name in right})


def infer(engine: Engine, frame: Frame) -> tuple[Fit, dict[str, NDArray[np.generic]]]:
    """Run one frame and return copies of the outputs."""
    slot = _reserve(engine)
    try:
        fit = slot.fill(0, frame)
        slot.submit(1)
        return fit, {name: np.array(value) for name, value in slot.complete().items()}
    finally:
        slot.release()


def infer_ms(engines: Sequence[Engine], frame: Frame, pictures: int = 1) -> list[float]:
    """Return the milliseconds of one inference of so many pictures by each engine, measured in turns.

    On the CPU it is the thread's own time, which other programs on the machine disturb least; the lower quartile
    leaves out what they do disturb.
    """
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(ROUNDS):
        for row, engine in zip(times, engines, strict=True):
            clock = time.thread_time if engine.device == "cpu" else time.perf_counter
            slot = _reserve(engine)
            try:
                for index in range(pictures):
                    slot.fill(index, frame)
                for _ in range(RUNS_A_ROUND):
                    begin_s = clock()
                    slot.submit(pictures)
                    dict(slot.complete())  # a device brings what is read
                    row.append(clock() - begin_s)
            finally:
                slot.release()
    return [round(float(np.percentile(row, 25)) * 1000, 3) for row in times]


def _reserve(engine: Engine) -> Slot:
    slot = engine.reserve(SLOT_S)
    if slot is None:
        raise EngineError(f"{engine.backend}: no slot came free in {SLOT_S:g} s")
    return slot
