"""A straight grid through each lens and back: the view shows it straight, and where it is.

The pictures are rendered here, by formulas of their own, in float64 and with 16 rays a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import radians

import cv2
import numpy as np
import pytest

from edged.engines.preprocess import Preprocessor
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.lens import Circle, Equidistant, Equirectangular, KannalaBrandt, Pinhole, View
from edged.optics import OUTSIDE, view_map
from edged.tensor import InputFormat

SIZE = 480, 360
SPACING = 0.2  # of the wall's distance, from one edge of the grid to the next
RAYS = 4  # a pixel, in each direction
K = (0.02, -0.01, 0.003, -0.0005)
BROWN = (-0.2, 0.05, 0.001, -0.002, 0.001)


@dataclass(frozen=True)
class Case:
    """A lens, how its picture is rendered, and a view of it."""

    lens: object
    size: tuple[int, int]
    rays: object
    turns: tuple[float, float, float]
    fov_deg: float = 60.0


def around(radius, x, y):
    """Return unit rays from the angle off the axis and the offset from the centre that it has."""
    length = np.hypot(x, y) + 1e-12
    return np.stack([np.sin(radius) * x / length, np.sin(radius) * y / length, np.cos(radius)], axis=-1)


def kannala_brandt(x, y):
    x, y = (x - 450.0) / 300.0, (y - 440.0) / 300.0
    angles = np.linspace(0, 2.2, 200_001)
    radii = angles + sum(k * angles ** (3 + 2 * n) for n, k in enumerate(K))
    return around(np.interp(np.hypot(x, y), radii, angles), x, y)


def equidistant(x, y):
    x, y = (x - 452.0) * radians(95) / 430, (y - 447.0) * radians(95) / 430
    return around(np.hypot(x, y), x, y)


def equirectangular(x, y):
    east, south = (x + 0.5) / 2400 * 2 * np.pi - np.pi, (y + 0.5) / 1200 * np.pi - np.pi / 2
    return np.stack([np.sin(east) * np.cos(south), np.sin(south), np.cos(east) * np.cos(south)], axis=-1)


def pinhole(x, y):
    """Undistort by taking out, again and again, the distortion of where the last round ended."""
    x0, y0 = x, y = (x - 448.0) / 600.0, (y - 452.0) / 600.0
    k1, k2, p1, p2, k3 = BROWN
    for _ in range(25):
        square = x * x + y * y
        radial = 1 + k1 * square + k2 * square**2 + k3 * square**3
        x, y = (
            (x0 - 2 * p1 * x * y - p2 * (square + 2 * x * x)) / radial,
            (y0 - p1 * (square + 2 * y * y) - 2 * p2 * x * y) / radial,
        )
    return np.stack([x, y, np.ones_like(x)], axis=-1)


CASES = {
    "kannala_brandt": Case(KannalaBrandt(300, 300, 450, 440, 900, 900, K), (900, 900), kannala_brandt, (35, -12, 7)),
    "kannala_brandt beyond 90 degrees": Case(
        KannalaBrandt(300, 300, 450, 440, 900, 900, K), (900, 900), kannala_brandt, (-70, 10, 0), 50.0
    ),
    "equidistant": Case(Equidistant(190.0, Circle(452, 447, 430, 900, 900)), (900, 900), equidistant, (-40, 25, -20)),
    "equirectangular": Case(Equirectangular(), (2400, 1200), equirectangular, (160, -20, 10)),  # over the seam
    "pinhole": Case(Pinhole(600, 600, 448, 452, 900, 900, BROWN), (900, 900), pinhole, (5, -4, 3), 50.0),
}


def turned(yaw, pitch, roll):
    """Return the view's right, down and forward in the lens's coordinates, from the meaning of the angles."""
    yaw, pitch, roll = map(radians, (yaw, pitch, roll))
    forward = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    level = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    down = np.cross(forward, level)
    return np.cos(roll) * level + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * level, forward


def wall(case):
    """Return the lens coordinates of a wall that the view sees slantwise: across, down, and towards it."""
    right, down, forward = turned(*case.turns)
    towards = forward + 0.15 * right - 0.1 * down
    towards /= np.linalg.norm(towards)
    across = right - (right @ towards) * towards
    across /= np.linalg.norm(across)
    return across, np.cross(towards, across), towards


def grid(rays, case, axis):
    """Return 0 or 255 for each ray: stripes of the wall across `axis`, black where it is not met."""
    normal = wall(case)
    depth = rays @ normal[2]
    place = np.divide(rays @ normal[axis], depth, out=np.zeros_like(depth), where=depth > 0.05)
    return np.where((depth > 0.05) & (np.floor(place / SPACING) % 2 == 0), 255.0, 0.0)


def rendered(case, axes=(0, 1)):
    """Return the lens's pictures of the wall, one for each direction of stripes."""
    width, height = case.size
    whole = case.rays(*np.meshgrid(np.arange(width) * 1.0, np.arange(height) * 1.0))
    sub = (np.arange(RAYS) + 0.5) / RAYS - 0.5
    needed = near_view(case, whole)
    for axis in axes:
        picture = grid(whole, case, axis)
        rows, columns = np.nonzero((cv2.Laplacian(picture, cv2.CV_64F) != 0) & needed)  # next to an edge
        x, y = columns[:, None, None] + sub[None, None, :], rows[:, None, None] + sub[None, :, None]
        picture[rows, columns] = grid(case.rays(*np.broadcast_arrays(x, y)), case, axis).mean(axis=(1, 2))
        yield np.clip(picture.round(), 0, 255).astype(np.uint8)


