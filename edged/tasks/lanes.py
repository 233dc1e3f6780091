"""Strokes -> lane lines: joins the dashes and pieces that lie on one curve and smooths it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.tasks.strokes import Stroke

_END = 10
"""Points that tell the direction of a stroke's end."""
_APART, _APART_PER_GAP = 1.2, 0.09
"""Cells, and cells for each cell of gap, that the next dash may lie beside the way a line goes on."""
_BEND, _BEND_MOST = 0.15, 0.56
"""Radians by which a line may turn from one piece to the next, beside what noise and its own curve explain."""
_WIDEST = 0.5
"""A line is longer than wide: what is wider than this share of its length is a blob."""
_MOST_POINTS = 16
_SPACING = 5.0
"""Cells between two points of a short polyline."""
_OFF = 1.0
"""Cells that a centre point may lie off a smooth line before a more flexible one is tried."""
_RIDGE = 1e-9 * np.eye(6)
"""Keeps the equations of a fit solvable, whatever the points."""


@dataclass(frozen=True)
class LaneLine:
    """One line: (N, 2) points in cells, near to far, and the mean probability of its cells."""

    points: NDArray[np.float64]
    score: float


class _End(NamedTuple):
    """Where a piece ends and which way it would go on; a blunt one is too short for its width to tell.

    `turn` is how far it may turn for each cell, in radians: as a long piece does itself, a short one freely;
    `noise` is how far off the direction may be.
    """

    x: float
    y: float
    dx: float
    dy: float
    blunt: bool = False
    turn: float = 1.0
    noise: float = 0.0


