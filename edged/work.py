"""Orders from the dispatcher to the engine workers. Frozen: they cross threads."""

from __future__ import annotations

from dataclasses import dataclass

from edged.frame import Frame


@dataclass(frozen=True)
class Job:
    """One frame to be inferred by one engine for one or several tasks. Carries one lease of the frame.

    `deadline_ns` is CLOCK_MONOTONIC, None where lateness does not matter; `posted_ns` is when the frame was
    offered; `lossless` marks a `pace: fast` camera, whose result must not be dropped.
    """

    frame: Frame
    engine: str
    tasks: tuple[str, ...]
    priority: int
    deadline_ns: int | None
    posted_ns: int
    lossless: bool


@dataclass(frozen=True)
class Cost:
    """What one inference of n pictures takes, in seconds: `fixed_s` + n x `picture_s`, conversion and parsing included.

    Measured while running. On the CPU it is CPU time, which other work on the machine does not stretch.
    """

    fixed_s: float
    picture_s: float

    def of(self, pictures: int) -> float:
        """Return the seconds of one inference of that many pictures."""
        return self.fixed_s + pictures * self.picture_s


@dataclass(frozen=True)
class Group:
    """Frames of several cameras that were taken at the same time: one for each of `cameras` out of `wanted`."""

    id: int
    cameras: tuple[str, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Jobs that one inference serves, all for the same engine."""

    engine: str
    jobs: tuple[Job, ...]
