"""Stands where PyNvVideoCodec stands: FFmpeg decodes, on the stand-in for the driver, with the library's own habits.

Pictures appear in buffers that the next call writes to again, and only when the stream that they were enqueued on is
waited for; packets must be Annex B; without the mark that a picture ends a packet comes out with the next one; the
end of a stream leaves a decoder that begins anew.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
from cuda_double import STREAMS

NAMES = {4: "h264", 8: "hevc", 11: "av1", 10: "vp9"}


class PyNvVCException(Exception):
    pass


class PyNvVCExceptionUnsupported(Exception):
    pass


class VideoPacketFlag(IntEnum):
    ENDOFSTREAM = 1
    ENDOFPICTURE = 8


class cudaVideoCodec(IntEnum):  # noqa: N801 - the library's name
    H264 = 4
    HEVC = 8
    VP9 = 10
    AV1 = 11


class DisplayDecodeLatencyType(IntEnum):
    NATIVE = 0
    LOW = 1


class PacketData:
    def __init__(self) -> None:
        self.bsl = self.bsl_data = self.pts = self.decode_flag = 0


class DecodedFrame:
    def __init__(self, memory: np.ndarray, size: tuple[int, int], pts: int) -> None:
        self._memory, self.shape, self._pts = memory, (size[1] * 3 // 2, size[0]), pts

    def GetPtrToPlane(self, number: int) -> int:  # noqa: N802
        return self._memory.ctypes.data + number * self.shape[1] * (self.shape[0] * 2 // 3)

    def getPTS(self) -> int:  # noqa: N802
        return self._pts


class Decoder:
    alive: set[Any] = set()
    fails: str = ""

    def __init__(self, codec: int, stream: int, latency: int) -> None:
        self._codec, self._stream, self._latency = NAMES[codec], STREAMS[stream], latency
        self._buffers: list[np.ndarray] = []
        self._held: tuple[bytes, int] | None = None
        self._begin()
        Decoder.alive.add(id(self))

    def __del__(self) -> None:
        Decoder.alive.discard(id(self))

    def _begin(self) -> None:
        self._context = av.CodecContext.create(self._codec, "r")
        self._context.thread_type, self._context.thread_count = "NONE", 1

    def Decode(self, packet: PacketData) -> list[DecodedFrame]:  # noqa: N802
        self._stream.device.must_be_active()
        if Decoder.fails:
            raise PyNvVCException(Decoder.fails)
        pictures: list[Any] = []
        data = ctypes.string_at(packet.bsl_data, packet.bsl) if packet.bsl else b""
        if self._codec in ("h264", "hevc") and data:
            assert data[:4] == b"\0\0\0\1" or data[:3] == b"\0\0\1", "the packet is not Annex B"
        if self._held is not None:
            pictures += self._parse(*self._held)
            self._held = None
        if data and packet.decode_flag & VideoPacketFlag.ENDOFPICTURE:
            pictures += self._parse(data, packet.pts)
        elif data:
            self._held = data, packet.pts
        else:
            pictures += self._context.decode(None)
            self._begin()
        return [self._show(number, picture) for number, picture in enumerate(pictures)]

    def _parse(self, data: bytes, pts: int) -> list[Any]:
        packet = av.Packet(data)
        packet.pts = pts
        try:
            return list(self._context.decode(packet))
        except av.error.FFmpegError:
            return []

    def _show(self, number: int, picture: Any) -> DecodedFrame:
        planes = picture.reformat(format="nv12").to_ndarray()
        while len(self._buffers) <= number or self._buffers[number].shape != planes.shape:
            del self._buffers[number:]
            self._buffers.append(np.full(planes.shape, 0xCD, np.uint8))
        memory = self._buffers[number]
        self._stream.do(lambda: np.copyto(memory, planes))
        return DecodedFrame(memory, (picture.width, picture.height), picture.pts or 0)


class DecoderLibrary:
    """Stands where libnvcuvid.so.1 stands."""

    fails = 0

    def cuvidGetDecoderCaps(self, reference: Any) -> int:  # noqa: N802
        caps = reference._obj
        assert (caps.chroma_format, caps.bit_depth_minus_8) == (1, 0)
        newer = caps.codec in (cudaVideoCodec.VP9, cudaVideoCodec.AV1)
        caps.is_supported = caps.codec != cudaVideoCodec.AV1
        caps.min_width = caps.min_height = 128 if newer else 48
        caps.max_width = caps.max_height = 8192
        caps.max_macroblocks = 262144
        return self.fails


def make_library() -> ModuleType:
    """Return a module to put in the place of PyNvVideoCodec."""
    Decoder.fails = ""

    def create(**how: Any) -> Decoder:
        assert how["usedevicememory"]
        assert how["cudacontext"]
        assert not how.get("enableasyncallocations"), "2.2.4 keeps that memory when the decoder goes"
        return Decoder(how["codec"], how["cudastream"], how["latency"])

    library = ModuleType("PyNvVideoCodec")
    for name, value in vars(
        SimpleNamespace(
            PyNvVCException=PyNvVCException,
            PyNvVCExceptionUnsupported=PyNvVCExceptionUnsupported,
            VideoPacketFlag=VideoPacketFlag,
            cudaVideoCodec=cudaVideoCodec,
            DisplayDecodeLatencyType=DisplayDecodeLatencyType,
            PacketData=PacketData,
            CreateDecoder=create,
        )
    ).items():
        setattr(library, name, value)
    return library
