"""What the daemon has said so far, as frozen values made from its messages."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edged.client import Detection, LaneLine
from edged.publish.wire import PREFIX, STATUS_TOPIC

KEEP_S = 2.0


@dataclass(frozen=True)
class Seen:
    """One result: what a task found in one frame of a camera, and when it came here."""

    at_s: float
    task: str
    camera: str
    frame_id: int
    latency_ms: float
    boxes: tuple[Detection, ...] = ()
    lanes: tuple[LaneLine, ...] = ()


@dataclass(frozen=True)
class CameraRow:
    """One camera as the daemon's status has it."""

    mode: str
    state: str
    rate_hz: float
    reason: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class TaskRow:
    """One task as its state messages and the status have it."""

    state: str
    rate_hz: float
    reason: str

    @property
    def on(self) -> bool:
        """Whether it is wanted, though perhaps without some of its cameras."""
        return self.state != "inactive"


@dataclass(frozen=True)
class View:
    """The whole daemon at one moment.

    `seen` has each camera's results of its last `KEEP_S`, oldest first, of tasks that are on for it; `frames` the
    last frame of each camera that any task answered.
    """

    uptime_s: float = -1.0
    cpu_cores: float | None = None
    rss_mb: float | None = None
    tasks: Mapping[str, TaskRow] = field(default_factory=dict)
    cameras: Mapping[str, CameraRow] = field(default_factory=dict)
    seen: Mapping[str, tuple[Seen, ...]] = field(default_factory=dict)
    frames: Mapping[str, int] = field(default_factory=dict)

    def updated(self, topic: str, message: Mapping[str, Any], now_s: float) -> View:
        """Return the view after one more message. What it does not know changes nothing."""
        if topic.startswith(f"{PREFIX}det/"):
            return self._with_result(message, now_s)
        if topic.startswith(f"{PREFIX}task/"):
            before = self.tasks.get(message["task"])
            row = TaskRow(message["state"], before.rate_hz if before else 0.0, message["reason"])
            return replace(self, tasks={**self.tasks, message["task"]: row})
        if topic == STATUS_TOPIC and message["uptime_s"] > self.uptime_s:  # the last one is sent again each second
            return self.with_status(message)
        return self

    def with_status(self, status: Mapping[str, Any]) -> View:
        """Return the view with a status, as published or as answered to a command."""
        described = self.with_tasks(status["tasks"]).with_cameras(status["cameras"])
        return replace(described, uptime_s=status["uptime_s"], cpu_cores=status["cpu_cores"], rss_mb=status["rss_mb"])

    def with_tasks(self, rows: Iterable[Mapping[str, Any]]) -> View:
        """Return the view with the rows of a task list."""
        return replace(self, tasks={row["task"]: TaskRow(row["state"], row["rate_hz"], row["reason"]) for row in rows})

    def with_cameras(self, rows: Iterable[Mapping[str, Any]]) -> View:
        """Return the view with the rows of a camera list. Results of tasks that are off now are let go."""
        cameras = {
            row["id"]: CameraRow(row["mode"], row["state"], row["rate_hz"], row["reason"], tuple(row["tasks"]))
            for row in rows
        }
        seen = {
            camera: tuple(one for one in results if camera in cameras and one.task in cameras[camera].tasks)
            for camera, results in self.seen.items()
        }
        return replace(self, cameras=cameras, seen=seen)

    def newest(self, camera: str, now_s: float) -> dict[str, Seen]:
        """Return the newest result of each task on a camera, in the plan's order, none older than `KEEP_S`."""
        found = {one.task: one for one in self.seen.get(camera, ()) if now_s - one.at_s <= KEEP_S}
        row = self.cameras.get(camera)
        return {task: found[task] for task in row.tasks if task in found} if row else {}

    def latency_ms(self, camera: str, now_s: float) -> float | None:
        """Return the median latency of a camera's results of the last second."""
        recent = [one.latency_ms for one in self.seen.get(camera, ()) if now_s - one.at_s <= 1.0]
        return statistics.median(recent) if recent else None

    def results_per_s(self, now_s: float) -> int:
        """Return how many results came in the last second."""
        return sum(now_s - one.at_s <= 1.0 for results in self.seen.values() for one in results)

    def _with_result(self, message: Mapping[str, Any], now_s: float) -> View:
        one = _seen(message, now_s)
        frames = {**self.frames, one.camera: one.frame_id}
        row = self.cameras.get(one.camera)
        if row is not None and one.task not in row.tasks:  # it was on its way when its task was switched off
            return replace(self, frames=frames)
        kept = tuple(old for old in self.seen.get(one.camera, ()) if now_s - old.at_s <= KEEP_S)
        return replace(self, seen={**self.seen, one.camera: (*kept, one)}, frames=frames)


@dataclass(frozen=True)
class Moment:
    """One camera as the picture shows it: the frame, the results drawn on it, the camera's mode and why."""

    camera: str
    mode: str
    reason: str
    tasks: tuple[str, ...]
    frame_id: int | None
    results: tuple[Seen, ...]


def choose_moment(view: View, camera: str) -> Moment:
    """Choose a camera's frame for the picture: the newest that all tasks that are on have answered.

    Where there is none, the newest frame of any of them, with each task's newest result. A camera that nothing
    needs shows the last frame that was looked at, without results.
    """
    row = view.cameras.get(camera, CameraRow("closed", "", 0.0, "the daemon did not name it", ()))
    seen = view.seen.get(camera, ())
    frames: dict[int, dict[str, Seen]] = {}
    for one in seen:
        frames.setdefault(one.frame_id, {})[one.task] = one
    complete = [number for number, results in frames.items() if len(results) == len(row.tasks)]
    if complete:
        last: int | None = max(complete)
        chosen = frames[max(complete)]
    else:
        last = max(frames, default=view.frames.get(camera))
        chosen = {one.task: one for one in seen}
    return Moment(camera, row.mode, row.reason, row.tasks, last, tuple(chosen.values()))


def all_answered(view: View) -> bool:
    """Whether every task that is on has a result from each of its cameras to show."""
    moments = [choose_moment(view, camera) for camera in view.cameras]
    return all(len(moment.results) == len(moment.tasks) for moment in moments)


def _seen(message: Mapping[str, Any], now_s: float) -> Seen:
    return Seen(
        now_s,
        message["task"],
        message["camera"],
        message["frame"]["id"],
        message["latency_ms"]["total"],
        tuple(_detection(found) for found in message["detections"]),
        tuple(
            LaneLine(lane["kind"], lane["score"], tuple((x, y) for x, y in lane["points"]))
            for lane in message.get("lanes", ())
        ),
    )


def _detection(found: Mapping[str, Any]) -> Detection:
    x1, y1, x2, y2 = found["box"]
    return Detection(found["class"], found["class_id"], found["score"], (x1, y1, x2, y2), None, {})
