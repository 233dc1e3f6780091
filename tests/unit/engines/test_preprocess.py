"""From planes to tensors, beside a plain float64 computation; and the geometry, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.engines.preprocess import Preprocessor
from edged.errors import ShapeError
from edged.frame import Capture, Color, DevicePlane, Frame, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.tensor import InputFormat

KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
CHROMA = {"yuv420": (2, 2), "yuv422": (2, 1), "yuv444": (1, 1), "nv12": (2, 2)}
TOLERANCE = 3 / 255


def frame_of(picture):
    return Frame("c", 0, picture, Capture(0, 0, "arrival"), 0, 0)


def waves(height, width, seed):
    """A smooth picture of 16..235: what any good way of resizing agrees on."""
    rng = np.random.default_rng(seed)
    y, x = (np.arange(height) + 0.5)[:, None] / height, (np.arange(width) + 0.5)[None, :] / width
    a, b, c = rng.uniform(0.2, 0.9, 3)
    return 126 + 50 * np.sin(2.5 * a * x + 2 * b * y + 6 * c) + 50 * np.cos(2.2 * b * x - 2.5 * a * y)


def picture_of(kind, width, height, color, seed=0):
    """Return a picture of one kind, and its samples plane by plane in float64."""
    if kind == "rgb":
        planes = [waves(height, width, seed + n).round() for n in range(3)]
        host = (np.stack(planes, axis=2).astype(np.uint8),)
        return Picture(width, height, PixelFormat.RGB, color, host), planes
    luma = waves(height, width, seed).round()
    if kind == "gray":
        return Picture(width, height, PixelFormat.GRAY, color, (luma.astype(np.uint8),)), [luma]
    across, down = CHROMA[kind]
    size = -(-height // down), -(-width // across)
    chroma = [(128 + (waves(*size, seed + n) - 126) * 0.5).round() for n in (1, 2)]
    host = [plane.astype(np.uint8) for plane in (luma, *chroma)]
    if kind == "nv12":
        host = [host[0], np.stack(host[1:], axis=2)]
    # decoders pad their rows: every plane is a view into something wider
    wide = [np.pad(plane, [(0, 0), (0, 13)] + [(0, 0)] * (plane.ndim - 2)) for plane in host]
    views = tuple(padded[:, : plane.shape[1]] for padded, plane in zip(wide, host, strict=True))
    fmt = PixelFormat.NV12 if kind == "nv12" else PixelFormat.YUV
    return Picture(width, height, fmt, color, views), [luma, *chroma]


def resized(plane, width, height):
    """Bilinear interpolation between pixel centres, in float64."""
    rows, columns = plane.shape
    y = np.clip((np.arange(height) + 0.5) * rows / height - 0.5, 0, rows - 1)
    x = np.clip((np.arange(width) + 0.5) * columns / width - 0.5, 0, columns - 1)
    top, left = y.astype(int), x.astype(int)
    bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    fy, fx = (y - top)[:, None], (x - left)[None, :]
    above = plane[top][:, left] * (1 - fx) + plane[top][:, right] * fx
    below = plane[bottom][:, left] * (1 - fx) + plane[bottom][:, right] * fx
    return above * (1 - fy) + below * fy


def reference(kind, planes, color, fmt, size, fit):
    """Return the (3, height, width) tensor computed the plain way."""
    inner = [resized(plane, fit.inner_width, fit.inner_height) for plane in planes]
    if kind == "rgb":
        rgb = inner
    else:
        y, u, v = inner if len(inner) == 3 else (inner[0], np.full_like(inner[0], 128), np.full_like(inner[0], 128))
        kr, kb = KR_KB[color.matrix]
        luma = y if color.full else (y - 16) * 255 / 219
        cb, cr = ((one - 128) * (1 if color.full else 255 / 224) for one in (u, v))
        red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
        rgb = [red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue]
    channels = np.clip(np.stack(rgb if fmt.color == "rgb" else rgb[::-1]), 0, 255)
    mean, std = (np.array(values)[:, None, None] for values in (fmt.mean, fmt.std))
    tensor = np.empty((3, size[1], size[0]))
    tensor[:] = (fmt.pad / 255 - mean) / std
    inside = (channels / 255 - mean) / std
    tensor[:, fit.top : fit.top + fit.inner_height, fit.left : fit.left + fit.inner_width] = inside
    return tensor


FORMATS = [
    InputFormat(),
    InputFormat("stretch", "bgr"),
    InputFormat("letterbox", "rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0),
    InputFormat("stretch", "bgr", std=(1 / 255,) * 3),
]


@pytest.mark.parametrize("kind", ["yuv420", "yuv422", "yuv444", "nv12", "rgb", "gray"])
@pytest.mark.parametrize("fmt", FORMATS, ids=["plain", "stretch_bgr", "normalised", "0_to_255"])
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
