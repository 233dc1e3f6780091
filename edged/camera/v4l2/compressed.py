"""MJPEG, H.264 and H.265 that a camera compresses itself, decoded by FFmpeg through PyAV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import av
import av.error
from av.video.reformatter import VideoReformatter

from edged.camera.base import Decoded
from edged.camera.nal import disposable_test, key_test
from edged.camera.pyav import picture_of

CODECS: Mapping[str, str] = {"MJPG": "mjpeg", "JPEG": "mjpeg", "H264": "h264", "HEVC": "hevc"}
"""FFmpeg's names of V4L2's compressed formats."""


class Compressed:
    """The decoder of one stream, with one thread: cameras share the cores, not frames."""

    def __init__(self, fourcc: str) -> None:
        self.codec = CODECS[fourcc]
        self.alone = self.codec == "mjpeg"
        """Whether each picture stands for itself."""
        self._is_key = key_test(self.codec)
        self._is_disposable = disposable_test(self.codec, b"")
        self._reformatter = VideoReformatter()
        self._decoder = self._new()

    def _new(self) -> Any:
        decoder: Any = av.CodecContext.create(self.codec, "r")
        decoder.thread_type = "NONE"
        decoder.thread_count = 1
        return decoder

    def is_key(self, data: bytes) -> bool:
        """Whether decoding may start with this packet."""
        return self._is_key is None or self._is_key(data)

    def is_disposable(self, data: bytes) -> bool:
        """Whether no other picture refers to this one."""
        return self.alone or (self._is_disposable is not None and self._is_disposable(data))

    def decode(self, data: bytes, pts: int) -> Sequence[Decoded]:
        """Decode one packet; one that is damaged gives nothing."""
        packet = av.Packet(data)
        packet.pts = pts
        return self._decoded(packet)

    def drain(self) -> Sequence[Decoded]:
        """Return what the decoder still holds."""
        found = self._decoded(None)
        self.rest()
        return found

    def rest(self) -> None:
        """Drop what the decoder holds."""
        self._decoder.flush_buffers()

    def _decoded(self, packet: Any) -> Sequence[Decoded]:
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError:
            return ()
        return [Decoded(picture_of(frame, self._reformatter), frame.pts) for frame in frames]
