"""`shm:NAME`: frames that another process hands in through a ring of shared memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edged.camera.base import CameraStalled, Decoded, Grab, Opening
from edged.camera.shm import kernel, layout
from edged.camera.shm.layout import Live, PictureHead, State
from edged.camera.shm.ring import Claim, Ring, open_ring
from edged.errors import CameraError
from edged.frame import Capture, Picture

LOOK_S = 0.1  # a feeder that was killed rings no bell: its lock is looked at this often
STAMP_AGE_MAX_NS = 5_000_000_000  # a stamp further away is of a clock that is not ours


class ShmSource:
    """The newest picture of a ring. Frames lie in the ring and go back to it, or are copies; see `Ring`.

    A picture of another size is simply the next one. A feeder that moves to a larger ring is followed; one that is
    gone is a `CameraError`, and the camera is opened again once it is back.
    """

    raw = True

    def __init__(self, opening: Opening) -> None:
        kernel.check_machine()
        self._opening = opening
        self._path = Path(layout.FOLDER, opening.url.lstrip("/"))
        self._sequence = 0
        self._claim: Claim | None = None
        self._ring: Ring = open_ring(self._path)
        try:
            self._claim = self._next(opening.open_timeout_s)
        except CameraError:
            self.close()
            raise
        self._first: PictureHead | None = self._claim.head
        self._description = self._describe(self._claim.head)

    def _describe(self, head: PictureHead) -> str:
        how = "in place" if self._ring.zero_copy else "copied"
        return f"shm {head.format.value} {head.width}x{head.height} {self._ring.head.rate_hz:g} Hz, {how}"

    @property
    def description(self) -> str:
        """Format, size and rate as the feeder declared them, and whether pictures are copied."""
        return self._description

    def grab(self) -> Grab:
        """Wait for a picture that was not seen yet, the newest one."""
        if self._first is None:
            self._drop()
            self._claim = self._next(self._opening.read_timeout_s)
        self._first = None
        assert self._claim is not None
        head = self._claim.head
        size_bytes = sum(plane.stride * plane.rows for plane in head.planes)
        capture = _believed(head.capture)
        return Grab(self._claim, head.sequence, key=True, capture=capture, disposable=True, size_bytes=size_bytes)

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Return the picture where it lies, or its copy; nothing if its feeder overwrote it meanwhile."""
        claim: Claim = grab.data
        self._claim = None
        head = claim.head
        taken = claim.take()
        if taken is None:
            return ()
        planes, release = taken
        picture = Picture(head.width, head.height, head.format, head.color, planes)
        return [Decoded(picture, grab.pts, release)]

    def skip(self, grab: Grab) -> None:
        """Leave the picture to its feeder."""
        grab.data.release()

    def rest(self, warm: bool = False) -> None:
        """Nothing is held."""

    def drain(self) -> Sequence[Decoded]:
        """Nothing is held."""
        return ()

    def rewind(self) -> None:
        """Raise `CameraError`: a ring is a live camera."""
        raise CameraError(f"{self._path} is live and cannot be rewound")

    def close(self) -> None:
        """Detach. Frames already handed out keep their pixels, and the ring their slots, until they are released."""
        self._drop()
        self._ring.close()

    def _drop(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _next(self, timeout_s: float) -> Claim:
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                seen = self._ring.live()
                if seen.sequence > self._sequence and (claim := self._ring.claim(seen.sequence, seen.slot)):
                    self._sequence = seen.sequence
                    return claim
                self._look(seen, until_s, timeout_s)
            except CameraError as exc:
                raise self._named(exc) from exc

    def _look(self, seen: Live, until_s: float, timeout_s: float) -> None:
        """Wait for the bell; see to it that somebody is there to ring it."""
        state = self._ring.state()
        if state is State.REPLACED:
            self._follow()
            return
        if state is not State.LIVE:
            raise CameraError(f"its feeder (process {self._ring.head.feeder_pid}) is gone")
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            beat_s = (time.monotonic_ns() - seen.beat_mono_ns) / 1e9
            raise CameraStalled(f"nothing came for {timeout_s:g} s; its feeder's last sign was {beat_s:.1f} s ago")
        if seen.sequence <= self._sequence:
            self._ring.wait(seen, min(left_s, LOOK_S))

    def _follow(self) -> None:
        old, self._ring = self._ring, open_ring(self._path)
        old.close()

    def _named(self, exc: CameraError) -> CameraError:
        text = str(exc)
        return exc if text.startswith(str(self._path)) else type(exc)(f"{self._path}: {text}")


def _believed(capture: Capture | None) -> Capture | None:
    """Return the feeder's stamp where it can be the time of a picture that came just now."""
    if capture is None:
        return None
    age_ns = time.monotonic_ns() - capture.mono_ns
    if not 0 <= age_ns < STAMP_AGE_MAX_NS:
        return None
    if not 0 < capture.unix_ns < 1 << 62:
        return Capture(time.time_ns() - age_ns, capture.mono_ns, capture.clock)
    return capture
