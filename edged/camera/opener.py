"""Opens a camera with the first back end of its order that can decode its stream."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from edged.camera.base import CameraSource, Undecodable
from edged.log import about

log = logging.getLogger(__name__)


class Opener:
    """Used by one thread, its camera's worker; any thread may read `backend`, the name of the one in turn.

    A back end that cannot decode the stream gives way to the next one for good, and a warning says so.

    Args:
        camera: its name, for that warning.
        candidates: name of a back end -> how it opens the stream, best first; at least one.
    """

    def __init__(self, camera: str, candidates: Sequence[tuple[str, Callable[[], CameraSource]]]) -> None:
        self._camera, self._candidates = camera, list(candidates)
        self.backend = self._candidates[0][0]

    def __call__(self) -> CameraSource:
        """Return an open source. Raise `CameraError` or `BackendUnavailable`."""
        while True:
            try:
                return self._candidates[0][1]()
            except Undecodable as exc:
                if len(self._candidates) == 1:
                    raise
                del self._candidates[0]
                previous, self.backend = self.backend, self._candidates[0][0]
                log.warning("camera %s: %s in place of %s: %s", self._camera, self.backend, previous, exc,
                            extra=about(camera=self._camera, event="camera_backend"))  # fmt: skip
