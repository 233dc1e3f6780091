"""Lenses and the perspective views that are made of their pictures, as frozen values. The mathematics is in `optics`.

Camera coordinates are x to the right, y down, z forward along the lens's axis. Pixel coordinates have the centre of
the first pixel at (0, 0), as OpenCV has it. Angles are in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, cos, degrees, radians


@dataclass(frozen=True)
class Pinhole:
    """A rectilinear lens with the distortion of Brown (1966): `k` is (k1, k2, p1, p2, k3), OpenCV's order.

    Focal lengths and centre are in pixels of a calibration picture of `width` x `height`.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    k: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class KannalaBrandt:
    """A fisheye lens as Kannala and Brandt (2006) model it: `k` is (k1, k2, k3, k4), as in OpenCV's `fisheye` module.

    Nothing is seen beyond the full field `fov_deg`. Focal lengths and centre are in pixels of a calibration picture of
    `width` x `height`.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    k: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    fov_deg: float = 360.0


@dataclass(frozen=True)
class Circle:
    """Where a fisheye's image circle lies, in pixels of a picture of `width` x `height`."""

    cx: float
    cy: float
    radius: float
    width: int
    height: int


@dataclass(frozen=True)
class Equidistant:
    """An ideal fisheye: the distance from the centre is proportional to the angle, `fov_deg` across the whole circle.

    Without a `circle` it is the largest one that the picture holds.
    """

    fov_deg: float
    circle: Circle | None = None


@dataclass(frozen=True)
class Equirectangular:
    """A full panorama of 360 by 180 degrees, its middle forward: columns are longitudes, rows latitudes."""


Lens = Pinhole | KannalaBrandt | Equidistant | Equirectangular


def field_deg(lens: Lens) -> float:
    """Return the full field that a lens has at most, from edge to edge; what is beyond is certainly not seen."""
    if isinstance(lens, Pinhole):
        return 180.0
    return 360.0 if isinstance(lens, Equirectangular) else lens.fov_deg


@dataclass(frozen=True)
class View:
    """A perspective picture of `width` x `height` square pixels, cut out of a lens's field.

    It looks `yaw_deg` to the right and `pitch_deg` up from the lens's axis, and is rolled clockwise by `roll_deg` as
    seen from behind it, in this order of turns. `fov_deg` is its angle from the left edge to the right one.
    """

    lens: Lens
    width: int
    height: int
    fov_deg: float
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    @property
    def off_axis_deg(self) -> float:
        """The angle from the lens's axis to the middle of the view."""
        return degrees(acos(max(-1.0, min(1.0, cos(radians(self.yaw_deg)) * cos(radians(self.pitch_deg))))))
