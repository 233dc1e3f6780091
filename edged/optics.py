"""Where a view's pixels lie in the picture of a lens: exact maps in float64, made once for each view.

Pixel coordinates have the centre of the first pixel at (0, 0), as `cv2.remap` takes them. Camera coordinates are x to
the right, y down, z forward.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, inf, pi, radians, sin, sqrt, tan
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edged.frame import DevicePlane, Picture
from edged.geometry import Fit
from edged.lens import Equidistant, Equirectangular, KannalaBrandt, Lens, Pinhole, View

OUTSIDE = -1e4  # both coordinates of a pixel that the lens, or its picture, does not show
_STEPS = 60  # halvings of an interval, and Newton's steps at most

Floats = NDArray[np.float64]


def picture_map(picture: Picture, fit: Fit) -> NDArray[np.float32]:
    """Return `view_map` for a picture that has a view."""
    if picture.view is None:
        raise ValueError("the picture has no view")
    return view_map(picture.view, source_size(picture), fit)


def source_size(picture: Picture) -> tuple[int, int]:
    """Return (width, height) of a picture's planes, which are larger or smaller than its view."""
    plane = picture.planes[0]
    if isinstance(plane, DevicePlane):
        return plane.width, plane.height
    return plane.shape[1], plane.shape[0]


def view_map(view: View, source: tuple[int, int], fit: Fit) -> NDArray[np.float32]:
    """Return where each pixel of a network's input lies in the source picture.

    Args:
        view: the view that the network sees.
        source: (width, height) of the lens's picture, which its calibration is scaled to.
        fit: of the view into the network's input: `fit_frame((view.width, view.height), …)`.

    Returns:
        (inner_height, inner_width, 2) x and y of the source's luma samples for the pixels inside the fit, with the
        first sample's centre at (0, 0). They are within -0.5 .. width - 0.5, half a sample beyond the outermost
        centres, where the nearest sample counts; or both `OUTSIDE`. Chroma samples of a plane of another width lie at
        (x + 0.5) * plane width / width - 0.5. A new array.
    """
    focal = view.width / 2 / tan(radians(view.fov_deg) / 2)
    x = ((np.arange(fit.inner_width) + 0.5) / fit.scale_x - view.width / 2) / focal
    y = ((np.arange(fit.inner_height) + 0.5) / fit.scale_y - view.height / 2) / focal
    rays = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1) @ rotation(view).T
    points = project(view.lens, rays, source)
    limits = np.array(source) - 0.5
    seen = np.all((points >= -0.5) & (points <= limits), axis=-1)
    points[~seen] = OUTSIDE
    return points.astype(np.float32)


def rotation(view: View) -> Floats:
    """Return the (3, 3) matrix from a view's camera coordinates to those of its lens."""
    yaw, pitch, roll = map(radians, (view.yaw_deg, view.pitch_deg, view.roll_deg))
    right = np.array([[cos(yaw), 0, sin(yaw)], [0, 1, 0], [-sin(yaw), 0, cos(yaw)]])
    up = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
    clockwise = np.array([[cos(roll), -sin(roll), 0], [sin(roll), cos(roll), 0], [0, 0, 1]])
    return cast("Floats", right @ up @ clockwise)


def project(lens: Lens, rays: Floats, size: tuple[int, int]) -> Floats:
    """Return the (…, 2) pixels at which a lens shows (…, 3) directions of any length, in a picture of `size`.

    Both are NaN where the lens does not show the direction. They need not be inside the picture.
    """
    x, y, z = np.moveaxis(np.asarray(rays, np.float64), -1, 0)
    if isinstance(lens, Equirectangular):
        turn, fall = np.arctan2(x, z) / (2 * pi), np.arctan2(y, np.hypot(x, z)) / pi
        return np.stack([(turn + 0.5) * size[0] - 0.5, (fall + 0.5) * size[1] - 0.5], axis=-1)
    if isinstance(lens, Pinhole):
        front = z > 0
        across = np.divide([x, y], z, out=np.full((2, *z.shape), np.nan), where=front)
        seen = front & (across[0] ** 2 + across[1] ** 2 <= _rising_until(lens.k[0], lens.k[1], lens.k[4]))
        across = _distorted(across, lens.k)
        return np.where(seen[..., None], _to_picture(lens, across, size), np.nan)
    off = np.hypot(x, y)
    angle = np.arctan2(off, z)
    cosine, sine = (np.divide(part, off, out=np.zeros_like(off), where=off > 0) for part in (x, y))
    radius = _radius(lens, angle)
    seen = angle <= field(lens)
    return np.where(seen[..., None], _to_picture(lens, np.stack([radius * cosine, radius * sine]), size), np.nan)


