"""The daemon's state as plain values, for `status`, the lists, and the status message."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edged import __version__
from edged.assembly import Assembled
from edged.camera.worker import CameraReport
from edged.config import Config
from edged.engines.worker import EngineWorker
from edged.plan import Plan, TaskState
from edged.publish.publisher import Publisher
from edged.scheduler.dispatch import Dispatcher, TaskCounts

RATE_WINDOW_S = 0.9
PAGE_BYTES = resource.getpagesize()


class StatusBook:
    """Puts the parts' counters together, and turns totals into rates. One thread's use."""

    def __init__(self, boot: str, config: Config, assembled: Assembled) -> None:
        self._boot, self._config, self._assembled = boot, config, assembled
        self._start_s = time.monotonic()
        self._before: tuple[float, float, dict[tuple[str, str], int]] = (
            self._start_s,
            time.process_time(),
            {},
        )
        self._rates: dict[tuple[str, str], float] = {}
        self._cpu_cores = 0.0

    def status(
        self,
        plan: Plan,
        reports: Mapping[str, CameraReport],
        workers: Sequence[EngineWorker],
        dispatcher: Dispatcher,
        publisher: Publisher,
    ) -> dict[str, Any]:
        """Return the whole state; `tasks` and `cameras` have the keys of `task list` and `camera list`, and more."""
        counts, sent = dispatcher.counts(), publisher.sent()
        self._measure({key: one.served for key, one in counts.items()})
        return {
            "boot": self._boot,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._start_s, 1),
            "cpu_cores": round(self._cpu_cores, 3),
            "cpu_s": self._cpu(reports, workers),
            "rss_mb": _rss_mb(),
            "tasks": [self._task(name, plan, counts, sent) for name in self._config.tasks],
            "cameras": [self._camera(name, plan, report) for name, report in reports.items()],
            "engines": self._engines(),
        }

    def _cpu(self, reports: Mapping[str, CameraReport], workers: Sequence[EngineWorker]) -> dict[str, float]:
        """CPU seconds since the start: of each stage, and of the whole process."""
        spent = [worker.cpu() for worker in workers]
        stages = {
            "decode": sum(report.cpu_s for report in reports.values()),
            "convert": sum(one.convert for one in spent),
            "infer": sum(one.infer for one in spent),
            "parse": sum(one.parse for one in spent),
            "total": time.process_time(),
        }
        return {stage: round(seconds, 4) for stage, seconds in stages.items()}

    def _measure(self, served: dict[tuple[str, str], int]) -> None:
        now_s, cpu_s = time.monotonic(), time.process_time()
        then_s, cpu_then_s, before = self._before
        if now_s - then_s < RATE_WINDOW_S:
            return
        self._rates = {key: (total - before.get(key, 0)) / (now_s - then_s) for key, total in served.items()}
        self._cpu_cores = (cpu_s - cpu_then_s) / (now_s - then_s)
        self._before = (now_s, cpu_s, served)

    def _task(
        self,
        name: str,
        plan: Plan,
        counts: Mapping[tuple[str, str], TaskCounts],
        sent: Mapping[tuple[str, str], Any],
    ) -> dict[str, Any]:
        planned, task = plan.tasks[name], self._config.tasks[name]
        frames = {}
        for camera in task.cameras:
            count = asdict(counts.get((name, camera), TaskCounts()))
            out = sent.get((name, camera))
            count["published"] = (out.seq - out.dropped) if out else 0
            count["dropped"] = out.dropped if out else 0
            frames[camera] = count
        rates = [self._rates.get((name, camera), 0.0) for camera in planned.cameras]
        return {
            "task": name,
            "state": planned.state.value,
            "active": planned.state is not TaskState.INACTIVE,
            "cameras": list(task.cameras),
            "rate_hz": round(sum(rates) / len(rates), 2) if rates else 0.0,
            "reason": planned.reason,
            "engine": self._assembled.chosen.get(name, ""),
            "frames": frames,
        }

    def _camera(self, name: str, plan: Plan, report: CameraReport) -> dict[str, Any]:
        wanted = plan.cameras[name]
        reason = report.reason or wanted.reason
        return {
            "id": name,
            "mode": wanted.mode.value,
            "state": report.state.value,
            "reason": reason,
            "rate_hz": round(report.rate_hz, 2),
            "age_ms": None if report.age_ms is None else round(report.age_ms, 1),
            "since_s": round((time.monotonic_ns() - report.since_mono_ns) / 1e9, 1),
            "tasks": list(wanted.tasks),
            "backend": report.backend,
            "stream": report.stream,
            "size": list(report.size) if report.size else None,
            "opens": report.opens,
            "frames": asdict(report.counts),
        }

    def _engines(self) -> list[dict[str, Any]]:
        users: dict[str, list[str]] = {}
        for task, key in self._assembled.task_engine.items():
            users.setdefault(key, []).append(task)
        return [
            {
                "model": loaded.model,
                "backend": loaded.engine.backend,
                "device": loaded.engine.device,
                "precision": loaded.engine.precision,
                "batch": loaded.engine.max_batch,
                "fixed_batch": loaded.engine.fixed_batch,
                "tasks": users.get(key, []),
            }
            for key, loaded in self._assembled.engines.items()
        ]


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return round(pages * PAGE_BYTES / 1e6, 1)
