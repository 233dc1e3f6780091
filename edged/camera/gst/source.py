"""A camera through GStreamer. Runs in a process of its own; see `edged.camera.gstreamer`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edged.camera.base import CameraStalled, Decoded, Grab, Opening
from edged.camera.gst.decoder import Decoder
from edged.camera.gst.library import has, load
from edged.camera.gst.recipes import JPEG, Recipe, recipes
from edged.camera.gst.stream import Stream
from edged.camera.gst.video import is_usable, picture_of
from edged.errors import CameraError
from edged.frame import Capture

NONE = (1 << 64) - 1  # GST_CLOCK_TIME_NONE
STAMP_AGE_MAX_NS = 5_000_000_000


class GstSource:
    """Two pipelines: one reads packets, one decodes those that are wanted. A camera that rests decodes nothing."""

    def __init__(self, opening: Opening) -> None:
        self._gst, self._video = load()
        self._opening = opening
        self._decoder: Decoder | None = None
        self._offset_s = self._last_due_s = 0.0
        self._origin_ns: int | None = None
        self._stream, self._first = self._open()
        caps = self._first.get_caps()
        self.raw = caps.get_structure(0).get_name() == "video/x-raw"
        self._description = self._describe(caps)

    def _open(self) -> tuple[Stream, Any]:
        """Return the first pipeline that gives a sample, and that sample."""
        found = recipes(self._opening, lambda name: has(self._gst, name))
        until_s = time.monotonic() + self._opening.open_timeout_s
        for last, recipe in ((recipe is found[-1], recipe) for recipe in found):
            try:
                return self._started(recipe, round(max(0.1, until_s - time.monotonic()), 2))
            except CameraStalled:
                raise
            except CameraError:
                if last:
                    raise
        raise AssertionError("recipes are never empty")

    def _started(self, recipe: Recipe, timeout_s: float) -> tuple[Stream, Any]:
        opening = self._opening
        name = opening.redact(opening.url if opening.scheme != "csi" else f"csi:{opening.url}")
        stream = Stream(self._gst, recipe, name)
        try:
            return stream, stream.pull(timeout_s)
        except CameraError:
            stream.close()
            raise

    def _describe(self, caps: Any) -> str:
        structure = caps.get_structure(0)
        kind = structure.get_name().partition("/")[2].removeprefix("x-")
        _, width = structure.get_int("width")
        _, height = structure.get_int("height")
        known, above, below = structure.get_fraction("framerate")
        self._rate_hz = above / below if known and above and below else 0.0
        return f"{kind} {width}x{height} {self._rate_hz:g} Hz"

    @property
    def description(self) -> str:
        """Codec, size and rate as the stream declares them."""
        return self._description

    def grab(self) -> Grab:
        """Wait for the next packet, or the newest raw buffer."""
        sample, self._first = self._first, None
        if sample is None:
            sample = self._stream.pull(self._opening.read_timeout_s)
        buffer = sample.get_buffer()
        alone = self.raw or sample.get_caps().get_structure(0).get_name() == JPEG
        key = alone or not buffer.has_flags(self._gst.BufferFlags.DELTA_UNIT)
        pts = int(buffer.pts) if buffer.pts != NONE else None
        disposable = alone or buffer.has_flags(self._gst.BufferFlags.DROPPABLE)
        due_s = self._due_s(buffer) if not self._stream.recipe.live else None
        return Grab(sample, pts, key, due_s, self._stamp(pts), disposable, buffer.get_size())

    def _due_s(self, buffer: Any) -> float:
        at_ns = int(buffer.dts) if buffer.dts != NONE else int(buffer.pts)
        if at_ns == NONE:
            self._last_due_s += 1.0 / (self._rate_hz or 25.0)
        else:
            self._origin_ns = at_ns if self._origin_ns is None else self._origin_ns
            self._last_due_s = self._offset_s + (at_ns - self._origin_ns) / 1e9
        return self._last_due_s

    def _stamp(self, pts: int | None) -> Capture | None:
        """Return the driver's time of a V4L2 buffer, which GStreamer counts from the pipeline's start."""
        if pts is None or not self._stream.recipe.stamped:
            return None
        mono_ns = self._stream.base_time_ns + pts
        age_ns = time.monotonic_ns() - mono_ns
        return Capture(time.time_ns() - age_ns, mono_ns, "driver") if 0 <= age_ns < STAMP_AGE_MAX_NS else None

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Decode one packet, or take over one raw buffer."""
        sample = grab.data
        caps = sample.get_caps()
        if is_usable(caps):
            return [Decoded(picture_of(self._video, sample), grab.pts)]
        before: list[Decoded] = []
        if self._decoder is None or self._decoder.caps_text != caps.to_string():
            before = list(self.drain())  # another size or codec: what the old decoder has left comes first
            self._decoder = Decoder(self._gst, caps)
        try:
            return before + self._decoded(self._decoder.decode(sample.get_buffer()))
        except CameraError:
            self.rest()
            raise

    def _decoded(self, samples: list[Any]) -> list[Decoded]:
        found = []
        for sample in samples:
            pts = int(sample.get_buffer().pts)
            found.append(Decoded(picture_of(self._video, sample), pts if pts != NONE else None))
        return found

    def skip(self, grab: Grab) -> None:
        """The buffer goes back to its pool with the last reference."""

    def rest(self, warm: bool = False) -> None:
        """Free the decoder; the next one starts at a key frame."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def drain(self) -> Sequence[Decoded]:
        """Return the pictures that the decoder still holds."""
        if self._decoder is None:
            return ()
        found = self._decoded(self._decoder.drain())
        self.rest()
        return found

    def rewind(self) -> None:
        """Open a file anew."""
        if self._stream.recipe.live:
            raise CameraError("a live stream cannot be rewound")
        self.rest()
        self._stream.close()
        self._stream, self._first = self._open()
        self._offset_s = self._last_due_s + 1.0 / (self._rate_hz or 25.0)
        self._origin_ns = None

    def close(self) -> None:
        """Stop both pipelines."""
        self.rest()
        self._stream.close()
