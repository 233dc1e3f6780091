"""A yes/no picture of lines -> strokes: unbranched chains of centre points, exact to a part of a cell.

A line that climbs is cut into rows, a flat one into columns: the middle of each cut is a point of its centre
line, whatever its direction. Cells are numbered from 0; the centre of cell (column, row) is (column + 0.5,
row + 0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEEP = 2.0
"""A cut this many times longer than the picture is thick across it runs along the line, not through it."""
_LEAST_CUTS = 3
_WIDER = 2.5
"""From one cut to the next a line does not grow by this factor (and 3 cells): that is where a blob starts."""
_MOST_STROKES = 48
"""Of a picture that is mere noise, only the longest strokes: what comes after them compares all with all."""

Evidence = Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float32]]
"""Rows and columns of cells -> how sure the network is (log odds, above 0 for cells of the mask)."""


@dataclass(frozen=True)
class Stroke:
    """One unbranched piece of a line.

    `points` is (N, 2) x, y in cells; `whole` is False where the picture's border cut the line, so that the point
    is not its middle; `sureness` is the sum of probabilities of its `cells` cells.
    """

    points: NDArray[np.float64]
    whole: NDArray[np.bool_]
    sureness: float
    cells: int


@dataclass(frozen=True)
class _Cuts:
    """Runs of mask cells along one axis, in order: `line` is the row (column), first..last the cells in it.

    `key` numbers the first cells through the whole picture, `pitch` cells to a line.
    """

    line: NDArray[np.intp]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    key: NDArray[np.intp]
    pitch: int

    def at(self, line: NDArray[np.intp], cell: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return which cut the cells, all of the mask, are in."""
        return np.searchsorted(self.key, line * self.pitch + cell, "right") - 1

    def only(self, chosen: NDArray[np.intp]) -> _Cuts:
        return _Cuts(self.line[chosen], self.first[chosen], self.last[chosen], self.key[chosen], self.pitch)


def find_strokes(mask: NDArray[np.bool_], evidence: Evidence) -> list[Stroke]:
    """Return the strokes of a picture, the longest ones; what is shorter than three cuts is left out.

    Both ways of cutting are tried: each cell goes to the chain, across or down, that has more cuts.
    """
    rows, columns = _find_cuts(mask), _find_cuts(np.ascontiguousarray(mask.T))
    if not rows.line.size:
        return []
    middle, centre = (rows.first + rows.last) // 2, (columns.first + columns.last) // 2
    crossing_column, crossing_row = columns.at(middle, rows.line), rows.at(centre, columns.line)
    width, height = rows.last - rows.first + 1, columns.last - columns.first + 1
    row_chain, row_size = _chains(rows, width <= _STEEP * height[crossing_column])
    column_chain, column_size = _chains(columns, height <= _STEEP * width[crossing_row])
    climbing = row_size >= column_size[crossing_column]
    flat = column_size > row_size[crossing_row]
    found = [
        *_strokes(rows, row_chain, climbing & (row_size > 0), mask.shape[1], evidence),
        *(
            Stroke(stroke.points[:, ::-1], stroke.whole, stroke.sureness, stroke.cells)
            for stroke in _strokes(columns, column_chain, flat, mask.shape[0], lambda x, y: evidence(y, x))
        ),
    ]
    return sorted(found, key=lambda stroke: -len(stroke.points))[:_MOST_STROKES]


def _find_cuts(mask: NDArray[np.bool_]) -> _Cuts:
    height, width = mask.shape
    padded = np.zeros((height, width + 2), bool)
    padded[:, 1:-1] = mask
    cells = padded.ravel()
    edges = np.flatnonzero(cells[1:] != cells[:-1])
    key, stop = edges[::2], edges[1::2]
    line = key // (width + 2)
    first = key - line * (width + 2)
    return _Cuts(line, first, first + stop - key - 1, key, width + 2)


