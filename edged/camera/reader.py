"""One open stream, packet by packet, at its own pace."""

from __future__ import annotations

import time

from edged.camera.base import CameraSource, Grab
from edged.camera.pace import Bell, MediaClock, SocketRest
from edged.errors import CameraEnded
from edged.frame import Capture

REST_FILE_S = 0.7  # what nobody needs is read in bunches, for waking up costs more than reading
WAITED_NS = 2_000_000  # a packet that took longer to come was not there before


class Reader:
    """Reads a source: a recorded one when its packets are due, unless it is `fast`. Used by the camera's worker.

    `waited` says of the last packet of a live stream that it came while it was waited for, so that it is the newest.
    """

    def __init__(self, source: CameraSource, fast: bool, bell: Bell) -> None:
        self._source = source
        self._fast = fast
        self._bell = bell
        self._clock = MediaClock()
        self._socket = SocketRest()
        self._held: Grab | None = None
        self._asked_ns = 0
        self.waited = False

    @property
    def quiet_since_ns(self) -> int:
        """Since when, on CLOCK_MONOTONIC, the source owes a packet, also once it has failed; else 0. For any thread."""
        return self._asked_ns

    def next(self, resting: bool) -> Grab | None:
        """Return the next packet; None after a wait for a recorded one that was not due, or that the bell ended.

        While the camera is `resting` a recorded stream is left alone for longer, and several packets are due then.
        Raises what the source raises.
        """
        grab = self._held or self._grab()
        if self._paced(grab) and (left_s := self._clock.left_s(grab.due_s or 0.0)) > 0:
            self._held = grab
            self._bell.wait(max(left_s, REST_FILE_S) if resting else left_s, exact=not resting)
            return None
        self._held = None
        self._socket.read(grab.size_bytes)
        return grab

    def rest(self, grab: Grab) -> None:
        """Nobody needs what comes: let the next packets of a live stream gather where it has room for them."""
        in_buffers = self._source.raw or (grab.capture is not None and grab.capture.clock == "driver")
        if self.waited and grab.due_s is None and not in_buffers:  # a driver has room for a few pictures only
            self._bell.wait(self._socket.rest_s())

    def at_s(self, grab: Grab) -> float:
        """Return a packet's place on the stream's time line: its own where it is recorded, else when it was read."""
        return time.monotonic() if grab.due_s is None else grab.due_s

    def late_s(self, grab: Grab) -> float | None:
        """Return how long ago a packet was due, None for a live one that lay there for an unknown time."""
        if self._paced(grab):
            return -self._clock.left_s(grab.due_s or 0.0)
        return 0.0 if self.waited or self._fast else None

    def captured(self, grab: Grab) -> Capture:
        """Return when a packet's picture was taken, or was due where it is recorded."""
        if grab.capture is not None:
            return grab.capture
        now_ns, unix_ns = time.monotonic_ns(), time.time_ns()
        if grab.due_s is None:
            return Capture(unix_ns, now_ns, "arrival")
        due_ns = self._clock.at_ns(grab.due_s) if self._paced(grab) else now_ns
        return Capture(unix_ns - (now_ns - due_ns), due_ns, "media", round(grab.due_s * 1e9))

    def _paced(self, grab: Grab) -> bool:
        return grab.due_s is not None and not self._fast

    def _grab(self) -> Grab:
        begin_ns = self._asked_ns = time.monotonic_ns()
        try:
            grab = self._source.grab()
        except CameraEnded:
            self._asked_ns = 0
            raise
        self._asked_ns = 0
        self.waited = time.monotonic_ns() - begin_ns > WAITED_NS
        return grab
