"""The last step of every box parser: candidates in network pixels -> boxes in source pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.geometry import Fit
from edged.results import Box
from edged.tasks.labels import Labels
from edged.tasks.nms import best_first, nms, nms_few

MAX_BOXES = 300
"""Boxes of one frame, unless the option `max_boxes` says otherwise."""
MOST_BOXES = 10_000
"""The highest `max_boxes`."""

FEW = 64
"""Candidates up to which plain numbers are quicker than numpy's calls."""

Row = tuple[float, int, float, float, float, float]
"""A candidate in plain numbers: score, class, and x1 y1 x2 y2 in network pixels."""

_FAR_PX = 1e6
"""No picture is this large: a corner farther out is a network's overflow, not a box."""

MOST_SCORE = 1.01
"""One, and what rounding may add to it."""


@dataclass(frozen=True)
class BoxPicker:
    """Chooses among candidates and names them. `iou_max` is None for networks that suppress on their own."""

    labels: Labels
    iou_max: float | None
    max_boxes: int

    def pick(
        self,
        boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        class_ids: NDArray[np.integer],
        fit: Fit,
    ) -> tuple[Box, ...]:
        """Return the boxes to publish, best first, inside the frame.

        Args:
            boxes: (N, 4) x1 y1 x2 y2 in network pixels; one with NaN, infinity or no area is dropped.
            scores: (N,) at or above the threshold, in 0..1; what is clearly above 1 is no score and is dropped.
            class_ids: (N,).
            fit: the way back to the source frame.
        """
        if len(scores) <= FEW:
            rows = zip(scores.tolist(), class_ids.tolist(), *boxes.T.tolist(), strict=True)
            return self._pick_few(rows, fit)
        usable = (np.abs(boxes) < _FAR_PX).all(axis=1) & (scores <= MOST_SCORE)
        usable &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if self.labels.kept:
            usable &= self.labels.wanted(class_ids)
        if not usable.all():
            boxes, scores, class_ids = boxes[usable], scores[usable], class_ids[usable]
        if not len(boxes):
            return ()
        if self.iou_max is None:
            order = best_first(boxes, scores, class_ids)[: self.max_boxes]
        else:
            order = nms(boxes, scores, class_ids, self.iou_max, self.max_boxes)
        corners = fit.boxes_to_source(boxes[order]).tolist()
        rated = np.minimum(scores[order], 1).tolist()
        name = self.labels.name
        return tuple(
            Box(name(class_id), class_id, score, x1, y1, x2, y2)
            for (x1, y1, x2, y2), score, class_id in zip(corners, rated, class_ids[order].tolist(), strict=True)
            if x2 > x1 and y2 > y1
        )

    def pick_rows(self, rows: Sequence[Row], fit: Fit) -> tuple[Box, ...]:
        """Do the same for candidates in plain numbers."""
        if len(rows) <= FEW:
            return self._pick_few(rows, fit)
        table = np.array(rows, np.float32)
        return self.pick(table[:, 2:], table[:, 0], table[:, 1].astype(np.intp), fit)

    def _pick_few(self, candidates: Iterable[Row], fit: Fit) -> tuple[Box, ...]:
        kept, name, far = self.labels.kept, self.labels.name, _FAR_PX
        rows = [
            row
            for row in candidates
            if row[0] <= MOST_SCORE
            and -far < row[2] < row[4] < far
            and -far < row[3] < row[5] < far
            and (not kept or row[1] in kept)
        ]
        left, top, across, down = fit.left, fit.top, fit.scale_x, fit.scale_y
        width, height = float(fit.source_width), float(fit.source_height)
        found = []
        for score, class_id, *corners in nms_few(rows, self.iou_max, self.max_boxes):
            x1, x2 = (min(max((x - left) / across, 0.0), width) for x in corners[::2])
            y1, y2 = (min(max((y - top) / down, 0.0), height) for y in corners[1::2])
            if x2 > x1 and y2 > y1:
                found.append(Box(name(class_id), class_id, min(score, 1.0), x1, y1, x2, y2))
        return tuple(found)


def corners_of(centres: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return x1 y1 x2 y2 of (N, 4) boxes given as centre x, centre y, width, height."""
    half = centres[:, 2:] / 2
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), axis=1)
