"""A frame: a lease on the pixels of one camera picture, on the host or on a device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edged.lens import View

ClockName = Literal["driver", "rtcp", "arrival", "media"]


class PixelFormat(str, Enum):
    """How the planes of a frame hold its pixels, eight bits a sample.

    YUV: three planes Y, U, V; the chroma planes may be smaller in either direction (4:2:0, 4:2:2, 4:4:4).
    NV12: Y, then U and V interleaved at half size both ways. RGB: one plane, three bytes a pixel.
    GRAY: Y only.
    """

    YUV = "yuv"
    NV12 = "nv12"
    RGB = "rgb"
    GRAY = "gray"


@dataclass(frozen=True)
class Color:
    """How Y, U and V become R, G and B: the standard's matrix, and 0..255 (`full`) or 16..235 samples."""

    matrix: Literal["bt601", "bt709", "bt2020"] = "bt601"
    full: bool = False


@dataclass(frozen=True)
class Capture:
    """When a picture was taken: Unix time and CLOCK_MONOTONIC in nanoseconds, and where that time comes from.

    `driver` is the camera driver's stamp, `rtcp` the sender's stamps, `arrival` the moment the packet came in,
    `media` the moment a paced file's clock released it. `media_ns` is a recorded picture's own time.
    """

    unix_ns: int
    mono_ns: int
    clock: ClockName
    media_ns: int | None = None


@dataclass(frozen=True)
class DevicePlane:
    """One plane in device memory: address, bytes from row to row, and size in samples."""

    pointer: int
    pitch: int
    width: int
    height: int


HostPlanes = tuple["NDArray[np.uint8]", ...]


@dataclass(frozen=True)
class Picture:
    """Decoded pixels before they are given a place in a camera's sequence.

    `planes` are (rows, columns) uint8 arrays on the host, for RGB (rows, columns, 3); or `DevicePlane`s when
    `device` is the number of a CUDA device. `ready` is a CUDA event the reader must wait for, or 0.

    With a `view`, `width` and `height` are the view's, and the planes still hold the whole picture of its lens, of
    another size: whoever reads it takes each pixel from where `optics.picture_map` says.
    """

    width: int
    height: int
    format: PixelFormat
    color: Color
    planes: HostPlanes | tuple[DevicePlane, ...]
    device: int | None = None
    ready: int = 0
    view: View | None = None

    def through(self, view: View) -> Picture:
        """Return a view of this picture: the same planes, seen otherwise."""
        return replace(self, width=view.width, height=view.height, view=view)


class Frame:
    """One picture of one camera, shared by everyone who retains it.

    The pixels belong to the source, which gets them back (`on_release`) when the last user is done: whoever is
    handed a frame owns one lease and calls `release` once; to hand it to n users more, call `retain(n)` first.
    Reading is safe from any thread while a lease is held; the pixels are never modified.

    `id` counts the camera's frames in presentation order from 0. `decode_ns` is what decoding took,
    `decoded_ns` CLOCK_MONOTONIC when it was done.
    """

    __slots__ = ("_lock", "_on_release", "_users", "camera", "capture", "decode_ns", "decoded_ns", "id", "picture")

    def __init__(
        self,
        camera: str,
        frame_id: int,
        picture: Picture,
        capture: Capture,
        decode_ns: int,
        decoded_ns: int,
        on_release: Callable[[], None] | None = None,
    ) -> None:
        self.camera = camera
        self.id = frame_id
        self.picture = picture
        self.capture = capture
        self.decode_ns = decode_ns
        self.decoded_ns = decoded_ns
        self._on_release = on_release
        self._users = 1
        self._lock = threading.Lock()  # its own: one for all would make cameras wait for each other

    def __repr__(self) -> str:
        where = "host" if self.picture.device is None else f"cuda:{self.picture.device}"
        size = f"{self.picture.width}x{self.picture.height}"
        return f"Frame({self.camera} #{self.id}, {size} {self.picture.format.value} on {where}, {self._users} users)"

    def retain(self, users: int = 1) -> None:
        """Add `users` leases."""
        with self._lock:
            if self._users < 1:
                raise RuntimeError(f"{self!r} was retained after its last release")
            self._users += users

    def release(self) -> None:
        """Give one lease back; the last one returns the pixels to their source."""
        with self._lock:
            if self._users < 1:
                raise RuntimeError(f"{self!r} was released more often than retained")
            self._users -= 1
            last = self._users == 0
        if last and self._on_release is not None:
            self._on_release()
