"""FastestDet: one grid, one box for each cell."""

from __future__ import annotations

from collections.abc import Mapping
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

HALVES = np.array(((1,), (1,), (0.5,), (0.5,)), np.float32)


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
        with np.errstate(all="ignore"):
            chosen, cells = entries(outputs, self._picking, index)
            if not chosen.size:
                return Found()
            few = cells.T
            scores = few[0] ** np.float32(0.6) * few[5:].max(axis=0) ** np.float32(0.4)
            enough = scores >= self._score_min
            if not enough.all():
                chosen, few, scores = chosen[enough], few[:, enough], scores[enough]
            if not chosen.size:
                return Found()
            row, column = np.divmod(chosen, columns)
            spread = np.tanh(few[1:5] * HALVES)  # sigmoid(b) = (1 + tanh(b / 2)) / 2
            net = np.array(((fit.width,), (fit.height,)), np.float32)
            centre = (spread[:2] + (column, row)) * (net / np.array(((columns,), (rows,)), np.float32))
            half = (spread[2:] + 1) * (net / 4)
            corners = np.concatenate((centre - half, centre + half)).T
            return Found(self._picker.pick(corners, scores, few[5:].argmax(axis=0), fit))
