"""Files, RTSP, HTTP, MJPEG and V4L2 on the CPU through FFmpeg: the embedded default."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from edged.camera.base import CameraStalled, Decoded, Grab, Opening
from edged.camera.nal import disposable_test
from edged.errors import CameraEnded, CameraError
from edged.frame import Capture, ClockName, Color, Picture, PixelFormat

PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "yuv411p")
CLOSEST = {"yuyv422": "yuv422p", "uyvy422": "yuv422p", "bgr24": "rgb24", "gbrp": "rgb24", "rgba": "rgb24"}
MATRIX = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}  # AVColorSpace
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
LIVE_OPTIONS = {"analyzeduration": "500000", "max_delay": "200000"}  # not nobuffer: it drops the first key frame
RTSP_OPTIONS = {**LIVE_OPTIONS, "analyzeduration": "100000"}  # the session's description says what is in the stream
HAS_SIDE_DATA = hasattr(av.Packet, "has_sidedata")  # not in the oldest PyAV allowed: arrival times it is, there
STAMP_AGE_MAX_NS = 5_000_000_000  # a stamp further away is of a clock that is not ours

av.logging.set_level(av.logging.PANIC)  # FFmpeg's own lines name addresses with passwords


class PyAvSource:
    """A stream that FFmpeg opens. Software decode with one thread: cameras share the cores, not frames."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._start_s = time.monotonic()
        self._reformatter = VideoReformatter()
        self._offset_s = self._last_due_s = 0.0
        self._origin: int | None = None  # time stamp of the first packet since the file began
        self._packets_read = 0
        self._wall_to_mono_ns = time.monotonic_ns() - time.time_ns()
        try:
            self._container: Any = self._open()
        except (av.error.FFmpegError, OSError, ValueError) as exc:
            raise self._translated("cannot open", exc) from exc
        try:
            self._stream = self._first_video()
            self._packets = self._demux()
            self._tick_s = float(self._stream.time_base or 0)
            context = self._stream.codec_context
            self.raw = context.name == "rawvideo"
            self._intra_only = bool(context.codec.intra_only)
            self._is_disposable = disposable_test(context.name, bytes(context.extradata or b""))
        except CameraError:
            self.close()
            raise

    def _open(self) -> Any:
        opening = self._opening
        timeout = (opening.open_timeout_s, opening.read_timeout_s)
        if opening.scheme == "file":
            if not Path(opening.url).exists():
                raise CameraError(f"no such file: {opening.url}")
            return av.open(opening.url, timeout=timeout)
        if opening.scheme == "v4l2":
            return av.open(opening.url, format="v4l2", options=self._v4l2_options(), timeout=timeout)
        if opening.scheme in ("rtsp", "rtsps"):
            options = {**RTSP_OPTIONS, "rtsp_transport": opening.transport}
            return av.open(opening.url, options=options, timeout=timeout)
        return av.open(opening.url, options=dict(LIVE_OPTIONS), timeout=timeout)

    def _v4l2_options(self) -> dict[str, str]:
        options = {"timestamps": "default"}
        if self._opening.width_px and self._opening.height_px:
            options["video_size"] = f"{self._opening.width_px}x{self._opening.height_px}"
        if self._opening.rate_hz:
            options["framerate"] = f"{self._opening.rate_hz:g}"
        return options

    def _first_video(self) -> Any:
        if not self._container.streams.video:
            raise CameraError(f"no video stream in {self._name}")
        stream = self._container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        return stream

    @property
    def _name(self) -> str:
        return self._opening.redact(self._opening.url)

    @property
    def description(self) -> str:
        """Codec, size and rate as the stream declares them."""
        context, rate = self._stream.codec_context, self._stream.average_rate
        return f"{context.name} {context.width}x{context.height} {float(rate or 0):g} Hz"

    def _demux(self) -> Iterator[Any]:
        return iter(self._container.demux(self._stream))

    def grab(self) -> Grab:
        """Wait for the next packet of the video stream."""
        try:
            packet = next(self._packets, None)
        except av.error.EOFError:
            packet = None
        except (av.error.FFmpegError, OSError) as exc:
            raise self._translated("cannot read", exc) from exc
        if packet is None or packet.size == 0:
            raise self._ended()
        self._packets_read += 1
        key = bool(packet.is_keyframe)
        disposable = self._intra_only or (not key and self._disposable(packet))
        return Grab(packet, packet.pts, key, self._due_s(packet), self._stamp(packet), disposable, packet.size)

    def _disposable(self, packet: Any) -> bool:
        """Ask the container first, then the packet's own bytes."""
        return bool(packet.is_disposable) or (self._is_disposable is not None and self._is_disposable(packet))

    def _ended(self) -> CameraError:
        """A file ends; a live stream has no end, whatever its server says, and is opened anew."""
        if not self._packets_read:
            return CameraError(f"no pictures in {self._name}")
        if self._opening.scheme != "file":
            return CameraError(f"{self._name} ended its stream")
        return CameraEnded(f"end of {self._name}")

    def _due_s(self, packet: Any) -> float | None:
        if self._opening.scheme != "file":
            return None
        stream, at = self._stream, packet.dts if packet.dts is not None else packet.pts
        if at is None:
            self._last_due_s += 1.0 / float(stream.average_rate or 25)
        else:
            self._origin = at if self._origin is None else self._origin
            self._last_due_s = self._offset_s + (at - self._origin) * self._tick_s
        return self._last_due_s

    def _stamp(self, packet: Any) -> Capture | None:
        """Return when the sender says the picture was taken, where it says so and can be believed."""
        if self._opening.scheme == "v4l2" and packet.pts is not None:  # the driver's CLOCK_MONOTONIC
            age_ns = time.monotonic_ns() - int(packet.pts * packet.time_base * 1_000_000_000)
            return _captured("driver", age_ns)
        rtsp = self._opening.scheme in ("rtsp", "rtsps") and HAS_SIDE_DATA
        if rtsp and packet.has_sidedata("prft"):  # from RTCP sender reports
            wall_us = int.from_bytes(bytes(packet.get_sidedata("prft"))[:8], sys.byteorder, signed=True)
            return self._sent(wall_us * 1000)
        return None

    def _sent(self, wall_ns: int) -> Capture | None:
        """Return the capture time for a sender's stamp.

        Its clock and ours are compared as ours was when the stream was opened: a step of ours changes nothing. Where
        that gives no believable age, it is compared as ours is now.
        """
        capture = _captured("rtcp", time.monotonic_ns() - self._wall_to_mono_ns - wall_ns)
        if capture is None:
            self._wall_to_mono_ns = time.monotonic_ns() - time.time_ns()
            capture = _captured("rtcp", time.monotonic_ns() - self._wall_to_mono_ns - wall_ns)
        return capture

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Decode one packet; one that is damaged gives nothing."""
        try:
            frames = self._stream.codec_context.decode(grab.data)
        except av.error.FFmpegError:
            return ()
        return [Decoded(picture_of(frame, self._reformatter), frame.pts) for frame in frames]

    def skip(self, grab: Grab) -> None:
        """Nothing to give back: the packet is garbage by now."""

    def rest(self) -> None:
        """Drop the pictures that the decoder holds."""
        self._stream.codec_context.flush_buffers()

    def drain(self) -> Sequence[Decoded]:
        """Return the pictures that the decoder still holds."""
        try:
            frames = self._stream.codec_context.decode(None)
        except av.error.FFmpegError:
            frames = []
        self._stream.codec_context.flush_buffers()
        return [Decoded(picture_of(frame, self._reformatter), frame.pts) for frame in frames]

    def rewind(self) -> None:
        """Go back to the first packet of a file."""
        rate = float(self._stream.average_rate or 25)
        try:
            self._container.seek(0)
        except (av.error.FFmpegError, OSError) as exc:
            raise self._translated("cannot rewind", exc) from exc
        self._offset_s = self._last_due_s + 1.0 / rate
        self._origin, self._packets_read = None, 0
        self._packets = self._demux()

    def close(self) -> None:
        """Close the container; frames already handed out keep their memory."""
        self._container.close()

    def _translated(self, did: str, exc: Exception) -> CameraError:
        if isinstance(exc, CameraError):
            return exc
        opening = self._opening
        if did == "cannot open" and time.monotonic() - self._start_s >= opening.open_timeout_s:  # whatever it calls it
            return CameraStalled(f"{did} {self._name}: nothing came for {opening.open_timeout_s:g} s")
        if isinstance(exc, av.error.ExitError):
            return CameraStalled(f"{did} {self._name}: nothing came for {opening.read_timeout_s:g} s")
        reason = getattr(exc, "strerror", None) or str(exc)
        return CameraError(opening.redact(f"{did} {self._name}: {reason}"))


def picture_of(frame: VideoFrame, reformatter: VideoReformatter) -> Picture:
    """Return a decoded frame's planes where they lie, or converted where we have no such format."""
    name = frame.format.name
    if name not in (*PLANAR, "nv12", "gray", "rgb24"):
        frame = reformatter.reformat(frame, format=CLOSEST.get(name, "yuv420p"))
        name = frame.format.name
    color = Color(
        MATRIX.get(int(frame.colorspace), "bt709" if frame.height >= 720 else "bt601"),  # type: ignore[arg-type]
        int(frame.color_range) == FULL_RANGE or name.startswith("yuvj"),
    )
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


def _captured(clock: ClockName, age_ns: int) -> Capture | None:
    if not 0 <= age_ns < STAMP_AGE_MAX_NS:
        return None
    return Capture(time.time_ns() - age_ns, time.monotonic_ns() - age_ns, clock)
