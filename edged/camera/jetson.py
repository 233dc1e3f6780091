"""CSI, V4L2, RTSP and files through jetson-utils, where it is installed (JetPack 5 and 6)."""

from __future__ import annotations

from edged.camera.isolated import IsolatedSource
from edged.camera.system_packages import folder_of

folder_of("jetson_utils_python")  # not imported here: only the camera's own process loads it, and CUDA with it


class JetsonSource(IsolatedSource):
    """A `videoSource`, always in a process of its own.

    The library leaks with each failed opening, logs what it should report, and may freeze with its daemon; here
    that costs a restart of one camera.
    """

    target = "edged.camera.jetson_capture:JetsonCapture"
    open_extra_s = 6.0  # its discovery of a network stream or file takes up to 5 s, whatever it is told
