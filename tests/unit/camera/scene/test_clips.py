"""The committed clips are whole, small, tagged, and go with their truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edged.camera.scene import CAMERAS, HEIGHT_PX, WIDTH_PX, Scene, Truth

CLIPS = Path(__file__).parents[4] / "configs" / "demo" / "clips"
FRAMES = 300


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CLIPS / "truth.json").read_text())
    return read


def test_the_clips_are_small():
    sizes = [(CLIPS / f"{name}.mp4").stat().st_size for name in CAMERAS]
    assert max(sizes) <= 1_000_000
    assert sum(sizes) <= 6_000_000


@pytest.mark.parametrize("camera", list(CAMERAS))
def test_a_clip_has_a_truth_for_each_frame(camera: str, record: dict[str, Any]):
    with av.open(str(CLIPS / f"{camera}.mp4")) as clip:
        stream = clip.streams.video[0]
        packets = [packet for packet in clip.demux(stream) if packet.size]
        assert len(packets) == FRAMES == len(record["cameras"][camera])
        assert all(packet.pts == packet.dts for packet in packets)  # no B-frames
        keys = [k for k, packet in enumerate(packets) if packet.is_keyframe]
        assert keys == list(range(0, FRAMES, 15))
        codec = stream.codec_context
        assert (codec.width, codec.height, codec.pix_fmt) == (WIDTH_PX, HEIGHT_PX, "yuv420p")
        assert (codec.colorspace, codec.color_range) == (1, 1)  # BT.709, limited
        assert stream.average_rate == record["rate_hz"]
    for frame in record["cameras"][camera]:
        assert Truth.from_json(frame).to_json() == frame


def test_a_clip_shows_what_its_truth_says(record: dict[str, Any]):
    scene = Scene(record["seed"], [tuple(entry) for entry in record["schedule"]])
    with av.open(str(CLIPS / "front_left.mp4")) as clip:
        shown = next(clip.decode(video=0)).to_ndarray(format="rgb24").astype(np.float64)
    drawn = scene.view("front_left", record["start_s"])
    assert drawn.truth.to_json() == record["cameras"]["front_left"][0]
    assert np.abs(shown - drawn.image).mean() < 8.0
