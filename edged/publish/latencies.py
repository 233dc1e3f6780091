"""How long published results took, stage by stage, as histograms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from edged.results import Latency

STAGES = ("decode", "convert", "wait", "infer", "parse", "total", "publish")
"""Those of a result's `latency_ms`, and from there until it is sent. `total` runs from capture to the parsed result."""
BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
"""Upper ends of the buckets, inclusive; one more bucket takes the rest."""


@dataclass(frozen=True)
class Histogram:
    """How many results fell into each bucket, and their sum."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_MS) + 1)
    sum_ms: float = 0.0


class _Row:
    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        self.counts[bisect_left(BOUNDS_MS, ms)] += 1
        self.sum_ms += ms


class Latencies:
    """One histogram for each task and stage. One thread adds; any thread may take a snapshot.

    A snapshot taken while a result is added may have some of its stages without the others.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, tuple[_Row, ...]] = {}

    def add(self, task: str, latency: Latency, publish_ms: float) -> None:
        """Take one result in."""
        rows = self._tasks.get(task)
        if rows is None:
            rows = self._tasks[task] = tuple(_Row() for _ in STAGES)
        decode, convert, wait, infer, parse, total, publish = rows
        decode.add(latency.decode)
        convert.add(latency.convert)
        wait.add(latency.wait)
        infer.add(latency.infer)
        parse.add(latency.parse)
        total.add(latency.total)
        publish.add(publish_ms)

    def snapshot(self) -> Mapping[str, Mapping[str, Histogram]]:
        """Return the histograms so far, by task and stage."""
        return {
            task: {stage: Histogram(tuple(row.counts), row.sum_ms) for stage, row in zip(STAGES, rows, strict=True)}
            for task, rows in tuple(self._tasks.items())
        }
