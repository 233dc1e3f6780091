"""H.264 and H.265 packets: which are no reference, which start anew, told by their first bytes; their byte streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

START_CODE = b"\0\0\1"
H264_SLICES = range(1, 6)  # ITU-T H.264 table 7-1: coded slices, partitioned or not
H264_IDR = 5
H265_IRAP = range(16, 24)
H265_SLICES = range(32)  # ITU-T H.265 table 7-1: below 16 the even types are sub-layer non-reference pictures


def h264_disposable(header: bytes) -> bool | None:
    """Read one unit's header (H.264 7.3.1): nal_ref_idc 0 is no reference. None when it is not of a picture."""
    return header[0] & 0x60 == 0 if header[0] & 0x1F in H264_SLICES else None


class H265Disposable:
    """Reads H.265 unit headers (7.3.1.2). A picture is needed by none only when it is in the highest layer of time."""

    def __init__(self) -> None:
        self._highest = 0

    def __call__(self, header: bytes) -> bool | None:
        """Say whether no picture refers to this unit's picture. None when it is not of a picture."""
        kind, layer = header[0] >> 1 & 0x3F, header[1] & 7
        if kind not in H265_SLICES:
            return None
        self._highest = max(self._highest, layer)
        return kind < 16 and kind % 2 == 0 and layer == self._highest


def disposable_test(codec: str, extradata: bytes) -> Callable[[Any], bool] | None:
    """Return a test of a packet's bytes, or None for other codecs. One test belongs to one stream.

    `extradata` tells how units are told apart: by start codes (Annex B), or by their lengths (avcC, hvcC).
    """
    if codec not in ("h264", "hevc"):
        return None
    of_header = h264_disposable if codec == "h264" else H265Disposable()
    length_at = 4 if codec == "h264" else 21  # ISO/IEC 14496-15, 5.3.3.1.2 and 8.3.3.1.2: lengthSizeMinusOne
    lengths = is_length_prefixed(extradata) and len(extradata) > length_at
    size = (extradata[length_at] & 3) + 1 if lengths else 0

    def test(packet: Any) -> bool:
        data = bytes(packet)
        for header in _headers(data, size) if size else _annex_b_headers(data):
            answer = of_header(header)
            if answer is not None:
                return answer
        return False

    return test


def key_test(codec: str) -> Callable[[bytes], bool] | None:
    """Return a test of Annex B packets: may decoding start here? None for other codecs, of which each packet may."""
    if codec == "h264":
        return lambda data: any(header[0] & 0x1F == H264_IDR for header in _annex_b_headers(data))
    if codec == "hevc":
        return lambda data: any(header[0] >> 1 & 0x3F in H265_IRAP for header in _annex_b_headers(data))
    return None


class AnnexB:
    """Makes byte streams of length-prefixed packets (ISO/IEC 14496-15), as decoders of byte streams need them.

    FFmpeg's filters do the same and let go of the interpreter's lock three times a packet, which with many cameras
    costs far more than the copy does.

    Args:
        codec: h264 or hevc.
        extradata: avcC or hvcC; its parameter sets are put before every packet that decoding may start at.

    Raises:
        ValueError: the extradata ends too early.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        try:
            self._size = (extradata[4 if codec == "h264" else 21] & 3) + 1
            units = list(_avcc_units(extradata) if codec == "h264" else _hvcc_units(extradata))
        except IndexError as exc:
            raise ValueError(f"{codec}: the {len(extradata)} bytes of parameter sets end too early") from exc
        self._parameters = b"".join(b"\0" + START_CODE + unit for unit in units)

    def __call__(self, packet: bytes, key: bool) -> bytes:
        """Return a packet's units behind start codes. A unit that is longer than its packet is cut off."""
        size, at, parts = self._size, 0, [self._parameters] if key else []
        while at + size < len(packet):
            end = at + size + int.from_bytes(packet[at : at + size], "big")
            parts.append(b"\0" + START_CODE + packet[at + size : end])
            at = end
        return b"".join(parts)


def is_length_prefixed(extradata: bytes) -> bool:
    """Say whether packets have lengths rather than start codes: avcC and hvcC begin with their version, which is 1."""
    return extradata[:1] == b"\x01"


def _avcc_units(extradata: bytes) -> Iterator[bytes]:
    """Yield the sets of an AVCDecoderConfigurationRecord (14496-15, 5.3.3.1.2): sequence, then picture parameters."""
    at = 5
    for mask in (0x1F, 0xFF):
        count, at = extradata[at] & mask, at + 1
        for _ in range(count):
            end = at + 2 + int.from_bytes(extradata[at : at + 2], "big")
            yield extradata[at + 2 : end]
            at = end


def _hvcc_units(extradata: bytes) -> Iterator[bytes]:
    """Yield the sets of an HEVCDecoderConfigurationRecord (14496-15, 8.3.3.1.2), in their arrays' order."""
    arrays, at = extradata[22], 23
    for _ in range(arrays):
        count, at = int.from_bytes(extradata[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            end = at + 2 + int.from_bytes(extradata[at : at + 2], "big")
            yield extradata[at + 2 : end]
            at = end


def _headers(data: bytes, size: int) -> Iterator[bytes]:
    at = 0
    while at + size + 2 <= len(data):
        yield data[at + size : at + size + 2]
        at += size + int.from_bytes(data[at : at + size], "big")


def _annex_b_headers(data: bytes) -> Iterator[bytes]:
    at = data.find(START_CODE)
    while at >= 0 and at + 5 <= len(data):
        yield data[at + 3 : at + 5]
        at = data.find(START_CODE, at + 3)
