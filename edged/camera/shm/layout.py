"""Where everything lies in a ring. `sdk/edged_shm.h` is the same for C, and has the rules in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Literal, get_args

from edged.errors import CameraError
from edged.frame import Capture, ClockName, Color, PixelFormat

FOLDER = "/dev/shm"  # where Linux keeps POSIX shared memory
MAGIC = b"EDGEDSHM"
VERSION = 1
HEADER_BYTES = 4096
SLOT_HEAD_BYTES = 256
READERS = 8
SLOTS_MIN, SLOTS_MAX = 3, 64
SLOT_BYTES_MAX = 1 << 30
SIDE_MAX_PX = 16_384

FEEDER_BYTE = 0  # bytes of the file whose locks say who is alive
READER_BYTE = 1  # + the reader's entry
COPIER_BYTE = READER_BYTE + READERS  # shared by readers that only copy

FIXED = Struct("<8sIIIIQQIIII")
LIVE_AT = 64
LIVE = Struct("<QQIIQ")
NEWEST_AT, BEAT_AT, BELL_AT, DROPPED_AT, STATE_AT, HELD_AT, HELD_STEP = 64, 72, 80, 88, 44, 128, 64

HEAD = Struct("<QIIIIIIQQ12I")
MATRICES: tuple[Literal["bt601", "bt709", "bt2020"], ...] = ("bt601", "bt709", "bt2020")
CLOCKS: dict[int, ClockName] = {0: "arrival", 1: "driver", 2: "rtcp"}
FORMATS = {1: PixelFormat.NV12, 2: PixelFormat.YUV, 3: PixelFormat.RGB, 4: PixelFormat.GRAY}
PLANES = {PixelFormat.NV12: 2, PixelFormat.YUV: 3, PixelFormat.RGB: 1, PixelFormat.GRAY: 1}


class State(IntEnum):
    """What a ring is: being made, fed, given up for a new one of the same feeder, or closed."""

    MAKING = 0
    LIVE = 1
    REPLACED = 2
    CLOSED = 3


@dataclass(frozen=True)
class RingHead:
    """The fixed part of a ring. `slot_bytes` includes the slot's head; `rate_hz` is 0 where it is not known."""

    slots: int
    slot_bytes: int
    generation: int
    feeder_pid: int
    state: State
    rate_hz: float

    @property
    def file_bytes(self) -> int:
        """Size of the whole ring."""
        return HEADER_BYTES + self.slots * self.slot_bytes

    def pack(self) -> bytes:
        """Return the bytes at the ring's start."""
        fixed = (MAGIC, VERSION, HEADER_BYTES, self.slots, READERS, self.slot_bytes, self.generation)
        return FIXED.pack(*fixed, self.feeder_pid, self.state, round(self.rate_hz * 1000), 0)


@dataclass(frozen=True)
class Live:
    """The changing part: sequence (from 1) and slot of the newest picture, the feeder's heartbeat, the bell."""

    sequence: int
    slot: int
    beat_mono_ns: int
    bell: int


@dataclass(frozen=True)
class Plane:
    """One plane in a slot: bytes from the slot's start, bytes from row to row, and its size in samples."""

    offset: int
    stride: int
    columns: int
    rows: int


@dataclass(frozen=True)
class PictureHead:
    """What a slot holds. `capture` is None where the feeder stamps nothing."""

    sequence: int
    width: int
    height: int
    format: PixelFormat
    color: Color
    capture: Capture | None
    planes: tuple[Plane, ...]

    def pack(self) -> bytes:
        """Return the bytes of the slot's head, without its sequence."""
        code = next(code for code, pixel_format in FORMATS.items() if pixel_format is self.format)
        clock, mono_ns, unix_ns = 0, 0, 0
        if self.capture is not None:
            clock = next((code for code, name in CLOCKS.items() if name == self.capture.clock), 0)
            mono_ns, unix_ns = self.capture.mono_ns, self.capture.unix_ns
        places = [n for plane in self.planes for n in (plane.offset, plane.stride, plane.columns, plane.rows)]
        color = (MATRICES.index(self.color.matrix) + 1, int(self.color.full))
        size = (0, self.width, self.height, code)
        return HEAD.pack(*size, *color, clock, mono_ns, unix_ns, *places, *[0] * (12 - len(places)))[8:]


def samples(pixel_format: PixelFormat, plane: int) -> int:
    """Return the bytes of one column of a plane: 3 for RGB, 2 for NV12's chroma, else 1."""
    return 3 if pixel_format is PixelFormat.RGB else 2 if pixel_format is PixelFormat.NV12 and plane else 1


