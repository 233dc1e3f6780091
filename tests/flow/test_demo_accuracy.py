"""The demo's networks through the running daemon, on clips of a seed that was never trained on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import accuracy

FRAMES = 300


@pytest.mark.timeout(300)
def test_pedestrians_and_lanes_are_found_in_the_frames_the_messages_name():
    boxes, lanes, found, _ = accuracy.measure(*accuracy.clip_sources())
    assert len(found) == 2 * len(accuracy.FRONT) * FRAMES  # every frame of every camera, for both tasks
    assert boxes["pedestrian"].wanted > 1000
    assert boxes["pedestrian"].average_precision() >= 0.85
    assert boxes["vehicle"].average_precision() >= 0.85
    assert lanes.matched + lanes.missed > 2000
    assert lanes.f1() >= 0.85
