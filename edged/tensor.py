"""What a network takes and gives: tensor shapes, and the picture format of its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FitMode = Literal["letterbox", "stretch"]
ColorOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and element type of one network input or output.

    `shape` has None where the model leaves a dimension open; `dtype` is numpy's name (`float32`).
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        dims = ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} [{dims}] {self.dtype}"


@dataclass(frozen=True)
class ModelSpec:
    """The inputs and outputs of one network, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class InputFormat:
    """How a camera picture becomes a network's input tensor.

    The tensor element of channel `c` is `(pixel / 255 - mean[c]) / std[c]`, with pixel in 0..255 and
    channels in `color` order; pixels a letterbox does not reach have the value `pad` in all channels.
    """

    fit: FitMode = "letterbox"
    color: ColorOrder = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad: int = 114


@dataclass(frozen=True)
class Picking:
    """Which entries of an output a parser looks at, so that an engine need not bring the others from its device.

    One image's output is seen as entries of some channels each: (channels, entries), the entries in any number of
    dimensions, or with `channels_last` (entries, channels). A parser looks at an entry where one of the channels from
    `first` up to but not with `end` (None: all that follow) is `least` or more.
    """

    output: str
    first: int
    end: int | None
    least: float
    channels_last: bool = False
