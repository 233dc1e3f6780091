"""Frames of several cameras that were taken at the same time, put together for one task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from edged.frame import Frame
from edged.scheduler.gate import Gate
from edged.work import Group

SILENT_NS = 1_000_000_000  # a camera that gave nothing for so long (and three intervals) is not waited for
LOSSLESS_SILENT_NS = 5_000_000_000  # nor one of files that are read as fast as they come, which may be slow to open
REWIND_NS = 2_000_000_000  # a frame older than the newest group by more is not late: the clock was set back
NEVER_NS = -(1 << 62)
RATE_MIN_HZ = 0.01


@dataclass(frozen=True)
class Sync:
    """How a task groups its cameras' frames.

    Args:
        tolerance_ms: largest distance of a frame from the one that opened its group.
        wait_ms: longest time that a group is held for cameras that are late.
        cameras: all cameras of the task, in its order.
        views: those of them that are views, and the camera that each is of.
    """

    tolerance_ms: float
    wait_ms: float
    cameras: tuple[str, ...]
    views: Mapping[str, str] = field(default_factory=dict)

    def come_along(self, camera: str) -> list[str]:
        """Return the others that are decoded with a camera: a frame of each comes right before or behind its own."""
        of = self.views.get(camera, camera)
        return [one for one in self.cameras if one != camera and self.views.get(one, one) == of] if self.views else []


@dataclass
class _Open:
    at_ns: int
    until_ns: int | None  # None: it waits as long as its cameras give frames
    lossless: bool
    frames: dict[str, Frame] = field(default_factory=dict)
    cameras: set[str] = field(default_factory=set)  # stays when the frames are gone


@dataclass(frozen=True)
class Closed:
    """A group that is complete, or waits no longer. Whoever takes it owns one lease of each frame."""

    group: Group
    frames: tuple[Frame, ...]
    lossless: bool


class Grouper:
    """The groups of one task. Not thread-safe: the dispatcher's lock guards it.

    A group opens with the first frame that the task's rate lets through. Frames of the other cameras join it whose
    time differs by no more than the tolerance. It closes when every camera that can still give one has, or when the
    wait is over; ids count up. A camera that has given a later frame, or nothing at all of late, is not waited for;
    one and its views are silent together.

    Args:
        excused_ns: until when the silence of a camera means nothing, because its reader waited for a place; given the
            camera and the time.
    """

    def __init__(self, sync: Sync, rate_hz: float, excused_ns: Callable[[str, int], int]) -> None:
        self.sync, self.rate_hz = sync, rate_hz
        self.gate = Gate()
        self._excused_ns = excused_ns
        self._open: deque[_Open] = deque()
        self._newest: _Open | None = None
        self._seen: dict[str, tuple[int, int]] = {}  # camera that runs -> clock and capture time of its newest frame
        self._next_id = 0

    def add(self, frame: Frame, at_ns: int, now_ns: int, until_ns: int | None) -> Literal["rate", "unsynced"] | None:
        """Put a frame into a group and retain it, or say why it is in none.

        Args:
            frame: the caller's; its own lease stays with it.
            at_ns: when it was taken, on the clock that all cameras of the task share.
            now_ns: the dispatcher's clock.
            until_ns: the latest end of a group that this frame opens or joins; None where nothing may be lost.
        """
        tolerance_ns = int(self.sync.tolerance_ms * 1e6)
        group = next((one for one in self._open if self._fits(one, frame, at_ns, tolerance_ns)), None)
        opens = group is None and self._may_open(at_ns, tolerance_ns)
        self._saw(frame.camera, now_ns, at_ns)
        if group is None:
            if not opens or not self.gate.open(at_ns, self.rate_hz):
                newest = self._newest
                return "rate" if newest is None or frame.camera in newest.cameras else "unsynced"
            group = self._newest = _Open(at_ns, until_ns, until_ns is None)
            self._open.append(group)
        elif group.until_ns is not None and until_ns is not None:
            group.until_ns = min(group.until_ns, until_ns)
        frame.retain()
        group.frames[frame.camera] = frame
        group.cameras.add(frame.camera)
        return None

    def close(self, now_ns: int) -> list[Closed]:
        """Take out every group that is complete or has waited long enough."""
        ready = [group for group in self._open if self._end_ns(group, now_ns) <= now_ns]
        for group in ready:
            self._open.remove(group)
        return [self._closed(group) for group in ready if group.frames]

    def next_ns(self, now_ns: int) -> int | None:
        """Return when the next group will have waited long enough; None when none is open."""
        return min((self._end_ns(group, now_ns) for group in self._open), default=None)

    @property
    def open_groups(self) -> int:
        """How many groups wait for more frames."""
        return len(self._open)

    def waiting(self, camera: str) -> int:
        """Return how many open groups hold a frame of that camera."""
        return sum(camera in group.frames for group in self._open)

    def keep(self, cameras: Collection[str], now_ns: int) -> list[Frame]:
        """Follow a new plan: only these cameras are there. Returns the frames of others; their leases go along."""
        self._seen = {camera: self._seen.get(camera, (now_ns, NEVER_NS)) for camera in cameras}
        return [
            group.frames.pop(camera) for group in self._open for camera in [*group.frames] if camera not in self._seen
        ]

    def _saw(self, camera: str, now_ns: int, at_ns: int) -> None:
        """Note a camera's newest frame. Those that are decoded with it have given all that they had before it."""
        self._seen[camera] = (now_ns, at_ns)
        for one in self.sync.come_along(camera):
            if one in self._seen:
                self._seen[one] = (now_ns, max(self._seen[one][1], at_ns - 1))

    def _fits(self, group: _Open, frame: Frame, at_ns: int, tolerance_ns: int) -> bool:
        return frame.camera not in group.cameras and abs(at_ns - group.at_ns) <= tolerance_ns

    def _may_open(self, at_ns: int, tolerance_ns: int) -> bool:
        """A frame of about the newest group's time, or before it, came too late for it. Or a clock was set back."""
        if self._newest is None or at_ns > self._newest.at_ns + tolerance_ns:
            return True
        if at_ns > self._newest.at_ns - REWIND_NS:
            return False
        for group in self._open:
            group.until_ns = 0
        self._seen = {camera: (seen_ns, at_ns - REWIND_NS) for camera, (seen_ns, _) in self._seen.items()}
        return True

    def _end_ns(self, group: _Open, now_ns: int) -> int:
        """Return when a group ends if nothing more comes; `now_ns` when there is nothing to wait for."""
        lossless = group.lossless
        later_ns = group.at_ns + int(self.sync.tolerance_ms * 1e6)
        patience_ns = max(LOSSLESS_SILENT_NS if lossless else SILENT_NS, int(3e9 / max(self.rate_hz, RATE_MIN_HZ)))
        end_ns = now_ns
        for camera, (seen_ns, at_ns) in self._seen.items():
            if camera not in group.cameras and at_ns <= later_ns and (lossless or at_ns != NEVER_NS):
                end_ns = max(end_ns, patience_ns + max(seen_ns, self._excused_ns(camera, now_ns)))
        return end_ns if group.until_ns is None else max(now_ns, min(end_ns, group.until_ns))

    def _closed(self, group: _Open) -> Closed:
        frames = tuple(group.frames[camera] for camera in self._ordered(group.frames))
        group.frames.clear()
        made = Group(self._next_id, tuple(frame.camera for frame in frames), self.sync.cameras)
        self._next_id += 1
        return Closed(made, frames, group.lossless)

    def _ordered(self, cameras: Iterable[str]) -> list[str]:
        order = {camera: place for place, camera in enumerate(self.sync.cameras)}
        return sorted(cameras, key=lambda camera: (order.get(camera, len(order)), camera))
