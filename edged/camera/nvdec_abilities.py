"""What a GPU's video decoder can do, asked of NVIDIA's own library (`cuviddec.h` of the Video Codec SDK).

PyNvVideoCodec's `GetDecoderCaps` makes a CUDA context for each answer: 0.2 s, and four times that where four processes
ask at once. Here the device's own context answers, at once.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from edged.device.base import Device

LIBRARY = "libnvcuvid.so.1"
CHROMA_420 = 1  # cudaVideoChromaFormat_420
_ASKING = threading.Lock()  # many cameras open at once, and one answer serves them all
_known: dict[tuple[str, int], Abilities] = {}  # GPUs of one name have the same decoder


@dataclass(frozen=True)
class Abilities:
    """Of 8 bit 4:2:0 pictures of one codec: whether they are decoded, and their least and largest sizes in pixels."""

    supported: bool
    least: tuple[int, int]
    largest: tuple[int, int]
    macroblocks: int  # of 16 x 16 pixels, at most

    def __str__(self) -> str:
        (low_x, low_y), (high_x, high_y) = self.least, self.largest
        return f"{low_x}x{low_y} to {high_x}x{high_y}, at most {self.macroblocks} macroblocks"

    def fits(self, width: int, height: int) -> bool:
        """Say whether pictures of that size are decoded."""
        within = all(
            low <= size <= high for low, size, high in zip(self.least, (width, height), self.largest, strict=True)
        )
        return within and width * height <= 256 * self.macroblocks


class DecoderCaps(ctypes.Structure):
    """CUVIDDECODECAPS: the first three are asked, the rest is answered."""

    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma_format", ctypes.c_int),
        ("bit_depth_minus_8", ctypes.c_uint),
        ("reserved1", ctypes.c_uint * 3),
        ("is_supported", ctypes.c_ubyte),
        ("decoders", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_macroblocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("is_histogram_supported", ctypes.c_ubyte),
        ("counter_bits", ctypes.c_ubyte),
        ("max_histogram_bins", ctypes.c_ushort),
        ("reserved3", ctypes.c_uint * 10),
    )


@lru_cache(maxsize=1)
def library() -> Any:
    """Return the library. Raise `OSError` where there is none that answers."""
    found = ctypes.CDLL(LIBRARY)
    if not hasattr(found, "cuvidGetDecoderCaps"):
        raise OSError(f"{LIBRARY} has no cuvidGetDecoderCaps")
    return found


def abilities(device: Device, codec: int) -> Abilities:
    """Return what a GPU's decoder can do with a codec (`cudaVideoCodec`). Any thread may ask.

    Raises:
        DeviceError: CUDA does not work.
        OSError: there is no such library, or it does not answer.
    """
    with _ASKING:
        found = _known.get((device.name, codec))
        if found is None:
            found = _known[device.name, codec] = _ask(device, codec)
    return found


def _ask(device: Device, codec: int) -> Abilities:
    caps = DecoderCaps(codec=codec, chroma_format=CHROMA_420)
    with device.active():
        status = library().cuvidGetDecoderCaps(ctypes.byref(caps))
    if status:
        raise OSError(f"{LIBRARY} answers with error {status} of CUDA")
    return Abilities(
        bool(caps.is_supported),
        (caps.min_width, caps.min_height),
        (caps.max_width, caps.max_height),
        caps.max_macroblocks,
    )