def near_view(case, rays):
    """Return which rays are within the view's cone and some degrees around it; the others stay as they are."""
    forward, half = turned(*case.turns)[2], radians(case.fov_deg / 2)
    corner = np.arctan(np.tan(half) * np.hypot(1, SIZE[1] / SIZE[0]))
    return rays @ forward > np.cos(corner + radians(3)) * np.linalg.norm(rays, axis=-1)


def seen(case, luma):
    """Return the view of a rendered picture as the preprocessor makes it, in 0..255."""
    view = View(case.lens, *SIZE, case.fov_deg, *case.turns)
    picture = Picture(*case.size, PixelFormat.GRAY, Color(full=True), (luma,)).through(view)
    frame, out = Frame("c", 0, picture, Capture(0, 0, "media"), 0, 0), np.empty((3, SIZE[1], SIZE[0]), np.float32)
    Preprocessor(SIZE, InputFormat("stretch", pad=0)).write(frame, out, 0)
    return out[0] * 255


def shown_by(case):
    """Return which pixels of the view the lens shows, and all pixels within 4 of them too."""
    view = View(case.lens, *SIZE, case.fov_deg, *case.turns)
    outside = view_map(view, case.size, fit_frame(SIZE, SIZE, "stretch"))[..., 0] == OUTSIDE
    return cv2.dilate(np.pad(outside.astype(np.uint8), 1, constant_values=1), np.ones((9, 9)))[1:-1, 1:-1] == 0


def edges(picture, shown, expected):
    """Return where each row crosses grey next to the expected places, to a part of a pixel; NaN where none is near."""
    found = np.full(expected.shape, np.nan)
    for row, line in enumerate(picture):
        bright = line > 127.5
        left = np.flatnonzero((bright[1:] != bright[:-1]) & shown[row, 1:])
        places = left + (127.5 - line[left]) / (line[left + 1] - line[left])
        if len(places):
            nearest = places[np.abs(places[:, None] - expected[row]).argmin(axis=0)]
            found[row] = np.where(np.abs(nearest - expected[row]) < 3, nearest, np.nan)
    return found


def expected_edges(case, axis):
    """Return (rows, edges) columns at which a perspective picture shows the wall's edges; for level ones (columns, …).

    The rays to an edge are at right angles to one direction.
    """
    right, down, forward = turned(*case.turns)
    along, across = (down, right) if axis == 0 else (right, down)
    length, width = (SIZE[1], SIZE[0]) if axis == 0 else SIZE
    focal = SIZE[0] / 2 / np.tan(radians(case.fov_deg) / 2)
    walls = wall(case)
    normals = walls[axis] - SPACING * np.arange(-4, 5)[:, None] * walls[2]
    place = (np.arange(length)[:, None] + 0.5 - length / 2) / focal
    return -(place * (normals @ along) + normals @ forward) / (normals @ across) * focal + width / 2 - 0.5


@pytest.mark.parametrize("name", CASES)
def test_a_straight_grid_is_straight_and_in_its_place(name):
    case = CASES[name]
    shown, bends, offs = shown_by(case), [], []
    for axis, luma in enumerate(rendered(case)):
        picture, expected = seen(case, luma), expected_edges(case, axis)
        found = edges(picture, shown, expected) if axis == 0 else edges(picture.T, shown.T, expected)
        known = [line for line in range(found.shape[1]) if np.isfinite(found[:, line]).sum() >= 100]
        assert len(known) >= 4
        for line in known:
            at = np.flatnonzero(np.isfinite(found[:, line]))
            fitted = np.polyval(np.polyfit(at, found[at, line], 1), at)
            bends.append(np.abs(found[at, line] - fitted))
            offs.append(np.abs(found[at, line] - expected[at, line]))
    bend, off = np.concatenate(bends), np.concatenate(offs)
    print(
        f"{name}: {len(bends)} lines, bent by {bend.max():.3f} px at most, {rms(bend):.3f} rms; off by {off.max():.3f}"
    )
    assert bend.max() < 0.5
    assert off.max() < 0.5
    assert rms(bend) < 0.15
    assert rms(off) < 0.15


def rms(values):
    return float(np.sqrt((values**2).mean()))