class _Piece:
    """One or more strokes joined, in order; `ends` are those of its first and its last point."""

    def __init__(
        self, points: NDArray[np.float64], whole: NDArray[np.bool_], sureness: float, cells: int, strokes: int = 1
    ) -> None:
        self.points, self.whole, self.sureness, self.cells, self.strokes = points, whole, sureness, cells, strokes
        self.width = width = cells / len(points)
        few = points[: max(_END, int(4 * width))].tolist(), points[-max(_END, int(4 * width)) :].tolist()
        cap = min(int(width / 2), len(few[0]) // 4)
        self.length = math.dist(few[0][0], few[1][-1])
        blunt = self.length < 2 * width
        ends = _end(few[0][::-1], cap), _end(few[1], cap)
        turn = 1.0
        if self.length > 3 * _END:
            ahead = -(ends[0].dx * ends[1].dx + ends[0].dy * ends[1].dy)
            turn = math.acos(max(-1.0, min(1.0, ahead))) / self.length
        noise = 2 / max(self.length, 1.0)
        self.ends = _End(*ends[0][:4], blunt, turn, noise), _End(*ends[1][:4], blunt, turn, noise)

    def joined(self, side: int, other: _Piece, other_side: int) -> _Piece:
        """Return this piece with another one attached to its end `side`."""
        mine = slice(None) if side else slice(None, None, -1)
        theirs = slice(None, None, -1) if other_side else slice(None)
        return _Piece(
            np.concatenate((self.points[mine], other.points[theirs])),
            np.concatenate((self.whole[mine], other.whole[theirs])),
            self.sureness + other.sureness,
            self.cells + other.cells,
            self.strokes + other.strokes,
        )

    def half(self, side: int) -> _Piece:
        """Return the outer half at end `side`."""
        middle = len(self.points) // 2
        part = slice(middle, None) if side else slice(0, len(self.points) - middle)
        return _Piece(self.points[part], self.whole[part], self.sureness / 2, max(1, self.cells // 2))


def lane_lines(strokes: list[Stroke], size: tuple[int, int], min_length: float, max_gap: float) -> list[LaneLine]:
    """Return one line for each curve the strokes lie on.

    Args:
        strokes: from one picture.
        size: (width, height) of the picture in cells.
        min_length: lines shorter than this, in cells, are left out.
        max_gap: the longest gap between two dashes of one line, in cells.
    """
    pieces = [_Piece(s.points, s.whole, s.sureness, s.cells) for s in strokes]
    return [
        LaneLine(_smooth(piece, size), piece.sureness / piece.cells)
        for piece in _share_stems(_join(pieces, max_gap))
        if piece.length >= min_length and piece.width <= _WIDEST * piece.length
    ]


def _end(points: list[list[float]], cap: int) -> _End:
    """Return the end that a few points lead to, the last one outermost; `cap` points there tell no direction."""
    sx = sy = sxx = syy = sxy = 0.0
    tip_x, tip_y = points[-1]
    count = len(points) - cap
    for px, py in points[:count]:
        x, y = px - tip_x, py - tip_y
        sx, sy, sxx, syy, sxy = sx + x, sy + y, sxx + x * x, syy + y * y, sxy + x * y
    mx, my = sx / count, sy / count
    angle = 0.5 * math.atan2(2 * (sxy - sx * my), sxx - sx * mx - syy + sy * my)
    dx, dy = math.cos(angle), math.sin(angle)
    out = -mx * dx - my * dy
    if out < 0:
        dx, dy, out = -dx, -dy, -out
    return _End(tip_x + mx + out * dx, tip_y + my + out * dy, dx, dy)


def _join(pieces: list[_Piece], max_gap: float) -> list[_Piece]:
    """Join the best fitting pair of ends, again and again, until no pair fits."""
    costs: dict[tuple[int, int, int, int], float] = {}
    living = dict(enumerate(pieces))
    pairs = list(combinations(living, 2))
    while True:
        for pair in pairs:
            _rate(costs, living, pair, max_gap)
        if not costs:
            return list(living.values())
        one, side, other, other_side = min(costs, key=costs.__getitem__)
        new = max(living) + 1
        living[new] = living.pop(one).joined(side, living.pop(other), other_side)
        costs = {key: cost for key, cost in costs.items() if not {key[0], key[2]} & {one, other}}
        pairs = [(new, number) for number in living if number != new]


def _rate(
    costs: dict[tuple[int, int, int, int], float],
    living: dict[int, _Piece],
    pair: tuple[int, int],
    max_gap: float,
) -> None:
    one, other = living[pair[0]], living[pair[1]]
    reach = min(max_gap, 6 + 4 * max(one.length, other.length))
    for side in (0, 1):
        a = one.ends[side]
        for other_side in (0, 1):
            b = other.ends[other_side]
            if abs(b.x - a.x) < reach and abs(b.y - a.y) < reach:
                cost = _misfit(a, b, reach)
                if cost is not None:
                    costs[pair[0], side, pair[1], other_side] = cost


def _misfit(a: _End, b: _End, reach: float) -> float | None:
    """Return how badly end `b` continues end `a`, None where it does not.

    The ends of one curve meet the gap between them at equal angles: they may bend, but not lie beside each other.
    """
    gx, gy = b.x - a.x, b.y - a.y
    gap = math.hypot(gx, gy)
    if gap > reach or (a.blunt and b.blunt):
        return None
    adx, ady = (-b.dx, -b.dy) if a.blunt else (a.dx, a.dy)
    bdx, bdy = (-a.dx, -a.dy) if b.blunt else (b.dx, b.dy)
    if adx * gx + ady * gy < -3 or bdx * gx + bdy * gy > 3:
        return None
    turn = math.acos(max(-1.0, min(1.0, -(adx * bdx + ady * bdy))))
    if turn > min(_BEND_MOST, _BEND + a.noise + b.noise + 2 * min(a.turn, b.turn) * (gap + _END)):
        return None
    apart = abs(adx * gy - ady * gx + gx * bdy - gy * bdx) / 2
    if apart > _APART + _APART_PER_GAP * gap:
        return None
    return apart + 0.25 * turn * gap + 0.1 * gap


def _share_stems(pieces: list[_Piece]) -> list[_Piece]:
    """Give the stem that lines meet in, at the horizon, to each of them: it is no line of its own."""
    for stem in [piece for piece in pieces if piece.strokes == 1]:
        for side in (0, 1):
            end, reach = stem.ends[side], stem.width + 3
            arms = [
                (index, arm_side)
                for index, arm in enumerate(pieces)
                if arm is not stem and arm.length > 2 * stem.length
                for arm_side in (0, 1)
                if _leads_into(arm.ends[arm_side], end, reach)
            ]
            if len(arms) >= 2:
                for index, arm_side in arms:
                    pieces[index] = pieces[index].joined(arm_side, stem.half(1 - side), side)
                pieces = [piece for piece in pieces if piece is not stem]
                break
    return pieces


def _leads_into(arm: _End, stem: _End, reach: float) -> bool:
    ahead = -(arm.dx * stem.dx + arm.dy * stem.dy)
    return ahead >= math.cos(_BEND_MOST) and math.hypot(arm.x - stem.x, arm.y - stem.y) <= reach


def _smooth(piece: _Piece, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the piece as a smooth polyline from near to far that reaches its very ends."""
    points = piece.points
    middle = points.sum(axis=0) / len(points)
    centred = points - middle
    (sxx, sxy), (_, syy) = (centred.T @ centred).tolist()
    angle = 0.5 * math.atan2(2 * sxy, sxx - syy)
    (first_x, first_y), (last_x, last_y) = points[0].tolist(), points[-1].tolist()
    if math.cos(angle) * (last_x - first_x) + math.sin(angle) * (last_y - first_y) < 0:
        angle += math.pi
    back = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    along, aside = back @ centred.T
    low, high = float(along.min()), float(along.max())
    half = max((high - low) / 2, 1e-6)
    low -= _beyond(first_x, first_y, size)
    high += _beyond(last_x, last_y, size)
    count = max(2, min(_MOST_POINTS, 1 + round((high - low) / _SPACING)))
    at = np.linspace(low, high, count)
    height = _curve(along / half, aside, piece.whole, at / half)
    if height is None:
        parts = np.array_split(points, count)
        curve = np.array([points[0], *(part.mean(axis=0) for part in parts[1:-1]), points[-1]])
    else:
        curve = np.stack((at, height), axis=1) @ back + middle
    return curve if curve[0, 1] >= curve[-1, 1] else curve[::-1]


def _beyond(x: float, y: float, size: tuple[int, int]) -> float:
    """Return how far a line reaches beyond its outermost centre point; past the border where it touches it."""
    return 2.5 if min(x, y, size[0] - x, size[1] - y) < 1.5 else 0.5


def _curve(
    t: NDArray[np.float64], n: NDArray[np.float64], whole: NDArray[np.bool_], at: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the values at `at` of the polynomial through n(t), None where no polynomial of degree 5 does it."""
    if not whole.all() and whole.sum() >= max(4, len(t) // 3):
        t, n = t[whole], n[whole]
    for degree in (min(3, max(1, len(t) // 5)), 5):
        powers = np.vander(t, degree + 1)
        factors = np.linalg.solve(powers.T @ powers + _RIDGE[: degree + 1, : degree + 1], powers.T @ n)
        off = float(np.abs(powers @ factors - n).max())
        if off <= _OFF or (off <= 2 * _OFF and degree == 5) or len(t) < 24:
            return np.vander(at, degree + 1) @ factors
    return None
