"""jetson-utils as a camera source. Runs in a process of its own; see `edged.camera.jetson`."""

from __future__ import annotations

import ctypes
import importlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.camera.base import CameraStalled, Decoded, Grab, Opening
from edged.camera.system_packages import make_importable
from edged.errors import BackendUnavailable, CameraEnded, CameraError
from edged.frame import Color, Picture, PixelFormat

NEEDS = "jetson-utils built for this Python (jetson_utils_python with its videoSource)"
SUFFIXES = frozenset({".mkv", ".mp4", ".qt", ".flv", ".avi", ".h264", ".h265", ".mov", ".webm"})
BUFFERS = 4  # the library's ring: an image is overwritten when this many more were captured
UPRIGHT = "rotate-180"  # of CSI cameras: for these alone the library turns none by 180 degrees, and this one not
SLICE_MS = 250  # its waits run on the wall clock, which may be set: many short ones, and our own clock
QUOTED = re.compile(r"[\s\"'!\\;]")  # the library pastes its URI into the text of a pipeline


class JetsonCapture:
    """One `videoSource`, whose images are copied out of its ring before the next capture.

    `Open` is never called (its failure path runs without the interpreter's lock): the first capture opens. Time
    stamps of the library start anew with each connection; live pictures are stamped when they come in.
    """

    raw = True

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._library = _library()
        self._number = 0
        self._offset_s = self._last_due_s = 0.0
        self._origin_ns: int | None = None
        self._last_stamp: int | None = None
        self._device: Any = None
        self._rate_hz = 0.0
        first = self._open()
        self._first: Any = first
        self._size = (int(first.width), int(first.height))

    def _open(self) -> Any:
        """Make a `videoSource`, and return its first image."""
        uri = self._uri()
        try:
            self._device = self._library.videoSource(uri, options=self._options())
        except Exception as exc:  # noqa: BLE001 - the library raises nothing better
            raise CameraError(f"cannot open {self._name}: {exc}") from exc
        self._rate_hz = float(self._device.GetFrameRate())
        self._last_stamp = None
        try:
            return self._capture(self._opening.open_timeout_s)
        except CameraEnded as exc:
            self.close()
            raise CameraError(f"no pictures in {self._name}") from exc
        except CameraError:
            self.close()
            raise

    def _uri(self) -> str:
        scheme, url = self._opening.scheme, self._opening.url
        if scheme not in ("csi", "v4l2", "rtsp", "file"):
            raise CameraError(f"jetson-utils serves csi, v4l2, rtsp and file, and not {scheme}")
        if scheme in ("file", "v4l2") and not Path(url).exists():
            raise CameraError(f"no such {'file' if scheme == 'file' else 'device'}: {url}")
        if scheme == "file" and Path(url).suffix.lower() not in SUFFIXES:
            raise CameraError(f"jetson-utils knows files by {', '.join(sorted(SUFFIXES))}, and not {self._name}")
        url = str(Path(url).resolve()) if scheme == "v4l2" else url  # it reads the number out of /dev/videoN
        if QUOTED.search(url):
            raise CameraError(f"{self._name}: blanks, quotes, ! and ; cannot be passed to jetson-utils")
        return f"csi://{url}" if scheme == "csi" else url

    def _options(self) -> dict[str, Any]:
        opening = self._opening
        wishes = {"width": opening.width_px, "height": opening.height_px, "framerate": opening.rate_hz}
        options: dict[str, Any] = {"numBuffers": BUFFERS, "zeroCopy": True, "loop": 0}
        if opening.scheme == "csi":
            options["flipMethod"] = UPRIGHT
        return {**options, **{name: int(wish) for name, wish in wishes.items() if wish}}

    @property
    def _name(self) -> str:
        scheme, url = self._opening.scheme, self._opening.redact(self._opening.url)
        return f"csi:{url}" if scheme == "csi" else url

    @property
    def description(self) -> str:
        """Size and rate as the library says them."""
        return f"jetson-utils {self._size[0]}x{self._size[1]} {self._rate_hz:g} Hz"

    def grab(self) -> Grab:
        """Wait for the next image; it stays in the library's ring."""
        image, self._first = self._first, None
        if image is None:
            image = self._capture(self._opening.read_timeout_s)
        self._number += 1
        due_s = self._due_s(int(image.timestamp)) if self._opening.scheme == "file" else None
        return Grab(image, self._number, key=True, due_s=due_s, disposable=True, size_bytes=int(image.size))

    def _due_s(self, stamp_ns: int) -> float:
        self._origin_ns = stamp_ns if self._origin_ns is None else self._origin_ns
        self._last_due_s = self._offset_s + (stamp_ns - self._origin_ns) / 1e9
        return self._last_due_s

    def _capture(self, timeout_s: float) -> Any:
        """Return an image that is not the last one again.

        A lost stream gives None for ever, and a stopped Argus session its last image; neither is an error there.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            left_ms = (until_s - time.monotonic()) * 1000
            try:
                image = self._device.Capture(format="rgb8", timeout=max(1, min(SLICE_MS, int(left_ms))))
            except Exception as exc:  # noqa: BLE001 - one bare Exception for the end and for every error
                raise self._failed() from exc
            if image is not None and image.timestamp != self._last_stamp:
                self._last_stamp = image.timestamp
                return image
            if time.monotonic() >= until_s:
                what = "nothing came" if image is None else "the same picture came again and again"
                raise CameraStalled(f"cannot read {self._name}: {what} for {timeout_s:g} s")

    def _failed(self) -> CameraError:
        if self._opening.scheme == "file" and not self._device.IsStreaming():
            return CameraEnded(f"end of {self._name}")
        return CameraError(f"cannot read {self._name}: jetson-utils failed to capture, and does not say why")

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Copy the image out of the ring."""
        image = grab.data
        self._library.cudaDeviceSynchronize()  # its conversion runs on a stream of its own
        planes = (_pixels(image).copy(),)
        picture = Picture(int(image.width), int(image.height), PixelFormat.RGB, Color("bt601", full=True), planes)
        return [Decoded(picture, grab.pts)]

    def skip(self, grab: Grab) -> None:
        """The library takes its buffer back by itself."""

    def rest(self, warm: bool = False) -> None:
        """Nothing is held."""

    def drain(self) -> Sequence[Decoded]:
        """Nothing is held."""
        return ()

    def rewind(self) -> None:
        """Open a file anew."""
        if self._opening.scheme != "file":
            raise CameraError("a live camera cannot be rewound")
        self.close()
        self._first = self._open()
        self._offset_s = self._last_due_s + 1.0 / (self._rate_hz or 25.0)
        self._origin_ns = None

    def close(self) -> None:
        """Free the `videoSource`, and its ring with it: no image is read after this."""
        self._first = None
        device, self._device = self._device, None
        if device is not None:
            device.Close()


def _library() -> Any:
    """Import the compiled module: the package around it hides that it is missing."""
    try:
        make_importable("jetson_utils_python")
        library = importlib.import_module("jetson_utils_python")
    except ImportError as exc:
        raise BackendUnavailable(f"jetson_utils needs {NEEDS} ({exc})") from exc
    if not hasattr(library, "videoSource"):
        raise BackendUnavailable(f"jetson_utils needs {NEEDS}; this one has no videoSource")
    library.Log.SetLevel("error")  # below that it prints addresses with their passwords
    return library


def _pixels(image: Any) -> NDArray[np.uint8]:
    """View an image's memory as (rows, columns, 3). Its own array interface leaks one dict a frame."""
    if not image.mapped:
        raise CameraError("jetson-utils gives pictures in device memory only; zeroCopy was asked for")
    size = int(image.width) * int(image.height) * 3
    memory = (ctypes.c_uint8 * size).from_address(int(image.ptr))
    pixels: NDArray[np.uint8] = np.ctypeslib.as_array(memory).reshape(int(image.height), int(image.width), 3)
    return pixels
