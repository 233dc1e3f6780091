"""Lens models: there and back, beside OpenCV, and which way is right, up and clockwise."""

from __future__ import annotations

from math import cos, pi, radians, sin

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.frame import Color, DevicePlane, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.lens import Circle, Equidistant, Equirectangular, KannalaBrandt, Pinhole, View
from edged.optics import OUTSIDE, field, picture_map, project, rotation, source_size, unproject, view_map

SOME = settings(deadline=None, max_examples=40)
SIZE = (800, 600)
FISHEYE = KannalaBrandt(260.0, 262.0, 402.5, 296.25, 800, 600, (0.02, -0.01, 0.003, -0.0005))
NARROW = Pinhole(500.0, 505.0, 395.0, 301.0, 800, 600, (-0.2, 0.05, 0.001, -0.002, 0.001))
LENSES = [
    FISHEYE,
    KannalaBrandt(260.0, 262.0, 402.5, 296.25, 800, 600),
    NARROW,
    Pinhole(500.0, 505.0, 395.0, 301.0, 800, 600),
    Equidistant(185.0),
    Equidistant(220.0, Circle(399.0, 310.0, 290.0, 800, 600)),
    Equidistant(360.0),
    Equirectangular(),
]


def ray(off, around):
    """Return the direction at an angle from the axis, and an angle around it from right towards down."""
    return np.array([sin(off) * cos(around), sin(off) * sin(around), cos(off)])


@pytest.mark.parametrize("lens", LENSES, ids=str)
@SOME
@given(part=st.floats(0, 0.999), around=st.floats(-pi, pi))
def test_there_and_back_over_the_whole_field(lens, part, around):
    """Beyond 90 degrees too; a pinhole up to 65 degrees from its axis."""
    there = ray(part * min(field(lens), radians(65) if isinstance(lens, Pinhole) else pi), around)
    point = project(lens, there, SIZE)
    assert np.isfinite(point).all()
    assert unproject(lens, point, SIZE) == pytest.approx(there, abs=1e-9)


@pytest.mark.parametrize("lens", LENSES, ids=str)
@SOME
@given(x=st.floats(-0.5, 799.5), y=st.floats(-0.5, 599.5))
def test_back_and_there_for_every_pixel_that_shows_something(lens, x, y):
    back = unproject(lens, np.array([x, y]), SIZE)
    if np.isfinite(back).all():
        assert np.linalg.norm(back) == pytest.approx(1)
        on_the_seam = isinstance(lens, Equirectangular) and min(x + 0.5, 799.5 - x, y + 0.5, 599.5 - y) < 1e-6
        if not on_the_seam:  # where both edges, or all of a pole's row, are the same direction
            assert project(lens, back, SIZE) == pytest.approx([x, y], abs=1e-6)


@given(st.floats(0.0, 1.5), st.floats(-pi, pi))
def test_a_fisheye_is_opencvs(off, around):
    matrix = np.array([[FISHEYE.fx, 0, FISHEYE.cx], [0, FISHEYE.fy, FISHEYE.cy], [0, 0, 1]])
    there = ray(off, around)
    theirs, _ = cv2.fisheye.projectPoints(there[None, None], np.zeros(3), np.zeros(3), matrix, np.array(FISHEYE.k))
    assert project(FISHEYE, there, SIZE) == pytest.approx(theirs[0, 0], abs=1e-6)


@given(st.floats(0.0, 0.9), st.floats(-pi, pi))
def test_a_distorted_pinhole_is_opencvs(off, around):
    matrix = np.array([[NARROW.fx, 0, NARROW.cx], [0, NARROW.fy, NARROW.cy], [0, 0, 1]])
    there = ray(off, around)
    theirs, _ = cv2.projectPoints(there[None, None], np.zeros(3), np.zeros(3), matrix, np.array(NARROW.k))
    assert project(NARROW, there, SIZE) == pytest.approx(theirs[0, 0], abs=1e-6)


def test_nothing_is_seen_where_a_polynomial_turns_back():
    """theta (1 - 0.1 theta^2) grows up to sqrt(1 / 0.3) = 104.6 degrees; OpenCV itself would fold the picture over."""
    lens = KannalaBrandt(200, 200, 400, 300, 800, 600, (-0.1, 0, 0, 0))
    assert field(lens) == pytest.approx((1 / 0.3) ** 0.5)
    assert np.isfinite(project(lens, ray(1.82, 0.3), SIZE)).all()
    assert np.isnan(project(lens, ray(1.83, 0.3), SIZE)).all()
    assert np.isnan(unproject(lens, np.array([795.0, 300.0]), SIZE)).all()


def test_nothing_is_seen_beyond_the_field_and_behind_a_pinhole():
    assert np.isfinite(project(Equidistant(190.0), ray(radians(94.9), 1), SIZE)).all()
    assert np.isnan(project(Equidistant(190.0), ray(radians(95.1), 1), SIZE)).all()
    limited = KannalaBrandt(200, 200, 400, 300, 800, 600, fov_deg=180.0)
    assert np.isnan(project(limited, ray(radians(90.1), 1), SIZE)).all()
    assert np.isnan(project(NARROW, np.array([0.1, 0.1, -1.0]), SIZE)).all()
    assert np.isnan(project(NARROW, np.array([1.0, 0.0, 0.0]), SIZE)).all()


