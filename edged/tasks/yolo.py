"""The YOLO families with one output tensor: v5, v8 (v11 has the same), X."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.errors import ShapeError
from edged.geometry import Fit
from edged.results import Found
from edged.tasks.base import ParserSettings
from edged.tasks.boxes import MAX_BOXES, MOST_BOXES, BoxPicker, corners_of
from edged.tasks.entries import entries, picking_of
from edged.tasks.labels import classes_differ, read_labels
from edged.tasks.options import Options
from edged.tasks.outputs import input_size, misfit, only_output
from edged.tensor import InputFormat, ModelSpec, TensorSpec


class Yolov8:
    """YOLOv8 and v11: [batch, 4 + classes, boxes], boxes as centre and size in network pixels, scores in 0..1."""

    input: ClassVar[InputFormat] = InputFormat()

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("yolov8", settings.options)
        max_boxes = options.whole("max_boxes", MAX_BOXES, 1, MOST_BOXES)
        options.close()
        needs = f"one output [batch, 4 + {_classes_text(settings)}, boxes]"
        output = only_output("yolov8", model, needs, 3)
        _, channels, boxes = output.shape
        count = _count_classes("yolov8", model, settings, needs, (channels, 4, boxes))
        self._score_min = settings.score_min
        self._picking = picking_of(output.name, 4, None, settings.score_min)
        self._picker = BoxPicker(read_labels("yolov8", settings, count), settings.iou_max, max_boxes)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the boxes of image `index`."""
        with np.errstate(all="ignore"):
            _, few = entries(outputs, self._picking, index)
            scores = few[:, 4:].max(axis=1)
            enough = scores >= self._score_min
            few, scores = few[enough], scores[enough]
            return Found(self._picker.pick(corners_of(few[:, :4]), scores, few[:, 4:].argmax(axis=1), fit))


class Yolov5:
    """YOLOv5 (v6, v7 alike): [batch, boxes, 5 + classes], centre and size in network pixels, objectness, scores."""

    input: ClassVar[InputFormat] = InputFormat()

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("yolov5", settings.options)
        max_boxes = options.whole("max_boxes", MAX_BOXES, 1, MOST_BOXES)
        options.close()
        output, count = _objectness_output("yolov5", model, settings)
        self._score_min = settings.score_min
        self._picking = picking_of(output.name, 4, 5, settings.score_min, channels_last=True)
        self._picker = BoxPicker(read_labels("yolov5", settings, count), settings.iou_max, max_boxes)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the boxes of image `index`."""
        with np.errstate(all="ignore"):
            _, few, scores, class_ids = _survivors(*entries(outputs, self._picking, index), self._score_min)
            return Found(self._picker.pick(corners_of(few[:, :4]), scores, class_ids, fit))


class Yolox:
    """YOLOX: [batch, boxes, 5 + classes]; boxes relative to their grid cell, or in pixels (`decoded`).

    Options: `decoded` for a model exported with decode_in_inference; `strides` of the grids, finest first.
    """

    input: ClassVar[InputFormat] = InputFormat(color="bgr", std=(1 / 255, 1 / 255, 1 / 255))

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("yolox", settings.options)
        max_boxes = options.whole("max_boxes", MAX_BOXES, 1, MOST_BOXES)
        self._decoded = options.flag("decoded", False)
        self._strides = tuple(int(stride) for stride in options.numbers("strides", (8, 16, 32)))
        if 0 in self._strides:
            raise options.fault("strides", settings.options["strides"], "a list of whole numbers above 0")
        options.close()
        output, count = _objectness_output("yolox", model, settings)
        size, boxes = input_size(model), output.shape[1]
        if size and boxes is not None and not self._decoded and len(grid_of(*size, self._strides)) != boxes:
            strides = ", ".join(map(str, self._strides))
            needs = f"{len(grid_of(*size, self._strides))} boxes for an input of {size[0]}x{size[1]}"
            raise misfit("yolox", f"{needs} with strides {strides}", model, "see options strides, decoded")
        self._boxes = boxes
        self._score_min = settings.score_min
        self._picking = picking_of(output.name, 4, 5, settings.score_min, channels_last=True)
        self._picker = BoxPicker(read_labels("yolox", settings, count), settings.iou_max, max_boxes)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the boxes of image `index`.

        Raises:
            ShapeError: the boxes are not as many as the grids of this input have cells.
        """
        with np.errstate(all="ignore"):
            chosen, few, scores, class_ids = _survivors(*entries(outputs, self._picking, index), self._score_min)
            centres = few[:, :4]
            if not self._decoded:
                grid = grid_of(fit.width, fit.height, self._strides)
                boxes = self._boxes or outputs[self._picking.output].shape[1]
                if len(grid) != boxes:
                    raise ShapeError(f"yolox: {len(grid)} grid cells, but the network gave {boxes} boxes")
                cells = grid[chosen]
                place = (centres[:, :2] + cells[:, :2]) * cells[:, 2:]
                centres = np.concatenate((place, np.exp(centres[:, 2:]) * cells[:, 2:]), axis=1)
            return Found(self._picker.pick(corners_of(centres), scores, class_ids, fit))


@lru_cache(maxsize=32)
def grid_of(width: int, height: int, strides: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (cells, 3): column, row and stride of every cell of every grid, finest grid first, row by row."""
    parts = []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        parts.append(np.stack((columns.ravel(), rows.ravel(), np.full(rows.size, stride)), axis=1))
    return np.concatenate(parts).astype(np.float32)


def _survivors(
    chosen: NDArray[np.intp], few: NDArray[np.float32], score_min: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Return index, row, score and class of those whose objectness times best class is enough."""
    class_ids = few[:, 5:].argmax(axis=1)
    scores = few[:, 4] * few[:, 5:].max(axis=1)
    enough = scores >= score_min
    return chosen[enough], few[enough], scores[enough], class_ids[enough]


def _objectness_output(parser: str, model: ModelSpec, settings: ParserSettings) -> tuple[TensorSpec, int | None]:
    needs = f"one output [batch, boxes, 5 + {_classes_text(settings)}]"
    output = only_output(parser, model, needs, 3)
    return output, _count_classes(parser, model, settings, needs, (output.shape[2], 5, output.shape[1]))


def _count_classes(
    parser: str,
    model: ModelSpec,
    settings: ParserSettings,
    needs: str,
    dims: tuple[int | None, int, int | None],
) -> int | None:
    """Return how many classes `dims` = (channels, channels that are none, boxes) tell, None for open channels."""
    channels, others, boxes = dims
    if channels is None:
        return len(settings.labels) or None
    if channels <= others:
        raise misfit(parser, needs, model)
    if why := classes_differ(channels - others, settings):
        raise misfit(parser, needs, model, why)
    if not settings.labels and boxes is not None and channels > boxes:
        raise misfit(parser, needs, model, f"which is more classes ({channels - others}) than boxes ({boxes})")
    return channels - others


def _classes_text(settings: ParserSettings) -> str:
    return f"{len(settings.labels)} labels" if settings.labels else "classes"
