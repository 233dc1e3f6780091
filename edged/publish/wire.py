"""The wire format, version 1: topics, messages, and their schema. The only file that knows it.

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


def _object(properties: dict[str, Any], description: str = "", optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    said = {"description": description} if description else {}
    return {**said, "type": "object", "properties": properties, "required": required}


def _list(description: str, items: Mapping[str, Any], length: int | None = None) -> dict[str, Any]:
    sizes = {} if length is None else {"minItems": length, "maxItems": length}
    return {"description": description, "type": "array", "items": items, **sizes}


def _number(description: str) -> dict[str, Any]:
    return {"description": description, "type": "number"}


def _count(description: str) -> dict[str, Any]:
    return {"description": description, "type": "integer", "minimum": 0}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "type": "string"}


def _choice(description: str, *values: str) -> dict[str, Any]:
    return {"description": description, "enum": list(values)}


_PLACE = "(0, 0) is the outer corner of the top left pixel, whose centre is (0.5, 0.5)"
_NAMES = {"type": "array", "items": {"type": "string"}}
_NUMBER = {"type": "number"}
_VERSION = {"description": f"version of the format: {VERSION}", "const": VERSION}
_BOOT = _text("random id of this run of the daemon")
_CAMERA_STATE = ("connecting", "running", "stalled", "backoff", "closed", "ended")

SCHEMA: dict[str, Any] = {
    "result": {
        "title": "edged/1/det/<task>/<camera>/",
        **_object(
            {
                "v": _VERSION,
                "task": _text("name of the task"),
                "camera": _text("id of the camera, or of the view"),
                "seq": _count(
                    "+1 with every result of this task and camera since the daemon started, given before the publisher "
                    "may drop: a gap is a loss"
                ),
                "dropped": _count("how many of those the publisher has dropped so far"),
                "boot": _BOOT,
                "frame": _object(
                    {
                        "id": _count(
                            "counts the camera's frames in presentation order from 0 and is never reset; a frame that "
                            "is not decoded uses its number up"
                        ),
                        "width": _count("pixels"),
                        "height": _count("pixels"),
                    },
                    "the picture as the camera, or the view, gives it",
                ),
                "t": _object(
                    {
                        "capture_ns": _count("Unix time of the capture"),
                        "mono_ns": _count("CLOCK_MONOTONIC of the capture, on the daemon's machine"),
                        "clock": _choice(
                            "where the time of the capture comes from: driver (the camera's driver), rtcp (the "
                            "sender's reports), arrival (when it came here) or media (a paced file's own clock)",
                            "driver",
                            "rtcp",
                            "arrival",
                            "media",
                        ),
                        "publish_ns": _count("Unix time of sending"),
                        "publish_mono_ns": _count("CLOCK_MONOTONIC of sending"),
                    },
                    "times in nanoseconds",
                ),
                "latency_ms": _object(
                    {
                        "decode": _number("decoding this frame"),
                        "convert": _number("bringing the frames of its batch to the network's size and colours"),
                        "wait": _number("between its decoding and the start of its batch"),
                        "infer": _number("inference of its batch"),
                        "parse": _number("making findings of this frame's outputs"),
                        "total": _number("from the capture to the findings; sending comes after"),
                    },
                    "milliseconds spent in each stage",
                ),
                "engine": _object(
                    {
                        "model": _text("file name of the network"),
                        "backend": _text("such as tensorrt or onnxruntime"),
                        "device": _text("such as gpu0, dla0 or cpu"),
                        "precision": _text("fp32, fp16 or int8"),
                        "batch": _count("pictures in its batch; the network's own number where that is fixed"),
                    },
                    "what really ran the inference",
                ),
                "detections": _list(
                    "objects, best score first; none is a result too",
                    _object(
                        {
                            "class": _text("name of its class"),
                            "class_id": _count("number of its class in the task's labels, from 0"),
                            "score": {**_number("0 to 1"), "minimum": 0, "maximum": 1},
                            "box": _list(f"x1, y1, x2, y2 in pixels of frame; {_PLACE}", _NUMBER, 4),
                            "track_id": {
                                "description": "the same for one object in several frames",
                                "type": "integer",
                            },
                            "attrs": {"description": "what a plug-in says of it", "type": "object"},
                        },
                        optional=("track_id", "attrs"),
                    ),
                ),
                "lanes": _list(
                    "lane lines; there when the task looks for them, be it an empty list",
                    _object(
                        {
                            "kind": _text("what line it is"),
                            "score": _number("0 to 1"),
                            "points": _list(
                                "[x, y] from near to far, in pixels of frame as a box's corners are",
                                {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
                            ),
                        }
                    ),
                ),
                "masks": _list(
                    "yes/no pictures of width x height cells over a box",
                    _object(
                        {
                            "kind": _text("what it is of"),
                            "width": _count("cells"),
                            "height": _count("cells"),
                            "box": _list("what the cells cover, as a detection's box", _NUMBER, 4),
                            "bits": {
                                "description": "msgpack bin: the cells row by row, eight to a byte, most significant "
                                "bit first, each row from a new byte (numpy.packbits of each row)"
                            },
                        }
                    ),
                ),
                "group": _object(
                    {
                        "id": _count("counts the task's groups; the same in the results that belong together"),
                        "cameras": {"description": "those in the group", **_NAMES},
                        "wanted": {"description": "those that it could have had", **_NAMES},
                    },
                    "of a task with `sync`: frames of several cameras taken at the same time",
                ),
            },
            optional=("lanes", "masks", "group"),
        ),
    },
    "task": {
        "title": "edged/1/task/<task>/",
        **_object(
            {
                "v": _VERSION,
                "task": _text("its name"),
                "boot": _BOOT,
                "state": _choice(
                    "active; degraded, which runs, but slower than it asks for, without some cameras (one that was "
                    "just asked for has 2 s to open), or while every frame fails; or inactive",
                    "active",
                    "degraded",
                    "inactive",
                ),
                "cameras": {
                    "description": f"each of its cameras: {', '.join(_CAMERA_STATE[:-1])} or {_CAMERA_STATE[-1]}",
                    "type": "object",
                    "additionalProperties": {"enum": list(_CAMERA_STATE)},
                },
                "reason": _text("why it is so, in words for people"),
                "rate_hz": _number("results per second and camera that it is granted"),
                "wanted_hz": _number("what its configuration asks for"),
                "lost": {
                    "description": "cameras that it needs and that do not run: {camera: {state, since_ns}}; it has not "
                    "run since then, in Unix time, however often it was tried again",
                    "type": "object",
                    "additionalProperties": _object(
                        {"state": {"enum": list(_CAMERA_STATE)}, "since_ns": {"type": "integer", "minimum": 0}}
                    ),
                },
            },
            optional=("rate_hz", "wanted_hz", "lost"),
        ),
    },
    "status": {
        "title": "edged/1/status/",
        **_object(
            {
                "v": _VERSION,
                "boot": _BOOT,
                "uptime_s": _number("seconds since it started"),
                "cameras": {"description": "as `camera.list`", "type": "array"},
                "tasks": {"description": "as `task.list`", "type": "array"},
                "engines": {"description": "networks in service, what serves them and what they cost", "type": "array"},
                "devices": {"description": "capacity, planned and done work in seconds per second", "type": "array"},
                "signals": {"description": "those that were set or that a rule reads", "type": "array"},
                "telemetry": {"description": "what the machine's sensors say; docs/metrics.md", "type": "object"},
                "threads": {"description": "name, restarts, and whether it was lost", "type": "array"},
                "processes": {"description": "those that cameras are shared out among, if any", "type": "array"},
            },
            optional=("devices", "signals", "telemetry", "threads", "processes"),
        ),
    },
}
"""JSON Schema of the messages, by kind."""
