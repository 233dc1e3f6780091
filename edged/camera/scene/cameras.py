"""The six cameras on the ego car and the geometry of looking through one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

WIDTH_PX = 640
HEIGHT_PX = 360
NEAR_M = 0.25
_FAR_PX = 20_000.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera fixed to the ego car.

    Car axes: x forward, y left, z up, origin on the road below the car's middle. Yaw turns left,
    pitch looks down.
    """

    name: str
    x_m: float
    y_m: float
    z_m: float
    yaw_deg: float
    pitch_deg: float
    hfov_deg: float

    @property
    def focal_px(self) -> float:
        """Return the focal length."""
        return WIDTH_PX / 2 / math.tan(math.radians(self.hfov_deg) / 2)

    def rotation(self) -> FloatArray:
        """Return the (3, 3) matrix from car axes to camera axes (x right, y down, z ahead)."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        ahead = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), -math.sin(pitch)])
        right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        return np.stack([right, np.cross(ahead, right), ahead])


CAMERAS: dict[str, Camera] = {
    camera.name: camera
    for camera in (
        Camera("front_wide", 1.2, 0.0, 1.45, 0, 4, 100),
        Camera("front_narrow", 1.2, 0.0, 1.45, 0, 1, 45),
        Camera("front_left", 0.8, 0.8, 1.35, 50, 7, 80),
        Camera("front_right", 0.8, -0.8, 1.35, -50, 7, 80),
        Camera("rear_left", -0.4, 0.8, 1.35, 140, 7, 80),
        Camera("rear_right", -0.4, -0.8, 1.35, -140, 7, 80),
    )
}


@dataclass(frozen=True, eq=False)
class Eye:
    """One camera at one moment: where it is in the world, and how it sees.

    Attributes:
        origin_m: (3,) the pinhole in world coordinates.
        axes: (3, 3) world to camera rotation.
        heading_rad: the car's heading in the world.
    """

    camera: Camera
    origin_m: FloatArray
    axes: FloatArray
    heading_rad: float

    @staticmethod
    def of(camera: Camera, x_m: float, y_m: float, heading_rad: float) -> Eye:
        """Place `camera` on a car whose origin is at (x_m, y_m) on the ground."""
        cos, sin = math.cos(heading_rad), math.sin(heading_rad)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        mount = turn @ np.array([camera.x_m, camera.y_m, camera.z_m])
        return Eye(camera, mount + np.array([x_m, y_m, 0.0]), camera.rotation() @ turn.T, heading_rad)

    def to_camera(self, points_m: FloatArray) -> FloatArray:
        """Turn (..., 3) world points into camera axes."""
        seen: FloatArray = (points_m - self.origin_m) @ self.axes.T
        return seen

    def to_pixels(self, points_m: FloatArray) -> FloatArray:
        """Project (..., 3) camera points with z > 0 to (..., 2) px (edges convention)."""
        scale = self.camera.focal_px / points_m[..., 2]
        x_px = points_m[..., 0] * scale + WIDTH_PX / 2
        y_px = points_m[..., 1] * scale + HEIGHT_PX / 2
        return np.stack([x_px, y_px], axis=-1)

    def outline(self, points_m: FloatArray) -> FloatArray | None:
        """Project a (N, 3) polygon in camera axes, cut at the near plane; None when behind it."""
        z_m = points_m[:, 2]
        if z_m.min() < NEAR_M:
            if z_m.max() <= NEAR_M:
                return None
            points_m = _cut(points_m)
            return np.clip(self.to_pixels(points_m), -_FAR_PX, _FAR_PX)
        return self.to_pixels(points_m)


def _cut(points_m: FloatArray) -> FloatArray:
    """Keep the part of a closed (N, 3) polygon that lies beyond the near plane."""
    after = np.roll(points_m, -1, axis=0)
    inside, inside_after = points_m[:, 2] >= NEAR_M, after[:, 2] >= NEAR_M
    step = np.where(inside != inside_after, after[:, 2] - points_m[:, 2], 1.0)
    crossing = points_m + (after - points_m) * ((NEAR_M - points_m[:, 2]) / step)[:, None]
    crossing[:, 2] = NEAR_M
    both = np.stack([points_m, crossing], axis=1).reshape(-1, 3)
    keep: FloatArray = both[np.stack([inside, inside != inside_after], axis=1).reshape(-1)]
    return keep
