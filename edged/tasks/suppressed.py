"""Detectors that suppress overlaps inside the network: torchvision's Faster R-CNN, TensorRT's EfficientNMS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.errors import ShapeError
from edged.geometry import Fit
from edged.results import Box, Found
from edged.tasks.base import ParserSettings
from edged.tasks.boxes import MAX_BOXES, MOST_BOXES, BoxPicker
from edged.tasks.labels import read_labels
from edged.tasks.options import Options
from edged.tasks.outputs import is_float, is_int, may_be, misfit, one_output
from edged.tensor import InputFormat, ModelSpec, TensorSpec


class FasterRcnn:
    """Boxes [found, 4], labels [found], scores [found], as torchvision exports; or all three with a batch first.

    Corners are in network pixels. Option `first_label`: the number of the first of `labels`; torchvision counts
    from 1, because 0 is the background.
    """

    input: ClassVar[InputFormat] = InputFormat()

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("faster_rcnn", settings.options)
        max_boxes = options.whole("max_boxes", MAX_BOXES, 1, MOST_BOXES)
        self._first = options.whole("first_label", 1, 0, 1000)
        options.close()
        needs = "outputs boxes [found, 4] float, labels [found] int and scores [found] float"
        boxes = one_output("faster_rcnn", model, needs, _is_boxes, ("box",))
        rank = len(boxes.shape) - 1
        labels = one_output(
            "faster_rcnn", model, needs, lambda o: is_int(o) and len(o.shape) == rank, ("label", "class")
        )
        scores = one_output(
            "faster_rcnn",
            model,
            needs,
            lambda o: o is not boxes and is_float(o) and len(o.shape) == rank,
            ("score", "conf"),
        )
        self._names = (boxes.name, scores.name, labels.name)
        self._batched = rank == 2
        self._score_min = settings.score_min
        self._picker = BoxPicker(read_labels("faster_rcnn", settings, None), None, max_boxes)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the boxes of image `index`.

        Raises:
            ShapeError: the outputs have no batch dimension, and `index` is not 0.
        """
        boxes, scores, labels = (outputs[name] for name in self._names)
        if self._batched:
            boxes, scores, labels = boxes[index], scores[index], labels[index]
        elif index:
            raise ShapeError(f"faster_rcnn: outputs without a batch dimension have no image {index}")
        class_ids = labels.astype(np.int64) - self._first
        return Found(_pick(self._picker, (boxes, scores, class_ids), self._score_min, fit))


class EfficientNms:
    """The plug-in's outputs: number [batch, 1], boxes [batch, most, 4], scores and classes [batch, most].

    Options: `normalized` for boxes in 0..1 of the input rather than in network pixels; `order`: `yxyx` for
    networks from TensorFlow.
    """

    input: ClassVar[InputFormat] = InputFormat()

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("efficient_nms", settings.options)
        max_boxes = options.whole("max_boxes", MAX_BOXES, 1, MOST_BOXES)
        self._normalized = options.flag("normalized", False)
        self._order = options.choice("order", "xyxy", ("xyxy", "yxyx"))
        options.close()
        needs = (
            "outputs number [batch, 1] int, boxes [batch, most, 4] float, "
            "scores [batch, most] float and classes [batch, most] int"
        )
        boxes = one_output("efficient_nms", model, needs, lambda o: _is_boxes(o) and len(o.shape) == 3, ("box",))
        number = one_output("efficient_nms", model, needs, _is_number, ("num",))
        classes = one_output(
            "efficient_nms",
            model,
            needs,
            lambda o: o is not number and is_int(o) and len(o.shape) == 2,
            ("class", "label"),
        )
        scores = one_output(
            "efficient_nms", model, needs, lambda o: is_float(o) and len(o.shape) == 2, ("score", "conf")
        )
        most = {dim for dim in (boxes.shape[1], scores.shape[1], classes.shape[1]) if dim is not None}
        if len(most) > 1:
            raise misfit("efficient_nms", needs, model, f"where 'most' is {' and '.join(map(str, sorted(most)))}")
        self._names = (number.name, boxes.name, scores.name, classes.name)
        self._score_min = settings.score_min
        self._picker = BoxPicker(read_labels("efficient_nms", settings, None), None, max_boxes)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the boxes of image `index`."""
        number, boxes, scores, classes = (outputs[name][index] for name in self._names)
        count = max(0, int(number.reshape(-1)[0]))
        corners = boxes[:count].astype(np.float32)
        if self._order == "yxyx":
            corners = corners[:, [1, 0, 3, 2]]
        if self._normalized:
            corners = corners * np.array([fit.width, fit.height, fit.width, fit.height], np.float32)
        class_ids = classes[:count].astype(np.int64)
        return Found(_pick(self._picker, (corners, scores[:count], class_ids), self._score_min, fit))


def _pick(
    picker: BoxPicker,
    found: tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.int64]],
    score_min: float,
    fit: Fit,
) -> tuple[Box, ...]:
    """Return the boxes of what the network found: boxes, scores and class ids."""
    boxes, scores, class_ids = found
    with np.errstate(all="ignore"):
        rated = scores.astype(np.float32)
        chosen = np.flatnonzero((rated >= score_min) & (class_ids >= 0))
        if not chosen.size:
            return ()
        return picker.pick(boxes[chosen].astype(np.float32), rated[chosen], class_ids[chosen], fit)


def _is_boxes(output: TensorSpec) -> bool:
    return is_float(output) and len(output.shape) in {2, 3} and output.shape[-1] == 4


def _is_number(output: TensorSpec) -> bool:
    return is_int(output) and len(output.shape) in {1, 2} and may_be((*output.shape, 1)[1], 1)
