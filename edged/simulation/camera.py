"""A camera that gives frames in simulated time, and the CPU time that each of them takes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.plan import Mode
from edged.simulation.clock import EventClock
from edged.simulation.device import SharedDevice
from edged.simulation.vehicle import SimCamera

JITTER = 0.05  # of a camera's interval
BEHIND_NS = 1_000_000_000  # a frame that waits longer to be decoded is lost, as in a driver's buffers
NOTHING = Picture(1, 1, PixelFormat.GRAY, Color(), ())


class CameraModel:
    """Stands where a camera worker stands: one thread, which decodes frame after frame while its camera is hot.

    Args:
        camera: its rate and what decoding takes.
        clock: the time.
        cpu: the device that decodes.
        own_s: CPU seconds of the daemon's own work on a frame, from the socket to the publisher; in no budget.
        sink: takes over each frame and its lease.
        rng: for its phase and jitter.

    Attributes:
        mode: what the plan wants. Only a hot camera's frames are decoded; it is there at its next frame.
        decoded: frames so far.
        overrun: frames that were due while it was hot and could not be decoded within a second.
        leased: frames that somebody still has.
    """

    def __init__(
        self,
        camera: SimCamera,
        clock: EventClock,
        cpu: SharedDevice,
        own_s: float,
        sink: Callable[[Frame], None],
        rng: random.Random,
    ) -> None:
        self.camera = camera
        self.mode = Mode.COLD
        self.decoded = self.overrun = self.leased = 0
        self._clock, self._cpu, self._sink, self._rng = clock, cpu, sink, rng
        self._work_s = camera.decode_s + own_s
        self._number = 0
        self._decoding = False
        self._waiting: deque[tuple[int, int]] = deque()  # (number, capture time)
        clock.after(rng.random() / camera.rate_hz, self._frame_due)

    def _frame_due(self) -> None:
        """A picture was taken; it is decoded if the plan wants it, after those before it."""
        interval_s = (1 + JITTER * self._rng.uniform(-1, 1)) / self.camera.rate_hz
        self._clock.after(interval_s, self._frame_due)
        if self.mode is Mode.HOT:
            self._waiting.append((self._number, self._clock.now_ns))
            if not self._decoding:
                self._decode_next()
        self._number += 1

    def _decode_next(self) -> None:
        """Begin the next frame that is still wanted."""
        if self.mode is not Mode.HOT:
            self._waiting.clear()
        while self._waiting and self._clock.now_ns - self._waiting[0][1] > BEHIND_NS:
            self._waiting.popleft()
            self.overrun += 1
        self._decoding = bool(self._waiting)
        if self._decoding:
            self._decode(*self._waiting.popleft())

    def _decode(self, number: int, taken_ns: int) -> None:
        begin_ns = self._clock.now_ns

        def decoded() -> None:
            now_ns = self._clock.now_ns
            self.decoded += 1
            self.leased += 1
            capture = Capture(taken_ns, taken_ns, "driver")
            self._sink(Frame(self.camera.id, number, NOTHING, capture, now_ns - begin_ns, now_ns, self._take_back))
            self._decode_next()

        self._cpu.start(self._work_s, decoded)

    def _take_back(self) -> None:
        self.leased -= 1
