"""How far two versions of one network agree, in the task's own terms: boxes, lane lines, mask cells.

FP32's findings stand in for the truth. Findings near the score threshold flip with any rounding, which says little:
AP50, as in COCO, neither demands what FP32 finds below the threshold nor counts it as false; F1 takes the threshold
as the task does, but what FP32 finds within `NEAR` of it may fall on its other side. A polyline counts as found by
CULane's rule: both drawn as a broad line, IoU of the two at least 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.results import Box, Found, Lane, Mask

IOU_MIN = 0.5
LANE_WIDTH = 30 / 1640  # of the picture's width, as CULane draws lines for comparison
NEAR = 0.25  # of the threshold
SCORE_SHARE = 0.5  # findings down to this share of the task's score_min are looked at


@dataclass(frozen=True)
class Agreement:
    """What findings have in common with FP32's, in 0..1; None where FP32 and the other both found nothing.

    `ap50` and `f1` are of boxes, `lane_f1` of polylines, `mask_f1` and `mask_equal` of mask cells. `drop` is of the
    worst of them, mask F1 only where the task publishes masks (`judge_masks`).
    """

    frames: int
    truths: int
    ap50: float | None = None
    f1: float | None = None
    lane_f1: float | None = None
    mask_f1: float | None = None
    mask_equal: float | None = None
    judge_masks: bool = True

    @property
    def by(self) -> str:
        """Return the name of the measure that `drop` is of."""
        return min(self._measures(), default=(0.0, "AP50"))[1]

    @property
    def drop(self) -> float | None:
        """Return what is lost by the worst measure; None where there was nothing to compare."""
        measures = self._measures()
        return round(1.0 - min(measures)[0], 6) if measures else None

    def _measures(self) -> list[tuple[float, str]]:
        mask_f1 = self.mask_f1 if self.judge_masks else None
        named = ((self.ap50, "AP50"), (self.f1, "F1"), (self.lane_f1, "lane F1"), (mask_f1, "mask F1"))
        return [(value, name) for value, name in named if value is not None]


@dataclass(frozen=True)
class _Match:
    score: float
    true: bool


def agreement(
    truth: Sequence[Found],
    other: Sequence[Found],
    score_min: float,
    size: tuple[int, int],
    judge_masks: bool = True,
) -> Agreement:
    """Compare the findings in the same frames.

    Args:
        truth: FP32's, down to `SCORE_SHARE` of `score_min`.
        other: the other engine's, alike.
        score_min: the task's threshold.
        size: (width, height) of the frames in pixels.
        judge_masks: whether masks count for `drop`.
    """
    both = list(zip(truth, other, strict=True))
    boxes = [(a.boxes, b.boxes) for a, b in both]
    lanes = [(a.lanes or (), b.lanes or ()) for a, b in both]

    def lane_overlap(one: Lane, two: Lane) -> float:
        return _lane_iou(one, two, size)

    mask_f1, mask_equal = _masks([(a.masks, b.masks) for a, b in both])
    return Agreement(
        frames=len(truth),
        truths=sum(len(_strong(a, score_min)) for a, _ in [*boxes, *lanes]),
        ap50=_average_precision(boxes, score_min),
        f1=_f1(boxes, score_min, _box_iou),
        lane_f1=_f1(lanes, score_min, lane_overlap),
        mask_f1=mask_f1,
        mask_equal=mask_equal,
        judge_masks=judge_masks,
    )


def _strong(items: Sequence[Any], score_min: float) -> list[Any]:
    return [item for item in items if item.score >= score_min]


def _average_precision(pairs: Sequence[tuple[Sequence[Box], Sequence[Box]]], score_min: float) -> float | None:
    """Return the area under the precision-recall curve, all classes together."""
    matches: list[_Match] = []
    wanted = 0
    for truth, found in pairs:
        demanded, ignored = _strong(truth, score_min), [box for box in truth if box.score < score_min]
        wanted += len(demanded)
        for box in sorted(found, key=lambda box: -box.score):
            best = _best(box, demanded, _box_iou)
            if best is not None:
                demanded.pop(best)
                matches.append(_Match(box.score, true=True))
            elif _best(box, ignored, _box_iou) is None:
                matches.append(_Match(box.score, true=False))
    if not wanted:
        strong = [match for match in matches if match.score >= score_min]
        return 0.0 if strong else None
    matches.sort(key=lambda match: (-match.score, match.true))
    hits = np.cumsum([match.true for match in matches]) if matches else np.zeros(1)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return round(float(np.sum(np.diff(hits, prepend=0) * precision) / wanted), 6)


def _f1(
    pairs: Sequence[tuple[Sequence[Any], Sequence[Any]]], score_min: float, overlap: Callable[[Any, Any], float]
) -> float | None:
    """Return F1 at the threshold: a find that FP32 is sure of must reach it, one near it need not."""
    low, sure = score_min * (1 - NEAR), score_min * (1 + NEAR)
    hits = false = missed = 0
    for truth, found in pairs:
        free = _strong(truth, score_min)
        spared = [item for item in truth if low <= item.score < score_min]
        for item in sorted(_strong(found, low), key=lambda item: -item.score):
            open_to_it = free if item.score >= score_min else [one for one in free if one.score < sure]
            best = _best(item, open_to_it, overlap)
            if best is not None:
                free.remove(open_to_it[best])
                hits += 1
            elif item.score >= score_min and _best(item, spared, overlap) is None:
                false += 1
        missed += len(free)
    total = 2 * hits + false + missed
    return round(2 * hits / total, 6) if total else None


def _best(item: Any, among: Sequence[Any], overlap: Callable[[Any, Any], float]) -> int | None:
    """Return the place of the item that overlaps most, where that is enough."""
    overlaps = [overlap(item, other) for other in among]
    best = int(np.argmax(overlaps)) if overlaps else -1
    return best if best >= 0 and overlaps[best] >= IOU_MIN else None


def _box_iou(one: Box, two: Box) -> float:
    """Return intersection over union, 0 for boxes of different classes."""
    width = min(one.x2, two.x2) - max(one.x1, two.x1)
    height = min(one.y2, two.y2) - max(one.y1, two.y1)
    if width <= 0 or height <= 0 or one.class_id != two.class_id:
        return 0.0
    both = width * height
    return both / ((one.x2 - one.x1) * (one.y2 - one.y1) + (two.x2 - two.x1) * (two.y2 - two.y1) - both)


def _lane_iou(one: Lane, two: Lane, size: tuple[int, int]) -> float:
    if one.kind != two.kind:
        return 0.0
    first, second = _drawn(one, size), _drawn(two, size)
    return float((first & second).sum() / max(1, (first | second).sum()))


def _drawn(lane: Lane, size: tuple[int, int]) -> NDArray[np.uint8]:
    canvas = np.zeros((size[1], size[0]), np.uint8)
    points = np.round(np.array(lane.points)).astype(np.int32)
    cv2.polylines(canvas, [points], False, 1, max(2, round(LANE_WIDTH * size[0])))
    return canvas


def _masks(pairs: Sequence[tuple[Sequence[Mask], Sequence[Mask]]]) -> tuple[float | None, float | None]:
    """Return F1 and the share of equal cells over all masks; None where no frame has one."""
    both = total = equal = cells = 0
    for truth, found in pairs:
        for one, two in zip(truth, found, strict=False):
            first, second = (np.frombuffer(mask.bits, np.uint8) for mask in (one, two))
            shared, either = _ones(first & second), _ones(first) + _ones(second)
            both, total = both + 2 * shared, total + either
            cells += one.width * one.height
            equal += one.width * one.height - (either - 2 * shared)
    if not cells:
        return None, None
    return (round(both / total, 6) if total else None), round(equal / cells, 6)


def _ones(packed: NDArray[np.uint8]) -> int:
    return int(np.unpackbits(packed).sum())
