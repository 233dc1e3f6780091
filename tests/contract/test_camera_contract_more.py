"""The contract of camera sources over those that run in a process of their own. The tests are the same."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import test_camera_contract as contract

from edged.camera.base import Opening
from edged.camera.isolated import IsolatedSource

JETSON = str(Path(__file__).parents[1] / "jetson")
FRAMES = 30


class IsolatedPyAv(IsolatedSource):
    """The embedded default, isolated."""

    target = "edged.camera.pyav:PyAvSource"


def jetson(monkeypatch):
    """The jetson-utils source over the stand-in for its compiled module."""
    monkeypatch.syspath_prepend(JETSON)
    monkeypatch.setenv("PYTHONPATH", JETSON)
    monkeypatch.setitem(sys.modules, "edged.camera.jetson", None)
    del sys.modules["edged.camera.jetson"]  # imported anew, now and after this test
    return importlib.import_module("edged.camera.jetson").JetsonSource


def board(monkeypatch):
    """The same over the real library, on a board that has it."""
    try:
        return importlib.import_module("edged.camera.jetson").JetsonSource
    except ModuleNotFoundError as missing:
        pytest.skip(f"no jetson-utils here ({missing}); it is built from its source, see docs/jetson.md")


def gstreamer(monkeypatch):
    try:
        return importlib.import_module("edged.camera.gstreamer").GStreamerSource
    except ModuleNotFoundError as missing:
        pytest.skip(f"no GStreamer here ({missing}); apt-get install python3-gi gir1.2-gst-plugins-base-1.0")


@pytest.fixture(params=["pyav", "gstreamer", "jetson", "board"])
def source_class(request, monkeypatch):
    if request.param == "pyav":
        return IsolatedPyAv
    return {"gstreamer": gstreamer, "jetson": jetson, "board": board}[request.param](monkeypatch)


@pytest.fixture
def opening(clip):
    return Opening("front", "file", str(clip(frames=FRAMES, bframes=0)), str)


@pytest.fixture
def source(source_class, opening):
    source = source_class(opening)
    yield source
    source.close()


globals().update(contract.of_every_source("gstreamer", "jetson_utils"))
