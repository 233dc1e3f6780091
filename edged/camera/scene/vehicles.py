"""Cars, vans, trucks and buses: a side profile drawn out to the vehicle's width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edged.camera.scene.shapes import Face, Solid, box_faces, face
from edged.camera.scene.weather import Rgb

GLASS: Rgb = (38.0, 44.0, 52.0)
TYRE: Rgb = (24.0, 24.0, 25.0)
RIM: Rgb = (120.0, 122.0, 125.0)

PAINTS: tuple[Rgb, ...] = (
    (205, 207, 208), (232, 232, 230), (40, 42, 46), (98, 102, 108), (150, 154, 158), (150, 24, 28),
    (28, 56, 120), (60, 96, 150), (36, 84, 58), (196, 160, 40), (120, 84, 56), (214, 98, 30), (84, 30, 58),
)  # fmt: skip


@dataclass(frozen=True)
class Body:
    """One make of vehicle.

    Attributes:
        length_m, width_m, height_m: ranges to draw from.
        profile: side outline from the front bottom over the roof to the rear bottom, as
            (x, z, surface): x in -1..1 of the half length, z in 0..1 of the height; `surface`
            names the strip from this point to the next: body, glass, or roof.
        windows: side windows, each a polygon of (x, z).
        axles: x of the wheels.
        wheel_m: radius of the wheels.
        taper: width at the roof as a share of the full width.
    """

    length_m: tuple[float, float]
    width_m: tuple[float, float]
    height_m: tuple[float, float]
    profile: tuple[tuple[float, float, str], ...]
    windows: tuple[tuple[tuple[float, float], ...], ...]
    axles: tuple[float, ...]
    wheel_m: float
    taper: float


BODIES: dict[str, Body] = {
    "saloon": Body(
        (4.3, 4.9), (1.75, 1.9), (1.38, 1.52),
        ((0.97, 0.14, "body"), (1.0, 0.36, "body"), (0.95, 0.5, "body"), (0.42, 0.64, "glass"),
         (0.1, 0.98, "roof"), (-0.38, 1.0, "glass"), (-0.72, 0.68, "body"), (-0.97, 0.62, "body"),
         (-1.0, 0.34, "body"), (-0.97, 0.14, "body")),
        (((0.34, 0.66), (0.1, 0.92), (-0.1, 0.94), (-0.1, 0.66)),
         ((-0.14, 0.66), (-0.14, 0.94), (-0.36, 0.92), (-0.58, 0.68))),
        (0.62, -0.58), 0.33, 0.76,
    ),
    "hatchback": Body(
        (3.7, 4.3), (1.65, 1.82), (1.42, 1.62),
        ((0.97, 0.14, "body"), (1.0, 0.36, "body"), (0.94, 0.52, "body"), (0.5, 0.64, "glass"),
         (0.14, 0.98, "roof"), (-0.7, 1.0, "glass"), (-0.93, 0.62, "body"), (-1.0, 0.36, "body"),
         (-0.97, 0.14, "body")),
        (((0.42, 0.65), (0.14, 0.92), (-0.14, 0.93), (-0.14, 0.65)),
         ((-0.18, 0.65), (-0.18, 0.93), (-0.66, 0.92), (-0.76, 0.66))),
        (0.63, -0.62), 0.32, 0.8,
    ),
    "suv": Body(
        (4.4, 4.9), (1.85, 2.0), (1.65, 1.85),
        ((0.97, 0.16, "body"), (1.0, 0.4, "body"), (0.94, 0.57, "body"), (0.45, 0.64, "glass"),
         (0.2, 0.97, "roof"), (-0.84, 1.0, "glass"), (-0.96, 0.63, "body"), (-1.0, 0.36, "body"),
         (-0.97, 0.16, "body")),
        (((0.38, 0.66), (0.18, 0.92), (-0.12, 0.93), (-0.12, 0.66)),
         ((-0.16, 0.66), (-0.16, 0.93), (-0.74, 0.92), (-0.8, 0.66))),
        (0.6, -0.6), 0.37, 0.84,
    ),
    "van": Body(
        (4.9, 6.0), (1.95, 2.1), (2.0, 2.6),
        ((0.98, 0.12, "body"), (1.0, 0.34, "body"), (0.93, 0.46, "body"), (0.72, 0.54, "glass"),
         (0.5, 0.96, "roof"), (0.4, 1.0, "roof"), (-0.98, 1.0, "body"), (-1.0, 0.5, "body"),
         (-0.99, 0.12, "body")),
        (((0.66, 0.56), (0.5, 0.86), (0.28, 0.86), (0.28, 0.56)),),
        (0.66, -0.6), 0.35, 0.92,
    ),
    "truck": Body(
        (7.0, 10.0), (2.3, 2.5), (3.0, 3.7),
        ((1.0, 0.12, "body"), (1.0, 0.4, "glass"), (0.96, 0.72, "roof"), (0.6, 0.74, "body"),
         (0.6, 0.28, "body"), (0.54, 0.28, "cargo"), (0.54, 1.0, "cargo"), (-1.0, 1.0, "cargo"),
         (-1.0, 0.28, "cargo"), (-0.97, 0.16, "cargo")),
        (((0.94, 0.44), (0.92, 0.66), (0.72, 0.66), (0.72, 0.44)),),
        (0.78, -0.45, -0.68), 0.48, 0.99,
    ),
    "bus": Body(
        (10.0, 12.0), (2.45, 2.55), (2.9, 3.2),
        ((1.0, 0.1, "body"), (1.0, 0.36, "glass"), (0.98, 0.86, "body"), (0.96, 1.0, "roof"),
         (-0.97, 1.0, "body"), (-1.0, 0.86, "glass"), (-1.0, 0.5, "body"), (-0.99, 0.1, "body")),
        tuple(
            ((x, 0.42), (x, 0.82), (x - 0.27, 0.82), (x - 0.27, 0.42)) for x in (0.9, 0.6, 0.3, 0.0, -0.3, -0.6)
        ),
        (0.66, -0.55), 0.48, 0.96,
    ),
}  # fmt: skip


def build_vehicle(rng: np.random.Generator, kind: str) -> Solid:
    """Draw one vehicle of a make in `BODIES`, standing at its own origin and facing +x."""
    body = BODIES[kind]
    half, width, height = (
        float(rng.uniform(*span)) * scale
        for span, scale in ((body.length_m, 0.5), (body.width_m, 1.0), (body.height_m, 1.0))
    )
    paint = _vary(rng, PAINTS[int(rng.integers(len(PAINTS)))])
    cargo = _vary(rng, (218, 216, 208) if rng.uniform() < 0.5 else PAINTS[int(rng.integers(len(PAINTS)))])
    tints: dict[str, Rgb] = {"body": paint, "roof": paint, "glass": GLASS, "cargo": cargo}

    def side_m(z: float) -> float:
        return width / 2 * (1.0 - (1.0 - body.taper) * max(0.0, (z - 0.6) / 0.4))

    outline = [(x * half, z * height, side_m(z)) for x, z, _ in body.profile]
    faces = []
    for (x0, z0, w0), (x1, z1, w1), (_, _, surface) in zip(outline[:-1], outline[1:], body.profile[:-1], strict=True):
        strip = [(x0, w0, z0), (x0, -w0, z0), (x1, -w1, z1), (x1, w1, z1)]
        faces.append(face(strip, (z1 - z0, 0.0, x0 - x1), tints[surface]))
    for side in (1.0, -1.0):
        flank = [(x, side * w, z) for x, z, w in outline]
        faces.append(face(flank, (0.0, side, 0.0), cargo if kind == "truck" else paint, layer=1))
        if kind == "truck":
            faces.append(face(flank[:5], (0.0, side, 0.0), paint, layer=2, outline=False))
        for window in body.windows:
            pane = [(x * half, side * side_m(z), z * height) for x, z in window]
            faces.append(face(pane, (0.0, side, 0.0), GLASS, layer=3, outline=False))
    faces += _wheels(body, half, width)
    faces += _lamps(half, width, height)
    if kind == "truck":
        faces += box_faces((0.0, 0.0, 0.65), (1.9 * half, width * 0.8, 0.5), (44, 44, 46), layer=-1)
    return Solid.of(faces)


def _wheels(body: Body, half_m: float, width_m: float) -> list[Face]:
    """Return tyres: discs on the flanks, and their treads seen from ahead and behind."""
    faces = []
    turn = np.linspace(0.0, 2 * np.pi, 12, endpoint=False)
    r = body.wheel_m
    for axle in body.axles:
        x = axle * half_m
        for side in (1.0, -1.0):
            y, inner = side * width_m / 2 * 1.005, side * (width_m / 2 - 0.22)
            for radius, colour, layer in ((r, TYRE, 2), (r * 0.62, RIM, 3)):
                disc = np.stack([x + radius * np.cos(turn), np.full(12, y), r + radius * np.sin(turn)], axis=1)
                faces.append(face(disc.tolist(), (0.0, side, 0.0), colour, layer=layer, outline=layer == 2))
            for end in (1.0, -1.0):
                at = x + end * r * 0.6
                tread = [(at, y, 0.0), (at, inner, 0.0), (at, inner, r), (at, y, r)]
                faces.append(face(tread, (end, 0.0, 0.0), TYRE, layer=-1))
    return faces


def _lamps(half_m: float, width_m: float, height_m: float) -> list[Face]:
    """Return head and tail lamps and number plates, slightly outside the body."""
    faces = []
    tall = height_m if height_m < 2.0 else 1.7
    parts: Sequence[tuple[float, float, float, float, float, Rgb, float]] = (
        (1.01, 0.58, 0.92, 0.4, 0.5, (245, 242, 225), 1.0),
        (1.01, -0.92, -0.58, 0.4, 0.5, (245, 242, 225), 1.0),
        (1.01, -0.28, 0.28, 0.22, 0.3, (225, 225, 220), 0.0),
        (-1.01, 0.66, 0.95, 0.42, 0.56, (196, 26, 24), 0.75),
        (-1.01, -0.95, -0.66, 0.42, 0.56, (196, 26, 24), 0.75),
        (-1.01, -0.28, 0.28, 0.36, 0.44, (225, 205, 120), 0.1),
    )
    for x, y0, y1, z0, z1, colour, glow in parts:
        (ya, yb), (za, zb) = (y0 * width_m / 2, y1 * width_m / 2), (z0 * tall, z1 * tall)
        at = x * half_m
        quad = [(at, ya, za), (at, yb, za), (at, yb, zb), (at, ya, zb)]
        faces.append(face(quad, (x, 0.0, 0.0), colour, layer=3, outline=False, glow=glow))
    return faces


def _vary(rng: np.random.Generator, colour: Rgb) -> Rgb:
    shift = rng.normal(0.0, 9.0, 3)
    red, green, blue = (float(np.clip(c + s, 8, 245)) for c, s in zip(colour, shift, strict=True))
    return red, green, blue
