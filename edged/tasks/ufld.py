"""Ultra-Fast-Lane-Detection, version 1: for each lane and row anchor, the grid cell that the line passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.errors import ShapeError
from edged.geometry import Fit
from edged.results import Found, Lane
from edged.tasks.base import ParserSettings
from edged.tasks.labels import classes_differ, read_labels
from edged.tasks.options import Options, is_numbers
from edged.tasks.outputs import input_size, misfit, only_output
from edged.tensor import InputFormat, ModelSpec

_NAMED_HEIGHT = 288
_CULANE = (121, 131, 141, 150, 160, 170, 180, 189, 199, 209, 219, 228, 238, 248, 258, 267, 277, 287)
_TUSIMPLE = tuple(range(64, 285, 4))
ROW_ANCHORS: Mapping[str, tuple[int, ...]] = {"culane": _CULANE, "tusimple": _TUSIMPLE}
"""The original's rows, in pixels of a network input 288 pixels high."""

_LEAST_POINTS = 3
"""A line seen in fewer rows is none; the original says the same."""


class Ufld:
    """[batch, griding + 1, row anchors, lanes]: scores of each cell of a row, the last one for "no line here".

    Options: `row_anchors`, `culane`, `tusimple` or a list of pixel rows of the network's input, from top to
    bottom (default: the named set with as many rows as the model); `griding`, how many cells the model must have.
    """

    input: ClassVar[InputFormat] = InputFormat(fit="stretch", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("ufld", settings.options)
        self._rows, self._named = _row_anchors(options, model)
        griding = options.whole("griding", 0, 0, 10_000)
        options.close()
        cells = str(griding + 1) if griding else "griding + 1"
        rows = str(len(self._rows)) if self._rows else "row anchors"
        needs = f"one output [batch, {cells}, {rows}, {len(settings.labels) or 'lanes'}]"
        output = only_output("ufld", model, needs, 4)
        _, channels, anchors, lanes = output.shape
        if channels is not None and (channels < 3 or (griding and channels != griding + 1)):
            raise misfit("ufld", needs, model)
        if not self._rows:
            raise misfit("ufld", f"{needs}: 18 (culane) or 56 (tusimple)", model, "give option row_anchors")
        if anchors is not None and anchors != len(self._rows):
            raise misfit("ufld", needs, model, f"which has {anchors} row anchors, not {len(self._rows)}")
        if lanes is not None and classes_differ(lanes, settings):
            raise misfit("ufld", needs, model, f"which is {lanes} lanes; labels has {len(settings.labels)}")
        size = input_size(model)
        if size and not self._named and self._rows[-1] >= size[1]:
            raise options.fault("row_anchors", list(self._rows), f"rows above the input's height, {size[1]}")
        self._output = output.name
        self._score_min = settings.score_min
        self._labels = read_labels("ufld", settings, lanes)
        self._has_names = bool(settings.labels)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the lines of image `index`, each in its own lane's slot.

        Raises:
            ShapeError: the network gave another number of rows than there are row anchors.
        """
        logits = outputs[self._output][index].astype(np.float32)
        if logits.shape[1] != len(self._rows):
            raise ShapeError(f"ufld: {len(self._rows)} row anchors, but the network gave {logits.shape[1]} rows")
        cells = len(logits) - 1
        with np.errstate(all="ignore"):
            powers = np.exp(logits - logits.max(axis=0))
            here = powers[:-1].sum(axis=0)
            column = np.tensordot(np.arange(cells, dtype=np.float32) + 0.5, powers[:-1], 1) / here
            presence = here / (here + powers[-1])
            seen = (logits.argmax(axis=0) < cells) & np.isfinite(column) & np.isfinite(presence)
        x_px = column * ((fit.width - 1) / (cells - 1))
        y_px = (np.array(self._rows) + 0.5) * (fit.height / _NAMED_HEIGHT if self._named else 1.0)
        lanes = []
        for lane in range(logits.shape[2]):
            rows = np.flatnonzero(seen[:, lane])[::-1]
            score = float(presence[rows, lane].mean()) if len(rows) >= _LEAST_POINTS else -1.0
            if score < self._score_min or not self._wanted(lane):
                continue
            points = _in_frame(x_px[rows, lane], y_px[rows], fit)
            if len(points) >= 2:
                kind = self._labels.name(lane) if self._has_names else "line"
                lanes.append(Lane(kind, score, points))
        return Found(lanes=tuple(sorted(lanes, key=lambda lane: -lane.score)))

    def _wanted(self, lane: int) -> bool:
        return not self._labels.kept or lane in self._labels.kept


def _in_frame(x_px: NDArray[np.floating], y_px: NDArray[np.floating], fit: Fit) -> tuple[tuple[float, float], ...]:
    points = (fit.point_to_source(x, y) for x, y in zip(x_px.tolist(), y_px.tolist(), strict=True))
    return tuple((min(x, float(fit.source_width)), y) for x, y in points if 0 <= y <= fit.source_height and x >= 0)


def _row_anchors(options: Options, model: ModelSpec) -> tuple[tuple[float, ...], bool]:
    """Return the rows, and whether they are the original's; no rows where nothing tells."""
    value = options.value("row_anchors", None)
    if value is None:
        shape = model.outputs[0].shape if model.outputs else ()
        dim = shape[2] if len(shape) == 4 else None
        return next((rows for rows in ROW_ANCHORS.values() if len(rows) == dim), ()), True
    if isinstance(value, str) and value in ROW_ANCHORS:
        return ROW_ANCHORS[value], True
    if not is_numbers(value) or list(value) != sorted(set(value)):
        raise options.fault("row_anchors", value, "culane, tusimple or a list of rising pixel rows")
    return tuple(float(row) for row in value), False
