"""Files, RTSP, HTTP, MJPEG and V4L2 on the CPU through FFmpeg: the embedded default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av.error
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from edged.camera.base import Decoded, Grab, Opening
from edged.camera.packets import PacketReader, color_of
from edged.frame import Picture, PixelFormat

PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "yuv411p")
CLOSEST = {"yuyv422": "yuv422p", "uyvy422": "yuv422p", "bgr24": "rgb24", "gbrp": "rgb24", "rgba": "rgb24"}


class PyAvSource:
    """A stream that FFmpeg opens. Software decode with one thread: cameras share the cores, not frames."""

    def __init__(self, opening: Opening) -> None:
        self._packets = PacketReader(opening)
        self._reformatter = VideoReformatter()
        self._context = self._packets.stream.codec_context
        self.raw = self._packets.raw

    @property
    def description(self) -> str:
        """Codec, size and rate as the stream declares them."""
        return self._packets.description

    def grab(self) -> Grab:
        """Wait for the next packet of the video stream."""
        return self._packets.grab()

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Decode one packet; one that is damaged gives nothing."""
        try:
            frames = self._context.decode(grab.data)
        except av.error.FFmpegError:
            return ()
        return [Decoded(picture_of(frame, self._reformatter), frame.pts) for frame in frames]

    def skip(self, grab: Grab) -> None:
        """Nothing to give back: the packet is garbage by now."""

    def rest(self, warm: bool = False) -> None:
        """Drop the pictures that the decoder holds."""
        self._context.flush_buffers()

    def drain(self) -> Sequence[Decoded]:
        """Return the pictures that the decoder still holds."""
        try:
            frames = self._context.decode(None)
        except av.error.FFmpegError:
            frames = []
        self._context.flush_buffers()
        return [Decoded(picture_of(frame, self._reformatter), frame.pts) for frame in frames]

    def rewind(self) -> None:
        """Go back to the first packet of a file."""
        self._packets.rewind()

    def close(self) -> None:
        """Close the container; frames already handed out keep their memory."""
        self._packets.close()


def picture_of(frame: VideoFrame, reformatter: VideoReformatter) -> Picture:
    """Return a decoded frame's planes where they lie, or converted where we have no such format."""
    name = frame.format.name
    if name not in (*PLANAR, "nv12", "gray", "rgb24"):
        frame = reformatter.reformat(frame, format=CLOSEST.get(name, "yuv420p"))
        name = frame.format.name
    color = color_of(int(frame.colorspace), int(frame.color_range), name, frame.height)
    if name == "rgb24":
        rgb = _rows(frame.planes[0], 3).reshape(frame.height, -1, 3)
        return Picture(frame.width, frame.height, PixelFormat.RGB, color, (rgb,))
    if name == "nv12":
        luma, chroma = _rows(frame.planes[0]), _rows(frame.planes[1], 2)
        pairs = chroma.reshape(chroma.shape[0], -1, 2)
        return Picture(frame.width, frame.height, PixelFormat.NV12, color, (luma, pairs))
    kind = PixelFormat.GRAY if name == "gray" else PixelFormat.YUV
    return Picture(frame.width, frame.height, kind, color, tuple(_rows(plane) for plane in frame.planes))


def _rows(plane: Any, bytes_per_pixel: int = 1) -> NDArray[np.uint8]:
    """View one plane's samples without copying; the array keeps the frame's memory alive."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width * bytes_per_pixel]
