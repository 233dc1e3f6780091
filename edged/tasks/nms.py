"""Class-wise non-maximum suppression: of boxes that show the same thing, the best one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256
"""Candidates compared with one another at once: 256 x 256 overlaps are half a megabyte."""
_WORSE = np.triu(np.ones((_BLOCK, _BLOCK), bool), 1)
"""Whether the candidate of the column comes after that of the row."""


def nms(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    class_ids: NDArray[np.integer],
    iou_max: float,
    limit: int,
) -> NDArray[np.intp]:
    """Return the indices of the boxes to keep, best first, at most `limit`.

    A box goes when a better one of its class overlaps it by more than `iou_max` and is itself kept. The answer
    does not depend on the order of the boxes: equal scores are told apart by class and corners.

    Args:
        boxes: (N, 4) x1 y1 x2 y2, finite.
        scores: (N,), finite.
        class_ids: (N,).
        iou_max: intersection over union, 0..1.
        limit: at least 0.
    """
    order = best_first(boxes, scores, class_ids)
    x1, y1, x2, y2 = boxes[order].T
    columns = np.array((x1, y1, x2, y2, (x2 - x1) * (y2 - y1)))
    classes = class_ids[order]
    rest = np.arange(len(order))
    kept: list[NDArray[np.intp]] = []
    count = 0
    while rest.size and count < limit:
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        hits = _overlaps(columns, classes, block, block, iou_max) & _WORSE[: len(block), : len(block)]
        block = block[_unbeaten(hits)]
        kept.append(block)
        count += len(block)
        if rest.size:
            rest = rest[~_overlaps(columns, classes, block, rest, iou_max).any(axis=0)]
    return order[np.concatenate(kept)[:limit]] if kept else order[:0]


def nms_few(rows: list[tuple[float, int, float, float, float, float]], iou_max: float | None, limit: int) -> list[Any]:
    """Do the same for few candidates, without numpy, whose calls would take longer than the work.

    Args:
        rows: (score, class, x1, y1, x2, y2) of each.
        iou_max: as for `nms`; None keeps all.
        limit: as for `nms`.

    Returns:
        The rows to keep, best first.
    """
    rows = sorted(rows, key=_rank)
    if iou_max is None:
        return rows[:limit]
    kept: list[tuple[float, int, float, float, float, float]] = []
    for row in rows:
        _, kind, x1, y1, x2, y2 = row
        area = (x2 - x1) * (y2 - y1)
        for _, other, left, top, right, bottom in kept:
            if other == kind:
                width = (x2 if x2 < right else right) - (x1 if x1 > left else left)
                height = (y2 if y2 < bottom else bottom) - (y1 if y1 > top else top)
                if width > 0 < height:
                    common = width * height
                    if common > iou_max * (area + (right - left) * (bottom - top) - common):
                        break
        else:
            kept.append(row)
            if len(kept) == limit:
                break
    return kept


def _rank(row: tuple[float, int, float, float, float, float]) -> tuple[float, ...]:
    return (-row[0], *row[1:])


def best_first(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], class_ids: NDArray[np.integer]
) -> NDArray[np.intp]:
    """Return indices by falling score; equal scores by class and corners, so that the order is one."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    if (ranked[1:] == ranked[:-1]).any():
        return np.lexsort((*boxes.T[::-1], class_ids, -scores))
    return order


def _overlaps(
    columns: NDArray[np.floating],
    classes: NDArray[np.integer],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    iou_max: float,
) -> NDArray[np.bool_]:
    """Return (left, right) whether two boxes of one class overlap; `columns` are x1, y1, x2, y2, area."""
    ax1, ay1, ax2, ay2, a_area = columns[:, left, None]
    bx1, by1, bx2, by2, b_area = columns[:, right]
    common = np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0)
    common *= np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0)
    hits: NDArray[np.bool_] = common > iou_max * (a_area + b_area - common)
    hits &= classes[left, None] == classes[right]
    return hits


def _unbeaten(hits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return who stays when each row, from the best, beats the columns it hits. Loops over hitting rows only."""
    stays = np.ones(len(hits), bool)
    for row in hits.any(axis=1).nonzero()[0].tolist():
        if stays[row]:
            stays &= ~hits[row]
    return stays
