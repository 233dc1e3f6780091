"""ONNX Runtime on the CPU: the embedded default.

One session for all threads with one intra-op thread, and as many workers as there are cores: independent
inferences scale with the cores, one inference spread over them does not.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edged.engines.base import EngineError, EngineRequest, Reader
from edged.engines.preprocess import Preprocessor
from edged.engines.store import Manifest, Store, engine_key
from edged.errors import BackendUnavailable, ConfigError
from edged.frame import Frame
from edged.geometry import Fit
from edged.tensor import ModelSpec, TensorSpec

ELEMENT = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64",
           "tensor(int32)": "int32", "tensor(uint8)": "uint8", "tensor(double)": "float64"}  # fmt: skip


class OrtEngine:
    """One ONNX model on the CPU. The request's `precision` is fp32 or, from a store, int8."""

    def __init__(self, request: EngineRequest) -> None:
        if request.device not in ("auto", "cpu"):
            raise BackendUnavailable(f"engine back end 'onnxruntime' runs on the cpu, not on {request.device!r}")
        self.backend, self.device, self.precision = "onnxruntime", "cpu", request.precision
        self.workers, self.note = len(os.sched_getaffinity(0)), ""
        self._manifest: Manifest | None = None
        built: bytes | None = None
        if request.precision != "fp32":
            built, self._manifest = _built(request)
        self._session = open_session(request.onnx, built)
        self.model = model_spec(self._session)
        batch, self._height, self._width = picture_input(self.model, request.onnx)
        self.fixed_batch = batch is not None
        self.max_batch = batch if batch is not None else request.batch
        size = (self._width, self._height)
        slots = [OrtSlot(self, self._session, size, request) for _ in range(self.workers)]
        self._slots: queue.SimpleQueue[OrtSlot] = queue.SimpleQueue()
        for slot in slots:
            self._slots.put(slot)
        _warm_up(slots, request.onnx, (self.max_batch,) if self.fixed_batch else (1, self.max_batch))

    def unfit(self, task: str, limit: float) -> str:
        """Return what a built engine's figures say against it; FP32 is what others are compared with."""
        return "" if self._manifest is None else self._manifest.unfit(task, limit)

    def prime(self, readers: Sequence[Reader]) -> None:
        """There is nothing to learn: all outputs are on the host."""

    def reserve(self, timeout_s: float) -> OrtSlot | None:
        """Take a free slot; there is one for each core."""
        try:
            return self._slots.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def give_back(self, slot: OrtSlot) -> None:
        """Put a slot back among the free ones; slots call it."""
        self._slots.put(slot)

    def close(self) -> None:
        """Nothing outlives the session, which goes with the last reference."""


class OrtSlot:
    """One input tensor. The inference itself runs inside `complete`, in the worker's thread, without the GIL."""

    def __init__(self, engine: OrtEngine, session: Any, size: tuple[int, int], request: EngineRequest) -> None:
        self.capacity = engine.max_batch
        self._engine, self._session = engine, session
        spec = engine.model.inputs[0]
        self._name, self._outputs = spec.name, [output.name for output in engine.model.outputs]
        self._input = np.zeros((self.capacity, 3, size[1], size[0]), spec.dtype)
        self._preprocessor = Preprocessor(size, request.input)
        self._count = 0

    def fill(self, index: int, frame: Frame) -> Fit:
        """Convert and copy the frame into the input; it is not read after that."""
        return self._preprocessor.write(frame, self._input[index], index)

    def submit(self, count: int) -> None:
        """Say how many images the input holds."""
        self._count = self.capacity if self._engine.fixed_batch else count

    def complete(self) -> Mapping[str, NDArray[np.generic]]:
        """Run the inference."""
        try:
            values = self._session.run(self._outputs, {self._name: self._input[: self._count]})
        except Exception as exc:  # noqa: BLE001 - onnxruntime raises classes of its C extension
            raise EngineError(f"onnxruntime: inference of {self._name!r} failed: {exc}") from exc
        return dict(zip(self._outputs, values, strict=True))

    def release(self) -> None:
        """Give the slot back."""
        self._engine.give_back(self)


def _warm_up(slots: list[OrtSlot], path: Path, batches: Iterable[int]) -> None:
    """Run the largest batch on all slots at once: what memory that takes is taken now, and the first result is fast.

    Raises:
        ConfigError: the network fails on a batch of a size that it declares to take.
    """
    with ThreadPoolExecutor(len(slots)) as pool:
        for batch in dict.fromkeys(batches):
            for slot in slots:
                slot.submit(batch)
            try:
                list(pool.map(OrtSlot.complete, slots))
            except EngineError as exc:
                raise ConfigError(f"{path}: fails on a batch of {batch}: {exc}") from exc


def open_session(path: Path, built: bytes | None = None) -> Any:
    """Load a model file, or what was built from it. Raise `ConfigError` with ONNX Runtime's words when it is none."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(built or os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # noqa: BLE001 - onnxruntime raises classes of its C extension
        raise ConfigError(f"{path}: not a model that ONNX Runtime {ort.__version__} can load: {exc}") from exc


def model_spec(session: Any) -> ModelSpec:
    """Return the inputs and outputs of a session."""

    def spec(node: Any) -> TensorSpec:
        shape = tuple(n if isinstance(n, int) and n > 0 else None for n in node.shape)
        return TensorSpec(node.name, shape, ELEMENT.get(node.type, node.type))

    return ModelSpec(tuple(map(spec, session.get_inputs())), tuple(map(spec, session.get_outputs())))


def picture_input(model: ModelSpec, path: Path) -> tuple[int | None, int, int]:
    """Return (batch or None, height, width) of the one picture input. Raise `ConfigError` for any other model."""
    wanted = "one input [batch, 3, height, width] of float32 or float16"
    has = "; ".join(map(str, model.inputs)) or "none"
    if len(model.inputs) != 1 or model.inputs[0].dtype not in ("float32", "float16"):
        raise ConfigError(f"{path}: needs {wanted}, the model has {has}")
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[1] != 3 or not shape[2] or not shape[3]:
        raise ConfigError(f"{path}: needs {wanted}, with height and width known; the model has {has}")
    return shape[0], shape[2], shape[3]


def _built(request: EngineRequest) -> tuple[bytes, Manifest]:
    if request.precision == "int8" and request.store is not None:
        return Store(request.store).read(engine_key(request, "onnxruntime"))
    raise BackendUnavailable(
        f"engine back end 'onnxruntime' has no {request.precision} on the cpu; allowed are fp32 and int8"
    )
