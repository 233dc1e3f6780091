"""Camera sources. Add one here: a row in SOURCES, and its place in the order of the schemes it serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edged.camera.base import CameraSource
from edged.errors import ConfigError
from edged.registry import Registry, Spec

if TYPE_CHECKING:
    from edged.config import CameraConfig

SOURCES: Registry[CameraSource] = Registry(
    "camera backend",
    {
        "pyav": Spec("edged.camera.pyav:PyAvSource", "the PyAV wheel (av)"),
        "nvdec": Spec("edged.camera.nvdec:NvdecSource", "PyNvVideoCodec, pycuda and cuda-bindings"),
        "jetson_utils": Spec("edged.camera.jetson:JetsonSource", "jetson-utils, built for this Python"),
        "gstreamer": Spec(
            "edged.camera.gstreamer:GStreamerSource", "the packages python3-gi and gir1.2-gst-plugins-base-1.0"
        ),
        "v4l2": Spec("edged.camera.v4l2.source:V4l2Source", "64-bit Linux"),
        "v4l2_isolated": Spec("edged.camera.v4l2.isolated:IsolatedV4l2Source", "64-bit Linux"),
        "shm": Spec("edged.camera.shm.source:ShmSource", "Linux on x86-64 or arm64"),
        "scene": Spec("edged.camera.scene.source:SceneSource", "opencv-python-headless"),
    },
)

ORDER: Mapping[str, tuple[str, ...]] = {
    "file": ("nvdec", "pyav", "gstreamer"),
    "rtsp": ("nvdec", "pyav", "gstreamer"),
    "rtsps": ("nvdec", "pyav", "gstreamer"),
    "http": ("nvdec", "pyav"),
    "https": ("nvdec", "pyav"),
    "tcp": ("nvdec", "pyav"),
    "udp": ("nvdec", "pyav"),
    "srt": ("nvdec", "pyav"),
    "v4l2": ("v4l2", "pyav", "gstreamer"),
    "csi": ("jetson_utils", "gstreamer"),
    "shm": ("shm",),
    "scene": ("scene",),
}
"""Which back ends serve a source's scheme, best first, when its camera names none; see `order_of`."""

NAMED: Mapping[str, tuple[str, ...]] = {
    "file": ("jetson_utils",),
    "rtsp": ("jetson_utils",),
    "v4l2": ("v4l2_isolated", "jetson_utils"),
}
"""Which further back ends serve a scheme where its camera names them."""

ON_DEVICE = frozenset({"nvdec"})
"""Back ends whose pictures stay in device memory: only for cameras that engines on a GPU read, and no others."""

NATIVE = frozenset({"v4l2", "v4l2_isolated"})
"""Back ends that know a V4L2 camera's bus address, pixel formats and controls."""


STAMPED = frozenset({"nvdec", "pyav"})
"""Back ends that know the stamps of a network camera's own clock."""

JETSON_DECODER = (Path("/dev/v4l2-nvdec"), Path("/dev/nvhost-nvdec"))
"""One of them is there where GStreamer's decoder is the board's own."""


def order_of(scheme: str) -> tuple[str, ...]:
    """Return the back ends that serve a scheme on this machine, best first, for a camera that names none.

    On a Jetson GStreamer decodes with the board's decoder, so there it comes before FFmpeg's decoders on the CPU.
    """
    order = ORDER[scheme]
    if not {"pyav", "gstreamer"} <= {*order} or scheme == "v4l2":
        return order
    if not any(node.exists() for node in JETSON_DECODER):
        return order
    return tuple(name for name in order if name != "pyav") + ("pyav",)


def beyond(backend: str, camera: CameraConfig) -> str:
    """Return the keys of a camera that a back end does not know, in words; empty where it knows them all."""
    bus = str(camera.source).startswith("v4l2:bus:")
    asked = {
        "bus address": bus and backend not in NATIVE,
        "pixel_format": bool(camera.pixel_format) and backend not in NATIVE,
        "controls": bool(camera.controls) and backend not in NATIVE,
        "clock_synced": camera.clock_synced and backend not in STAMPED,
    }
    return ", ".join(name for name, there in asked.items() if there)


def check_backend(name: str, scheme: str) -> None:
    """Raise `ConfigError` for a back end that does not exist, or that serves no source of a scheme."""
    SOURCES.check(name)
    serving = (*ORDER[scheme], *NAMED.get(scheme, ()))
    if name not in serving:
        raise ConfigError(f"camera backend {name!r} serves no {scheme} source; choose from {', '.join(serving)}")
