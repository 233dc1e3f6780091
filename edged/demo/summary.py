"""What the whole show amounted to: results, losses, latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

STEPS_PER_MS = 10  # latencies are kept in tenths of a millisecond: hours need no more memory than seconds


class Tally:
    """Counts results as they come. One thread's use."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}
        self._received: Counter[tuple[str, str]] = Counter()
        self._latency: dict[str, Counter[int]] = {}
        self.lost = 0

    def add(self, message: Mapping[str, Any]) -> None:
        """Count one result. A gap in its `seq` is a loss."""
        key = (message["task"], message["camera"])
        last = self._last.get(key)
        self.lost += 0 if last is None else max(0, message["seq"] - last - 1)
        self._last[key] = message["seq"]
        self._received[key] += 1
        latencies = self._latency.setdefault(message["task"], Counter())
        latencies[round(message["latency_ms"]["total"] * STEPS_PER_MS)] += 1

    @property
    def received(self) -> int:
        """All results that came."""
        return sum(self._received.values())

    def lines(self) -> list[str]:
        """Return one line in all, and one for each task."""
        lost = f"{self.lost} lost on the way" if self.lost else "none lost"
        lines = [f"{self.received} results, {lost}"]
        width = max((len(task) for task in self._latency), default=0)
        for task, latencies in self._latency.items():
            cameras = sorted(camera for of, camera in self._received if of == task)
            p50_ms, p99_ms = percentile_ms(latencies, 0.50), percentile_ms(latencies, 0.99)
            lines.append(
                f"  {task:<{width}}  {sum(latencies.values()):>5} results, "
                f"latency p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms; {', '.join(cameras)}"
            )
        return lines


def percentile_ms(latencies: Counter[int], fraction: float) -> float:
    """Return the smallest counted latency that at least `fraction` of all do not exceed."""
    wanted, passed = fraction * sum(latencies.values()), 0
    for step in sorted(latencies):
        passed += latencies[step]
        if passed >= wanted:
            return step / STEPS_PER_MS
    return 0.0