def unproject(lens: Lens, points: Floats, size: tuple[int, int]) -> Floats:
    """Return the (…, 3) directions, of length 1, that a lens shows at (…, 2) pixels of a picture of `size`.

    All three are NaN where the lens shows nothing.
    """
    points = np.asarray(points, np.float64)
    if isinstance(lens, Equirectangular):
        turn = ((points[..., 0] + 0.5) / size[0] - 0.5) * 2 * pi
        fall = ((points[..., 1] + 0.5) / size[1] - 0.5) * pi
        rays = np.stack([np.sin(turn) * np.cos(fall), np.sin(fall), np.cos(turn) * np.cos(fall)], axis=-1)
        return np.where((np.abs(turn) <= pi)[..., None] & (np.abs(fall) <= pi / 2)[..., None], rays, np.nan)
    across = _from_picture(lens, points, size)
    if isinstance(lens, Pinhole):
        flat = _undistorted(across, lens.k)
        rays = np.stack([flat[0], flat[1], np.ones_like(flat[0])], axis=-1)
        return cast("Floats", rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    radius = np.hypot(*across)
    angle = _angle(lens, radius)
    cosine, sine = (np.divide(part, radius, out=np.zeros_like(radius), where=radius > 0) for part in across)
    return np.stack([np.sin(angle) * cosine, np.sin(angle) * sine, np.cos(angle)], axis=-1)


def field(lens: Lens) -> float:
    """Return the largest angle from the axis that a lens shows, in radians.

    It is where the radius stops growing with the angle, if it does: beyond, a polynomial says nothing of the lens.
    """
    if isinstance(lens, Equirectangular):
        return pi
    if isinstance(lens, Equidistant):
        return radians(lens.fov_deg) / 2
    if isinstance(lens, KannalaBrandt):
        return min(pi, radians(lens.fov_deg) / 2, sqrt(_rising_until(*lens.k)))
    return float(np.arctan(sqrt(_rising_until(lens.k[0], lens.k[1], lens.k[4]))))


@lru_cache(maxsize=64)
def _rising_until(*k: float) -> float:
    """Return the square of the t up to which t + k1 t^3 + k2 t^5 + … grows, which may be infinite."""
    slope = [1.0, *((2 * power + 3) * one for power, one in enumerate(k))]
    roots = np.roots(slope[::-1])
    real = roots.real[(np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots.real))) & (roots.real > 0)]
    return float(real.min()) if len(real) else inf


def _radius(lens: KannalaBrandt | Equidistant, angle: Floats) -> Floats:
    """Return the distance from the centre at an angle from the axis, in focal lengths."""
    if isinstance(lens, Equidistant):
        return angle
    square, factor = angle * angle, np.zeros_like(angle)
    for one in reversed(lens.k):
        factor = (factor + one) * square
    return angle * (1 + factor)


def _angle(lens: KannalaBrandt | Equidistant, radius: Floats) -> Floats:
    """Return the angle whose radius is given: the radius grows with it, so halving the interval finds it."""
    low, high = np.zeros_like(radius), np.full_like(radius, field(lens))
    beyond = radius > _radius(lens, high) * (1 + 1e-12)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        less = _radius(lens, middle) < radius
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return np.where(beyond, np.nan, (low + high) / 2)


def _distorted(across: Floats, k: tuple[float, ...]) -> Floats:
    """Return where Brown's model moves (2, …) points of the plane at distance 1."""
    x, y = across
    k1, k2, p1, p2, k3 = k
    square = x * x + y * y
    radial = 1 + square * (k1 + square * (k2 + square * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
            y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
        ]
    )


def _undistorted(moved: Floats, k: tuple[float, ...]) -> Floats:
    """Return the (2, …) points that Brown's model moves to the given ones, by Newton's method; NaN where none is near.

    The Jacobian is symmetric.
    """
    k1, k2, p1, p2, k3 = k
    x, y = found = moved.copy()
    for _ in range(_STEPS):
        x, y = found
        square = x * x + y * y
        radial = 1 + square * (k1 + square * (k2 + square * k3))
        slope = 2 * (k1 + square * (2 * k2 + square * 3 * k3))
        xx = radial + x * x * slope + 2 * p1 * y + 6 * p2 * x
        yy = radial + y * y * slope + 6 * p1 * y + 2 * p2 * x
        xy = x * y * slope + 2 * p1 * x + 2 * p2 * y
        off_x, off_y = moved - _distorted(found, k)
        with np.errstate(all="ignore"):
            step = np.stack([yy * off_x - xy * off_y, xx * off_y - xy * off_x]) / (xx * yy - xy * xy)
        found = found + np.where(np.isfinite(step), step, 0.0)
    near = np.hypot(*(moved - _distorted(found, k))) < 1e-9
    near &= found[0] ** 2 + found[1] ** 2 <= _rising_until(k1, k2, k3)
    return np.where(near, found, np.nan)


def _scales(lens: Pinhole | KannalaBrandt | Equidistant, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return focal lengths and centre in pixels of a picture of `size`, each as (x, y)."""
    if isinstance(lens, Equidistant):
        circle = lens.circle
        if circle is None:
            width, height = size
            return np.full(2, min(size) / 2 / field(lens)), np.array([(width - 1) / 2, (height - 1) / 2])
        focal, centre = np.full(2, circle.radius / field(lens)), np.array([circle.cx, circle.cy])
        scale = np.array(size) / (circle.width, circle.height)
    else:
        focal, centre = np.array([lens.fx, lens.fy]), np.array([lens.cx, lens.cy])
        scale = np.array(size) / (lens.width, lens.height)
    return focal * scale, (centre + 0.5) * scale - 0.5


def _to_picture(lens: Pinhole | KannalaBrandt | Equidistant, across: Floats, size: tuple[int, int]) -> Floats:
    focal, centre = _scales(lens, size)
    return np.moveaxis(across, 0, -1) * focal + centre


def _from_picture(lens: Pinhole | KannalaBrandt | Equidistant, points: Floats, size: tuple[int, int]) -> Floats:
    focal, centre = _scales(lens, size)
    return np.moveaxis((points - centre) / focal, -1, 0)
