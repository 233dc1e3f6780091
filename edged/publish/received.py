"""Messages as typed values: what `edged.client` gives. No numpy here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edged.results import Group


@dataclass(frozen=True)
class Detection:
    """One object: class name and id, score 0..1, box x1 y1 x2 y2 in pixels of the frame.

    (0, 0) is the outer corner of the top left pixel, whose centre is (0.5, 0.5).
    """

    label: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]
    track_id: int | None
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class LaneLine:
    """One lane: its kind, score 0..1, and points (x, y) from near to far in pixels of the frame, as a box's corners."""

    kind: str
    score: float
    points: tuple[tuple[float, float], ...]


FrameGroup = Group


@dataclass(frozen=True)
class TaskResult:
    """One task's findings in one frame of `width` x `height` pixels.

    `seq` counts this task's results on this camera as they are sent, `gap` of them before this one were lost;
    `frame_id` counts the camera's frames in presentation order. `capture_ns` is Unix time of the capture and `mono_ns`
    CLOCK_MONOTONIC of it on the daemon's machine, both in nanoseconds. `latency_ms` has milliseconds by stage: decode,
    convert, wait, infer, parse, and total, from the capture to the findings. `lanes` is None for a task that has none
    by nature. `group` is set for a task with `sync`: its results of other cameras with the same `group.id` belong to
    this one. `message` is the map as it came, with all that is not typed here: `masks`, `engine`, the times of sending.
    """

    topic: str
    task: str
    camera: str
    seq: int
    gap: int
    frame_id: int
    width: int
    height: int
    capture_ns: int
    mono_ns: int
    latency_ms: Mapping[str, float]
    detections: tuple[Detection, ...]
    lanes: tuple[LaneLine, ...] | None
    message: Mapping[str, Any]
    group: FrameGroup | None = None


@dataclass(frozen=True)
class LostCamera:
    """A camera that a task needs and that does not run: its state, and since when it has not run, in Unix time."""

    state: str
    since_ns: int


@dataclass(frozen=True)
class TaskState:
    """What a task says of itself: `state` is active, degraded or inactive, `cameras` the state of each of its cameras.

    `rate_hz` results per second and camera are granted out of `wanted_hz`; both are None from an older daemon.
    """

    topic: str
    task: str
    state: str
    cameras: Mapping[str, str]
    reason: str
    rate_hz: float | None
    wanted_hz: float | None
    lost: Mapping[str, LostCamera]
    message: Mapping[str, Any]


def task_result(topic: str, message: Mapping[str, Any], gap: int) -> TaskResult:
    """Read the message of a result; `gap` is how many before it were lost."""
    frame, times, lanes, group = message["frame"], message["t"], message.get("lanes"), message.get("group")
    return TaskResult(
        topic=topic,
        task=message["task"],
        camera=message["camera"],
        seq=message["seq"],
        gap=gap,
        frame_id=frame["id"],
        width=frame["width"],
        height=frame["height"],
        capture_ns=times["capture_ns"],
        mono_ns=times["mono_ns"],
        latency_ms=message["latency_ms"],
        detections=tuple(map(_detection, message["detections"])),
        lanes=None if lanes is None else tuple(map(_lane, lanes)),
        message=message,
        group=None if group is None else FrameGroup(group["id"], tuple(group["cameras"]), tuple(group["wanted"])),
    )


def task_state(topic: str, message: Mapping[str, Any]) -> TaskState:
    """Read the message of a task's state."""
    lost = message.get("lost", {})
    return TaskState(
        topic=topic,
        task=message["task"],
        state=message["state"],
        cameras=message["cameras"],
        reason=message["reason"],
        rate_hz=message.get("rate_hz"),
        wanted_hz=message.get("wanted_hz"),
        lost={camera: LostCamera(one["state"], one["since_ns"]) for camera, one in lost.items()},
        message=message,
    )


def _detection(found: Mapping[str, Any]) -> Detection:
    x1, y1, x2, y2 = found["box"]
    return Detection(
        found["class"],
        found["class_id"],
        found["score"],
        (x1, y1, x2, y2),
        found.get("track_id"),
        found.get("attrs", {}),
    )


def _lane(found: Mapping[str, Any]) -> LaneLine:
    return LaneLine(found["kind"], found["score"], tuple((x, y) for x, y in found["points"]))