def _chains(cuts: _Cuts, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return for each cut the chain it is in and how many cuts that has; 0 for cuts that are not chosen.

    A chain goes from cut to touching cut as long as each touches one only, ahead and behind.
    """
    at = np.flatnonzero(chosen)
    key = cuts.key[at]
    ends = key + cuts.last[at] - cuts.first[at]
    ahead = np.searchsorted(ends, key + (cuts.pitch - 1), "left")
    touching = np.searchsorted(key, ends + (cuts.pitch + 1), "right") - ahead
    behind = np.searchsorted(key, ends + (1 - cuts.pitch), "right")
    behind -= np.searchsorted(ends, key - (cuts.pitch + 1), "left")
    links = np.flatnonzero(touching == 1)
    links = links[behind[ahead[links]] == 1]
    targets = ahead[links]
    here, there = ends[links] - key[links] + 1, ends[targets] - key[targets] + 1
    small, large = np.minimum(here, there), np.maximum(here, there)
    even = (large <= _WIDER * small) | (large <= small + 3)
    head = np.arange(len(at))
    head[targets[even]] = links[even]
    while True:  # each round doubles how far back a cut looks for the first of its chain
        farther = head[head]
        if (farther == head).all():
            break
        head = farther
    chain, size = np.zeros(len(chosen), np.intp), np.zeros(len(chosen), np.intp)
    chain[at] = head
    size[at] = np.bincount(head, minlength=len(at))[head]
    return chain, size


def _strokes(
    cuts: _Cuts, chain: NDArray[np.intp], chosen: NDArray[np.bool_], size: int, evidence: Evidence
) -> list[Stroke]:
    """Return the longest strokes among the chosen cuts, points as (position in the line, line)."""
    at = np.flatnonzero(chosen)
    at = at[np.argsort(chain[at], kind="stable")]
    breaks = (np.diff(chain[at]) != 0) | (np.diff(cuts.line[at]) != 1)
    bounds = np.concatenate(([0], np.flatnonzero(breaks) + 1, [len(at)]))
    counts = np.diff(bounds)
    long = np.argsort(-counts, kind="stable")[:_MOST_STROKES]
    long = long[counts[long] >= _LEAST_CUTS]
    if not long.size:
        return []
    at = np.concatenate([at[low:high] for low, high in zip(bounds[long], bounds[long + 1], strict=True)])
    few = cuts.only(at)
    middle, whole = _middles(few.line, few.first, few.last, size, evidence)
    sureness, cells = _sureness(few.line, few.first, few.last, evidence)
    points = np.stack((middle, few.line + 0.5), axis=1)
    begin = np.cumsum(counts[long]) - counts[long]
    return [
        Stroke(points[low:high], whole[low:high], float(sure), int(number))
        for low, high, sure, number in zip(
            begin.tolist(),
            (begin + counts[long]).tolist(),
            np.add.reduceat(sureness, begin).tolist(),
            np.add.reduceat(cells, begin).tolist(),
            strict=True,
        )
    ]


def _middles(
    line: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp], size: int, evidence: Evidence
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the middle of each cut and whether both its edges are in the picture.

    An edge lies where the evidence, drawn as a straight line between two cells, crosses zero.
    """
    inside = evidence(np.concatenate((line, line)), np.concatenate((first, last)))
    beside = np.concatenate((np.maximum(first - 1, 0), np.minimum(last + 1, size - 1)))
    outside = evidence(np.concatenate((line, line)), beside)
    with np.errstate(all="ignore"):
        reach = inside / (inside - outside)
    reach = np.where((reach >= 0) & (reach <= 1), reach, np.float32(0.5))
    whole = (first > 0) & (last < size - 1)
    half = len(line)
    low = first + 0.5 - np.where(first > 0, reach[:half], 0.5)
    high = last + 0.5 + np.where(last < size - 1, reach[half:], 0.5)
    return (low + high) / 2, whole


def _sureness(
    line: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp], evidence: Evidence
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the sum of probabilities over each cut's cells, and how many they are."""
    cells = last - first + 1
    begin = np.cumsum(cells) - cells
    column = np.arange(int(cells.sum())) - np.repeat(begin - first, cells)
    odds = evidence(np.repeat(line, cells), column)
    return np.add.reduceat(0.5 + 0.5 * np.tanh(odds / 2), begin).astype(np.float64), cells
