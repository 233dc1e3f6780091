"""The daemon's state as plain values, for `status`, the lists, and the status message."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edged import __version__
from edged.assembly import Lineup
from edged.camera.worker import CameraReport
from edged.config import Config
from edged.plan import Plan
from edged.processes import rss_mb
from edged.publish.latencies import Histogram
from edged.publish.publisher import Sent
from edged.scheduler.budget import Budget, EngineCounts
from edged.scheduler.demand import Machine
from edged.scheduler.dispatch import DeviceCounts, TaskCounts
from edged.shards.fleet import FleetReport
from edged.supervisor import WorkerReport
from edged.telemetry.readings import Telemetry

RATE_WINDOW_S = 0.9


@dataclass(frozen=True)
class Now:
    """Everything that a status is made of, at one moment."""

    config: Config
    lineup: Lineup
    plan: Plan
    reports: Mapping[str, CameraReport]
    fleet: FleetReport
    sent: Mapping[tuple[str, str], Sent]
    latencies: Mapping[str, Mapping[str, Histogram]]
    budget: Budget
    machine: Machine
    signals: Sequence[Mapping[str, Any]]
    telemetry: Telemetry
    threads: Sequence[WorkerReport]


class StatusBook:
    """Puts the parts' counters together, and turns totals into rates. One thread's use."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._start_s = time.monotonic()
        self._before: tuple[float, float, dict[tuple[str, str], int]] = (self._start_s, time.process_time(), {})
        self._rates: dict[tuple[str, str], float] = {}
        self._latencies: Mapping[str, Mapping[str, Histogram]] = {}
        self._latency_ms: dict[str, dict[str, float]] = {}
        self._cpu_cores = 0.0

    def status(self, now: Now) -> dict[str, Any]:
        """Return the whole state; `tasks` and `cameras` have the keys of `task list` and `camera list`, and more."""
        self._measure({key: one.served for key, one in now.fleet.counts.items()}, now.latencies, _cpu_s(now))
        return {
            "boot": self._boot,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._start_s, 1),
            "cpu_cores": round(self._cpu_cores, 3),
            "cpu_s": _cpu(now),
            "rss_mb": round(rss_mb() + sum(one.rss_mb for one in now.fleet.processes), 1),
            "tasks": [self._task(name, now) for name in now.config.tasks],
            "cameras": [_camera(name, now) for name in (*now.config.cameras, *now.config.views)],
            "devices": _devices(now),
            "engines": _engines(now),
            "signals": list(now.signals),
            "telemetry": _telemetry(now.telemetry),
            "threads": _threads(now),
            "processes": _processes(now),
        }

    def _measure(
        self, served: dict[tuple[str, str], int], latencies: Mapping[str, Mapping[str, Histogram]], cpu_s: float
    ) -> None:
        now_s = time.monotonic()
        then_s, cpu_then_s, before = self._before
        if now_s - then_s < RATE_WINDOW_S:
            return
        self._rates = {key: (total - before.get(key, 0)) / (now_s - then_s) for key, total in served.items()}
        self._cpu_cores = (cpu_s - cpu_then_s) / (now_s - then_s)
        self._before = (now_s, cpu_s, served)
        self._latency_ms = {
            task: means
            for task, stages in latencies.items()
            if (means := mean_ms(self._latencies.get(task, {}), stages))
        }
        self._latencies = latencies

    def _task(self, name: str, now: Now) -> dict[str, Any]:
        planned, task = now.plan.tasks[name], now.config.tasks[name]
        rates = [self._rates.get((name, camera), 0.0) for camera in planned.cameras]
        return {
            "task": name,
            "state": planned.state.value,
            "active": bool(planned.cameras),
            "cameras": list(task.cameras),
            "rate_hz": round(sum(rates) / len(rates), 2) if rates else 0.0,
            "granted_hz": planned.rate_hz,
            "wanted_hz": task.rate_hz,
            "reason": planned.reason,
            "engine": now.lineup.chosen.get(name, ""),
            "latency_ms": self._latency_ms.get(name),
            "frames": {camera: _frames(name, camera, now) for camera in task.cameras},
        }


def _frames(task: str, camera: str, now: Now) -> dict[str, int]:
    counts = asdict(now.fleet.counts.get((task, camera), TaskCounts()))
    sent = now.sent.get((task, camera), Sent())
    return {**counts, "published": sent.seq - sent.dropped, "dropped": sent.dropped}


