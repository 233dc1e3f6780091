"""What the planner is told: wishes of the tasks, health of the cameras, costs and limits of the machine. All frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edged.plan import CameraState, Mode
from edged.work import Cost

CPU = "cpu"  # the device on which pictures are decoded, where a camera has a decoding cost


@dataclass(frozen=True)
class Demand:
    """What one task wants. `blocked` says why it cannot run although it is active ("no engine; run: ...").

    `failing` says that it runs and has no results, "" where it has.

    `rate_min_hz` is the least rate that makes sense; below it the task is suspended. 0 allows any rate down to 0.1 Hz.
    """

    task: str
    cameras: tuple[str, ...]
    rate_hz: float
    active: bool
    why: str
    blocked: str | None = None
    rate_min_hz: float = 0.0
    priority: int = 0
    deadline_ms: float | None = None
    engine: str = ""
    failing: str = ""


@dataclass(frozen=True)
class Supply:
    """One camera as it is: the state of its stream, why, and the mode it falls to when nothing needs it.

    `linger_s` is how long it stays in that mode before it is closed, None for ever. `lossless` marks a `pace: fast`
    camera, which takes what is left of the machine and is in no budget. `rate_hz` is what the stream gives, None
    unknown. `since` says in words since when the state is so, or since when a lost camera has not run; `tried` that an
    attempt to open it has failed since. `of` makes it a view of that camera: it has an inference of its own, no
    decoding, and the mode of its camera.
    """

    camera: str
    state: CameraState
    reason: str
    unneeded: Mode
    linger_s: float | None = None
    lossless: bool = False
    rate_hz: float | None = None
    since: str = ""
    of: str = ""
    tried: bool = False


@dataclass(frozen=True)
class EngineLoad:
    """Where an engine runs, what an inference costs, and the largest batch it takes."""

    device: str
    cost: Cost
    batch: int


@dataclass(frozen=True)
class Machine:
    """What work costs and what the devices can do, measured so far.

    Attributes:
        engines: by engine; one that is missing is not measured yet and counts nothing.
        decode_s: CPU seconds for one frame of a camera; a missing one is decoded elsewhere or not measured yet.
        capacity: seconds of work per second that a device can do; a missing one has no limit.
        workers: inferences that a device runs at the same time; 0 or missing where unknown.
        notes: why a device can do less than it could ("cpu capped at 1.2 of 2.2 GHz").
    """

    engines: Mapping[str, EngineLoad] = field(default_factory=dict)
    decode_s: Mapping[str, float] = field(default_factory=dict)
    capacity: Mapping[str, float] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
