"""Everything that stands beside the road and is neither pedestrian nor vehicle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edged.camera.scene.cameras import FloatArray
from edged.camera.scene.shapes import Face, Solid, Sticks, box_faces, face
from edged.camera.scene.weather import Rgb

METAL: Rgb = (104.0, 108.0, 112.0)
WALLS: tuple[Rgb, ...] = (
    (176, 152, 128), (150, 96, 78), (196, 190, 178), (128, 128, 130), (206, 178, 132), (108, 92, 84),
    (168, 178, 182), (140, 112, 92),
)  # fmt: skip
PANE: Rgb = (52.0, 62.0, 74.0)
LAMP_HEIGHT_M = 6.5


def build_building(rng: np.random.Generator, size_m: tuple[float, float, float]) -> Solid:
    """Draw a house of (length, depth, height): plain walls, rows of windows, some of them lit."""
    length, depth, height = size_m
    wall = WALLS[int(rng.integers(len(WALLS)))]
    faces = box_faces((0.0, 0.0, height / 2), size_m, wall)
    pitch = rng.uniform(2.6, 4.2)
    for side in (1.0, -1.0):
        faces += _windows(rng, length, height, pitch, np.array([1.0, 0.0]), side * depth / 2)
        faces += _windows(rng, depth, height, pitch, np.array([0.0, 1.0]), side * length / 2)
    return Solid.of(faces)


def _windows(
    rng: np.random.Generator, wide_m: float, height_m: float, pitch_m: float, along: FloatArray, out_m: float
) -> list[Face]:
    """Return the windows of one wall that runs `along` x or y, `out_m` from the middle."""
    faces = []
    normal = np.array([along[1], along[0], 0.0]) * np.sign(out_m)
    for floor in range(int(height_m // 3.2)):
        for u in np.arange(-wide_m / 2 + pitch_m / 2, wide_m / 2 - 0.9, pitch_m):
            lit = rng.uniform() < 0.15
            z0, z1 = floor * 3.2 + 0.9, floor * 3.2 + 2.4
            corners = [(u - 0.6, z0), (u + 0.6, z0), (u + 0.6, z1), (u - 0.6, z1)]
            quad = [(c * along[0] + out_m * along[1], c * along[1] + out_m * along[0], z) for c, z in corners]
            colour = (232.0, 200.0, 130.0) if lit else PANE
            shade = PANE if lit and rng.uniform() < 0.5 else colour
            faces.append(face(quad, normal.tolist(), shade, layer=1, outline=False, glow=0.75 if lit else 0.0))
    return faces


def build_tree(rng: np.random.Generator) -> Sticks:
    """Draw a tree, or every fourth time a bush without a trunk."""
    bush = rng.uniform() < 0.25
    trunk_m = 0.3 if bush else rng.uniform(1.6, 3.2)
    crown_m = rng.uniform(0.5, 0.8) if bush else rng.uniform(1.2, 2.4)
    count = 5 if bush else 9
    green = np.array([58.0, 96.0, 44.0]) * rng.uniform(0.7, 1.3) + rng.normal(0.0, 8.0, 3)
    spread = rng.normal(0.0, 0.5, (count, 3)) * crown_m
    centres = spread * np.array([1.0, 1.0, 0.6]) + np.array([0.0, 0.0, trunk_m + crown_m * 0.8])
    radii = rng.uniform(0.4, 0.75, count) * crown_m
    tints = np.clip(green * rng.uniform(0.8, 1.2, (count, 1)), 5, 200)
    trunk = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, trunk_m + 0.5 * crown_m]]])
    ends = np.concatenate([trunk, np.repeat(centres[:, None, :], 2, axis=1)])
    ends[..., 2] = np.maximum(ends[..., 2], 0.1)
    both = np.concatenate([[[0.16, 0.1]], np.repeat(radii[:, None], 2, axis=1)])
    return Sticks.of(ends, both, [(78.0, 60.0, 44.0), *(tuple(t) for t in tints.tolist())])


def build_lamp_post() -> Sticks:
    """Draw a street lamp; +x is the side it lights."""
    top = LAMP_HEIGHT_M
    ends = np.array([[[0, 0, 0], [0, 0, top]], [[0, 0, top], [1.4, 0, top]], [[1.2, 0, top], [1.7, 0, top]]])
    radii = np.array([[0.09, 0.06], [0.05, 0.05], [0.1, 0.1]])
    return Sticks.of(ends * 1.0, radii, [METAL, METAL, (250.0, 236.0, 196.0)], np.array([0.0, 0.0, 1.0]))


def build_furniture(rng: np.random.Generator) -> Sticks:
    """Draw a bin, bollard, sign, post, kiosk or hydrant: things a detector may take for people."""
    kind = int(rng.integers(6))
    tint = PAINT_BOX[int(rng.integers(len(PAINT_BOX)))]
    red: Rgb = (190.0, 40.0, 36.0)
    parts: tuple[_Part, _Part]
    if kind == 0:  # a litter bin with a lid
        top = rng.uniform(0.8, 1.25)
        parts = _Part(0.2, top, 0.24, 0.28, tint), _Part(top, top, 0.3, 0.3, METAL)
    elif kind == 1:  # a bollard with a bright cap
        parts = _Part(0.0, 0.95, 0.09, 0.09, tint), _Part(0.9, 1.0, 0.095, 0.095, (230.0, 230.0, 225.0))
    elif kind == 2:  # a traffic sign, about as tall as a person
        top = rng.uniform(1.6, 2.5)
        parts = _Part(0.0, top, 0.035, 0.035, METAL), _Part(top, top + 0.1, 0.3, 0.3, tint)
    elif kind == 3:  # a pole with a box, narrow like a person seen from the side
        top = rng.uniform(1.3, 1.9)
        parts = _Part(0.0, top, 0.07, 0.07, METAL), _Part(top * 0.6, top * 0.85, 0.16, 0.16, tint)
    elif kind == 4:  # an advertising column
        parts = _Part(0.3, 2.4, 0.55, 0.55, tint), _Part(2.6, 2.7, 0.6, 0.4, METAL)
    else:  # a hydrant
        parts = _Part(0.1, 0.45, 0.13, 0.13, red), _Part(0.5, 0.65, 0.17, 0.1, red)
    ends = np.array([((0.0, 0.0, part.low_m), (0.0, 0.0, part.high_m)) for part in parts])
    radii = np.array([(part.low_radius_m, part.high_radius_m) for part in parts])
    return Sticks.of(ends, radii, [part.colour for part in parts])


@dataclass(frozen=True)
class _Part:
    """An upright stick."""

    low_m: float
    high_m: float
    low_radius_m: float
    high_radius_m: float
    colour: Rgb


PAINT_BOX: tuple[Rgb, ...] = (
    (40, 84, 60), (70, 74, 80), (176, 44, 40), (40, 74, 150), (206, 170, 60), (150, 150, 152), (120, 84, 60),
)  # fmt: skip
