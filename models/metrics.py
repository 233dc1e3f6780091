"""How findings are held against the truth: AP50 of boxes, and F1 of lane lines as CULane measures it.

AP50 is the area under precision over recall, with precision made falling, at an overlap (IoU) of 0.5. Truth that is too
small or too hidden counts neither as hit nor as miss. Lane lines are drawn 12 px wide on the 640x360 picture and
matched one to one at an overlap of 0.5 (CULane draws 30 px on 1640).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from edged.camera.scene import HEIGHT_PX, WIDTH_PX, Truth

FloatArray = npt.NDArray[np.float32]
MATCH_IOU, LANE_IOU, LANE_PX = 0.5, 0.5, 12
MIN_HEIGHT_PX, MIN_VISIBLE = 14.0, 0.4


@dataclass
class BoxTally:
    """What was found of one class: scores and whether each was right, and how many there were to find."""

    label: str
    scores: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    wanted: int = 0

    def add(self, found: Sequence[tuple[float, FloatArray]], truth: Truth) -> None:
        """Match one picture's (score, x1 y1 x2 y2) with its truth, best score first."""
        mine = [box for box in truth.boxes if box.label == self.label]
        boxes = np.array([(b.x1, b.y1, b.x2, b.y2) for b in mine], np.float32).reshape(-1, 4)
        counts = np.array([b.visible >= MIN_VISIBLE and b.y2 - b.y1 >= MIN_HEIGHT_PX for b in mine], np.bool_)
        free = counts.copy()
        self.wanted += int(counts.sum())
        for score, box in sorted(found, key=lambda one: -one[0]):
            iou = overlaps(box, boxes)
            best = np.where(free, iou, 0.0)
            hit = bool(best.size) and float(best.max()) >= MATCH_IOU
            if hit:
                free[int(best.argmax())] = False
            if hit or not (iou[~counts] >= MATCH_IOU).any():
                self.scores.append(score)
                self.right.append(hit)

    def average_precision(self) -> float:
        """Return AP50."""
        if not self.scores:
            return 0.0
        order = np.argsort(-np.array(self.scores), kind="stable")
        hits = np.cumsum(np.array(self.right)[order])
        precision = hits / np.arange(1, len(hits) + 1)
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        recall = np.concatenate([[0.0], hits / max(self.wanted, 1)])
        return float((np.diff(recall) * falling).sum())

    def at(self, score: float) -> tuple[float, float]:
        """Return precision and recall of what scored at least `score`."""
        kept = [ok for value, ok in zip(self.scores, self.right, strict=True) if value >= score]
        return sum(kept) / max(len(kept), 1), sum(kept) / max(self.wanted, 1)


@dataclass
class LaneTally:
    """Lane lines matched, found without truth, and missed."""

    matched: int = 0
    extra: int = 0
    missed: int = 0

    def add(self, found: Sequence[FloatArray], truth: Truth) -> None:
        """Match one picture's polylines, (points, 2) px, with its truth, best overlap first."""
        drawn = [stroke(line) for line in found]
        wanted = [stroke(np.array(lane.points, np.float32)) for lane in truth.lanes]
        pairs = sorted(
            (((f & w).sum() / max((f | w).sum(), 1), i, j) for i, f in enumerate(drawn) for j, w in enumerate(wanted)),
            reverse=True,
        )
        used_found: set[int] = set()
        used_wanted: set[int] = set()
        for iou, i, j in pairs:
            if iou >= LANE_IOU and i not in used_found and j not in used_wanted:
                used_found.add(i)
                used_wanted.add(j)
        self.matched += len(used_found)
        self.extra += len(drawn) - len(used_found)
        self.missed += len(wanted) - len(used_wanted)

    def f1(self) -> float:
        """Return the harmonic mean of precision and recall."""
        return 2 * self.matched / max(2 * self.matched + self.extra + self.missed, 1)


def overlaps(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Return the IoU of one box (4,) with boxes (K, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    areas = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(both / np.maximum(areas - both, 1e-6), dtype=np.float32)


def stroke(points: FloatArray) -> npt.NDArray[np.bool_]:
    """Draw a polyline `LANE_PX` wide on a 640x360 mask."""
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    cv2.polylines(mask, [np.round(points).astype(np.int32)], False, 1, LANE_PX)
    return mask > 0