@pytest.mark.parametrize("lens", [one for one in LENSES if getattr(one, "circle", one) is not None], ids=str)
def test_a_picture_of_another_size_is_the_same_picture(lens):
    """Pixel edges scale, not pixel centres: twice as large, the centre of pixel 10 is at 20.5."""
    there = ray(0.5, 0.7)
    small = project(lens, there, SIZE)
    assert project(lens, there, (1600, 1200)) == pytest.approx((small + 0.5) * 2 - 0.5, abs=1e-9)


def test_yaw_is_to_the_right_pitch_is_up_and_roll_is_clockwise():
    def of(**turns):
        return rotation(View(FISHEYE, 64, 48, 90.0, **turns))

    forward, right = np.array([0, 0, 1.0]), np.array([1.0, 0, 0])
    half, root = 0.5, 0.75**0.5
    assert of(yaw_deg=30) @ forward == pytest.approx([half, 0, root])
    assert of(pitch_deg=30) @ forward == pytest.approx([0, -half, root])  # y is down
    assert of(roll_deg=30) @ right == pytest.approx([root, half, 0])
    assert of(yaw_deg=90, pitch_deg=30) @ forward == pytest.approx([root, -half, 0])  # up from where it looks
    turned = of(yaw_deg=40, pitch_deg=-20, roll_deg=70)
    assert turned @ turned.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turned) == pytest.approx(1)


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))
def test_the_angle_off_the_axis_is_that_of_the_middle(yaw, pitch, roll):
    view = View(FISHEYE, 64, 48, 90.0, yaw, pitch, roll)
    cosine = np.clip((rotation(view) @ [0, 0, 1])[2], -1, 1)
    assert cos(radians(view.off_axis_deg)) == pytest.approx(cosine, abs=1e-9)


def test_a_map_has_the_middle_and_the_edges_where_they_belong():
    """Yaw 0 on a panorama: 90 degrees are a quarter of its width, edge to edge."""
    view = View(Equirectangular(), 200, 100, 90.0)
    found = view_map(view, (3600, 1800), fit_frame((200, 100), (100, 100), "letterbox"))
    assert (found.shape, found.dtype) == ((50, 100, 2), np.float32)
    assert found.mean(axis=(0, 1)) == pytest.approx([1799.5, 899.5], abs=0.01)
    edge = np.degrees(np.arctan(0.99)) * 10  # the outermost centres are half of 1/50 within the edge
    assert found[25, -1, 0] - 1799.5 == pytest.approx(edge, abs=0.1)
    assert found[25, 0, 0] - 1799.5 == pytest.approx(-edge, abs=0.1)


def test_what_a_picture_does_not_show_is_marked():
    """The view reaches 75 degrees to the right, the lens 60; its circle, larger than the picture, is cut off below."""
    lens = Equidistant(120.0, Circle(299.5, 299.5, 300.0, 600, 400))
    view = View(lens, 64, 64, 90.0, yaw_deg=30.0)
    found = view_map(view, (600, 400), fit_frame((64, 64), (64, 64), "stretch"))
    outside = found == OUTSIDE
    assert np.array_equal(outside[..., 0], outside[..., 1])
    assert outside[:, -1, 0].all()
    assert outside[-1, :, 0].all()
    assert not outside[10:32, :20].any()
    inside = found[~outside[..., 0]]
    assert inside.min() >= -0.5
    assert (inside <= [599.5, 399.5]).all()


@given(st.sampled_from(LENSES), st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180), st.floats(1, 170))
def test_no_map_leads_out_of_the_picture(lens, yaw, pitch, roll, fov):
    found = view_map(View(lens, 16, 12, fov, yaw, pitch, roll), (321, 243), fit_frame((16, 12), (9, 9), "letterbox"))
    outside = (found == OUTSIDE).all(axis=-1)
    assert np.isfinite(found).all()
    assert (found[~outside] >= -0.5).all()
    assert (found[~outside] <= [320.5, 242.5]).all()


def test_the_map_of_a_picture_is_for_its_planes():
    view = View(Equirectangular(), 64, 32, 60.0, yaw_deg=20.0)
    fit = fit_frame((64, 32), (32, 32), "letterbox")
    host = Picture(0, 0, PixelFormat.GRAY, Color(), (np.zeros((90, 180), np.uint8),)).through(view)
    device = Picture(0, 0, PixelFormat.NV12, Color(), (DevicePlane(1, 256, 180, 90),), device=0).through(view)
    assert (host.width, host.height) == (64, 32)
    for picture in (host, device):
        assert source_size(picture) == (180, 90)
        assert np.array_equal(picture_map(picture, fit), view_map(view, (180, 90), fit))
    with pytest.raises(ValueError, match="no view"):
        picture_map(Picture(180, 90, PixelFormat.GRAY, Color(), host.planes), fit)
