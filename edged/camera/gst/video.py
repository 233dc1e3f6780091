"""GStreamer's samples as pictures."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edged.errors import CameraError
from edged.frame import Color, Picture, PixelFormat

KINDS = {
    "I420": PixelFormat.YUV,
    "Y42B": PixelFormat.YUV,
    "Y444": PixelFormat.YUV,
    "NV12": PixelFormat.NV12,
    "GRAY8": PixelFormat.GRAY,
    "RGB": PixelFormat.RGB,
}
MATRIX: dict[int, Literal["bt601", "bt709", "bt2020"]] = {3: "bt709", 4: "bt601", 6: "bt2020"}  # GstVideoColorMatrix
FULL_RANGE = 1  # GST_VIDEO_COLOR_RANGE_0_255
CHROMA = {"I420": (2, 2), "NV12": (2, 2), "Y42B": (1, 2), "Y444": (1, 1)}  # rows and columns of luma to one of chroma


def is_usable(caps: Any) -> bool:
    """Tell whether raw samples of these caps can be read as they are."""
    structure = caps.get_structure(0)
    return bool(structure.get_name() == "video/x-raw" and structure.get_string("format") in KINDS)


def picture_of(video: Any, sample: Any) -> Picture:
    """Return a sample's picture; its pixels are a copy of the sample's memory."""
    caps, buffer = sample.get_caps(), sample.get_buffer()
    info = video.VideoInfo.new_from_caps(caps)
    name = caps.get_structure(0).get_string("format")
    if info is None or name not in KINDS:
        raise CameraError(f"GStreamer gives pictures of the kind {caps.to_string()}, which is not supported")
    meta = video.buffer_get_video_meta(buffer)
    stride, offset = (meta.stride, meta.offset) if meta is not None else (info.stride, info.offset)
    data = buffer.extract_dup(0, buffer.get_size())
    matrix = MATRIX.get(int(info.colorimetry.matrix), "bt709" if info.height >= 720 else "bt601")
    color = Color(matrix, int(info.colorimetry.range) == FULL_RANGE)
    planes = tuple(
        _plane(data, offset[number], stride[number], *shape)
        for number, shape in enumerate(_shapes(name, info.width, info.height))
    )
    return Picture(info.width, info.height, KINDS[name], color, planes)


def _shapes(name: str, width: int, height: int) -> list[tuple[int, int, int]]:
    """Return (rows, columns, bytes of a column) of each plane."""
    if name == "RGB":
        return [(height, width, 3)]
    if name == "GRAY8":
        return [(height, width, 1)]
    down, across = CHROMA[name]
    rows, columns = -(-height // down), -(-width // across)
    chroma = [(rows, columns, 2)] if name == "NV12" else [(rows, columns, 1)] * 2
    return [(height, width, 1), *chroma]


def _plane(data: bytes, offset: int, stride: int, rows: int, columns: int, each: int) -> NDArray[np.uint8]:
    shape, strides = ((rows, columns), (stride, 1)) if each == 1 else ((rows, columns, each), (stride, each, 1))
    samples: NDArray[np.uint8] = np.ndarray(shape, np.uint8, data, offset, strides)
    return samples
