"""From planes to tensors, beside a plain float64 computation; and the geometry, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import FORMATS, frame_of, picture_of, reference

from edged.engines.preprocess import Preprocessor
from edged.errors import ShapeError
from edged.frame import Color, DevicePlane, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.tensor import InputFormat

TOLERANCE = 3 / 255


@pytest.mark.parametrize("kind", ["yuv420", "yuv422", "yuv444", "nv12", "rgb", "gray"])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
@pytest.mark.parametrize("source", [(64, 48), (97, 61), (160, 90), (33, 200)], ids=str)
def test_every_format_beside_float64(kind, fmt, source):
    """Letterbox and stretch, even and odd sizes, up and down; at most 3 of 255 off anywhere."""
    size = (80, 56)
    color = Color("bt709" if source[0] > 90 else "bt601", full=fmt.color == "bgr")
    picture, planes = picture_of(kind, *source, color)
    out = np.full((3, size[1], size[0]), np.nan, np.float32)
    fit = Preprocessor(size, fmt).write(frame_of(picture), out, 0)
    assert fit == fit_frame(source, size, fmt.fit)
    off = np.abs(out - reference(kind, planes, color, fmt, size, fit)) * np.array(fmt.std)[:, None, None]
    assert off.max() <= TOLERANCE


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_every_colour_at_its_own_size(matrix, full, order):
    """Without resizing: random samples, saturated ones included."""
    rng = np.random.default_rng(3)
    planes = [rng.integers(0, 256, (40, 60)).astype(np.uint8) for _ in range(3)]
    color, fmt = Color(matrix, full), InputFormat("stretch", order)
    out = np.empty((3, 40, 60), np.float32)
    fit = Preprocessor((60, 40), fmt).write(frame_of(Picture(60, 40, PixelFormat.YUV, color, tuple(planes))), out, 0)
    wanted = reference("yuv444", [plane.astype(float) for plane in planes], color, fmt, (60, 40), fit)
    assert np.abs(out - wanted).max() <= 1.01 / 255


def test_padding_is_right_when_cameras_of_other_shapes_take_turns():
    size, fmt = (80, 56), InputFormat()
    preprocessor, out = Preprocessor(size, fmt), np.full((2, 3, 56, 80), np.nan, np.float32)
    for turn, source in enumerate([(64, 48), (160, 50), (30, 200), (64, 48), (160, 50)]):
        picture, planes = picture_of("yuv420", *source, Color(), seed=turn)
        place = turn % 2
        fit = preprocessor.write(frame_of(picture), out[place], place)
        assert np.abs(out[place] - reference("yuv420", planes, Color(), fmt, size, fit)).max() <= TOLERANCE


def test_half_precision_inputs_are_written_as_such():
    picture, planes = picture_of("yuv420", 64, 48, Color())
    out = np.empty((3, 48, 64), np.float16)
    fit = Preprocessor((64, 48), InputFormat()).write(frame_of(picture), out, 0)
    assert np.abs(out - reference("yuv420", planes, Color(), InputFormat(), (64, 48), fit)).max() <= TOLERANCE


def test_a_frame_on_a_device_is_refused():
    picture = Picture(8, 8, PixelFormat.NV12, Color(), (DevicePlane(1, 8, 8, 8),), device=0)
    with pytest.raises(ShapeError, match=r"^Frame\(c #0, 8x8 nv12 on cuda:0, 1 users\) lives on a device; "):
        Preprocessor((8, 8), InputFormat()).write(frame_of(picture), np.empty((3, 8, 8), np.float32), 0)


SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


@given(SIZES, SIZES, st.sampled_from(["letterbox", "stretch"]))
def test_a_fit_stays_inside_and_its_way_back_is_exact(source, net, mode):
    fit = fit_frame(source, net, mode)
    assert 0 <= fit.left <= fit.left + fit.inner_width <= net[0]
    assert 0 <= fit.top <= fit.top + fit.inner_height <= net[1]
    for x, y in ((0.0, 0.0), (source[0] / 3, source[1] / 7), source):
        there = x * fit.scale_x + fit.left, y * fit.scale_y + fit.top
        assert fit.point_to_source(*there) == pytest.approx((x, y), abs=1e-6 * max(source))
    boxes = np.array([[fit.left, fit.top, fit.left + fit.inner_width, fit.top + fit.inner_height]], float)
    assert fit.boxes_to_source(boxes)[0] == pytest.approx([0, 0, *source], rel=1e-5, abs=1e-3)


@given(SIZES, SIZES)
def test_a_letterbox_keeps_the_shape_and_touches_two_sides(source, net):
    fit = fit_frame(source, net, "letterbox")
    assert fit.inner_width == net[0] or fit.inner_height == net[1]
    assert abs(fit.left - (net[0] - fit.inner_width) / 2) <= 0.5
    assert abs(fit.top - (net[1] - fit.inner_height) / 2) <= 0.5
    wanted = min(net[0] / source[0], net[1] / source[1])
    assert abs(fit.inner_width - max(1, source[0] * wanted)) <= 0.5 + 1e-6
    assert abs(fit.inner_height - max(1, source[1] * wanted)) <= 0.5 + 1e-6


def test_boxes_are_clipped_to_the_frame():
    fit = fit_frame((100, 50), (100, 100), "letterbox")
    boxes = fit.boxes_to_source(np.array([[-10.0, 0, 50, 60], [90, 70, 400, 400]]))
    assert boxes.tolist() == [[0, 0, 50, 35], [90, 45, 100, 50]]
