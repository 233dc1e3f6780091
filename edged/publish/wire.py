"""The wire format, version 1: topics and messages. The only file that knows it; schema.py describes it.

Two frames: the topic, then one msgpack map. Keys are only ever added within a version. No numpy here:
`edged.client` imports this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from edged.plan import CameraState, TaskState
from edged.results import Box, Lane, Mask, Result

VERSION = 1
PREFIX = f"edged/{VERSION}/"
STATUS_TOPIC = f"{PREFIX}status/"
TOPIC_MAX = 80  # bytes; names have at most 32


def result_topic(task: str, camera: str) -> str:
    """Return the topic of one task's results on one camera. Topics end in `/`: a prefix never cuts a name."""
    return f"{PREFIX}det/{task}/{camera}/"


def task_topic(task: str) -> str:
    """Return the topic of one task's state."""
    return f"{PREFIX}task/{task}/"


def listened_task(subscription: bytes) -> str | None:
    """Return the task whose results a subscription names, None for one that is not as long as a task's topic."""
    kind, _, rest = subscription.removeprefix(PREFIX.encode()).partition(b"/")
    if not subscription.startswith(PREFIX.encode()) or kind != b"det" or b"/" not in rest:
        return None
    return rest.partition(b"/")[0].decode("ascii", "replace")


def pack(message: Mapping[str, Any]) -> bytes:
    """Encode one message."""
    packed: bytes = msgpack.packb(message, use_bin_type=True)
    return packed


def unpack(data: bytes) -> Any:
    """Decode one message. Raise `ValueError` for anything that is not one complete msgpack value."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True)  # lengths are bounded by the data's own
    except (msgpack.exceptions.UnpackException, ValueError, RecursionError, TypeError) as exc:
        raise ValueError(f"not a msgpack message: {exc or type(exc).__name__}") from exc


def result_message(
    result: Result, seq: int, dropped: int, boot: str, publish_ns: int, publish_mono_ns: int
) -> dict[str, Any]:
    """Build the message of one result.

    Args:
        result: what was found.
        seq: counts this task's results on this camera from 0.
        dropped: how many of those the publisher has dropped so far.
        boot: random id of this run of the daemon.
        publish_ns: Unix time of sending.
        publish_mono_ns: CLOCK_MONOTONIC of sending.
    """
    latency, engine, found = result.latency, result.engine, result.found
    message: dict[str, Any] = {
        "v": VERSION,
        "task": result.task,
        "camera": result.camera,
        "seq": seq,
        "dropped": dropped,
        "boot": boot,
        "frame": {"id": result.frame_id, "width": result.width, "height": result.height},
        "t": {
            "capture_ns": result.capture_ns,
            "mono_ns": result.mono_ns,
            "clock": result.clock,
            "publish_ns": publish_ns,
            "publish_mono_ns": publish_mono_ns,
        },
        "latency_ms": {
            "decode": round(latency.decode, 3),
            "convert": round(latency.convert, 3),
            "wait": round(latency.wait, 3),
            "infer": round(latency.infer, 3),
            "parse": round(latency.parse, 3),
            "total": round(latency.total, 3),
        },
        "engine": {
            "model": engine.model,
            "backend": engine.backend,
            "device": engine.device,
            "precision": engine.precision,
            "batch": engine.batch,
        },
        "detections": [_detection(box) for box in found.boxes],
    }
    if found.lanes is not None:
        message["lanes"] = [_lane(lane) for lane in found.lanes]
    if found.masks:
        message["masks"] = [_mask(mask) for mask in found.masks]
    if result.group is not None:
        group = result.group
        message["group"] = {"id": group.id, "cameras": list(group.cameras), "wanted": list(group.wanted)}
    return message


def task_message(
    task: str,
    boot: str,
    state: TaskState,
    cameras: Mapping[str, CameraState],
    reason: str,
    rate_hz: float,
    wanted_hz: float,
    lost: Mapping[str, int],
) -> dict[str, Any]:
    """Build the message of one task's state.

    Args:
        task: its name.
        boot: random id of this run of the daemon.
        state: what it is.
        cameras: the state of each camera that it names.
        reason: why it is so, in words.
        rate_hz: results per second and camera that the plan grants it, 0 while it is inactive.
        wanted_hz: what its configuration asks for.
        lost: since when (Unix time in ns) each of `cameras` that it needs and that does not run has not run.
    """
    return {
        "v": VERSION,
        "task": task,
        "boot": boot,
        "state": state.value,
        "cameras": {camera: one.value for camera, one in cameras.items()},
        "reason": reason,
        "rate_hz": rate_hz,
        "wanted_hz": wanted_hz,
        "lost": {camera: {"state": cameras[camera].value, "since_ns": ns} for camera, ns in lost.items()},
    }


def status_message(status: Mapping[str, Any]) -> dict[str, Any]:
    """Build the message of the daemon's state from what `edged status` is answered with."""
    return {"v": VERSION, **status}


def _detection(box: Box) -> dict[str, Any]:
    detection: dict[str, Any] = {
        "class": box.label,
        "class_id": box.class_id,
        "score": round(box.score, 4),
        "box": [round(box.x1, 2), round(box.y1, 2), round(box.x2, 2), round(box.y2, 2)],
    }
    if box.track_id is not None:
        detection["track_id"] = box.track_id
    if box.attrs is not None:
        detection["attrs"] = dict(box.attrs)
    return detection


def _lane(lane: Lane) -> dict[str, Any]:
    points = [[round(x, 2), round(y, 2)] for x, y in lane.points]
    return {"kind": lane.kind, "score": round(lane.score, 4), "points": points}


def _mask(mask: Mask) -> dict[str, Any]:
    return {
        "kind": mask.kind,
        "width": mask.width,
        "height": mask.height,
        "box": [round(edge, 2) for edge in mask.box],
        "bits": mask.bits,
    }
