"""JSON Schema of the messages that wire.py builds, for `edged schema` and for whoever reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edged.plan import CameraState, Mode, TaskState
from edged.publish.wire import VERSION


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


def _flag(description: str) -> dict[str, Any]:
    return {"description": description, "type": "boolean"}


def _numbers(description: str) -> dict[str, Any]:
    return {"description": description, "type": "object", "additionalProperties": _NUMBER}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "type": "string"}


def _or_null(description: str, kind: str) -> dict[str, Any]:
    return {"description": description, "type": [kind, "null"]}


def _choice(description: str, *values: str) -> dict[str, Any]:
    return {"description": description, "enum": list(values)}


_PLACE = "(0, 0) is the outer corner of the top left pixel, whose centre is (0.5, 0.5)"
_NAMES = {"type": "array", "items": {"type": "string"}}
_NUMBER = {"type": "number"}
_VERSION = {"description": f"version of the format: {VERSION}", "const": VERSION}
_BOOT = _text("random id of this run of the daemon")
_CAMERA_STATE = tuple(one.value for one in CameraState)
_TASK_STATE = tuple(one.value for one in TaskState)

_TASK_ROW = _object(
    {
        "task": _text("its name"),
        "state": _choice("as in `edged/1/task/`", *_TASK_STATE),
        "active": _flag("it has cameras at this moment: not so while it is suspended"),
        "cameras": {"description": "those that its configuration names", **_NAMES},
        "rate_hz": _number("results per second and camera over the last second or so"),
        "granted_hz": _number("the rate that it is granted, for each camera"),
        "wanted_hz": _number("the rate that it asks for"),
        "reason": _text("why it is so, in words for people"),
        "engine": _text("what serves it, and in brackets why not what comes before that in its order"),
        "latency_ms": {
            "description": "means of a result's `latency_ms`, and of `publish`, over the last second or so",
            "type": ["object", "null"],
            "additionalProperties": _NUMBER,
        },
        "frames": {
            "description": "by camera",
            "type": "object",
            "additionalProperties": _object(
                {
                    "offered": _count("decoded while it claimed them; the sum of the next seven, and those under way"),
                    "served": _count("inferred and in time"),
                    "rate": _count("not needed at its rate"),
                    "superseded": _count("replaced by newer ones before a worker was free"),
                    "late": _count("past its deadline"),
                    "stopped": _count("waiting when it was deactivated or planned anew"),
                    "failed": _count("inference or parser failed"),
                    "unsynced": _count("in no group of its `sync`"),
                    "published": _count("sent"),
                    "dropped": _count("of the served ones: dropped in front of the socket"),
                }
            ),
        },
    }
)
_CAMERA_ROW = _object(
    {
        "id": _text("its name"),
        "view_of": _or_null("of a view: the camera that it is made of", "string"),
        "mode": _choice("what is wanted of it", *(one.value for one in Mode)),
        "state": _choice("what its stream is", *_CAMERA_STATE),
        "reason": _text("why it is so, in words for people"),
        "rate_hz": _number("decoded frames per second"),
        "age_ms": _or_null("since its newest frame; null before the first", "number"),
        "since_s": _number("for so long it has been in this state"),
        "tasks": {"description": "those that need it at this moment", **_NAMES},
        "backend": _text("what reads it"),
        "stream": _text("codec, size and rate as the stream declares them"),
        "stream_hz": _or_null("frames per second as they come", "number"),
        "cpu_s": _number("CPU seconds of its thread"),
        "decode_ms": _or_null("CPU time of one frame", "number"),
        "size": {"description": "width and height, pixels", "type": ["array", "null"], "items": {"type": "integer"}},
        "opens": _count("times that it was opened"),
        "kept": _object(
            {"packets": _count("packets"), "seconds": _number("of them")}, "while warm: since the last key frame"
        ),
        "frames": _object(
            {
                "read": _count("the sum of the next three, and those in the decoder"),
                "decoded": _count("decoded"),
                "undecoded": _count("skipped on purpose"),
                "damaged": _count("damaged"),
                "caught_up": _count("of those skipped: decoded later, so that those after them could be"),
                "lost": _count("beside those read: the driver counted them and had no buffer for them"),
            },
            "since it was opened first",
        ),
    }
)
_DEVICE_ROW = _object(
    {
        "device": _text("such as cpu, gpu0 or dla0"),
        "capacity": _number("what may be planned for it"),
        "planned": _number("what is"),
        "wanted": _number("what all wanted tasks would take"),
        "done": _number("what it did over the last seconds"),
        "parallel": _number("inferences at a time that the capacity reckons with"),
        "workers": _count("threads"),
        "busy_s": _number("seconds that they were at work, all together, since the start"),
        "note": _text("why it can do less than it could, such as a clock that is capped"),
    }
)
_ENGINE_ROW = _object(
    {
        "engine": _text("its key: network, back end, device, precision and a digest"),
        "model": _text("file name of the network"),
        "backend": _text("such as tensorrt or onnxruntime"),
        "device": _text("such as gpu0, dla0 or cpu"),
        "precision": _text("that it is really in"),
        "batch": _count("pictures at most"),
        "fixed_batch": _flag("it always computes so many"),
        "tasks": {"description": "those that it serves", **_NAMES},
        "note": _text("how it runs where that is worth saying, such as without a CUDA graph"),
        "batches": _numbers("how many of each size it served"),
        "busy_s": _number("seconds of its device that it took"),
        "cost_ms": _numbers("of a batch of one, and of the largest"),
        "fixed_ms": _number("of each batch, whatever its size"),
        "picture_ms": _number("of each picture in it"),
    },
    optional=("cost_ms", "fixed_ms", "picture_ms"),
)
_SIGNAL_ROW = _object(
    {
        "signal": _text("its name"),
        "value": {
            "description": "number, text or flag; null before the first",
            "type": ["number", "string", "boolean", "null"],
        },
        "age_ms": _or_null("since it was measured; null before the first", "number"),
        "stale": _flag("too old for rules"),
    }
)

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
                    "just asked for has 2 s to open), or while every frame of a camera is lost; or inactive",
                    *_TASK_STATE,
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
                    "description": "cameras that it needs and that do not run, and since when they have not, "
                    "however often they were tried again",
                    "type": "object",
                    "additionalProperties": _object(
                        {"state": _choice("what its stream is", *_CAMERA_STATE), "since_ns": _count("Unix time")}
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
                "version": _text("of edged"),
                "pid": _count("of the daemon's process"),
                "cpu_cores": _number("CPU seconds a second over the last second or so, of all its processes"),
                "cpu_s": _object(
                    {
                        "decode": _number("in the cameras' threads"),
                        "convert": _number("bringing frames to the networks' size and colours"),
                        "infer": _number("inference, in the workers' threads"),
                        "parse": _number("making findings of outputs"),
                        "total": _number("of all its processes, with all that is none of these"),
                    },
                    "CPU seconds since it started",
                ),
                "rss_mb": _number("memory of all its processes"),
                "tasks": _list("as `task.list`", _TASK_ROW),
                "cameras": _list("as `camera.list`, views among them", _CAMERA_ROW),
                "devices": _list("what runs inferences; in seconds of work per second", _DEVICE_ROW),
                "engines": _list("networks in service, what serves them and what they cost", _ENGINE_ROW),
                "signals": _list("those that were set or that a rule reads", _SIGNAL_ROW),
                "telemetry": {"description": "what the machine's sensors say; docs/metrics.md", "type": "object"},
                "threads": _list(
                    "of each process",
                    _object(
                        {
                            "name": _text("`PROCESS/NAME` outside the daemon's own process"),
                            "restarts": _count("after failures"),
                            "lost": _flag("the daemon goes on without it"),
                        }
                    ),
                ),
                "processes": _list(
                    "those that cameras are shared out among, if any",
                    _object(
                        {
                            "process": _text("its name"),
                            "pid": _count("its number"),
                            "cpu_s": _number("CPU seconds since it started"),
                            "rss_mb": _number("its memory"),
                        }
                    ),
                ),
            },
            optional=("devices", "signals", "telemetry", "threads", "processes"),
        ),
    },
}
"""JSON Schema of the messages, by kind."""
