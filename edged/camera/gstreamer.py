"""CSI, V4L2, RTSP and files through GStreamer: NVIDIA's elements on a Jetson, the software ones elsewhere."""

from __future__ import annotations

from edged.camera.isolated import IsolatedSource
from edged.camera.system_packages import folder_of

folder_of("gi", "_gi")  # not imported here: only the camera's own process loads GStreamer


class GStreamerSource(IsolatedSource):
    """A stream that GStreamer reads and decodes, always in a process of its own: its state changes may hang."""

    target = "edged.camera.gst.source:GstSource"
