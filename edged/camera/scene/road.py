"""The road: a gently curved centre line, its lanes, kerbs and pavements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edged.camera.scene.cameras import FloatArray
from edged.camera.scene.truth import LineKind

START_M = -160.0
END_M = 1060.0
LANE_M = 3.5


@dataclass(frozen=True)
class Line:
    """One painted line, `offset_m` left of the road's reference line."""

    offset_m: float
    kind: LineKind
    colour: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Road:
    """A road in (s, d): s metres along its reference line, d metres to the left of it.

    The reference line is where the two directions meet; the ego car drives on the right of it.

    Attributes:
        x_m, y_m, heading_rad: the reference line, sampled each metre from START_M.
        lanes_ahead, lanes_oncoming: how many lanes on the right and on the left of it.
        parking_m: width of the parking strips (right, left); 0 is none.
        pavement_m: width of the pavements (right, left).
        dash_m, gap_m: the pattern of a dashed line.
        crossings_m: s of each zebra crossing.
    """

    x_m: FloatArray
    y_m: FloatArray
    heading_rad: FloatArray
    lanes_ahead: int
    lanes_oncoming: int
    parking_m: tuple[float, float]
    pavement_m: tuple[float, float]
    dash_m: float
    gap_m: float
    lines: tuple[Line, ...]
    crossings_m: tuple[float, ...]

    @property
    def edges_m(self) -> tuple[float, float]:
        """Return d of the outer lane lines (right, left)."""
        return -self.lanes_ahead * LANE_M, self.lanes_oncoming * LANE_M

    @property
    def kerbs_m(self) -> tuple[float, float]:
        """Return d of the kerbs (right, left), beyond any parking strip."""
        right, left = self.edges_m
        return right - 0.35 - self.parking_m[0], left + 0.35 + self.parking_m[1]

    @property
    def verges_m(self) -> tuple[float, float]:
        """Return d of the pavements' outer edges (right, left)."""
        right, left = self.kerbs_m
        return right - self.pavement_m[0], left + self.pavement_m[1]

    def heading_at(self, s_m: FloatArray | float) -> FloatArray:
        """Return the heading in rad at each s."""
        at = np.asarray(s_m, dtype=np.float64) - START_M
        return np.interp(at, np.arange(self.heading_rad.size), self.heading_rad)

    def at(self, s_m: FloatArray | float, d_m: FloatArray | float) -> FloatArray:
        """Return world points (..., 3) on the ground for road coordinates of any shape."""
        s, d = np.broadcast_arrays(np.asarray(s_m, dtype=np.float64), np.asarray(d_m, dtype=np.float64))
        grid = np.arange(self.x_m.size)
        heading = self.heading_at(s)
        x = np.interp(s - START_M, grid, self.x_m) - np.sin(heading) * d
        y = np.interp(s - START_M, grid, self.y_m) + np.cos(heading) * d
        return np.stack([x, y, np.zeros_like(x)], axis=-1)

    @staticmethod
    def build(rng: np.random.Generator) -> Road:
        """Draw a road: 2 to 4 lanes, straight or bending with radii of 130 m and more."""
        s = np.arange(START_M, END_M + 1.0)
        curve = np.zeros_like(s)
        for _ in range(3):
            period_m = rng.uniform(180.0, 520.0)
            curve += rng.uniform(0.0, 0.0035) * np.sin(2 * np.pi * (s / period_m + rng.uniform()))
        curve *= rng.choice([0.0, 0.5, 1.0, 1.0])
        heading = np.cumsum(curve) + rng.uniform(-np.pi, np.pi)
        lanes = int(rng.integers(2, 5))
        ahead = {2: 1, 3: 2, 4: 2}[lanes]
        white, yellow = (225.0, 225.0, 220.0), (215.0, 175.0, 70.0)
        worn = rng.uniform(0.72, 1.05)
        middle = yellow if rng.uniform() < 0.25 else white
        lines = tuple(
            Line(
                offset_m=k * LANE_M,
                kind="solid" if k in (-ahead, lanes - ahead) else "dashed",
                colour=tuple(c * worn for c in (middle if k == 0 else white)),  # type: ignore[arg-type]
            )
            for k in range(-ahead, lanes - ahead + 1)
        )
        first = rng.uniform(20.0, 90.0)
        return Road(
            x_m=np.cumsum(np.cos(heading)),
            y_m=np.cumsum(np.sin(heading)),
            heading_rad=heading,
            lanes_ahead=ahead,
            lanes_oncoming=lanes - ahead,
            parking_m=(float(rng.choice([0.0, 2.2])), float(rng.choice([0.0, 2.2]))),
            pavement_m=(float(rng.uniform(2.0, 4.0)), float(rng.uniform(2.0, 4.0))),
            dash_m=float(rng.uniform(2.5, 4.5)),
            gap_m=float(rng.uniform(3.5, 6.5)),
            lines=lines,
            crossings_m=tuple(np.arange(first, END_M - 60.0, rng.uniform(70.0, 160.0)).tolist()),
        )
