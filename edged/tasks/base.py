"""The seam of output parsers: raw network outputs in, findings in source pixels out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edged.geometry import Fit
from edged.results import Found
from edged.tensor import InputFormat, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ParserSettings:
    """What a task file says about its parser.

    `labels` has one name per class id; `keep` is empty for all classes; `score_min` and `iou_max` are in 0..1;
    `options` are the parser's own keys, checked by the parser.
    """

    labels: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    score_min: float = 0.4
    iou_max: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict)


class Parsing(Protocol):
    """What is called for each picture, from any engine worker."""

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return what image `index` of the batch shows, best score first, in source pixels.

        Args:
            outputs: the network's outputs by name, batch first; valid during the call only, not to be modified.
            index: position of the image in the batch.
            fit: how the source frame was placed into the network's input.
        """


class Parser(Parsing, Protocol):
    """Turns one network's raw outputs into findings. Stateless after construction.

    `parse` must be safe from several threads at once: each engine worker calls it, on one and the same parser.

    Constructing it raises `ConfigError` when the model's outputs, the labels or the options do not fit; the text
    names what was expected and what the model has.
    """

    input: ClassVar[InputFormat]
    """How this family of networks was trained to see pictures, unless the task file says otherwise."""

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None: ...
