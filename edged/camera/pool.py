"""All cameras of the vehicle: makes the running workers match a plan."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edged.camera.counter import FrameCounter
from edged.camera.worker import CameraReport, CameraWorker
from edged.errors import WorkerFailed
from edged.plan import Mode, Plan
from edged.supervisor import CAMERA, Supervisor

log = logging.getLogger(__name__)

STOP_S = 1.0  # a worker inside its source ends when that returns; its replacement waits, the main loop does not


class CameraPool:
    """Owns the camera workers and, for as long as the daemon runs, every camera's frame numbers.

    Used by the daemon's main thread only.
    """

    def __init__(self, supervisor: Supervisor, workers: Mapping[str, CameraWorker]) -> None:
        self._supervisor = supervisor
        self._workers: dict[str, CameraWorker] = {}
        self._counters: dict[str, FrameCounter] = {}
        self._leaving: set[str] = set()  # names of workers that were told to stop and have not ended
        self._waiting: dict[str, CameraWorker] = {}  # by name, for the one before them to end
        self.replace(workers)

    def counter(self, camera: str) -> FrameCounter:
        """Return the counter that a worker for this camera has to be made with, so that frame numbers go on."""
        return self._counters.setdefault(camera, FrameCounter())

    def replace(self, workers: Mapping[str, CameraWorker]) -> None:
        """Start these workers; those that run for the same cameras are stopped first. All others stay untouched."""
        self.stop(camera for camera in workers if camera in self._workers)
        for camera, worker in workers.items():
            self._workers[camera] = worker
            self._counters[camera] = worker.counter
            self._waiting[worker.name] = worker
        self._start_waiting()

    def stop(self, cameras: Iterable[str]) -> None:
        """Stop these cameras' workers, all at once, and forget them. One that hangs in its source ends when it can."""
        names = [self._workers.pop(camera).name for camera in tuple(cameras)]
        leaving = {name for name in names if self._waiting.pop(name, None) is None}
        self._leaving |= leaving
        self._end(leaving, STOP_S)

    def rest(self, plan: Plan) -> None:
        """Set the mode of the cameras that the plan does not want decoded; one that it does not name is closed."""
        for camera, worker in self._workers.items():
            mode = plan.cameras[camera].mode if camera in plan.cameras else Mode.COLD
            if mode is not Mode.HOT:
                worker.set_mode(mode)

    def wake(self, plan: Plan) -> None:
        """Set the mode and rate of the cameras that the plan wants decoded."""
        for camera, worker in self._workers.items():
            wanted = plan.cameras.get(camera)
            if wanted is not None and wanted.mode is Mode.HOT:
                worker.set_mode(Mode.HOT, wanted.rate_hz)

    def reports(self) -> dict[str, CameraReport]:
        """Return what every camera's stream is at this moment, by camera id."""
        if self._waiting:
            self._end(self._leaving, 0.0)
            self._start_waiting()
        return {camera: worker.report() for camera, worker in self._workers.items()}

    def _end(self, leaving: set[str], timeout_s: float) -> None:
        try:
            self._supervisor.stop(sorted(leaving), timeout_s)
        except WorkerFailed as exc:
            if timeout_s:
                log.warning("%s; each ends when its source lets it", exc)
        self._leaving &= set(self._supervisor.names())

    def _start_waiting(self) -> None:
        for name in self._waiting.keys() - self._leaving:
            worker = self._waiting.pop(name)
            self._supervisor.start(worker, replace(CAMERA, silence_s=CAMERA.silence_s + worker.patience_s))
