"""One thread per camera: open, pace, number, stamp, hand over, reconnect."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edged.camera.base import CameraSource, Decoded
from edged.camera.counter import FrameCounter, FrameCounts
from edged.camera.feed import Feed
from edged.camera.opener import Opener
from edged.camera.pace import Bell
from edged.camera.reader import Reader
from edged.errors import CameraEnded, CameraError, EdgedError, WorkerFailed
from edged.frame import Frame
from edged.log import about
from edged.plan import CameraState, Mode
from edged.trace import stage

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 1.0
IDLE_BEAT_S = 5.0
RATE_WINDOW = 32
LOST = frozenset({CameraState.CONNECTING, CameraState.BACKOFF})  # they alternate for as long as a camera is lost


class Sink(Protocol):
    """Takes a camera's frames; the lease passes to the sink."""

    def __call__(self, frame: Frame, wait: bool) -> None:
        """Hand one frame over. With `wait` (a `pace: fast` camera) return only when it was taken."""


@dataclass(frozen=True)
class Traits:
    """What the worker needs to know of its camera's configuration.

    `patience_s` is the longest call of its source. A hot one whose packets give no picture for `blind_max_s` is opened
    anew. A warm camera keeps no more than `warm_max_s` and `warm_max_bytes` of packets. `redact` takes secrets out of a
    text.
    """

    camera: str
    loop: bool = False
    fast: bool = False
    stall_timeout_s: float = 1.0
    picture_max_px: int = 36_000_000
    patience_s: float = 10.0
    blind_max_s: float = 3.0
    warm_max_s: float = 4.0
    warm_max_bytes: int = 16_000_000
    redact: Callable[[str], str] = str


