"""From a raw buffer to planes: where they lie in it, and what has to be taken apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.camera.v4l2 import uapi
from edged.camera.v4l2.buffers import Memories
from edged.camera.v4l2.device import Granted
from edged.errors import CameraError
from edged.frame import Color, HostPlanes, Picture, PixelFormat

Planes = tuple[NDArray[np.uint8], ...]
Convert = Callable[[Planes], Planes]


@dataclass(frozen=True)
class Part:
    """One plane as it lies in memory: pixels to a place across and down, and samples in each place."""

    across: int = 1
    down: int = 1
    samples: int = 1


@dataclass(frozen=True)
class Raw:
    """A raw format.

    `convert` makes a function that makes our planes of the buffer's where they are not the same, with memory of its own
    for each camera; `copies` says that none of them lies in the buffer any more.
    """

    format: PixelFormat
    parts: tuple[Part, ...]
    convert: Callable[[], Convert] | None = None
    copies: bool = False


def _swapped() -> Convert:
    return lambda planes: (planes[0], planes[2], planes[1])


def _apart(swapped: bool = False) -> Convert:
    """Take interleaved U and V apart."""

    def convert(planes: Planes) -> Planes:
        first, second = _split(planes[1])
        return (planes[0], second, first) if swapped else (planes[0], first, second)

    return convert


def _packed(luma: int, swapped: bool) -> Convert:
    """Take 4:2:2 with its samples in turn apart: Y at place `luma` of each pair, U before V unless `swapped`.

    Two splits with memory that is there already take a quarter of the time of single channels or of FFmpeg, and
    resizing strided views, which copies them, ten times as long.
    """
    chroma: NDArray[np.uint8] = np.empty(0, np.uint8)

    def convert(planes: Planes) -> Planes:
        nonlocal chroma
        rows, columns = planes[0].shape[:2]
        if chroma.shape != (rows, columns):
            chroma = np.empty((rows, columns), np.uint8)
        bright = np.empty((rows, columns), np.uint8)
        cv2.split(planes[0], [bright, chroma] if luma == 0 else [chroma, bright])
        first, second = _split(chroma.reshape(rows, columns // 2, 2))
        return (bright, second, first) if swapped else (bright, first, second)

    return convert


def _split(pairs: NDArray[np.uint8]) -> Planes:
    found = np.empty(pairs.shape[:2], np.uint8), np.empty(pairs.shape[:2], np.uint8)
    cv2.split(pairs, list(found))
    return found


def _reversed() -> Convert:
    return lambda planes: (cast("NDArray[np.uint8]", cv2.cvtColor(planes[0], cv2.COLOR_BGR2RGB)),)


_QUARTERS = (Part(), Part(2, 2), Part(2, 2))
_PAIRS_420 = (Part(), Part(2, 2, 2))
_PAIRS_422 = (Part(), Part(2, 1, 2))
_PACKED = (Part(samples=2),)

RAW: Mapping[str, Raw] = {
    "NV12": Raw(PixelFormat.NV12, _PAIRS_420),
    "NM12": Raw(PixelFormat.NV12, _PAIRS_420),
    "YU12": Raw(PixelFormat.YUV, _QUARTERS),
    "YM12": Raw(PixelFormat.YUV, _QUARTERS),
    "YV12": Raw(PixelFormat.YUV, _QUARTERS, _swapped),
    "422P": Raw(PixelFormat.YUV, (Part(), Part(2), Part(2))),
    "NV16": Raw(PixelFormat.YUV, _PAIRS_422, _apart),
    "NV21": Raw(PixelFormat.YUV, _PAIRS_420, partial(_apart, swapped=True)),
    "YUYV": Raw(PixelFormat.YUV, _PACKED, partial(_packed, 0, swapped=False), copies=True),
    "YVYU": Raw(PixelFormat.YUV, _PACKED, partial(_packed, 0, swapped=True), copies=True),
    "UYVY": Raw(PixelFormat.YUV, _PACKED, partial(_packed, 1, swapped=False), copies=True),
    "VYUY": Raw(PixelFormat.YUV, _PACKED, partial(_packed, 1, swapped=True), copies=True),
    "RGB3": Raw(PixelFormat.RGB, (Part(samples=3),)),
    "BGR3": Raw(PixelFormat.RGB, (Part(samples=3),), _reversed, copies=True),
    "GREY": Raw(PixelFormat.GRAY, (Part(),)),
}
"""Raw formats by their four characters, as the kernel describes them; NM12 and YM12 have a memory for each plane."""


@dataclass(frozen=True)
class _Place:
    memory: int
    offset: int
    stride: int
    rows: int
    columns: int
    samples: int

    @property
    def end(self) -> int:
        return self.offset + self.stride * (self.rows - 1) + self.columns * self.samples


class Layout:
    """How the pictures of one granted format lie in their buffers.

    Raises:
        CameraError: fields instead of pictures, or a memory that is too small for what the driver says.
    """

    def __init__(self, granted: Granted) -> None:
        self.raw = RAW[granted.fourcc]
        self._granted = granted
        self._convert = self.raw.convert() if self.raw.convert is not None else None
        if granted.field not in uapi.FIELDS_WHOLE:
            raise CameraError("it gives half pictures (interlaced fields), which are not read here")
        if self.raw.parts == _PACKED and granted.width % 2:
            raise CameraError(f"{granted.fourcc} with an odd width of {granted.width} pixels")
        self._places = self._laid_out()
        self.color = color_of(granted)

    def _laid_out(self) -> list[_Place]:
        granted, parts = self._granted, self.raw.parts
        apart = len(granted.strides) > 1
        if apart and len(granted.strides) != len(parts):
            raise CameraError(f"{granted.fourcc} in {len(granted.strides)} planes of memory, {len(parts)} are known")
        luma_stride = granted.strides[0] or granted.width * parts[0].samples
        places: list[_Place] = []
        offset = 0
        for number, part in enumerate(parts):
            columns = -(-granted.width // part.across)
            rows = -(-granted.height // part.down)
            stride = luma_stride if number == 0 else luma_stride * part.samples // part.across
            if apart:
                stride, offset = granted.strides[number] or columns * part.samples, 0
            place = _Place(number if apart else 0, offset, stride, rows, columns, part.samples)
            if stride < columns * part.samples or place.end > granted.sizes[place.memory]:
                raise CameraError(
                    f"its driver's {granted.fourcc} {granted.width}x{granted.height} does not fit its buffers"
                )
            places.append(place)
            offset += stride * rows
        return places

    def is_whole(self, memories: Memories) -> bool:
        """Whether the driver filled a buffer to the end of its last plane."""
        return all(memories[place.memory].size >= place.end for place in self._places)

    def picture(self, memories: Memories, copy: bool) -> Picture:
        """Return the picture of a buffer that is whole: planes where they lie, unless it is to be a `copy`."""
        planes: Planes = tuple(_plane(memories[place.memory], place) for place in self._places)
        if self._convert is not None:
            planes = self._convert(planes)
        if copy and not self.raw.copies:
            planes = tuple(plane.copy() for plane in planes)
        return Picture(self._granted.width, self._granted.height, self.raw.format, self.color, _frozen(planes))


def _plane(memory: NDArray[np.uint8], place: _Place) -> NDArray[np.uint8]:
    many = place.samples > 1
    shape = (place.rows, place.columns, place.samples) if many else (place.rows, place.columns)
    strides = (place.stride, place.samples, 1) if many else (place.stride, 1)
    plane: NDArray[np.uint8] = np.ndarray(shape, np.uint8, memory, place.offset, strides)
    return plane


def _frozen(planes: Planes) -> HostPlanes:
    for plane in planes:
        plane.flags.writeable = False
    return planes


def color_of(granted: Granted) -> Color:
    """Return how a format's samples become colors; what a driver leaves open is filled in as videodev2.h does."""
    space, encoding = granted.colorspace, granted.ycbcr_enc
    if encoding == uapi.YCBCR_ENC_DEFAULT:
        as_hd = space in (uapi.COLORSPACE_REC709, uapi.COLORSPACE_DCI_P3)
        encoding = uapi.YCBCR_ENC_709 if as_hd else uapi.YCBCR_ENC_BT2020 if space == uapi.COLORSPACE_BT2020 else 1
    full = granted.quantization == uapi.QUANTIZATION_FULL_RANGE or (
        granted.quantization == uapi.QUANTIZATION_DEFAULT
        and (space == uapi.COLORSPACE_JPEG or granted.fourcc == "GREY")  # the header's "no YCbCr format"
    )
    if encoding in (uapi.YCBCR_ENC_709, uapi.YCBCR_ENC_XV709):
        return Color("bt709", full)
    if encoding in (uapi.YCBCR_ENC_BT2020, uapi.YCBCR_ENC_BT2020_CONST_LUM):
        return Color("bt2020", full)
    return Color("bt601", full)
