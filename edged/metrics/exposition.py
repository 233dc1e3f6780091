"""From the daemon's status to the page that Prometheus reads."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from edged.metrics.kinds import KINDS, Kind
from edged.plan import CameraState, Mode, TaskState
from edged.publish.latencies import BOUNDS_MS, Histogram

NO_LOSSES = ("offered", "served", "published")
ENGINE_STAGES = ("convert", "infer", "parse")  # a sum over cameras would fall when one of them is removed
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Sample = tuple[str, tuple[str, ...], float]
"""A metric's name, its labels' values in their order, and the value."""


@dataclass(frozen=True)
class Snapshot:
    """The daemon at one moment: its status, made for this and never changed, and its latencies by task and stage."""

    unix_s: float
    status: Mapping[str, Any]
    latencies: Mapping[str, Mapping[str, Histogram]]


@dataclass(frozen=True)
class Scrapes:
    """What the server knows of itself: answers by HTTP status, and what the last page took to make."""

    answers: Mapping[int, int]
    page_s: float


def families(snapshot: Snapshot, scrapes: Scrapes) -> Iterator[Metric]:
    """Yield every metric that has a value. What is no longer configured is in no status, and so in no page."""
    made = {name: _family(name, kind) for name, kind in KINDS.items() if kind.type != "histogram"}
    for name, labels, value in _samples(snapshot, scrapes):
        made[name].add_metric(labels, value)
    for family in made.values():
        if family.samples:
            yield family
    yield _latencies(snapshot)
    yield _batches(snapshot.status["engines"])


def _family(name: str, kind: Kind) -> CounterMetricFamily | GaugeMetricFamily:
    family = CounterMetricFamily if kind.type == "counter" else GaugeMetricFamily
    return family(name, kind.about, labels=kind.labels)


def _samples(snapshot: Snapshot, scrapes: Scrapes) -> Iterator[Sample]:
    status = snapshot.status
    yield "edged_build_info", (status["version"], platform.python_version()), 1
    yield "edged_status_timestamp_seconds", (), snapshot.unix_s
    yield "edged_scrape_duration_seconds", (), scrapes.page_s
    for code, number in scrapes.answers.items():
        yield "edged_scrapes_total", (str(code),), number
    for thread in status["threads"]:
        yield "edged_thread_restarts_total", (thread["name"],), thread["restarts"]
        yield "edged_thread_lost", (thread["name"],), thread["lost"]
    for stage in ENGINE_STAGES:
        yield "edged_stage_cpu_seconds_total", (stage,), status["cpu_s"][stage]
    for task in status["tasks"]:
        yield from _task(task)
    for camera in status["cameras"]:
        yield from _camera(camera)
    for device in status["devices"]:
        yield from _device(device)
    for engine in status["engines"]:
        labels = (engine["engine"], engine["model"], engine["backend"], engine["device"], engine["precision"])
        yield "edged_engine_info", labels, 1
        yield "edged_engine_busy_seconds_total", (engine["engine"],), engine["busy_s"]
    for signal in status["signals"]:
        yield from _known("edged_signal_age_seconds", (signal["signal"],), signal["age_ms"], 1e-3)
    yield from _telemetry(status["telemetry"])


def _task(task: Mapping[str, Any]) -> Iterator[Sample]:
    name = task["task"]
    yield from _enum("edged_task_state", name, task["state"], (state.value for state in TaskState))
    yield "edged_task_wanted_hertz", (name,), task["wanted_hz"]
    yield "edged_task_granted_hertz", (name,), task["granted_hz"]
    yield "edged_task_rate_hertz", (name,), task["rate_hz"]
    for camera, frames in task["frames"].items():
        yield "edged_frames_offered_total", (name, camera), frames["offered"]
        yield "edged_frames_served_total", (name, camera), frames["served"]
        yield "edged_results_published_total", (name, camera), frames["published"]
        for cause, lost in frames.items():
            if cause not in NO_LOSSES:
                yield "edged_frames_dropped_total", (name, camera, cause), lost


def _camera(camera: Mapping[str, Any]) -> Iterator[Sample]:
    name = camera["id"]
    yield from _enum("edged_camera_state", name, camera["state"], (state.value for state in CameraState))
    yield from _enum("edged_camera_mode", name, camera["mode"], (mode.value for mode in Mode))
    yield "edged_camera_opens_total", (name,), camera["opens"]
    for fate, frames in camera["frames"].items():
        if fate == "read":
            yield "edged_camera_frames_read_total", (name,), frames
        else:
            yield "edged_camera_frames_total", (name, fate), frames
    yield "edged_camera_cpu_seconds_total", (name,), camera["cpu_s"]
    yield "edged_camera_rate_hertz", (name,), camera["rate_hz"]
    yield from _known("edged_camera_stream_hertz", (name,), camera["stream_hz"])
    yield from _known("edged_camera_frame_age_seconds", (name,), camera["age_ms"], 1e-3)
    yield "edged_camera_kept_packets", (name,), camera["kept"]["packets"]


def _device(device: Mapping[str, Any]) -> Iterator[Sample]:
    labels = (device["device"],)
    yield from _known("edged_device_capacity", labels, device["capacity"])
    yield "edged_device_planned", labels, device["planned"]
    yield "edged_device_done", labels, device["done"]
    yield "edged_device_workers", labels, device["workers"]
    yield "edged_device_busy_seconds_total", labels, device["busy_s"]


def _telemetry(telemetry: Mapping[str, Any]) -> Iterator[Sample]:
    for one in telemetry["temperatures"]:
        yield "edged_temperature_celsius", (one["zone"],), one["celsius"]
        yield from _known("edged_temperature_passive_celsius", (one["zone"],), one["passive_c"])
    for one in telemetry["clocks"]:
        yield from _known("edged_clock_hertz", (one["name"],), one["hz"])
        yield from _known("edged_clock_limit_hertz", (one["name"],), one["cap_hz"])
        yield "edged_clock_highest_hertz", (one["name"],), one["highest_hz"]
    for one in telemetry["rails"]:
        yield "edged_power_watts", (one["name"],), one["watts"]
        yield from _known("edged_power_volts", (one["name"],), one["volts"])
        yield from _known("edged_power_amperes", (one["name"],), one["amperes"])
    for one in telemetry["loads"]:
        yield "edged_unit_load_ratio", (one["unit"], one["measure"]), one["share"]
    for one in telemetry["memories"]:
        yield "edged_gpu_memory_used_bytes", (one["unit"],), one["used_bytes"]
        yield "edged_gpu_memory_bytes", (one["unit"],), one["total_bytes"]
    yield from _known("edged_telemetry_age_seconds", (), telemetry["age_s"])
    yield "edged_telemetry_missing", (), len(telemetry["missing"])


def _known(name: str, labels: tuple[str, ...], value: float | None, factor: float = 1.0) -> Iterator[Sample]:
    if value is not None:
        yield name, labels, value * factor


def _enum(name: str, label: str, value: str, values: Iterable[str]) -> Iterator[Sample]:
    for one in values:
        yield name, (label, one), one == value


def _latencies(snapshot: Snapshot) -> HistogramMetricFamily:
    name = "edged_result_latency_seconds"
    family = HistogramMetricFamily(name, KINDS[name].about, labels=KINDS[name].labels)
    bounds = [*(f"{ms / 1000:g}" for ms in BOUNDS_MS), "+Inf"]
    for task in snapshot.status["tasks"]:
        for stage, one in snapshot.latencies.get(task["task"], {}).items():
            buckets = list(zip(bounds, accumulate(one.counts), strict=True))
            family.add_metric((task["task"], stage), buckets, one.sum_ms / 1000)
    return family


def _batches(engines: Iterable[Mapping[str, Any]]) -> HistogramMetricFamily:
    name = "edged_engine_batch_size"
    family = HistogramMetricFamily(name, KINDS[name].about, labels=KINDS[name].labels)
    for engine in engines:
        sizes = {int(size): number for size, number in engine["batches"].items()}
        bounds = [bound for bound in BATCH_BOUNDS if bound < 2 * engine["batch"]]
        buckets = [(str(bound), sum(n for size, n in sizes.items() if size <= bound)) for bound in bounds]
        buckets.append(("+Inf", sum(sizes.values())))
        family.add_metric((engine["engine"],), buckets, sum(size * number for size, number in sizes.items()))
    return family
