"""What was found in a frame, in that frame's own pixels, and the result that carries it.

Coordinates are continuous: (0, 0) is the outer corner of the top left pixel, whose centre is (0.5, 0.5),
and (width, height) is the outer corner of the bottom right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Box:
    """One detected object. `score` is in 0..1, corners in source pixels, x1 <= x2 and y1 <= y2.

    `attrs` is free for plug-in parsers: a map of plain values (str, int, float, bool, lists and maps of them).
    """

    label: str
    class_id: int
    score: float
    x1: float
    y1: float
    x2: float
    y2: float
    track_id: int | None = None
    attrs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Lane:
    """One lane line or lane edge as a polyline in source pixels, from near to far (bottom to top)."""

    kind: str
    score: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mask:
    """A yes/no picture of `width` x `height` cells that covers `box` (x1, y1, x2, y2) of the source frame.

    `bits` holds the cells row by row, eight to a byte, most significant bit first; each row starts a new byte.
    """

    kind: str
    width: int
    height: int
    box: tuple[float, float, float, float]
    bits: bytes


@dataclass(frozen=True)
class Found:
    """All that one parser found in one frame. `lanes` is None for a task that has none by nature."""

    boxes: tuple[Box, ...] = ()
    lanes: tuple[Lane, ...] | None = None
    masks: tuple[Mask, ...] = ()


@dataclass(frozen=True)
class EngineUse:
    """What really ran an inference: model file, back end, device, precision, and the batch it was part of."""

    model: str
    backend: str
    device: str
    precision: str
    batch: int


@dataclass(frozen=True)
class Latency:
    """Milliseconds spent in each stage of one frame; `total` runs from capture to the parsed result."""

    decode: float
    convert: float
    wait: float
    infer: float
    parse: float
    total: float


@dataclass(frozen=True)
class Group:
    """Frames of several cameras that were taken at the same time: one for each of `cameras` out of `wanted`."""

    id: int
    cameras: tuple[str, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One task's findings in one frame, ready to be published. Frozen: it crosses threads.

    `capture_ns` is Unix time, `mono_ns` CLOCK_MONOTONIC, both of the capture; `clock` names their source. `group` says
    which frames belong to this one, None for a task that takes each camera's frames on their own.
    """

    task: str
    camera: str
    frame_id: int
    width: int
    height: int
    capture_ns: int
    mono_ns: int
    clock: str
    latency: Latency
    engine: EngineUse
    found: Found = field(default_factory=Found)
    group: Group | None = None
