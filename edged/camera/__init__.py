"""Camera sources. Add one here: a row in SOURCES, and its place in the order of the schemes it serves."""

from __future__ import annotations

from collections.abc import Mapping

from edged.camera.base import CameraSource
from edged.registry import Registry, Spec

SOURCES: Registry[CameraSource] = Registry(
    "camera backend",
    {
        "pyav": Spec("edged.camera.pyav:PyAvSource", "the PyAV wheel (av)"),
        "jetson_utils": Spec(None, "the Jetson cameras, which this version of edged does not have yet"),
        "gstreamer": Spec(None, "the Jetson cameras, which this version of edged does not have yet"),
        "shm": Spec(None, "the shared-memory ring, which this version of edged does not have yet"),
        "scene": Spec("edged.camera.scene.source:SceneSource", "opencv-python-headless"),
    },
)

ORDER: Mapping[str, tuple[str, ...]] = {
    "file": ("pyav",),
    "rtsp": ("pyav",),
    "rtsps": ("pyav",),
    "http": ("pyav",),
    "https": ("pyav",),
    "tcp": ("pyav",),
    "udp": ("pyav",),
    "srt": ("pyav",),
    "v4l2": ("pyav",),
    "csi": ("jetson_utils", "gstreamer"),
    "shm": ("shm",),
    "scene": ("scene",),
}
"""Which back ends serve a source's scheme, best first, when its camera names none."""
