"""Measures the daemon itself, as a process under load, from outside and by its own counters."""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from edged.bench.load import TASK, Load, configuration, retimed
from edged.child import DaemonProcess
from edged.client import Subscriber
from edged.errors import NoAnswer

STAGES = ("decode", "convert", "infer", "parse")
WARM_UP_S = 2.0
LOOK_S = 0.1


@dataclass(frozen=True)
class Throughput:
    """Results a second as fast as possible, and CPU milliseconds of one result by stage; `own` is all the rest."""

    results_hz: float
    cpu_ms: float
    stage_ms: dict[str, float]
    own_ms: float
    cores: float
    rss_mb: float


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from the decoder's output to the subscriber, and of the stages in between, in the median."""

    count: int
    p50_ms: float
    p99_ms: float
    convert_ms: float
    infer_ms: float


@dataclass(frozen=True)
class Switching:
    """Milliseconds from starting, from activating, and until the decoders of unused cameras rest."""

    start_ms: float
    activate_ms: float
    rest_ms: float


def measure_throughput(load: Load, cameras: int, seconds: float) -> Throughput:
    """Run `cameras` looped copies of the video as fast as they are read."""
    with (
        configuration(load, [load.video] * cameras, "fast", 1000) as directory,
        DaemonProcess(directory, subprocess.DEVNULL) as daemon,
        daemon.subscriber(queue=0) as subscriber,
    ):
        _first_result(subscriber)
        _count(subscriber, WARM_UP_S)
        before = daemon.status()
        begin_s = time.monotonic()
        count = _count(subscriber, seconds)
        after, spent_s = daemon.status(), time.monotonic() - begin_s
    served = _served(after) - _served(before)
    if not served:
        raise NoAnswer(_nothing(seconds))
    stage_ms = {stage: 1000 * (after["cpu_s"][stage] - before["cpu_s"][stage]) / served for stage in STAGES}
    cpu_ms = 1000 * (after["cpu_s"]["total"] - before["cpu_s"]["total"]) / served
    cores = (after["cpu_s"]["total"] - before["cpu_s"]["total"]) / spent_s
    return Throughput(count / seconds, cpu_ms, stage_ms, cpu_ms - sum(stage_ms.values()), cores, after["rss_mb"])


def measure_latency(load: Load, cameras: int, rate_hz: float, seconds: float) -> Latencies:
    """Run `cameras` copies of the video in real time at `rate_hz` each, staggered evenly."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        videos = []
        for number in range(cameras):
            videos.append(Path(folder) / f"{number}.mp4")
            frames = int(rate_hz * (seconds + WARM_UP_S + 5))
            retimed(load.video, videos[-1], rate_hz, frames, number / cameras / rate_hz)
        with (
            configuration(load, videos, "realtime", 2 * rate_hz, loop=False) as directory,
            DaemonProcess(directory, subprocess.DEVNULL) as daemon,
            daemon.subscriber(queue=0) as subscriber,
        ):
            _first_result(subscriber)
            _count(subscriber, WARM_UP_S)
            return _latencies(subscriber, seconds)


def measure_switching(load: Load, cameras: int) -> Switching:
    """Start the daemon with its task off, switch it on while another task keeps the cameras running, and off."""
    with (
        configuration(load, [load.video] * cameras, "realtime", 1000) as directory,
        DaemonProcess(directory, subprocess.DEVNULL) as daemon,
        daemon.subscriber() as subscriber,
    ):
        start_ms = _first_result(subscriber)
        with daemon.client() as control:
            control.request("task.deactivate", tasks=[TASK])
            rest_ms = _until_decoders_rest(daemon)
            while subscriber.receive(0.2) is not None:
                pass
            begin_s = time.monotonic()
            control.request("task.activate", tasks=[TASK])
            if subscriber.receive(5.0) is None:
                raise NoAnswer("no result in 5 s after the task was activated")
            activate_ms = 1000 * (time.monotonic() - begin_s)
    return Switching(start_ms, activate_ms, rest_ms)


def _first_result(subscriber: Subscriber) -> float:
    begin_s = time.monotonic()
    if subscriber.receive(20.0) is None:
        raise NoAnswer("no result in 20 s; try: edged run")
    return 1000 * (time.monotonic() - begin_s)


def _until_decoders_rest(daemon: DaemonProcess) -> float:
    """Return the milliseconds until the decoders have spent no CPU for 100 ms."""
    begin_s = quiet_since_s = time.monotonic()
    spent_s = daemon.status()["cpu_s"]["decode"]
    while time.monotonic() - quiet_since_s < 0.1:
        now_s = daemon.status()["cpu_s"]["decode"]
        if now_s > spent_s:
            spent_s, quiet_since_s = now_s, time.monotonic()
    return 1000 * (quiet_since_s - begin_s)


def _latencies(subscriber: Subscriber, seconds: float) -> Latencies:
    totals, converts, infers = [], [], []
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        result = subscriber.receive(left_s)
        now_ns = time.monotonic_ns()
        if result is None:
            break
        spent = result.latency_ms
        decoded_ns = result.mono_ns + 1e6 * (
            spent["total"] - spent["wait"] - spent["convert"] - spent["infer"] - spent["parse"]
        )
        totals.append((now_ns - decoded_ns) / 1e6)
        converts.append(spent["convert"])
        infers.append(spent["infer"])
    if not totals:
        raise NoAnswer(_nothing(seconds))
    return Latencies(len(totals), _at(totals, 0.5), _at(totals, 0.99), _at(converts, 0.5), _at(infers, 0.5))


def _nothing(seconds: float) -> str:
    return f"no result in {seconds:g} s; give a longer --seconds"


def _at(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _count(subscriber: Subscriber, seconds: float) -> int:
    """Count messages without decoding them, in few looks: the subscriber shares the cores that are measured."""
    count, until_s = 0, time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, LOOK_S))
        with suppress(zmq.Again):
            while True:
                subscriber.socket.recv_multipart(zmq.NOBLOCK, copy=False)
                count += 1
    return count


def _served(status: dict[str, Any]) -> int:
    return sum(frames["served"] for task in status["tasks"] for frames in task["frames"].values())
