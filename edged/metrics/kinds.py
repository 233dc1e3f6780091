"""Every metric: name, type, labels, and what it says. docs/metrics.md has the same table; a test compares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """One metric. `sensor` ones are there only where the machine has such a sensor."""

    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    about: str
    sensor: bool = False


def _counter(about: str, *labels: str) -> Kind:
    return Kind("counter", labels, about)


def _gauge(about: str, *labels: str) -> Kind:
    return Kind("gauge", labels, about)


def _sensor(about: str, *labels: str) -> Kind:
    return Kind("gauge", labels, about, sensor=True)


KINDS: Mapping[str, Kind] = {
    "edged_build_info": _gauge("always 1; which edged and which Python", "version", "python"),
    "edged_status_timestamp_seconds": _gauge("Unix time of the status that all else is taken from"),
    "edged_scrape_duration_seconds": _gauge("what it took to make the page before this one"),
    "edged_scrapes_total": _counter("requests answered, by HTTP status", "code"),
    "edged_thread_restarts_total": _counter(
        "times that a thread was started again after a failure; one of another process is named shard:1/…", "thread"
    ),
    "edged_thread_lost": _gauge("1 for a thread that the daemon goes on without", "thread"),
    "edged_stage_cpu_seconds_total": _counter("CPU time of the engines' threads: convert, infer, parse", "stage"),
    # tasks
    "edged_task_state": _gauge("1 for the state that the task is in: active, degraded, inactive", "task", "state"),
    "edged_task_wanted_hertz": _gauge("results per second and camera that its configuration asks for", "task"),
    "edged_task_granted_hertz": _gauge("results per second and camera that the plan grants", "task"),
    "edged_task_rate_hertz": _gauge("results per second and camera of late", "task"),
    "edged_frames_offered_total": _counter("frames that were decoded while the task claimed them", "task", "camera"),
    "edged_frames_served_total": _counter("frames that were inferred in time", "task", "camera"),
    "edged_frames_dropped_total": _counter(
        "frames that were not published, by cause; dropped: in front of the socket", "task", "camera", "cause"
    ),
    "edged_results_published_total": _counter("results that were given to the socket", "task", "camera"),
    "edged_result_latency_seconds": Kind(
        "histogram", ("task", "stage"), "time that published results spent in each stage; total: capture to parsed"
    ),
    # cameras
    "edged_camera_state": _gauge(
        "1 for what the stream is: connecting, running, stalled, backoff, closed, ended", "camera", "state"
    ),
    "edged_camera_mode": _gauge("1 for what the plan wants: hot, warm, parked, cold", "camera", "mode"),
    "edged_camera_opens_total": _counter("times that the source was opened", "camera"),
    "edged_camera_frames_read_total": _counter("frames that were read", "camera"),
    "edged_camera_frames_total": _counter(
        "frames by what became of them: decoded, undecoded, damaged, caught_up (beside the sum)", "camera", "fate"
    ),
    "edged_camera_cpu_seconds_total": _counter("CPU time of decoding, since the camera's thread began", "camera"),
    "edged_camera_rate_hertz": _gauge("frames decoded per second of late", "camera"),
    "edged_camera_stream_hertz": _gauge("frames per second that the open stream gives", "camera"),
    "edged_camera_frame_age_seconds": _gauge("age of the newest frame", "camera"),
    "edged_camera_kept_packets": _gauge("packets that a warm camera keeps", "camera"),
    # devices and engines
    "edged_device_capacity": _gauge("seconds of work a second that the device can do", "device"),
    "edged_device_planned": _gauge("seconds of work a second that the plan gives it", "device"),
    "edged_device_done": _gauge("seconds of work a second that were done of late", "device"),
    "edged_device_workers": _gauge("threads that serve the device", "device"),
    "edged_device_busy_seconds_total": _counter("time that its threads were at work, all together", "device"),
    "edged_engine_info": _gauge("always 1; what the engine is", "engine", "model", "backend", "device", "precision"),
    "edged_engine_busy_seconds_total": _counter("seconds of its device that the engine took", "engine"),
    "edged_engine_batch_size": Kind("histogram", ("engine",), "pictures in a batch; its count is that of inferences"),
    "edged_signal_age_seconds": _gauge("time since a vehicle signal was last set", "signal"),
    # sensors
    "edged_temperature_celsius": _sensor("a thermal zone", "zone"),
    "edged_temperature_passive_celsius": _sensor("where the kernel starts to lower clocks", "zone"),
    "edged_clock_hertz": _sensor("what a clock runs at", "clock"),
    "edged_clock_limit_hertz": _sensor("the cap that a clock is under", "clock"),
    "edged_clock_highest_hertz": _sensor("the highest cap there is", "clock"),
    "edged_power_watts": _sensor("what a power rail delivers", "rail"),
    "edged_power_volts": _sensor("a power rail's voltage", "rail"),
    "edged_power_amperes": _sensor("a power rail's current", "rail"),
    "edged_unit_load_ratio": _sensor("share of its time that a unit was busy, or at least powered", "unit", "measure"),
    "edged_gpu_memory_used_bytes": _sensor("a GPU's own memory in use", "unit"),
    "edged_gpu_memory_bytes": _sensor("a GPU's own memory", "unit"),
    "edged_telemetry_age_seconds": _gauge("age of the sensors' readings"),
    "edged_telemetry_missing": _gauge("sensors of this machine that gave nothing"),
}

PROCESS: Mapping[str, Kind] = {
    "process_cpu_seconds_total": _counter("CPU time of the whole process"),
    "process_resident_memory_bytes": _gauge("memory that the process holds"),
    "process_virtual_memory_bytes": _gauge("addresses that the process uses"),
    "process_start_time_seconds": _gauge("Unix time of the start"),
    "process_open_fds": _gauge("open files and sockets"),
    "process_max_fds": _gauge("most that may be open"),
}
"""What prometheus_client tells of every process, under the names that every Prometheus program uses."""
