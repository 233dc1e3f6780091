"""All cameras of the vehicle: makes the running workers match a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edged.camera.worker import CameraReport, CameraWorker
from edged.plan import Mode, Plan
from edged.supervisor import CAMERA, Supervisor


class CameraPool:
    """Owns the camera workers. Used by the daemon's main thread; `reports` may be called from any thread."""

    def __init__(self, supervisor: Supervisor, workers: Mapping[str, CameraWorker]) -> None:
        self._workers = dict(workers)
        for worker in self._workers.values():
            supervisor.start(worker, replace(CAMERA, silence_s=CAMERA.silence_s + worker.patience_s))

    def rest(self, plan: Plan) -> None:
        """Set the mode of the cameras that the plan does not want decoded; one that it does not name is closed."""
        for camera, worker in self._workers.items():
            mode = plan.cameras[camera].mode if camera in plan.cameras else Mode.COLD
            if mode is not Mode.HOT:
                worker.set_mode(mode)

    def wake(self, plan: Plan) -> None:
        """Set the mode of the cameras that the plan wants decoded."""
        for camera, wanted in plan.cameras.items():
            if wanted.mode is Mode.HOT:
                self._workers[camera].set_mode(Mode.HOT)

    def reports(self) -> dict[str, CameraReport]:
        """Return what every camera's stream is at this moment, by camera id."""
        return {camera: worker.report() for camera, worker in self._workers.items()}
