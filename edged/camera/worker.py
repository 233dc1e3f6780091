"""One thread per camera: open, pace, number, stamp, hand over, reconnect."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edged.camera.base import CameraSource, Decoded, Grab
from edged.camera.counter import FrameCounter, FrameCounts
from edged.errors import CameraEnded, CameraError, EdgedError
from edged.frame import Capture, Frame
from edged.plan import CameraState, Mode

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 1.0
IDLE_BEAT_S = 5.0
LATE_MAX_S = 1.0  # a paced file this far behind its clock goes on from where it is, not faster
KEY_FRAME_WAIT_S = 10.0  # a stream without marked key frames (intra refresh) is decoded from anywhere after this
RATE_WINDOW = 32


class Sink(Protocol):
    """Takes a camera's frames; the lease passes to the sink."""

    def __call__(self, frame: Frame, wait: bool) -> None:
        """Hand one frame over. With `wait` (a `pace: fast` camera) return only when it was taken."""


@dataclass(frozen=True)
class Traits:
    """What the worker needs to know of its camera's configuration. `patience_s` is the longest call of its source."""

    camera: str
    loop: bool = False
    fast: bool = False
    stall_timeout_s: float = 1.0
    picture_max_px: int = 36_000_000
    patience_s: float = 10.0


@dataclass(frozen=True)
class CameraReport:
    """What a camera's stream is at this moment.

    `age_ms` is the age of its newest frame, None before the first; `cpu_s` is what decoding has cost so far.
    """

    camera: str
    mode: Mode
    state: CameraState
    reason: str
    since_mono_ns: int
    rate_hz: float
    age_ms: float | None
    backend: str
    stream: str
    size: tuple[int, int] | None
    opens: int
    counts: FrameCounts
    cpu_s: float


