"""The one door to GStreamer: PyGObject, its name spaces, and what they lack."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from edged.camera.system_packages import make_importable
from edged.errors import BackendUnavailable

PACKAGES = "python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"


def load() -> tuple[Any, Any]:
    """Import and start GStreamer; return its name spaces `Gst` and `GstVideo`.

    Raises:
        BackendUnavailable: a package is missing, named with what installs it.
    """
    cache = os.environ.get("CACHE_DIRECTORY")
    if cache:  # a confined service has no home to keep the list of plug-ins in
        os.environ.setdefault("GST_REGISTRY", str(Path(cache.split(":")[0], "gstreamer-1.0.bin")))
    try:
        make_importable("gi", "_gi")
        gi = importlib.import_module("gi")
        gi.require_version("Gst", "1.0")
        gi.require_version("GstVideo", "1.0")
        gst = importlib.import_module("gi.repository.Gst")
        video = importlib.import_module("gi.repository.GstVideo")
    except (ImportError, ValueError) as exc:
        raise BackendUnavailable(f"GStreamer needs the packages {PACKAGES} ({exc})") from exc
    gst.init(None)
    return gst, video


def has(gst: Any, name: str) -> bool:
    """Tell whether there is an element of this name."""
    return gst.ElementFactory.find(name) is not None


def build(gst: Any, launch: str) -> Any:
    """Return the pipeline of a text that is ours alone. Raise `BackendUnavailable` for an element that is missing."""
    try:
        return gst.parse_launch(launch)
    except Exception as exc:  # GLib.Error, a class of the library that only its process has
        raise BackendUnavailable(f"GStreamer cannot build {launch!r}: {exc}") from exc


def error_of(gst: Any, pipeline: Any) -> str | None:
    """Return the first error that a pipeline has reported since the last look."""
    message = pipeline.get_bus().timed_pop_filtered(0, gst.MessageType.ERROR)
    return None if message is None else str(message.parse_error()[0].message).rstrip(".")
