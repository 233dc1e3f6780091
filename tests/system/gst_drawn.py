"""A raw camera that GStreamer draws, red: the reading and converting of real buffers, without a device."""

from __future__ import annotations

from edged.camera.gst import source
from edged.camera.gst.recipes import Recipe


class Drawn(source.GstSource):
    """The caps are the address."""

    def __init__(self, opening):
        launch = f"videotestsrc name=src is-live=true ! {opening.url} ! appsink name=sink max-buffers=1 drop=true"
        source.recipes = lambda *_: [Recipe(launch, {"pattern": "red"}, stamped=True)]
        super().__init__(opening)