@dataclass(frozen=True)
class CameraReport:
    """What a camera's stream is at this moment.

    `rate_hz` is what was decoded per second of late; `stream_hz` what the open stream gives, None before it is known.
    `age_ms` is the age of its newest frame, None before the first; `cpu_s` is what decoding has cost so far. The state
    is so since `since_mono_ns`, which was `since_unix_ns` by the wall clock of that moment; a lost camera has not run
    since then, however often it was tried again, and was `tried` in vain. A warm camera keeps `kept_packets`, the first
    of them for `kept_s`.
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
    since_unix_ns: int = 0
    stream_hz: float | None = None
    kept_packets: int = 0
    kept_s: float = 0.0
    tried: bool = False


def not_started(camera: str) -> CameraReport:
    """Return the report of a camera whose worker has said nothing yet."""
    return CameraReport(
        camera, Mode.COLD, CameraState.CLOSED, "not started", time.monotonic_ns(), 0.0, None, "", "", None, 0,
        FrameCounts(), 0.0, time.time_ns(),
    )  # fmt: skip


class _Moment(NamedTuple):
    """A state, why, and since when. That of a lost camera began when it last ran, or was first wanted."""

    state: CameraState
    reason: str
    mono_ns: int
    unix_ns: int
    tried: bool = False  # in vain, since it last ran or was first wanted


class CameraWorker:
    """Runs one camera as the plan wants it. `set_mode`, `report` and `wake` may be called from any thread.

    `counter` goes on with the frame numbers of a worker that has ended.
    """

    def __init__(
        self,
        traits: Traits,
        opener: Opener,
        sink: Sink,
        counter: FrameCounter | None = None,
    ) -> None:
        self.name = f"camera:{traits.camera}"
        self.patience_s = traits.patience_s
        self.counter = counter or FrameCounter()
        self._traits = traits
        self._opener = opener
        self._sink = sink
        self._bell = Bell()
        self._mode, self._wanted_hz = Mode.COLD, 0.0
        self._now = _Moment(CameraState.CLOSED, "not started", time.monotonic_ns(), time.time_ns())
        self._silence = (0, 0)  # CLOCK_MONOTONIC when a stall began, and its Unix time
        self._full = f"parked: warm keeps at most {traits.warm_max_s:g} s (or {traits.warm_max_bytes / 1e6:g} MB)"
        self._stream = ""
        self._opens = 0
        self._feed: Feed | None = None
        self._reader: Reader | None = None
        self._cpu_ns = 0
        self._newest_size: tuple[int, int] | None = None
        self._newest_ns = 0
        self._arrivals: deque[int] = deque(maxlen=RATE_WINDOW)
        self._stop = threading.Event()

    def set_mode(self, mode: Mode, rate_hz: float = 0.0) -> None:
        """Follow the plan from the next packet on. A hot camera need not decode more than `rate_hz`; 0 is all."""
        self._wanted_hz = rate_hz
        if mode is not self._mode:
            self._mode = mode
            self._bell.ring()

    def wake(self) -> None:
        """End any wait that is not inside the source."""
        self._bell.ring()

    def report(self) -> CameraReport:
        """Return a snapshot. A running camera whose stream has gone quiet is reported as stalled."""
        now_ns, now = time.monotonic_ns(), self._now
        if now.state is CameraState.RUNNING:
            now = self._stalled(now_ns) or now
        age_ms = (now_ns - self._newest_ns) / 1e6 if self._newest_ns else None
        feed = self._feed
        kept_packets, kept_s = feed.kept if feed is not None else (0, 0.0)
        interval_s = feed.gate.interval_s if feed is not None else None
        return CameraReport(
            self._traits.camera, self._mode, now.state, now.reason, now.mono_ns, self._rate_hz(now_ns), age_ms,
            self._opener.backend, self._stream, self._newest_size, self._opens, self.counter.counts, self._cpu_ns / 1e9,
            now.unix_ns, 1.0 / interval_s if interval_s else None, kept_packets, kept_s, now.tried,
        )  # fmt: skip

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Keep the camera as its mode says until `stop` is set."""
        self._stop = stop
        how = "failed"
        try:
            with self._bell:
                self._keep_open(beat)
            how = "stopped"
        finally:
            self._enter(CameraState.CLOSED, how)

    def _stalled(self, now_ns: int) -> _Moment | None:
        reader = self._reader
        quiet_ns = reader.quiet_since_ns if reader is not None else 0
        if not quiet_ns or now_ns - quiet_ns <= self._traits.stall_timeout_s * 1e9:
            return None
        if self._silence[0] != quiet_ns:
            self._silence = (quiet_ns, time.time_ns() - (now_ns - quiet_ns))
        reason = f"nothing came for more than {self._traits.stall_timeout_s:g} s"
        return _Moment(CameraState.STALLED, reason, *self._silence)

    def _keep_open(self, beat: Callable[[], None]) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not self._stop.is_set():
            beat()
            if self._mode is Mode.COLD:
                self._enter(CameraState.CLOSED, "not needed")
                self._wait(IDLE_BEAT_S, lambda: self._mode is not Mode.COLD)
                continue
            again = self._now.tried
            self._enter(CameraState.CONNECTING, f"opening again: {self._now.reason}" if again else "opening")
            began_s = time.monotonic()
            try:
                source = self._opener()
            except WorkerFailed:  # no reopening helps: the process has to begin anew
                raise
            except Exception as exc:  # noqa: BLE001 - a bug costs this camera one attempt, as a broken stream does
                backoff_s = self._back_off(exc, backoff_s, time.monotonic() - began_s)
                continue
            try:
                self._stream = source.description
                self._opens += 1
                self._follow(source, beat)
                backoff_s = BACKOFF_FIRST_S
            except CameraEnded as exc:
                self._end(exc, beat)
            except WorkerFailed:
                raise
            except Exception as exc:  # noqa: BLE001 - likewise
                backoff_s = self._back_off(exc, BACKOFF_FIRST_S if self._ran_for_s() > 1.0 else backoff_s)
            finally:
                self._feed = self._reader = None
                self.counter.end()
                source.close()

    def _follow(self, source: CameraSource, beat: Callable[[], None]) -> None:
        """Read packet by packet until the plan closes the camera or the stream breaks."""
        traits = self._traits
        feed = Feed(source, self.counter, traits.warm_max_s, traits.warm_max_bytes, traits.blind_max_s)
        self._feed = feed
        reader = self._reader = Reader(source, self._traits.fast, self._bell)
        while not self._stop.is_set() and self._mode is not Mode.COLD:
            beat()
            mode = self._mode
            try:
                if mode is Mode.HOT:
                    self._decode_next(reader, feed)
                elif self._traits.fast:
                    self._enter(CameraState.RUNNING, "the reader waits: no task needs it")
                    self._wait(IDLE_BEAT_S, lambda: self._mode is Mode.HOT)
                else:
                    self._rest_next(reader, feed, mode is Mode.WARM)
            except CameraEnded:
                self._deliver(feed.drain(), time.monotonic_ns())
                self.counter.end()
                if not self._traits.loop:
                    raise
                source.rewind()

    def _rest_next(self, reader: Reader, feed: Feed, keep: bool) -> None:
        """Read a packet and leave it undecoded."""
        feed.pause()
        grab = reader.next(resting=True)
        if grab is None:
            return
        at_s = reader.at_s(grab)
        feed.gate.saw(at_s, grab.due_s is not None or reader.waited)
        feed.rest(grab, at_s, keep)
        self._enter(CameraState.RUNNING, self._full if feed.full else "")
        reader.rest(grab)

    @stage("decode", lambda self, *_: self._traits.camera)
    def _decode_next(self, reader: Reader, feed: Feed) -> None:
        """Decode a packet: one that was kept, else the next that comes and is due."""
        begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        feed.wake()
        pictures = feed.catch_up()
        if pictures is None:
            grab = reader.next(resting=False)
            if grab is None:
                return
            self._enter(CameraState.RUNNING, "")
            begin_ns = time.monotonic_ns()
            feed.gate.saw(reader.at_s(grab), grab.due_s is not None or reader.waited)
            rate_hz = 0.0 if self._traits.fast else self._wanted_hz
            pictures = feed.decode(grab, reader.captured(grab), reader.late_s(grab), rate_hz)
        if feed.awake:
            self._cpu_ns += time.thread_time_ns() - cpu_ns  # reading counts where it leads to pictures
        self._deliver(pictures, begin_ns)

    def _deliver(self, pictures: Sequence[Decoded], begin_ns: int) -> None:
        """Hand pictures over; whatever happens, the source gets back those that nobody took."""
        left = deque(pictures)
        try:
            while left and not self._stop.is_set():
                frame = self._numbered(left[0], begin_ns)
                if frame is None:
                    left.popleft().give_back()
                    continue
                left.popleft()  # the sink owns the frame from here on, even where it fails
                self._sink(frame, self._traits.fast)
        finally:
            for decoded in left:
                decoded.give_back()

    def _numbered(self, decoded: Decoded, begin_ns: int) -> Frame | None:
        """Return a picture as the frame it is, None when it is of no use. Raise `CameraError` when it is too large."""
        now_ns = time.monotonic_ns()
        place = self.counter.frame(decoded.pts)
        if place is None:
            return None
        number, capture = place
        picture = decoded.picture
        if picture.width * picture.height > self._traits.picture_max_px:
            limit = self._traits.picture_max_px / 1e6
            raise CameraError(f"{picture.width}x{picture.height} is more than limits.picture_mpx, {limit:g}")
        self._newest_size, self._newest_ns = (picture.width, picture.height), now_ns
        self._arrivals.append(now_ns)
        return Frame(self._traits.camera, number, picture, capture, now_ns - begin_ns, now_ns, decoded.on_release)

    def _rate_hz(self, now_ns: int) -> float:
        recent = [at for at in tuple(self._arrivals) if now_ns - at < 2_000_000_000]
        return (len(recent) - 1) / ((recent[-1] - recent[0]) / 1e9) if len(recent) > 1 else 0.0

    def _ran_for_s(self) -> float:
        ran = self._now.state is CameraState.RUNNING
        return (time.monotonic_ns() - self._now.mono_ns) / 1e9 if ran else 0.0

    def _end(self, exc: CameraEnded, beat: Callable[[], None]) -> None:
        self._enter(CameraState.ENDED, str(exc))
        while not self._stop.is_set() and self._mode is not Mode.COLD:
            beat()
            self._wait(IDLE_BEAT_S, lambda: self._mode is Mode.COLD)

    def _back_off(self, exc: Exception, backoff_s: float, tried_s: float = 0.0) -> float:
        """Wait until about `backoff_s` after the attempt began, which took `tried_s`, and return the next back-off.

        The jitter keeps cameras from knocking together.
        """
        reason = str(exc)
        if not isinstance(exc, EdgedError):
            reason = f"it failed unexpectedly: {type(exc).__name__}"  # its text may hold anything
            trace = self._traits.redact("".join(traceback.format_exception(type(exc), exc, exc.__traceback__)))
            extra = about(camera=self._traits.camera, event="camera_failed")
            log.error("camera %s: %s\n%s", self._traits.camera, reason, trace, extra=extra)
        self._enter(CameraState.BACKOFF, reason)
        left_s = max(BACKOFF_FIRST_S, backoff_s - tried_s)
        self._wait(left_s * random.uniform(0.75, 1.0), lambda: self._mode is Mode.COLD)
        return min(BACKOFF_MAX_S, backoff_s * 2)

    def _enter(self, state: CameraState, reason: str) -> None:
        now = self._now
        if state is now.state and reason == now.reason:
            return
        if state is now.state:
            self._now = now._replace(reason=reason)
            return
        tried = state in LOST and CameraState.BACKOFF in (state, now.state)
        self._now = _Moment(state, reason, *self._since(state), tried)
        level = logging.WARNING if state is CameraState.BACKOFF else logging.INFO
        camera, why = self._traits.camera, f": {reason}" if reason else ""
        log.log(
            level,
            "camera %s: %s%s",
            camera,
            state.value,
            why,
            extra=about(camera=camera, event=f"camera_{state.value}"),
        )

    def _since(self, state: CameraState) -> tuple[int, int]:
        """Return when a state that is entered now began, on both clocks."""
        now, now_ns = self._now, time.monotonic_ns()
        if now.state in LOST and state in LOST:
            return now.mono_ns, now.unix_ns
        if now.state is CameraState.RUNNING and state is CameraState.BACKOFF and (stall := self._stalled(now_ns)):
            return stall.mono_ns, stall.unix_ns
        return now_ns, time.time_ns()

    def _wait(self, timeout_s: float, until: Callable[[], bool]) -> None:
        """Wait until something is so, a stop, or `timeout_s`."""
        end_s = time.monotonic() + timeout_s
        while not self._stop.is_set() and not until() and (left_s := end_s - time.monotonic()) > 0:
            self._bell.wait(left_s)