def unpack_ring(data: bytes) -> RingHead:
    """Read a ring's start. Raise `CameraError` for anything that no feeder of this version writes."""
    if len(data) < FIXED.size or data[:8] != MAGIC:
        raise CameraError("it is no ring of edged: wrong magic")
    _, version, header, slots, readers, slot_bytes, generation, pid, state, rate_mhz, _ = FIXED.unpack_from(data)
    if version != VERSION:
        raise CameraError(f"its layout is version {version}; this edged reads version {VERSION}")
    if header != HEADER_BYTES or readers != READERS or state not in set(State):
        raise CameraError(f"its header is damaged: {header} bytes, {readers} readers, state {state}")
    if not SLOTS_MIN <= slots <= SLOTS_MAX:
        raise CameraError(f"it has {slots} slots; {SLOTS_MIN} to {SLOTS_MAX} are allowed")
    if not SLOT_HEAD_BYTES < slot_bytes <= SLOT_BYTES_MAX or slot_bytes % 4096:
        raise CameraError(f"its slots have {slot_bytes} bytes; a multiple of 4096 up to {SLOT_BYTES_MAX} is allowed")
    return RingHead(slots, slot_bytes, generation, pid, State(state), rate_mhz / 1000)


def unpack_live(data: bytes, slots: int) -> Live:
    """Read the changing part. Raise `CameraError` where it names a slot that is not there."""
    if len(data) < LIVE.size:
        raise CameraError("it is cut short")
    newest, beat, bell, _, _ = LIVE.unpack(data)
    if newest & 0xFF >= slots:
        raise CameraError(f"its newest picture is said to be in slot {newest & 0xFF} of {slots}")
    return Live(newest >> 8, newest & 0xFF, beat, bell)


def unpack_picture(data: bytes, slot_bytes: int) -> PictureHead:
    """Read a slot's head. Raise `CameraError` where a plane would lie outside of the slot."""
    sequence, width, height, code, matrix, full, clock, mono_ns, unix_ns, *places = HEAD.unpack_from(data)
    if not (1 <= width <= SIDE_MAX_PX and 1 <= height <= SIDE_MAX_PX):
        raise CameraError(f"a picture of {width}x{height}; sides of 1 to {SIDE_MAX_PX} pixels are allowed")
    if code not in FORMATS or not 1 <= matrix <= len(MATRICES) or full > 1 or clock not in CLOCKS:
        raise CameraError(f"a picture of unknown kind: format {code}, matrix {matrix}, range {full}, clock {clock}")
    pixel_format = FORMATS[code]
    planes = tuple(Plane(*places[4 * n : 4 * n + 4]) for n in range(PLANES[pixel_format]))
    for number, plane in enumerate(planes):
        _check_plane(plane, samples(pixel_format, number), slot_bytes)
    if (planes[0].columns, planes[0].rows) != (width, height) or not _chroma_fits(pixel_format, width, height, planes):
        raise CameraError(f"planes that do not fit a {width}x{height} picture of format {pixel_format.value}")
    capture = Capture(unix_ns, mono_ns, CLOCKS[clock]) if clock else None
    return PictureHead(sequence, width, height, pixel_format, Color(MATRICES[matrix - 1], bool(full)), capture, planes)


def _check_plane(plane: Plane, bytes_per_column: int, slot_bytes: int) -> None:
    row = plane.columns * bytes_per_column
    end = plane.offset + plane.stride * (plane.rows - 1) + row
    if plane.rows < 1 or row < 1 or plane.stride < row or plane.offset < SLOT_HEAD_BYTES or end > slot_bytes:
        raise CameraError(f"a plane outside of its slot of {slot_bytes} bytes: {plane}")


def _chroma_fits(pixel_format: PixelFormat, width: int, height: int, planes: Sequence[Plane]) -> bool:
    if pixel_format is PixelFormat.NV12:
        return (planes[1].columns, planes[1].rows) == ((width + 1) // 2, (height + 1) // 2)
    if pixel_format is PixelFormat.YUV:
        u, v = planes[1], planes[2]
        return (u.columns, u.rows) == (v.columns, v.rows) and u.columns <= width and u.rows <= height
    return True


def lay_out(pixel_format: PixelFormat, shapes: Sequence[tuple[int, int]]) -> tuple[tuple[Plane, ...], int]:
    """Return the planes of a picture of these (rows, columns) one after the other, and the bytes of their slot."""
    at, planes = SLOT_HEAD_BYTES, []
    for number, (rows, columns) in enumerate(shapes):
        stride = columns * samples(pixel_format, number)
        planes.append(Plane(at, stride, columns, rows))
        at += -(-stride * rows // 64) * 64
    return tuple(planes), -(-at // 4096) * 4096


def shapes_of(pixel_format: PixelFormat, width: int, height: int) -> list[tuple[int, int]]:
    """Return the (rows, columns) of the planes of a 4:2:0, RGB or grey picture."""
    half = ((height + 1) // 2, (width + 1) // 2)
    return [(height, width), half, half][: PLANES[pixel_format]]


assert set(CLOCKS.values()) == set(get_args(ClockName)) - {"media"}