def _camera(name: str, now: Now) -> dict[str, Any]:
    wanted, report = now.plan.cameras[name], now.reports[name]
    decode_s = now.machine.decode_s.get(name)
    return {
        "id": name,
        "view_of": now.config.views[name].view_of if name in now.config.views else None,
        "mode": wanted.mode.value,
        "state": report.state.value,
        "reason": report.reason or wanted.reason,
        "rate_hz": round(report.rate_hz, 2),
        "age_ms": None if report.age_ms is None else round(report.age_ms, 1),
        "since_s": round((time.monotonic_ns() - report.since_mono_ns) / 1e9, 1),
        "tasks": list(wanted.tasks),
        "backend": report.backend,
        "stream": report.stream,
        "stream_hz": None if report.stream_hz is None else round(report.stream_hz, 2),
        "cpu_s": round(report.cpu_s, 4),
        "decode_ms": None if decode_s is None else round(1000 * decode_s, 3),
        "size": list(report.size) if report.size else None,
        "opens": report.opens,
        "kept": {"packets": report.kept_packets, "seconds": round(report.kept_s, 2)},
        "frames": asdict(report.counts),
    }


def _cpu(now: Now) -> dict[str, float]:
    """CPU seconds since the start: of each stage, and of the whole daemon."""
    stages = {
        "decode": sum(report.cpu_s for report in now.reports.values()),
        **asdict(now.fleet.stages),
        "total": _cpu_s(now),
    }
    return {stage: round(seconds, 4) for stage, seconds in stages.items()}


def _cpu_s(now: Now) -> float:
    return time.process_time() + sum(one.cpu_s for one in now.fleet.processes)


def _threads(now: Now) -> list[dict[str, Any]]:
    """Return the threads of the daemon's own process, and after them those of the others, by process and name."""
    others = [
        replace(thread, name=f"{one.name}/{thread.name}") for one in now.fleet.processes for thread in one.threads
    ]
    return [asdict(one) for one in (*now.threads, *others)]


def _processes(now: Now) -> list[dict[str, Any]]:
    return [
        {"process": one.name, "pid": one.pid, "cpu_s": round(one.cpu_s, 4), "rss_mb": one.rss_mb}
        for one in now.fleet.processes
    ]


def _devices(now: Now) -> list[dict[str, Any]]:
    return [
        {
            "device": name,
            "capacity": share.capacity,
            "planned": share.planned,
            "wanted": share.wanted,
            "done": round(now.budget.done(name), 2),
            "parallel": now.budget.device(name).units,
            "workers": now.machine.workers.get(name, 0),
            "busy_s": round(now.fleet.devices.get(name, DeviceCounts()).busy_s, 3),
            "note": now.machine.notes.get(name, ""),
        }
        for name, share in now.plan.devices.items()
    ]


def _engines(now: Now) -> list[dict[str, Any]]:
    users: dict[str, list[str]] = {}
    for task, key in now.lineup.task_engine.items():
        users.setdefault(key, []).append(task)
    rows, counts = [], now.budget.engines()
    for key, engine in now.lineup.engines.items():
        load = now.machine.engines.get(key)
        done = counts.get(key, EngineCounts())
        row = {
            "engine": key,
            "model": engine.model,
            "backend": engine.backend,
            "device": engine.device,
            "precision": engine.precision,
            "batch": engine.max_batch,
            "fixed_batch": engine.fixed_batch,
            "tasks": users.get(key, []),
            "note": now.fleet.notes.get(key, engine.note),
            "batches": {str(size): number for size, number in sorted(done.batches.items())},
            "busy_s": round(done.seconds, 3),
        }
        if load is not None:
            cost = load.cost
            sizes = sorted({1, engine.max_batch})
            row["cost_ms"] = {str(size): round(1000 * cost.of(size), 3) for size in sizes}
            row |= {"fixed_ms": round(1000 * cost.fixed_s, 4), "picture_ms": round(1000 * cost.picture_s, 4)}
        rows.append(row)
    return rows


def _telemetry(telemetry: Telemetry) -> dict[str, Any]:
    """Return the sensors' readings, and how old they are; None before the first."""
    return {
        "age_s": round((time.monotonic_ns() - telemetry.mono_ns) / 1e9, 1) if telemetry.mono_ns else None,
        "temperatures": [asdict(one) for one in telemetry.temperatures],
        "clocks": [asdict(one) for one in telemetry.clocks],
        "rails": [asdict(one) for one in telemetry.rails],
        "loads": [asdict(one) for one in telemetry.loads],
        "memories": [asdict(one) for one in telemetry.memories],
        "missing": list(telemetry.missing),
    }


def mean_ms(before: Mapping[str, Histogram], after: Mapping[str, Histogram]) -> dict[str, float]:
    """Return the mean of each stage over the results that came between two snapshots; empty where there were none."""
    means = {}
    for stage, histogram in after.items():
        old = before.get(stage, Histogram())
        results = sum(histogram.counts) - sum(old.counts)
        if results > 0:
            means[stage] = round((histogram.sum_ms - old.sum_ms) / results, 3)
    return means
