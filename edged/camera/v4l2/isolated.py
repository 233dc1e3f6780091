"""A V4L2 camera in a process of its own, for drivers that hang where no time limit reaches."""

from __future__ import annotations

import edged.camera.v4l2.uapi  # noqa: F401 - says whether it is known for this machine
from edged.camera.isolated import IsolatedSource


class IsolatedV4l2Source(IsolatedSource):
    """The same camera in a child process: a STREAMOFF or close that never returns costs that process only.

    Each picture is copied once into the ring between the two.
    """

    target = "edged.camera.v4l2.source:V4l2Source"
