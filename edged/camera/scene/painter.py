"""Painting of bodies, far to near, and the order to do it in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edged.camera.scene.cameras import NEAR_M, Eye, FloatArray
from edged.camera.scene.canvas import Canvas
from edged.camera.scene.light import Light
from edged.camera.scene.shapes import Solid, Sticks

_DETAIL_M = 32.0
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 7)


@dataclass(frozen=True, eq=False)
class Stand:
    """Where one body stands in the world, and how far it is from the camera."""

    x_m: float
    y_m: float
    yaw_rad: float
    distance_m: float

    def to_world(self, points_m: FloatArray) -> FloatArray:
        """Move (..., 3) points from the body's axes into the world."""
        moved: FloatArray = self.turn(points_m) + np.array([self.x_m, self.y_m, 0.0])
        return moved

    def turn(self, vectors: FloatArray) -> FloatArray:
        """Turn (..., 3) vectors from the body's axes into the world's."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        turned: FloatArray = vectors @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return turned


@dataclass(frozen=True, eq=False)
class Painted:
    """What one body left on the canvas.

    Attributes:
        outlines_px: the polygons of its silhouette, not clipped to the picture.
        box_px: (4,) x1, y1, x2, y2 around them.
        glows: (x px, y px, radius px, colour) of what shines.
    """

    outlines_px: list[FloatArray]
    box_px: FloatArray
    glows: list[tuple[float, float, float, FloatArray]]


def paint_solid(canvas: Canvas, eye: Eye, light: Light, solid: Solid, stand: Stand, body: int) -> Painted | None:
    """Paint a solid as body number `body`; None when nothing of it is before the camera."""
    centres = stand.to_world(solid.centres_m)
    normals = stand.turn(solid.normals)
    seen = ((eye.origin_m - centres) * normals).sum(axis=1) > 0.0
    if stand.distance_m * 400.0 / eye.camera.focal_px > _DETAIL_M:
        seen &= np.array(solid.outlines) | (solid.glows > 0.3)
    away = ((eye.origin_m - centres) ** 2).sum(axis=1)
    order = np.lexsort((-away, solid.layers))
    points = eye.to_camera(stand.to_world(solid.vertices_m))
    whole = eye.to_pixels(points) if points[:, 2].min() >= NEAR_M else None
    colours = _lit(light, solid, normals, stand)
    outlines, glows = [], []
    for k in order[seen[order]]:
        span = slice(solid.starts[k], solid.starts[k + 1])
        outline = whole[span] if whole is not None else eye.outline(points[span])
        if outline is None:
            continue
        canvas.fill(outline, colours[k], body if solid.outlines[k] else 0)
        if solid.outlines[k]:
            outlines.append(outline)
        elif solid.glows[k] > 0.3 and solid.layers[k] == 3:
            x, y = outline.mean(axis=0)
            glows.append((float(x), float(y), 0.3 * eye.camera.focal_px / stand.distance_m, solid.colours[k]))
    return _painted(outlines, glows)


def _lit(light: Light, solid: Solid, normals: FloatArray, stand: Stand) -> FloatArray:
    gain = light.gain_at(np.array([stand.x_m, stand.y_m]))
    facing = np.clip(normals @ light.sun, 0.0, 1.0)
    shade = 0.82 + 0.18 * normals[:, 2]
    gains = gain * shade[:, None] + light.weather.sun * facing[:, None]
    glow = (solid.glows * light.weather.lamps)[:, None]
    lit = solid.colours * np.maximum(gains, glow * 1.15)
    return np.clip(light.through_air(lit, stand.distance_m), 0, 255)


def paint_sticks(canvas: Canvas, eye: Eye, light: Light, sticks: Sticks, stand: Stand, body: int) -> Painted | None:
    """Paint a bundle of sticks as body number `body`; None when it is too close or behind."""
    ends = eye.to_camera(stand.to_world(sticks.ends_m))
    if ends[..., 2].min() < NEAR_M:
        return None
    pixels = eye.to_pixels(ends)
    radii = sticks.radii_m * eye.camera.focal_px / ends[..., 2]
    along = pixels[:, 1] - pixels[:, 0]
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None] + _ARC
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    outlines = np.concatenate(
        [pixels[:, 1, None] + radii[:, 1, None, None] * arc, pixels[:, 0, None] - radii[:, 0, None, None] * arc],
        axis=1,
    )
    gain = light.gain_at(np.array([stand.x_m, stand.y_m])) * 0.92
    lean = float(np.clip(light.sun[:2] @ _toward(eye, stand), -1.0, 1.0))
    gains = gain + light.weather.sun * (0.45 + 0.35 * lean)
    glow = sticks.glows * light.weather.lamps
    lit = sticks.colours * np.maximum(gains, glow[:, None] * 1.2)
    colours = np.clip(light.through_air(lit, stand.distance_m), 0, 255)
    glows = []
    for k in np.argsort(-ends[..., 2].mean(axis=1), kind="stable"):
        canvas.fill(outlines[k], colours[k], body)
        if glow[k] > 0.3:
            x, y = pixels[k].mean(axis=0)
            glows.append((float(x), float(y), 0.5 * eye.camera.focal_px / stand.distance_m, sticks.colours[k]))
    return _painted(list(outlines), glows)


def _toward(eye: Eye, stand: Stand) -> FloatArray:
    way = eye.origin_m[:2] - np.array([stand.x_m, stand.y_m])
    unit: FloatArray = way / max(float(np.hypot(*way)), 1e-6)
    return unit


def _painted(outlines: list[FloatArray], glows: list[tuple[float, float, float, FloatArray]]) -> Painted | None:
    if not outlines:
        return None
    points = np.concatenate(outlines)
    return Painted(outlines, np.concatenate([points.min(axis=0), points.max(axis=0)]), glows)


def paint_order(centres_m: FloatArray, yaws_rad: FloatArray, halves_m: FloatArray, origin_m: FloatArray) -> list[int]:
    """Sort bodies so that none is painted over something it stands behind.

    Two bodies are compared by a side of one footprint that has the other wholly beyond it: the
    one on the camera's side of that line is nearer. Distance settles what is left.

    Args:
        centres_m: (N, 2) middles of the footprints in the world.
        yaws_rad: (N,) their headings.
        halves_m: (N, 2) half length and half width.
        origin_m: (2,) the camera.
    """
    count = len(centres_m)
    along = np.stack([np.cos(yaws_rad), np.sin(yaws_rad)], axis=-1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    axes = np.stack([along, across], axis=1)
    corners = centres_m[:, None] + np.einsum("nk,cnk,nkd->ncd", halves_m, _corner_signs(count), axes)
    local = np.einsum("ijcd,ikd->ijck", corners[None] - centres_m[:, None, None], axes)
    camera = np.einsum("id,ikd->ik", origin_m - centres_m, axes)
    beyond = np.concatenate([local.min(axis=2) >= halves_m[:, None], local.max(axis=2) <= -halves_m[:, None]], axis=2)
    on_side = np.concatenate([camera >= halves_m, camera <= -halves_m], axis=1)[:, None]
    in_front = (beyond & on_side).any(axis=2)
    behind = (beyond & ~on_side).any(axis=2)
    over = (in_front | behind.T) & ~(behind | in_front.T)
    np.fill_diagonal(over, val=False)
    farness = np.hypot(*(centres_m - origin_m).T)
    return _topological(over, farness)


def _corner_signs(count: int) -> FloatArray:
    signs = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)], dtype=np.float64)
    return np.broadcast_to(signs[:, None, :], (4, count, 2))


def _topological(over: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], farness: FloatArray) -> list[int]:
    """Order rows so that i comes before j where `over[i, j]` (j is nearer); farthest first."""
    waiting = over.sum(axis=0).astype(np.int64)
    left = np.ones(len(farness), dtype=np.bool_)
    order = []
    for _ in range(len(farness)):
        ready = left & (waiting <= 0)
        pool = ready if ready.any() else left
        pick = int(np.argmax(np.where(pool, farness, -1.0)))
        order.append(pick)
        left[pick] = False
        waiting -= over[pick]
    return order