class CameraWorker:
    """Runs one camera as the plan wants it. `set_mode`, `report` and `wake` may be called from any thread."""

    def __init__(self, traits: Traits, backend: str, open_source: Callable[[], CameraSource], sink: Sink) -> None:
        self.name = f"camera:{traits.camera}"
        self.patience_s = traits.patience_s
        self._traits = traits
        self._backend = backend
        self._open_source = open_source
        self._sink = sink
        self._changed = threading.Condition()
        self._mode = Mode.COLD
        self._state = CameraState.CLOSED
        self._reason = "not started"
        self._since_ns = time.monotonic_ns()
        self._stream = ""
        self._opens = 0
        self._last_grab_ns = 0
        self._cpu_ns = 0
        self._newest_size: tuple[int, int] | None = None
        self._newest_ns = 0
        self._arrivals: deque[int] = deque(maxlen=RATE_WINDOW)
        self._counter = FrameCounter()
        self._stop = threading.Event()

    def set_mode(self, mode: Mode) -> None:
        """Follow the plan from the next packet on."""
        with self._changed:
            if mode is not self._mode:
                self._mode = mode
                self._changed.notify_all()

    def wake(self) -> None:
        """End any wait that is not inside the source."""
        with self._changed:
            self._changed.notify_all()

    def report(self) -> CameraReport:
        """Return a snapshot. A running camera whose stream has gone quiet is reported as stalled."""
        now_ns = time.monotonic_ns()
        state, reason, since_ns = self._state, self._reason, self._since_ns
        quiet_s = (now_ns - self._last_grab_ns) / 1e9
        if state is CameraState.RUNNING and self._expects_frames() and quiet_s > self._traits.stall_timeout_s:
            state, reason, since_ns = (
                CameraState.STALLED,
                f"nothing came for {quiet_s:.1f} s",
                self._last_grab_ns,
            )
        age_ms = (now_ns - self._newest_ns) / 1e6 if self._newest_ns else None
        return CameraReport(
            self._traits.camera, self._mode, state, reason, since_ns, self._rate_hz(now_ns), age_ms, self._backend,
            self._stream, self._newest_size, self._opens, self._counter.counts, self._cpu_ns / 1e9,
        )  # fmt: skip

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Keep the camera as its mode says until `stop` is set."""
        self._stop = stop
        backoff_s = BACKOFF_FIRST_S
        while not stop.is_set():
            beat()
            if self._mode is Mode.COLD:
                self._enter(CameraState.CLOSED, "not needed")
                self._wait(IDLE_BEAT_S, lambda: self._mode is not Mode.COLD)
                continue
            self._enter(CameraState.CONNECTING, "opening")
            try:
                source = self._open_source()
            except EdgedError as exc:
                backoff_s = self._back_off(exc, backoff_s)
                continue
            try:
                self._stream = source.description
                self._opens += 1
                self._follow(source, beat)
                backoff_s = BACKOFF_FIRST_S
            except CameraEnded as exc:
                self._end(exc, beat)
            except CameraError as exc:
                backoff_s = self._back_off(exc, BACKOFF_FIRST_S if self._ran_for_s() > 1.0 else backoff_s)
            finally:
                self._counter.end()
                source.close()
        self._enter(CameraState.CLOSED, "stopped")

    def _follow(self, source: CameraSource, beat: Callable[[], None]) -> None:
        """Grab packet by packet until the plan closes the camera or the stream breaks."""
        clock = _MediaClock()
        decoding = False
        waiting_since_s = time.monotonic()
        while not self._stop.is_set() and self._mode is not Mode.COLD:
            beat()
            if self._traits.fast and self._mode is not Mode.HOT:
                self._enter(CameraState.RUNNING, "the reader waits: no task needs it")
                self._wait(IDLE_BEAT_S, lambda: self._mode is Mode.HOT)
                continue
            cpu_ns = time.thread_time_ns()
            try:
                grab = source.grab()
            except CameraEnded:
                self._deliver(source.drain(), time.monotonic_ns())
                self._counter.end()
                if not self._traits.loop:
                    raise
                source.rewind()
                continue
            grabbed_ns = time.thread_time_ns() - cpu_ns
            capture = self._captured(grab, clock)
            if capture is None:
                return
            self._last_grab_ns = time.monotonic_ns()
            self._enter(CameraState.RUNNING, "")
            if self._mode is not Mode.HOT:
                if decoding:
                    source.rest()
                    self._counter.rest()
                    decoding = False
                waiting_since_s = time.monotonic()
            elif not decoding:
                decoding = grab.key or time.monotonic() - waiting_since_s > KEY_FRAME_WAIT_S
            if not decoding:
                source.skip(grab)
                self._counter.skip()
                continue
            self._counter.packet(grab.pts, capture)
            begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
            pictures = source.decode(grab)
            self._cpu_ns += time.thread_time_ns() - cpu_ns + grabbed_ns  # reading counts where it leads to a picture
            self._deliver(pictures, begin_ns)

    def _captured(self, grab: Grab, clock: _MediaClock) -> Capture | None:
        """Wait until a recorded packet is due and return its capture time; None when a stop cut the wait."""
        if grab.capture is not None:
            return grab.capture
        if grab.due_s is None:
            return Capture(time.time_ns(), time.monotonic_ns(), "arrival")
        media_ns = round(grab.due_s * 1e9)
        if self._traits.fast:
            return Capture(time.time_ns(), time.monotonic_ns(), "media", media_ns)
        while (left_s := clock.left_s(grab.due_s)) > 0:
            if self._stop.is_set() or self._mode is Mode.COLD:
                return None
            self._wait(left_s, lambda: self._mode is Mode.COLD)
        return Capture(time.time_ns(), time.monotonic_ns(), "media", media_ns)

    def _deliver(self, pictures: Sequence[Decoded], begin_ns: int) -> None:
        for decoded in pictures:
            now_ns = time.monotonic_ns()
            place = self._counter.frame(decoded.pts)
            if place is None:
                if decoded.on_release is not None:
                    decoded.on_release()
                continue
            number, capture = place
            picture = decoded.picture
            if picture.width * picture.height > self._traits.picture_max_px:
                limit = self._traits.picture_max_px / 1e6
                raise CameraError(f"{picture.width}x{picture.height} is more than limits.picture_mpx, {limit:g}")
            frame = Frame(self._traits.camera, number, picture, capture, now_ns - begin_ns, now_ns, decoded.on_release)
            self._newest_size, self._newest_ns = (picture.width, picture.height), now_ns
            self._arrivals.append(now_ns)
            self._sink(frame, self._traits.fast)

    def _rate_hz(self, now_ns: int) -> float:
        recent = [at for at in tuple(self._arrivals) if now_ns - at < 2_000_000_000]
        return (len(recent) - 1) / ((recent[-1] - recent[0]) / 1e9) if len(recent) > 1 else 0.0

    def _expects_frames(self) -> bool:
        return not (self._traits.fast and self._mode is not Mode.HOT) and self._mode is not Mode.COLD

    def _ran_for_s(self) -> float:
        ran = self._state is CameraState.RUNNING
        return (time.monotonic_ns() - self._since_ns) / 1e9 if ran else 0.0

    def _end(self, exc: CameraEnded, beat: Callable[[], None]) -> None:
        self._enter(CameraState.ENDED, str(exc))
        while not self._stop.is_set() and self._mode is not Mode.COLD:
            beat()
            self._wait(IDLE_BEAT_S, lambda: self._mode is Mode.COLD)

    def _back_off(self, exc: EdgedError, backoff_s: float) -> float:
        """Wait about `backoff_s`, and return the next back-off. The jitter keeps cameras from knocking together."""
        self._enter(CameraState.BACKOFF, str(exc))
        self._wait(backoff_s * random.uniform(0.75, 1.25), lambda: self._mode is Mode.COLD)
        return min(BACKOFF_MAX_S, backoff_s * 2)

    def _enter(self, state: CameraState, reason: str) -> None:
        if state is self._state and reason == self._reason:
            return
        if state is not self._state:
            self._since_ns = time.monotonic_ns()
            level = logging.WARNING if state is CameraState.BACKOFF else logging.INFO
            log.log(level, "camera %s: %s%s", self._traits.camera, state.value, f": {reason}" if reason else "")
        self._state, self._reason = state, reason

    def _wait(self, timeout_s: float, until: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or until(), timeout_s)


class _MediaClock:
    """Maps a recorded stream's own time to CLOCK_MONOTONIC: real-time pace from the first packet on."""

    def __init__(self) -> None:
        self._start_s: float | None = None

    def left_s(self, due_s: float) -> float:
        """Return the seconds until `due_s` of media time."""
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s - due_s
        left_s = self._start_s + due_s - now_s
        if left_s < -LATE_MAX_S:
            self._start_s -= left_s
            return 0.0
        return left_s
