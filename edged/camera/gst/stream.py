"""The reading half of a GStreamer camera: packets or raw buffers, one at a time, each wait with an end."""

from __future__ import annotations

import time
from typing import Any

from edged.camera.base import CameraStalled
from edged.camera.gst.library import build, error_of
from edged.camera.gst.recipes import Recipe
from edged.errors import CameraEnded, CameraError

SLICE_NS = 50_000_000  # between two looks at the bus


class Stream:
    """One running pipeline up to its packets. Raises as a `CameraSource` does."""

    def __init__(self, gst: Any, recipe: Recipe, name: str) -> None:
        self._gst, self._name, self.recipe = gst, name, recipe
        self._pipeline = build(gst, recipe.launch)
        self._pipeline.connect("deep-element-added", _repeat_parameters)
        source = self._pipeline.get_by_name("src")
        for key, value in recipe.properties.items():
            if key in ("location", "device"):
                source.set_property(key, value)
            else:
                gst.util_set_object_arg(source, key, value)
        self._sink = self._pipeline.get_by_name("sink")
        self._began = False
        if self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            reason = error_of(gst, self._pipeline) or "it cannot be started"
            self.close()
            raise CameraError(f"cannot open {name}: {reason}")

    @property
    def base_time_ns(self) -> int:
        """CLOCK_MONOTONIC of buffer time 0."""
        return int(self._pipeline.get_base_time())

    def pull(self, timeout_s: float) -> Any:
        """Return the next sample.

        Raises:
            CameraEnded: the end of a file.
            CameraStalled: nothing came for `timeout_s`.
            CameraError: what the bus reported; or a live stream ended.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            sample = self._sink.emit("try-pull-sample", SLICE_NS)
            if sample is not None:
                self._began = True
                return sample
            reason = error_of(self._gst, self._pipeline)
            if reason is not None:
                raise CameraError(f"cannot {'read' if self._began else 'open'} {self._name}: {reason}")
            if self._sink.get_property("eos"):
                raise self._ended()
            if time.monotonic() >= until_s:
                did = "read" if self._began else "open"
                raise CameraStalled(f"cannot {did} {self._name}: nothing came for {timeout_s:g} s")

    def _ended(self) -> CameraError:
        if not self._began:
            return CameraError(f"no pictures in {self._name}")
        if self.recipe.live:
            return CameraError(f"{self._name} ended its stream")
        return CameraEnded(f"end of {self._name}")

    def close(self) -> None:
        """Stop the pipeline. This may hang in a driver: that is why it runs in a process of its own."""
        self._pipeline.set_state(self._gst.State.NULL)


def _repeat_parameters(_pipeline: Any, _bin: Any, element: Any) -> None:
    """Have the parser that `parsebin` chose repeat the parameter sets, so that decoding may start at any key frame."""
    if element.find_property("config-interval") is not None:
        element.set_property("config-interval", -1)
