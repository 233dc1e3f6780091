"""FastestDet: one grid, one box for each cell."""

from __future__ import annotations

from collections.abc import Mapping
from math import tanh
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.geometry import Fit
from edged.results import Found
from edged.tasks.base import ParserSettings
from edged.tasks.boxes import MAX_BOXES, MOST_BOXES, BoxPicker
from edged.tasks.entries import entries, picking_of
from edged.tasks.labels import classes_differ, read_labels
from edged.tasks.options import Options
from edged.tasks.outputs import misfit, only_output
from edged.tensor import InputFormat, ModelSpec


class FastestDet:
    """[batch, 5 + classes, rows, columns]: for each cell objectness, four box values, class scores in 0..1.

    x = (tanh(b0) + column) / columns, y alike, w = sigmoid(b2), h = sigmoid(b3), of the whole picture;
    score = objectness ** 0.6 * best class ** 0.4.
    """

    input: ClassVar[InputFormat] = InputFormat(fit="stretch", color="bgr")

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("fastestdet", settings.options)
        max_boxes = options.whole("max_boxes", MAX_BOXES, 1, MOST_BOXES)
        options.close()
        classes = f"{len(settings.labels)} labels" if settings.labels else "classes"
        needs = f"one output [batch, 5 + {classes}, rows, columns]"
        output = only_output("fastestdet", model, needs, 4)
        channels = output.shape[1]
        if channels is not None and channels < 6:
            raise misfit("fastestdet", needs, model)
        if channels is not None and (why := classes_differ(channels - 5, settings)):
            raise misfit("fastestdet", needs, model, why)
        labels = read_labels("fastestdet", settings, channels and channels - 5)
        self._rows, self._columns = output.shape[2:]
        self._score_min = settings.score_min
        # no class score is above 1, so objectness alone already rules most cells out
        self._picking = picking_of(output.name, 0, 1, settings.score_min ** (1 / 0.6))
        self._picker = BoxPicker(labels, settings.iou_max, max_boxes)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the boxes of image `index`."""
        rows = self._rows or outputs[self._picking.output].shape[2]
        columns = self._columns or outputs[self._picking.output].shape[3]
        chosen, few = entries(outputs, self._picking, index)
        if not chosen.size:
            return Found()
        classes, width, height = few[:, 5:], fit.width, fit.height
        best = classes.max(axis=1).tolist(), classes.argmax(axis=1).tolist()
        candidates = []
        # in plain numbers: numpy gives the interpreter's lock away in its calls, and each costs more than the formula
        for cell, (objectness, b0, b1, b2, b3), rating, class_id in zip(
            chosen.tolist(), few[:, :5].tolist(), *best, strict=True
        ):
            score = objectness**0.6 * max(rating, 0.0) ** 0.4
            if score >= self._score_min:
                row, column = divmod(cell, columns)
                x, y = (tanh(b0) + column) * width / columns, (tanh(b1) + row) * height / rows
                half_w, half_h = (1 + tanh(b2 / 2)) * width / 4, (1 + tanh(b3 / 2)) * height / 4
                candidates.append((score, class_id, x - half_w, y - half_h, x + half_w, y + half_h))
        return Found(self._picker.pick_rows(candidates, fit))
