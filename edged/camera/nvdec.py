"""NVDEC through PyNvVideoCodec: any stream that FFmpeg opens, decoded into device memory, and never copied to the host.

The library's own buffers are written to again by its next call, and nothing tells it to wait for a reader; so each
picture is copied within device memory, behind the decoder on its own stream, to a surface that its readers give back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from edged.camera.base import Decoded, Grab, Opening, Undecodable
from edged.camera.nal import AnnexB, is_length_prefixed
from edged.camera.nvdec_abilities import abilities
from edged.camera.packets import PacketReader, color_of
from edged.camera.surfaces import Surfaces
from edged.device import gpu
from edged.device.base import Device, DeviceError
from edged.errors import BackendUnavailable, CameraError, WorkerFailed

try:
    import PyNvVideoCodec as nvc  # noqa: N813 - as its own samples call it
except (RuntimeError, OSError) as exc:  # it asks the driver for its version while it is imported
    raise BackendUnavailable(f"camera backend 'nvdec': {(str(exc).splitlines() or [''])[0]}") from exc

CODECS = {"h264": "H264", "hevc": "HEVC", "av1": "AV1", "libdav1d": "AV1", "vp9": "VP9", "libvpx-vp9": "VP9"}
"""By the name of FFmpeg's decoder, which some builds take from another library: the codec's name here."""
END_OF_PICTURE = int(nvc.VideoPacketFlag.ENDOFPICTURE)  # else a picture comes out with the next packet
FOREIGN = (nvc.PyNvVCException, nvc.PyNvVCExceptionUnsupported, RuntimeError, ValueError)
PIXELS = ("yuv420p", "yuvj420p", "nv12")


class NvdecSource:
    """A stream that FFmpeg opens and a GPU decodes.

    The decoder is made with the first packet that is decoded, and freed when the camera rests and is not warm.
    """

    raw = False

    def __init__(self, opening: Opening) -> None:
        self._device: Device = gpu.open_device(opening.gpu)
        self._surfaces = Surfaces(self._device)
        self._decoder: Any = None
        self._stream: Any = None
        self._annex_b: AnnexB | None = None
        self._packet = nvc.PacketData()
        try:
            self._packets = PacketReader(opening)
        except BaseException:
            self._surfaces.close()
            raise
        try:
            self._codec = self._supported()
            context = self._context
            unprobed = context.pix_fmt is None  # then nothing else is known of its pictures either
            self._reorders = unprobed or bool(getattr(context, "has_b_frames", True))
            with self._device.active():
                self._stream = self._device.stream()
            extradata = bytes(context.extradata or b"")
            if context.name in ("h264", "hevc") and is_length_prefixed(extradata):
                self._annex_b = AnnexB(context.name, extradata)
        except ValueError as exc:
            self.close()
            raise CameraError(f"nvdec: {self._packets.name}: {exc}") from exc
        except DeviceError as exc:
            self.close()
            raise WorkerFailed(f"nvdec: {self._packets.name}: {exc}") from exc
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """Codec, size and rate as the stream declares them."""
        return self._packets.description

    def grab(self) -> Grab:
        """Wait for the next packet of the video stream."""
        return self._packets.grab()

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Decode one packet; one that is damaged gives nothing."""
        packet, data = grab.data, self._packet
        if self._annex_b is None:
            data.bsl_data, data.bsl = packet.buffer_ptr, packet.size
        else:
            units = self._annex_b(bytes(packet), grab.key)
            data.bsl_data, data.bsl = np.frombuffer(units, np.uint8).ctypes.data if units else 0, len(units)
        if not data.bsl:
            return ()  # an empty packet would end the stream
        data.pts = grab.pts or 0
        data.decode_flag = 0 if self._reorders else END_OF_PICTURE
        return self._decoded(data, grab.pts is None)

    def skip(self, grab: Grab) -> None:
        """Nothing to give back: the packet is garbage by now."""

    def rest(self, warm: bool = False) -> None:
        """Drop the pictures that the decoder holds, and the decoder itself unless the camera stays warm."""
        if warm:
            for decoded in self.drain():
                decoded.give_back()
        else:
            self._free_decoder()
            self._surfaces.shrink()

    def drain(self) -> Sequence[Decoded]:
        """Return the pictures that the decoder still holds."""
        if self._decoder is None:
            return ()
        end = nvc.PacketData()
        return self._decoded(end, False)

    def rewind(self) -> None:
        """Go back to the first packet of a file. The decoder stays."""
        self._packets.rewind()

    def close(self) -> None:
        """Close the container and free the decoder; pictures already handed out keep their memory."""
        self._packets.close()
        self._free_decoder()
        if self._stream is not None:
            with suppress(DeviceError), self._device.active():
                self._stream.free()
            self._stream = None
        self._surfaces.close()

    @property
    def _context(self) -> Any:
        return self._packets.stream.codec_context

    def _supported(self) -> Any:
        """Return the library's name of the stream's codec. Raise `Undecodable` for what no NVDEC decodes here."""
        context = self._context
        if context.name not in CODECS:
            known = ", ".join(name.lower() for name in dict.fromkeys(CODECS.values()))
            raise Undecodable(f"{self._packets.name} is {context.name}; nvdec decodes {known}; use backend: pyav")
        if context.pix_fmt not in (None, *PIXELS):
            raise Undecodable(f"{self._packets.name} has {context.pix_fmt} pictures; nvdec gives 8 bit 4:2:0 here; "
                              "use backend: pyav")  # fmt: skip
        codec = getattr(nvc.cudaVideoCodec, CODECS[context.name])
        try:
            can = abilities(self._device, int(codec))
        except OSError as exc:
            raise Undecodable(f"{self._packets.name}: NVDEC of {self._device.name} tells nothing: {exc}") from exc
        size = context.width, context.height
        if not can.supported:
            raise Undecodable(f"{self._packets.name} is {context.name}; NVDEC of {self._device.name} decodes none")
        if all(size) and not can.fits(*size):
            raise Undecodable(f"{self._packets.name} is {size[0]}x{size[1]}; NVDEC of {self._device.name} decodes "
                              f"{context.name} from {can}")  # fmt: skip
        return codec

    def _open_decoder(self) -> Any:
        """Make the decoder, with plain allocations: asynchronous ones it never gives back (PyNvVideoCodec 2.2.4)."""
        latency = nvc.DisplayDecodeLatencyType
        return nvc.CreateDecoder(
            gpuid=self._device.number,
            codec=self._codec,
            cudacontext=self._device.context,
            cudastream=self._stream.handle,
            usedevicememory=True,
            latency=latency.NATIVE if self._reorders else latency.LOW,
        )

    def _decoded(self, data: Any, unordered: bool) -> list[Decoded]:
        pictures: list[Decoded] = []
        try:
            with self._device.active():
                if self._decoder is None:
                    self._decoder = self._open_decoder()
                for frame in self._decoder.Decode(data):
                    luma, size = self._plane_of(frame)
                    surface = self._surfaces.put(luma, *size, self._color(size[1]), self._stream)
                    pts = None if unordered else frame.getPTS()
                    pictures.append(Decoded(surface.picture, pts, surface.give_back))
        except CameraError:
            self._give_up(pictures)
            raise
        except (DeviceError, *FOREIGN) as exc:
            self._give_up(pictures)
            raise CameraError(f"nvdec: {self._packets.name}: {exc}") from exc
        return pictures

    def _plane_of(self, frame: Any) -> tuple[int, tuple[int, int]]:
        """Return the address of a decoder's NV12 picture, and its size. Chroma follows luma without a gap."""
        rows, columns = frame.shape[0], frame.shape[1]
        luma = frame.GetPtrToPlane(0)
        height = (frame.GetPtrToPlane(1) - luma) // columns
        if rows not in (height * 3 // 2, (height * 3 + 1) // 2):
            raise CameraError(f"{self._packets.name} has pictures that are not 8 bit 4:2:0; use backend: pyav")
        return luma, (columns, height)

    def _give_up(self, pictures: Sequence[Decoded]) -> None:
        """Free decoder and pictures after an error. Raise `WorkerFailed` where it broke the context, for good."""
        for decoded in pictures:
            decoded.give_back()
        try:
            with self._device.active():
                self._stream.synchronize()
        except DeviceError as exc:
            raise WorkerFailed(f"nvdec: {self._packets.name}: {exc}") from exc
        finally:
            self._free_decoder()

    def _free_decoder(self) -> None:
        """Free the decoder, once the copies out of its buffers are done: it does not wait for them."""
        if self._decoder is not None:
            with suppress(DeviceError), self._device.active():
                self._stream.synchronize()
            self._decoder = None

    def _color(self, height: int) -> Any:
        context = self._context
        return color_of(int(context.colorspace), int(context.color_range), context.pix_fmt or "", height)
