"""Packets of any stream that FFmpeg opens, from its demuxer: what every decoder of compressed video begins with."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import av
import av.error

from edged.camera.base import CameraStalled, Grab, Opening, Undecodable
from edged.camera.nal import disposable_test
from edged.camera.sender import SenderClock, captured
from edged.errors import CameraEnded, CameraError
from edged.frame import Capture, Color

MATRIX = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}  # AVColorSpace
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
LIVE_OPTIONS = {"analyzeduration": "500000", "max_delay": "200000"}  # not nobuffer: it drops the first key frame
RTSP_OPTIONS = {
    **LIVE_OPTIONS,
    "analyzeduration": "100000",  # the session's description says what is in the stream
    "allowed_media_types": "video",
}
HAS_SIDE_DATA = hasattr(av.Packet, "has_sidedata")  # not in the oldest PyAV allowed: arrival times it is, there

av.logging.set_level(av.logging.PANIC)  # FFmpeg's own lines name addresses with passwords


class PacketReader:
    """One open stream of packets. Made, used and closed by one thread.

    Attributes:
        stream: FFmpeg's, whose codec context says what is in the packets.
        raw: whether its packets are pictures that nobody compressed.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._rtsp = opening.scheme in ("rtsp", "rtsps")
        self._start_s = time.monotonic()
        self._offset_s = self._last_due_s = 0.0
        self._origin: int | None = None  # time stamp of the first packet since the file began
        self._packets_read = 0
        self._sender = SenderClock(opening.clock_synced)
        try:
            self._container: Any = self._open()
        except (av.error.FFmpegError, OSError, ValueError) as exc:
            raise self.translated("cannot open", exc) from exc
        try:
            self.stream = self._first_video()
            self._packets = self._demux()
            self._tick_s = float(self.stream.time_base or 0)
            context = self.stream.codec_context
            self.raw = context.name == "rawvideo"
            self._intra_only = bool(context.codec.intra_only)
            self._is_disposable = disposable_test(context.name, bytes(context.extradata or b""))
        except BaseException:
            self._container.close()
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
        if self._rtsp:
            answer_us = f"{self._answer_s * 1e6:.0f}"
            options = {**RTSP_OPTIONS, "rtsp_transport": opening.transport, "timeout": answer_us}
            return av.open(opening.url, options=options, timeout=timeout)
        return av.open(opening.url, options=dict(LIVE_OPTIONS), timeout=timeout)

    @property
    def _answer_s(self) -> float:
        """How long an RTSP server may take for one answer: one that died before is back without knowing of us."""
        return max(self._opening.read_timeout_s, self._opening.open_timeout_s / 2)

    def _v4l2_options(self) -> dict[str, str]:
        options = {"timestamps": "default"}
        if self._opening.width_px and self._opening.height_px:
            options["video_size"] = f"{self._opening.width_px}x{self._opening.height_px}"
        if self._opening.rate_hz:
            options["framerate"] = f"{self._opening.rate_hz:g}"
        return options

    def _first_video(self) -> Any:
        if not self._container.streams.video:
            raise CameraError(f"no video stream in {self.name}")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise Undecodable(f"FFmpeg has no decoder for the video in {self.name}")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        return stream

    @property
    def name(self) -> str:
        """What is open, without its secrets."""
        return self._opening.redact(self._opening.url)

    @property
    def description(self) -> str:
        """Codec, size and rate as the stream declares them."""
        context, rate = self.stream.codec_context, self.stream.average_rate
        return f"{context.name} {context.width}x{context.height} {float(rate or 0):g} Hz"

    def _demux(self) -> Generator[Any, None, None]:
        """Return the packets of the video stream; live, those of all: each of them starts FFmpeg's clock anew."""
        streams = (self.stream,) if self._opening.scheme == "file" else ()
        packets: Generator[Any, None, None] = self._container.demux(*streams)
        return packets

    def _next(self) -> Any:
        """Return the next packet of the video stream, None at the end."""
        begin_s, live = time.monotonic(), self._opening.scheme != "file"
        packet = next(self._packets, None)
        while packet is not None and packet.stream_index != self.stream.index and not (live and self._is_late(begin_s)):
            packet = next(self._packets, None)
        if live and self._is_late(begin_s):  # sound alone is silence; or FFmpeg gave up, and let go what it held
            raise self._silent("cannot read", self._opening.read_timeout_s)
        return packet

    def _is_late(self, begin_s: float) -> bool:
        return time.monotonic() - begin_s >= self._opening.read_timeout_s

    def grab(self) -> Grab:
        """Wait for the next packet of the video stream."""
        try:
            packet = self._next()
        except av.error.EOFError:
            packet = None
        except (av.error.FFmpegError, OSError) as exc:
            raise self.translated("cannot read", exc) from exc
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
            return CameraError(f"no pictures in {self.name}")
        if self._opening.scheme != "file":
            return CameraError(f"{self.name} ended its stream")
        return CameraEnded(f"end of {self.name}")

    def _due_s(self, packet: Any) -> float | None:
        if self._opening.scheme != "file":
            return None
        stream, at = self.stream, packet.dts if packet.dts is not None else packet.pts
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
            return captured("driver", age_ns)
        if self._rtsp and HAS_SIDE_DATA and packet.has_sidedata("prft"):  # from RTCP sender reports
            wall_us = int.from_bytes(bytes(packet.get_sidedata("prft"))[:8], sys.byteorder, signed=True)
            return self._sender.capture(wall_us * 1000)
        return None

    def rewind(self) -> None:
        """Go back to the first packet of a file."""
        rate = float(self.stream.average_rate or 25)
        try:
            self._container.seek(0)
        except (av.error.FFmpegError, OSError) as exc:
            raise self.translated("cannot rewind", exc) from exc
        self._offset_s = self._last_due_s + 1.0 / rate
        self._origin, self._packets_read = None, 0
        self._packets.close()
        self._packets = self._demux()

    def close(self) -> None:
        """Close the stream. Packets that were read keep their memory."""
        self._packets.close()  # or its memory is never given back: 0.2 KB, and the heap around it
        self._container.close()

    def translated(self, did: str, exc: Exception) -> CameraError:
        """Return what went wrong as a `CameraError` without a secret: what it `did`, to which stream, and why."""
        if isinstance(exc, CameraError):
            return exc
        opening = self._opening
        limit_s = min(opening.open_timeout_s, self._answer_s) if self._rtsp else opening.open_timeout_s
        refused = isinstance(exc, (av.error.HTTPError, av.error.HTTPClientError))  # of RTSP too: an answer, if late
        if did == "cannot open" and not refused and time.monotonic() - self._start_s >= limit_s:
            return self._silent(did, limit_s)
        if isinstance(exc, av.error.ExitError) or (did == "cannot read" and isinstance(exc, TimeoutError)):
            return self._silent(did, opening.read_timeout_s)
        reason = getattr(exc, "strerror", None) or str(exc)
        return CameraError(opening.redact(f"{did} {self.name}: {reason}"))

    def _silent(self, did: str, limit_s: float) -> CameraStalled:
        return CameraStalled(f"{did} {self.name}: nothing came for {limit_s:g} s")


def color_of(space: int, color_range: int, pixel_format: str, height: int) -> Color:
    """Return how samples become colours, from FFmpeg's AVColorSpace and AVColorRange.

    A stream that does not say is taken to be BT.709 from 720 rows on, else BT.601, and of limited range.
    """
    matrix = MATRIX.get(space, "bt709" if height >= 720 else "bt601")
    return Color(matrix, color_range == FULL_RANGE or pixel_format.startswith("yuvj"))  # type: ignore[arg-type]
