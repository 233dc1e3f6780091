"""One frame of a camera becomes one for each of its views, on one picture and its lease."""

from __future__ import annotations

import numpy as np
import pytest

from edged.cameras import FanOut
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.lens import Equirectangular, View

LEFT = View(Equirectangular(), 64, 48, 90.0, -30.0)
RIGHT = View(Equirectangular(), 32, 24, 90.0, 30.0)
CAPTURE = Capture(5, 6, "driver")


@pytest.fixture
def fanned():
    """Return (a fan-out, what it handed on, what was given back to the source)."""
    got, back = [], []
    fan_out = FanOut(lambda frame, wait: got.append((frame, wait)), {"roof": (("left", LEFT), ("right", RIGHT))})
    return fan_out, got, back


def frame_of(camera, back):
    picture = Picture(200, 100, PixelFormat.GRAY, Color(), (np.zeros((100, 200), np.uint8),))
    return Frame(camera, 7, picture, CAPTURE, 8, 9, lambda: back.append(camera))


def test_a_frame_is_handed_on_for_itself_and_each_view(fanned):
    fan_out, got, back = fanned
    frame = frame_of("roof", back)
    fan_out(frame, True)
    assert [one.camera for one, _ in got] == ["left", "right", "roof"]
    assert all(wait for _, wait in got)
    for one, _ in got:
        assert (one.id, one.capture, one.decode_ns, one.decoded_ns) == (7, CAPTURE, 8, 9)
        assert one.picture.planes is frame.picture.planes
    left, right, whole = (one.picture for one, _ in got)
    assert (left.width, left.height, left.view) == (64, 48, LEFT)
    assert (right.width, right.height, right.view) == (32, 24, RIGHT)
    assert whole is frame.picture
    assert whole.view is None


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_pixels_go_back_when_the_last_of_them_is_released(fanned, order):
    fan_out, got, back = fanned
    fan_out(frame_of("roof", back), False)
    got[0][0].retain()  # a second user of one view
    for number in order:
        got[number][0].release()
        assert back == []
    got[0][0].release()
    assert back == ["roof"]
    with pytest.raises(RuntimeError, match="released more often"):
        got[0][0].release()


def test_a_camera_without_views_is_handed_on_as_it_is(fanned):
    fan_out, got, back = fanned
    frame = frame_of("front", back)
    fan_out(frame)
    assert got == [(frame, False)]
    frame.release()
    assert back == ["front"]


def test_other_views_hold_from_the_next_frame_on(fanned):
    fan_out, got, back = fanned
    fan_out(frame_of("roof", back))
    fan_out.views = {"roof": (("left", RIGHT),)}
    fan_out(frame_of("roof", back))
    assert [(one.camera, one.picture.view) for one, _ in got[3:]] == [("left", RIGHT), ("roof", None)]
