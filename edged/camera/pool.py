"""All cameras of the vehicle: makes the running workers match a plan."""

from __future__ import annotations

from collections.abc import Mapping

from edged.camera.worker import CameraReport, CameraWorker
from edged.plan import Mode, Plan
from edged.supervisor import CAMERA, Supervisor


class CameraPool:
    """Owns the camera workers. Used by the daemon's main thread; `reports` may be called from any thread."""

    def __init__(self, supervisor: Supervisor, workers: Mapping[str, CameraWorker]) -> None:
        self._workers = dict(workers)
        for worker in self._workers.values():
            supervisor.start(worker, CAMERA)

    def apply(self, plan: Plan) -> None:
        """Set every camera's mode; one that the plan does not name is closed."""
        for camera, worker in self._workers.items():
            wanted = plan.cameras.get(camera)
            worker.set_mode(wanted.mode if wanted else Mode.COLD)

    def reports(self) -> dict[str, CameraReport]:
        """Return what every camera's stream is at this moment, by camera id."""
        return {camera: worker.report() for camera, worker in self._workers.items()}
