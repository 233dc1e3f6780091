"""Between a camera's stream and its decoder: packets are decoded, skipped, or kept until the camera is needed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

from edged.camera.base import CameraSource, CameraStalled, Decoded, Grab
from edged.camera.counter import FrameCounter
from edged.camera.gate import RateGate
from edged.frame import Capture

BLIND_PACKETS = 32  # more than any decoder holds back
KEY_FRAME_WAIT_S = 10.0  # a stream without marked key frames (intra refresh) is decoded from anywhere after this


class Feed:
    """One open stream's way through its decoder. Used by the camera's worker only.

    While the camera rests its packets use up their numbers, and with `keep` those since the last key frame are kept, or
    those since decoding stopped: the decoder is left as it is. Disposable ones are not worth keeping. When it is needed
    again, `catch_up` decodes what was kept.

    A live stream's decoder that has seen a key frame and gives no picture for `blind_max_s`, of `BLIND_PACKETS` packets
    at least, has died without a word: `CameraStalled`.
    """

    def __init__(
        self,
        source: CameraSource,
        counter: FrameCounter,
        keep_max_s: float,
        keep_max_bytes: int,
        blind_max_s: float = math.inf,
    ) -> None:
        self._source = source
        self._counter = counter
        self._keep_max_s = keep_max_s
        self._keep_max_bytes = keep_max_bytes
        self._blind_max_s = blind_max_s
        self._begun = False  # the decoder has seen a key frame
        self._in_vain = 0  # packets that it took since its newest picture, the first of them then
        self._in_vain_s = 0.0
        self._kept: deque[Grab] = deque()
        self._kept_bytes = 0
        self._kept_from_s = self._kept_to_s = 0.0
        self._rested_s = time.monotonic()
        self._resting = True
        self._ready = False  # the decoder can take the next packet, after those that are kept
        self._used = False  # it holds pictures or references
        self._late = False  # frames came while others were caught up with
        self._woken = 0  # packets since
        self.gate = RateGate()
        self.full = False

    @property
    def kept(self) -> tuple[int, float]:
        """How many packets are kept, and the seconds that they cover; from another thread it may be a packet old."""
        return len(self._kept), self._kept_to_s - self._kept_from_s if self._kept else 0.0

    @property
    def awake(self) -> bool:
        """Whether the next packet is decoded."""
        return self._ready and not self._resting

    def pause(self) -> None:
        """The camera is not needed: from here on `rest`. The decoder is left as it is until a packet says more."""
        if not self._resting:
            self._resting = True
            self._kept_from_s = math.inf
            self._counter.pause()

    def rest(self, grab: Grab, at_s: float, keep: bool) -> None:
        """Use up a packet that came `at_s` and that nobody needs.

        `full` says from then on that what was kept had become too much and was dropped.
        """
        self.pause()
        self._rested_s = time.monotonic()
        self._counter.lose(grab.lost)
        self._counter.skip()
        if keep and not self._source.raw and self._keeps(grab, at_s):
            self._kept.append(grab)
            self._kept_bytes += grab.size_bytes
            return
        if not keep:
            self.full = False
            self.drop()
        self._source.skip(grab)

    def wake(self) -> None:
        """The camera is needed: from here on `catch_up`, and then `decode`."""
        if self._resting:
            self._resting, self._late, self.full = False, True, False
            self._woken = self._in_vain = 0
            self.gate.restart()

    def catch_up(self) -> Sequence[Decoded] | None:
        """Decode one kept packet; None when there is none left."""
        if not self._kept:
            return None
        grab = self._kept.popleft()
        self._kept_bytes -= grab.size_bytes
        self._counter.catch_up(grab.pts)
        return self._decoded(grab)

    def decode(self, grab: Grab, capture: Capture, late_s: float | None, rate_hz: float) -> Sequence[Decoded]:
        """Decode a packet, unless no taker's rate wants it.

        The first ones after a rest are only caught up with as long as they are so `late_s` that the next one must be
        there too: a camera that comes back gives its newest picture, and no burst of old ones. `late_s` is None for a
        packet of a live stream that was there already when it was asked for.
        """
        self._counter.lose(grab.lost)
        late = self._is_late(late_s)
        self._ready = self._ready or grab.key or time.monotonic() - self._rested_s > KEY_FRAME_WAIT_S
        if not self._ready or (late and grab.disposable):
            self._counter.skip()
        elif late:
            self._counter.skip()
            self._counter.catch_up(grab.pts)
            return self._decoded(grab)
        elif self.gate.wants(grab.pts, grab.disposable, rate_hz):
            self._counter.packet(grab.pts, capture)
            return self._decoded(grab)
        else:
            self._counter.skip(grab.pts, capture)
        self._source.skip(grab)
        return ()

    def drain(self) -> Sequence[Decoded]:
        """The stream ended: return what is left in the decoder, if anybody wants it."""
        self.gate.restart()
        if self._resting:
            self.drop()
            return ()
        return self._source.drain()

    def drop(self, warm: bool = False) -> None:
        """Forget what was kept and what the decoder holds; a camera that stays `warm` will want it again at once."""
        if not self._ready:
            return
        self._ready = False
        while self._kept:
            self._source.skip(self._kept.popleft())
        self._kept_bytes = 0
        if self._used:
            self._source.rest(warm)
            self._counter.rest()
            self._used = self._begun = False

    def _keeps(self, grab: Grab, at_s: float) -> bool:
        if grab.key:
            self.drop(warm=True)
            self._ready, self._kept_from_s, self.full = True, at_s, False
        self._kept_from_s, self._kept_to_s = min(self._kept_from_s, at_s), at_s
        too_much = self._kept_bytes + grab.size_bytes > self._keep_max_bytes
        if self._ready and (too_much or at_s - self._kept_from_s > self._keep_max_s):
            self.drop()
            self.full = True
        return self._ready and not grab.disposable

    def _is_late(self, late_s: float | None) -> bool:
        """Say whether a newer packet must be there already; once one is not late, none is until the next rest."""
        if not self._late:
            return False
        self._woken += 1
        interval_s = self.gate.interval_s
        if interval_s is None:
            late_s = 0.0
        elif late_s is None:
            late_s = time.monotonic() - self._rested_s - self._woken * interval_s
        self._late = interval_s is not None and late_s >= interval_s
        return self._late

    def _decoded(self, grab: Grab) -> Sequence[Decoded]:
        self._used = True
        self._begun = self._begun or grab.key
        pictures = self._source.decode(grab)
        now_s = time.monotonic()
        if pictures or not self._begun or grab.due_s is not None:
            self._in_vain = 0
            return pictures
        self._in_vain += 1
        if self._in_vain == 1:
            self._in_vain_s = now_s
        blind_s = now_s - self._in_vain_s
        if self._in_vain > BLIND_PACKETS and blind_s > self._blind_max_s:
            raise CameraStalled(f"cannot decode: no picture came of {self._in_vain} packets in {blind_s:.1f} s")
        return pictures
