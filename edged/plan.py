"""The plan: which cameras run, how, and why. Made by the scheduler, followed by the camera pool.

These are values only, so that the two siblings share them without knowing each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Mode(str, Enum):
    """What the plan wants of a camera.

    HOT decodes. WARM keeps the stream open and the packets since the last key frame. PARKED reads and
    discards. COLD is closed.
    """

    HOT = "hot"
    WARM = "warm"
    PARKED = "parked"
    COLD = "cold"


class CameraState(str, Enum):
    """What a camera's stream is. Only RUNNING gives frames; ENDED is a finite source that has no more."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    BACKOFF = "backoff"
    CLOSED = "closed"
    ENDED = "ended"


class TaskState(str, Enum):
    """What a task tells its consumers. DEGRADED runs slower than it asks for, lacks cameras, or results."""

    ACTIVE = "active"
    DEGRADED = "degraded"
    INACTIVE = "inactive"


@dataclass(frozen=True)
class CameraPlan:
    """One camera's part: its mode, the frames per second its tasks want, who wants it, and why in words.

    `since_s` is when it came to this mode, on the clock that the planner was given.
    """

    mode: Mode
    rate_hz: float
    tasks: tuple[str, ...]
    reason: str
    since_s: float = 0.0


@dataclass(frozen=True)
class TaskPlan:
    """One task's part: whether it runs, on which cameras, at what rate per camera, and why in words.

    `rate_hz` is what it gets; less than `wanted_hz`, or 0, where the machine cannot do it all. `suspended` marks a task
    that is wanted and whole, and for which nothing is left.
    """

    state: TaskState
    cameras: tuple[str, ...]
    rate_hz: float
    reason: str
    wanted_hz: float = 0.0
    suspended: bool = False


@dataclass(frozen=True)
class DeviceShare:
    """Work on one device in seconds per second: what it can do, what the plan gives out, and what all would take.

    `levels` are (priority, what is given out to it and all above), from the highest down.
    """

    capacity: float
    planned: float
    wanted: float = 0.0
    levels: tuple[tuple[int, float], ...] = ()

    def above(self, priority: int) -> float:
        """Return what is given out to tasks of a higher priority."""
        return max((planned for level, planned in self.levels if level > priority), default=0.0)


@dataclass(frozen=True)
class Plan:
    """What should run now. Equal inputs give equal plans."""

    cameras: Mapping[str, CameraPlan] = field(default_factory=dict)
    tasks: Mapping[str, TaskPlan] = field(default_factory=dict)
    devices: Mapping[str, DeviceShare] = field(default_factory=dict)
