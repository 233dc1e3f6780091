"""The decoding half: packets in, pictures out, with the best decoder of this machine."""

from __future__ import annotations

import time
from typing import Any

from edged.camera.gst.library import build, error_of, has
from edged.camera.gst.recipes import FORMATS, JPEG, PARSERS
from edged.errors import BackendUnavailable, CameraError

WAIT_NS = 60_000_000  # for a picture that is due; a decoder that keeps more than this long back is not waited for again
FIRST_WAIT_NS = 300_000_000  # a hardware decoder allocates before its first picture
LOOK_PACKETS = 32  # what is kept back is looked at anew after so many
DRAIN_S = 2.0


class Decoder:
    """A pipeline from packets (or raw buffers of a format of no use) of one kind to raw pictures in host memory.

    Decoders that put pictures in order keep some back: their number is learnt, and only what is due is waited for. One
    that was slow once keeps back less from then on.
    """

    def __init__(self, gst: Any, caps: Any) -> None:
        self._gst = gst
        self.caps_text = caps.to_string()
        self._pipeline = build(gst, self._launch(caps))
        self._source, self._sink = self._pipeline.get_by_name("in"), self._pipeline.get_by_name("out")
        self._source.set_property("caps", caps)
        self._inside = self._kept_back = 0
        self._looks = self._most = 0
        self._first = True
        self._pipeline.set_state(gst.State.PLAYING)

    def _launch(self, caps: Any) -> str:
        kind = caps.get_structure(0).get_name()
        decoder, memory = ("", "") if kind == "video/x-raw" else self._best(caps, kind)
        on_device = "NVMM" in memory
        steps = [
            "appsrc name=in format=time is-live=true max-bytes=0",
            PARSERS.get(kind, ""),
            decoder,
            "nvvidconv" if on_device else "videoconvert n-threads=1",
            f"video/x-raw, format={'NV12' if on_device else FORMATS}",
            "appsink name=out sync=false async=false",
        ]
        return " ! ".join(step for step in steps if step)

    def _best(self, caps: Any, kind: str) -> tuple[str, str]:
        """Return the decoder of the highest rank for these packets, and the kinds of memory it gives."""
        gst = self._gst
        media = gst.ELEMENT_FACTORY_TYPE_MEDIA_VIDEO | gst.ELEMENT_FACTORY_TYPE_MEDIA_IMAGE
        types = gst.ELEMENT_FACTORY_TYPE_DECODER | media
        factories = gst.ElementFactory.list_get_elements(types, gst.Rank.MARGINAL)
        bare = gst.Caps.new_empty_simple(kind)
        fitting = gst.ElementFactory.list_filter(factories, bare, gst.PadDirection.SINK, False)
        on_board = has(gst, "nvvidconv") and kind != JPEG  # JPEG needs a property of its own, and fails on Thor
        usable = [one for one in fitting if on_board or "NVMM" not in _memory(gst, one)]
        if not usable:
            raise BackendUnavailable(f"GStreamer has no decoder for {kind} here")
        best = max(usable, key=lambda factory: factory.get_rank())
        return best.get_name(), _memory(gst, best)

    def decode(self, buffer: Any) -> list[Any]:
        """Push one packet; return the samples that are due by now. A damaged packet gives nothing.

        Raises:
            CameraError: an element failed: the pipeline takes packets from then on, and gives nothing.
        """
        samples = self._pull_ready()
        self._look()
        self._source.emit("push-buffer", buffer)
        self._inside += 1
        samples += self._pull_ready()
        while self._inside > self._kept_back:
            sample = self._sink.emit("try-pull-sample", FIRST_WAIT_NS if self._first else WAIT_NS)
            if sample is None:
                self._kept_back = self._inside
                break
            samples.append(self._count(sample))
        if (reason := error_of(self._gst, self._pipeline)) is not None:
            raise CameraError(f"cannot decode: {reason}")
        return samples

    def _look(self) -> None:
        """Between two packets a picture that is only late has come."""
        self._looks, self._most = self._looks + 1, max(self._most, self._inside)
        if self._looks == LOOK_PACKETS:
            self._kept_back = min(self._kept_back, self._most)
            self._looks = self._most = 0

    def drain(self) -> list[Any]:
        """Return all pictures that are left. The decoder takes no more packets."""
        self._source.emit("end-of-stream")
        samples, until_s = [], time.monotonic() + DRAIN_S
        while not self._sink.get_property("eos") and time.monotonic() < until_s:
            sample = self._sink.emit("try-pull-sample", WAIT_NS)
            if sample is not None:
                samples.append(self._count(sample))
        return samples

    def _pull_ready(self) -> list[Any]:
        samples = []
        while (sample := self._sink.emit("try-pull-sample", 0)) is not None:
            samples.append(self._count(sample))
        return samples

    def _count(self, sample: Any) -> Any:
        self._inside -= 1
        self._first = False
        return sample

    def close(self) -> None:
        """Free the decoder."""
        self._pipeline.set_state(self._gst.State.NULL)


def _memory(gst: Any, factory: Any) -> str:
    templates = [one for one in factory.get_static_pad_templates() if one.direction == gst.PadDirection.SRC]
    return " ".join(one.get_caps().to_string() for one in templates)
