"""The two kinds of body the scene is drawn from: faced solids and bundles of rounded sticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edged.camera.scene.cameras import FloatArray
from edged.camera.scene.weather import Rgb


@dataclass(frozen=True, eq=False)
class Face:
    """One flat polygon of a solid, in the solid's own axes (x forward, y left, z up; metres).

    Attributes:
        points_m: (N, 3), N >= 3.
        normal: (3,) outward; the face is drawn only when seen from outside.
        layer: faces of a higher layer are drawn over those of a lower one.
        outline: whether the face can reach the silhouette (details on other faces cannot).
        glow: 0..1, how much of its colour it emits when the lamps are on.
    """

    points_m: FloatArray
    normal: FloatArray
    colour: Rgb
    layer: int
    outline: bool
    glow: float


@dataclass(frozen=True, eq=False)
class Solid:
    """A body of faces, stored as flat arrays; `starts[i]:starts[i + 1]` are face i's vertices."""

    vertices_m: FloatArray
    starts: tuple[int, ...]
    centres_m: FloatArray
    normals: FloatArray
    colours: FloatArray
    layers: FloatArray
    outlines: tuple[bool, ...]
    glows: FloatArray
    half_length_m: float
    half_width_m: float
    height_m: float

    @staticmethod
    def of(faces: Sequence[Face]) -> Solid:
        """Join faces into one body; its footprint is the box around them."""
        vertices = np.concatenate([face.points_m for face in faces])
        reach = np.abs(vertices).max(axis=0)
        return Solid(
            vertices_m=vertices,
            starts=(0, *np.cumsum([len(face.points_m) for face in faces]).tolist()),
            centres_m=np.stack([face.points_m.mean(axis=0) for face in faces]),
            normals=np.stack([face.normal for face in faces]),
            colours=np.array([face.colour for face in faces]),
            layers=np.array([face.layer for face in faces], dtype=np.float64),
            outlines=tuple(face.outline for face in faces),
            glows=np.array([face.glow for face in faces]),
            half_length_m=float(reach[0]),
            half_width_m=float(reach[1]),
            height_m=float(vertices[:, 2].max()),
        )


@dataclass(frozen=True, eq=False)
class Sticks:
    """A body of K rounded sticks in its own axes, in metres; a ball is a stick of no length.

    Attributes:
        ends_m: (K, 2, 3) both ends.
        radii_m: (K, 2) radius at both ends.
        colours: (K, 3) in 0..255.
        glows: (K,) 0..1, how much of its colour a stick emits when the lamps are on.
    """

    ends_m: FloatArray
    radii_m: FloatArray
    colours: FloatArray
    glows: FloatArray
    half_length_m: float
    half_width_m: float
    height_m: float

    @staticmethod
    def of(ends_m: FloatArray, radii_m: FloatArray, colours: Sequence[Rgb], glows: FloatArray | None = None) -> Sticks:
        """Join sticks into one body; its footprint is the box around their ends."""
        reach = (np.abs(ends_m[..., :2]) + radii_m[..., None]).max(axis=(0, 1))
        return Sticks(
            ends_m=ends_m,
            radii_m=radii_m,
            colours=np.array(colours),
            glows=np.zeros(len(ends_m)) if glows is None else glows,
            half_length_m=float(reach[0]),
            half_width_m=float(reach[1]),
            height_m=float((ends_m[..., 2] + radii_m).max()),
        )


def face(
    points_m: Sequence[Sequence[float]],
    normal: Sequence[float],
    colour: Rgb,
    *,
    layer: int = 0,
    outline: bool = True,
    glow: float = 0.0,
) -> Face:
    """Build a face from plain numbers."""
    direction = np.array(normal, dtype=np.float64)
    points = np.array(points_m, dtype=np.float64)
    return Face(points, direction / np.linalg.norm(direction), colour, layer, outline, glow)


def box_faces(centre_m: Sequence[float], size_m: Sequence[float], colour: Rgb, *, layer: int = 0) -> list[Face]:
    """Return the five faces of an upright box that can be seen (not its underside)."""
    low = [c - s / 2 for c, s in zip(centre_m, size_m, strict=True)]
    high = [c + s / 2 for c, s in zip(centre_m, size_m, strict=True)]
    (x0, y0, z0), (x1, y1, z1) = low, high
    return [
        face([(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)], (1, 0, 0), colour, layer=layer),
        face([(x0, y0, z0), (x0, y1, z0), (x0, y1, z1), (x0, y0, z1)], (-1, 0, 0), colour, layer=layer),
        face([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], (0, 1, 0), colour, layer=layer),
        face([(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)], (0, -1, 0), colour, layer=layer),
        face([(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], (0, 0, 1), colour, layer=layer),
    ]
