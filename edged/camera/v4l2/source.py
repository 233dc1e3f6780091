"""A V4L2 camera: USB, GMSL and any other that its driver gives as /dev/videoN."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edged.camera.base import CameraStalled, Decoded, Grab, Opening
from edged.camera.v4l2.buffers import Buffers, Filled, is_gone
from edged.camera.v4l2.controls import apply_controls
from edged.camera.v4l2.device import Device
from edged.camera.v4l2.find import locate
from edged.camera.v4l2.negotiate import negotiate
from edged.camera.v4l2.pictures import RAW, Layout
from edged.errors import CameraError
from edged.frame import Capture

if TYPE_CHECKING:
    from edged.camera.v4l2.compressed import Compressed

COUNTER_AHEAD = Path("/sys/devices/system/clocksource/clocksource0/offset_ns")
"""On a Jetson: nanoseconds by which the counter that stamps captures is ahead of CLOCK_MONOTONIC_RAW. NVIDIA's capture
driver hands the counter's time on as CLOCK_MONOTONIC."""
STAMP_AGE_MAX_NS = 5_000_000_000  # a stamp further away is of a clock that is not ours
GAP_MAX = 1000  # a larger step of a driver's sequence is a counter that began anew


class V4l2Source:
    """One capture device, streaming into mapped buffers.

    Raw pictures lie in the driver's buffers until their frames are released, as long as enough of them are left for
    the driver; else they are copies. Of pictures that stand for themselves the newest is taken; the others go back to
    the driver and are told as lost. Not found, in use, forbidden, gone: each is a `CameraError` of its own text.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._sequence: int | None = None
        self._place = 0
        self._closed = False
        self._counter_ahead_ns = _counter_ahead_ns()
        self._buffers: Buffers | None = None
        self._device = Device(locate(opening.url))
        try:
            self._granted, self._interval = negotiate(self._device, opening)
            self.raw = self._granted.fourcc in RAW
            self._layout = Layout(self._granted) if self.raw else None
            self._decoder = None if self.raw else _decoder(self._granted.fourcc)
            apply_controls(self._device, opening.controls)
            self._buffers = Buffers(self._device)
        except BaseException:
            self.close()
            raise
        self._alone = self._decoder is None or self._decoder.alone

    @property
    def description(self) -> str:
        """Format, size and rate as the driver granted them, and the camera's stable address."""
        granted = self._granted
        rate_hz = float(1 / self._interval) if self._interval else 0.0
        bus = self._device.identity.bus
        return f"{granted.fourcc} {granted.width}x{granted.height} {rate_hz:.4g} Hz, bus:{bus}"

    def grab(self) -> Grab:
        """Wait for the next buffer; the newest one where pictures stand for themselves."""
        filled = self._next()
        place, lost = self._placed(filled.sequence)
        capture = _believed(filled.stamp_ns, self._counter_ahead_ns)
        size_bytes = sum(memory.size for memory in filled.memories)
        if self._decoder is None:
            return Grab(filled, place, True, None, capture, True, size_bytes, lost)
        data = b"" if filled.damaged else filled.memories[0].tobytes()
        self._open_buffers.give(filled.index)
        key, disposable = self._decoder.is_key(data), self._decoder.is_disposable(data)
        return Grab(data, place, key, None, capture, disposable, size_bytes, lost)

    @property
    def _open_buffers(self) -> Buffers:
        if self._buffers is None:
            raise CameraError(f"{self._device.path} is closed")
        return self._buffers

    def _next(self) -> Filled:
        buffers = self._open_buffers
        try:
            filled = self._waited_for(buffers)
            while self._alone and (newer := buffers.take()) is not None:
                buffers.give(filled.index)
                filled = newer
        except OSError as exc:
            raise self._device.failed("cannot read", exc, gone=is_gone(exc)) from exc
        return filled

    def _waited_for(self, buffers: Buffers) -> Filled:
        limit_s = self._opening.read_timeout_s
        until_s = time.monotonic() + limit_s
        trouble = 0
        while (filled := buffers.take()) is None:
            if trouble:
                raise CameraError(f"cannot read {self._device.path}: its driver reports an error")
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise CameraStalled(f"cannot read {self._device.path}: nothing came for {limit_s:g} s")
            trouble = self._device.node.wait(left_s) & ~select.POLLIN
        return filled

    def _placed(self, sequence: int) -> tuple[int, int]:
        """Return a buffer's place in the stream, and how many were lost before it; a driver may not count at all."""
        step = (sequence - self._sequence) & 0xFFFFFFFF if self._sequence is not None else 1
        self._sequence = sequence
        if not 0 < step <= GAP_MAX:
            step = 1
        self._place += step
        return self._place - 1, step - 1

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Return the picture of a buffer, or decode it; nothing where it is damaged or was cut short."""
        if self._decoder is not None:
            return self._decoder.decode(grab.data, grab.pts or 0) if grab.data else ()
        filled: Filled = grab.data
        buffers, layout = self._open_buffers, self._layout
        assert layout is not None
        if filled.damaged or not layout.is_whole(filled.memories):
            buffers.give(filled.index)
            return ()
        lent = buffers.may_keep and not layout.raw.copies
        picture = layout.picture(filled.memories, copy=not lent)
        give = partial(buffers.give, filled.index)
        if not lent:
            give()
        return [Decoded(picture, grab.pts, give if lent else None)]

    def skip(self, grab: Grab) -> None:
        """Give a raw buffer back untouched; a compressed one went back already."""
        if self._decoder is None and self._buffers is not None:
            self._buffers.give(grab.data.index)

    def rest(self, warm: bool = False) -> None:
        """Drop what the decoder holds."""
        if self._decoder is not None:
            self._decoder.rest()

    def drain(self) -> Sequence[Decoded]:
        """Return what the decoder still holds."""
        return self._decoder.drain() if self._decoder is not None else ()

    def rewind(self) -> None:
        """Raise `CameraError`: a camera is live."""
        raise CameraError(f"{self._device.path} is live and cannot be rewound")

    def close(self) -> None:
        """Stop the stream and let the device go. Frames already handed out keep their pixels."""
        if self._closed:
            return
        self._closed = True
        if self._buffers is not None:
            self._buffers.close()
            self._buffers = None
        self._device.close()


def _decoder(fourcc: str) -> Compressed:
    from edged.camera.v4l2.compressed import Compressed

    return Compressed(fourcc)


def _counter_ahead_ns() -> int | None:
    try:
        return int(COUNTER_AHEAD.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _believed(stamp_ns: int | None, counter_ahead_ns: int | None) -> Capture | None:
    """Return the driver's stamp where it can be the time of a picture that came just now.

    One that is of the future is read as the capture hardware's counter, where this machine has one.
    """
    if stamp_ns is None:
        return None
    now_ns = time.monotonic_ns()
    age_ns = now_ns - stamp_ns
    if age_ns < 0 and counter_ahead_ns is not None:
        age_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - (stamp_ns - counter_ahead_ns)
    if not 0 <= age_ns < STAMP_AGE_MAX_NS:
        return None
    return Capture(time.time_ns() - age_ns, now_ns - age_ns, "driver")
