"""The seam of engines: reserve a slot, fill it from frames, submit, complete, release.

A slot is what one inference needs for itself: input and output tensors, and on a device a stream and an execution
context. Slots rather than one blocking call, so that a device overlaps copies with compute, and so that a frame that
lives on a device is read where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edged.errors import EdgedError
from edged.frame import Frame
from edged.geometry import Fit
from edged.tensor import InputFormat, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EngineError(EdgedError):
    """An inference failed. The engine is not used again: the daemon ends, and systemd starts it anew."""

    exit_code = 70


@dataclass(frozen=True)
class EngineRequest:
    """What a task asks of an engine. Two tasks with equal requests share one engine.

    `batch` is the largest number of images in one inference; `input` is how pictures become tensors. `gpu_fallback`
    (never, report, allow) is about layers that a DLA cannot run; `plugins` are libraries with TensorRT layers.
    `urgency` in 0..1 is the place of its tasks' priority among those of all tasks; a loaded engine keeps its own.
    """

    onnx: Path
    input: InputFormat
    precision: str = "fp32"
    device: str = "auto"
    batch: int = 1
    store: Path | None = None
    gpu_fallback: str = "report"
    plugins: tuple[Path, ...] = ()
    urgency: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class EngineFacts:
    """What a loaded engine is, for those who do not use it: as `Engine` says, and the file name of its model."""

    model: str
    backend: str
    device: str
    precision: str
    max_batch: int
    fixed_batch: bool = False
    workers: int = 1
    note: str = ""


class Slot(Protocol):
    """The means for one inference of up to `capacity` images. Used by one thread at a time, in the order below."""

    capacity: int

    def fill(self, index: int, frame: Frame) -> Fit:
        """Write one frame into place `index` of the input. The slot retains the frame for as long as it reads it.

        Returns:
            Where the frame's pixels went, for the way back.
        """

    def submit(self, count: int) -> None:
        """Start the inference of places 0 to `count` - 1; does not wait where the device works by itself."""

    def complete(self) -> Mapping[str, NDArray[np.generic]]:
        """Wait for the inference. The outputs, batch first, are valid until `release`.

        Raises:
            EngineError: the inference failed.
        """

    def release(self) -> None:
        """Give the slot back to its engine."""


Reader = Callable[[Mapping[str, "NDArray[np.generic]"]], object]
"""Reads outputs as a parser will, of an inference of nothing."""


class Engine(Protocol):
    """One network, loaded once, on one device. Loading happens in the constructor; any thread may reserve slots.

    Constructing it raises `ConfigError` for a model that cannot be used, `BackendUnavailable` for a device or a
    built engine that is not there.
    """

    model: ModelSpec
    backend: str
    device: str
    precision: str
    max_batch: int
    fixed_batch: bool
    workers: int
    """How many threads can use it at once."""

    @property
    def note(self) -> str:
        """How it runs, in a few words for people, where there is more than one way; else nothing."""

    def __init__(self, request: EngineRequest) -> None: ...

    def unfit(self, task: str, limit: float) -> str:
        """Return why a task may not use it, or nothing: it loses more against FP32 than `limit`, as far as is known."""

    def prime(self, readers: Sequence[Reader]) -> None:
        """Learn what will be read of the outputs. Before anybody else uses the engine; it need not be called."""

    def reserve(self, timeout_s: float) -> Slot | None:
        """Take a free slot, or None when none became free in time."""

    def close(self) -> None:
        """Free the device. No slot may be in use. Safe to call twice."""
