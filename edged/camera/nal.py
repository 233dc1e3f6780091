"""Which H.264 and H.265 pictures no other refers to, and which start anew: told by the first bytes of their packets."""

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
    lengths = extradata[:1] == b"\x01" and len(extradata) > length_at
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
