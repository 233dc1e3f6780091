"""DETR and its descendants (RT-DETR, D-FINE): a fixed set of queries, no suppression needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.errors import ConfigError
from edged.geometry import Fit
from edged.results import Found
from edged.tasks.base import ParserSettings
from edged.tasks.boxes import MAX_BOXES, MOST_BOXES, BoxPicker, corners_of
from edged.tasks.labels import classes_differ, read_labels
from edged.tasks.options import Options
from edged.tasks.outputs import is_float, may_be, misfit, one_output, only_output
from edged.tensor import InputFormat, ModelSpec

ACTIVATIONS = ("softmax", "sigmoid", "none")


class Detr:
    """Two outputs, logits [batch, queries, classes] and boxes [batch, queries, 4], or one with both, boxes first.

    Boxes are centre and size in 0..1 of the network's input. Option `activation`: `softmax` has a last class
    "no object" (DETR), `sigmoid` has none (RT-DETR), `none` has scores already. Without it, one output means
    `none`, and with two the number of labels tells softmax (one fewer than classes) from sigmoid.
    """

    input: ClassVar[InputFormat] = InputFormat(fit="stretch")

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("detr", settings.options)
        max_boxes = options.whole("max_boxes", MAX_BOXES, 1, MOST_BOXES)
        activation = options.choice("activation", None, ACTIVATIONS)
        options.close()
        self._logits, self._boxes, channels = _find(model, settings)
        self._activation = activation or _activation(model, settings, channels)
        count = channels if channels is None or self._activation != "softmax" else channels - 1
        if count is not None and (why := classes_differ(count, settings)):
            raise misfit("detr", f"{_needs(settings)} for activation {self._activation}", model, why)
        if count == 0:
            raise misfit("detr", _needs(settings), model, "which is no class beside 'no object'")
        self._score_min = settings.score_min
        self._picker = BoxPicker(read_labels("detr", settings, count), None, max_boxes)

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return the boxes of image `index`."""
        logits = outputs[self._logits][index].astype(np.float32)
        boxes = logits[:, :4]
        if self._boxes is None:
            logits = logits[:, 4:]
        else:
            boxes = outputs[self._boxes][index].astype(np.float32)
        with np.errstate(all="ignore"):
            if self._activation == "softmax":
                powers = np.exp(logits - logits.max(axis=1, keepdims=True))
                logits = powers[:, :-1] / powers.sum(axis=1, keepdims=True)
            scores = best = logits.max(axis=1)
            if self._activation == "sigmoid":
                scores = 0.5 + 0.5 * np.tanh(best / 2)
            chosen = np.flatnonzero((scores >= self._score_min) & np.isfinite(best))
            if not chosen.size:
                return Found()
            size = np.array([fit.width, fit.height, fit.width, fit.height], np.float32)
            corners = corners_of(boxes[chosen] * size)
            return Found(self._picker.pick(corners, scores[chosen], logits[chosen].argmax(axis=1), fit))


def _find(model: ModelSpec, settings: ParserSettings) -> tuple[str, str | None, int | None]:
    """Return the names of logits and boxes (None: in the same output) and the number of class channels."""
    needs = _needs(settings)
    if len(model.outputs) == 1:
        output = only_output("detr", model, needs, 3)
        channels = output.shape[2]
        if channels is not None and channels < 5:
            raise misfit("detr", needs, model)
        return output.name, None, channels and channels - 4
    boxes = one_output(
        "detr",
        model,
        needs,
        lambda o: len(o.shape) == 3 and is_float(o) and may_be(o.shape[2], 4),
        ("box",),
    )
    logits = one_output(
        "detr",
        model,
        needs,
        lambda o: o is not boxes and len(o.shape) == 3 and is_float(o) and o.shape[1] == boxes.shape[1],
        ("logit", "score", "class"),
    )
    return logits.name, boxes.name, logits.shape[2]


def _activation(model: ModelSpec, settings: ParserSettings, channels: int | None) -> str:
    if len(model.outputs) == 1:
        return "none"
    if not settings.labels or channels is None:
        raise ConfigError(
            "parser 'detr' cannot tell whether the model's last class means 'no object': "
            "give labels, or option activation (softmax if it does, sigmoid if not)"
        )
    return "softmax" if channels == len(settings.labels) + 1 else "sigmoid"


def _needs(settings: ParserSettings) -> str:
    classes = f"{len(settings.labels)} labels" if settings.labels else "classes"
    return (
        f"outputs logits [batch, queries, {classes}] and boxes [batch, queries, 4], "
        f"or one output [batch, queries, 4 + {classes}]"
    )
