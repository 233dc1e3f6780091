"""Which elements serve a source, best first. Names and texts only: GStreamer itself is not needed here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edged.camera.base import Opening
from edged.errors import BackendUnavailable, CameraError

COMPRESSED = (  # in whichever stream format parsebin chooses, by the decoders that are installed: the parser converts
    "video/x-h264, alignment=au; video/x-h265, alignment=au; "
    "video/x-vp8; video/x-vp9; video/x-av1; video/mpeg, mpegversion=(int){1,2,4}; image/jpeg"
)
JPEG = "image/jpeg"
PARSERS = {"video/x-h264": "h264parse", "video/x-h265": "h265parse"}
FORMATS = "{ I420, NV12, Y42B, Y444, GRAY8, RGB }"
LATENCY_MS = 100  # rtspsrc's jitter buffer


@dataclass(frozen=True)
class Recipe:
    """A pipeline from a source to `appsink name=sink`.

    `properties` are set on the element named `src`, one by one and never as part of the text, which a URL could
    otherwise extend. `stamped` says that buffer times are the driver's.
    """

    launch: str
    properties: Mapping[str, str]
    live: bool = True
    stamped: bool = False
    needs: tuple[str, ...] = field(default=())


def recipes(opening: Opening, has: Callable[[str], bool]) -> list[Recipe]:
    """Return what can serve `opening` on this machine.

    Args:
        opening: scheme, address and wishes.
        has: whether GStreamer has an element of this name.

    Raises:
        BackendUnavailable: elements are missing; the text names them.
        CameraError: a scheme that is not served, or a file that is not there.
    """
    makers = {"csi": _csi, "v4l2": _v4l2, "rtsp": _rtsp, "rtsps": _rtsp, "file": _file}
    if opening.scheme not in makers:
        raise CameraError(f"GStreamer serves {', '.join(makers)}, and not {opening.scheme}")
    wanted = makers[opening.scheme](opening)
    found = [recipe for recipe in wanted if all(has(name) for name in recipe.needs)]
    if not found:
        missing = [name for name in wanted[-1].needs if not has(name)]
        raise BackendUnavailable(f"GStreamer has no {', '.join(missing)} for {opening.scheme} cameras here")
    return found


def _csi(opening: Opening) -> list[Recipe]:
    caps = f"video/x-raw(memory:NVMM), format=NV12{_wishes(opening)}"
    launch = f"nvarguscamerasrc name=src ! {caps} ! nvvidconv ! video/x-raw, format=NV12 ! {_sink(1, drop=True)}"
    return [Recipe(launch, {"sensor-id": opening.url}, needs=("nvarguscamerasrc", "nvvidconv"))]


def _v4l2(opening: Opening) -> list[Recipe]:
    wishes = _wishes(opening)
    nvidia = (  # takes every camera to give UYVY, whatever it gives, and stamps pictures when they arrive
        f"nvv4l2camerasrc name=src ! video/x-raw(memory:NVMM), format=UYVY{wishes} "
        f"! nvvidconv ! video/x-raw, format=NV12 ! {_sink(1, drop=True)}"
    )
    caps = "; ".join(f"{kind}{wishes}" for kind in ("video/x-raw", JPEG))
    plain = f'v4l2src name=src ! capsfilter caps="{caps}" ! {_sink(1, drop=True)}'
    device = {"device": opening.url}
    return [
        Recipe(plain, device, stamped=True, needs=("v4l2src",)),
        Recipe(nvidia, device, needs=("nvv4l2camerasrc", "nvvidconv")),
    ]


def _rtsp(opening: Opening) -> list[Recipe]:
    """TCP and UDP wait no longer than the camera may; what a slow reader leaves stays in the socket."""
    timeout_us = str(int(opening.read_timeout_s * 1e6))
    launch = f"rtspsrc name=src ! application/x-rtp, media=video ! parsebin ! {_sink(60, drop=False, caps=COMPRESSED)}"
    properties = {
        "location": opening.url,
        "protocols": opening.transport,
        "latency": str(LATENCY_MS),
        "drop-on-latency": "true",
        "tcp-timeout": timeout_us,
        "timeout": timeout_us,
    }
    return [Recipe(launch, properties, needs=("rtspsrc", "parsebin"))]


def _file(opening: Opening) -> list[Recipe]:
    if not os.path.exists(opening.url):  # noqa: PTH110 - a name, not a path object, is what GStreamer gets
        raise CameraError(f"no such file: {opening.url}")
    launch = f"filesrc name=src ! parsebin ! {_sink(8, drop=False, caps=COMPRESSED)}"
    return [Recipe(launch, {"location": opening.url}, live=False, needs=("filesrc", "parsebin"))]


def _sink(buffers: int, *, drop: bool, caps: str = "") -> str:
    wanted = f' caps="{caps}"' if caps else ""
    return f"appsink name=sink sync=false max-buffers={buffers} drop={str(drop).lower()}{wanted}"


def _wishes(opening: Opening) -> str:
    size = ""
    if opening.width_px and opening.height_px:
        size = f", width={opening.width_px}, height={opening.height_px}"
    if opening.rate_hz:
        size += f", framerate={round(opening.rate_hz * 1000)}/1000"
    return size
