"""TensorRT at run time: named tensors and `execute_async_v3`, which all releases from 8.5 to 11 have alike."""

from __future__ import annotations

import queue
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edged.device import gpu
from edged.device.base import Device, DeviceError
from edged.engines.base import EngineError, EngineRequest, Reader
from edged.engines.ort import picture_input
from edged.engines.store import EngineMissing, Manifest, Store
from edged.engines.tensorrt.contexts import make_contexts, static_contexts
from edged.engines.tensorrt.layers import built_as
from edged.engines.tensorrt.library import BACKEND, Library, numpy_type, open_library
from edged.engines.tensorrt.place import Place, check_dla, key_of, place_of, sizes_of
from edged.engines.tensorrt.slot import TrtSlot
from edged.errors import BackendUnavailable
from edged.tensor import ModelSpec, TensorSpec

OUT_OF_MEMORY = re.compile("out.?of.?memory", re.IGNORECASE)  # CUDA and TensorRT write it in three ways
FREE_MEMORY = "free some of the device's memory, then run: edged reload"


class TrtEngine:
    """One built engine on one GPU or DLA core.

    `note` says how inferences are started: by CUDA graphs, or one by one and why. `precision` is the one
    that was really built; where another was asked for, `note` says so too.

    Args:
        request: what is wanted; the engine comes from its store.
        plan: a file to load instead, for a comparison before it is in the store. It is trusted.

    Raises:
        BackendUnavailable: it cannot be loaded, for want of memory or another error that CUDA survives.
        EngineError: CUDA does not survive it: nothing of this process runs on the GPU any more.
    """

    def __init__(self, request: EngineRequest, plan: Path | None = None) -> None:
        self._place = place_of(request)
        library = open_library()
        self._device: Device = gpu.open_device(self._place.gpu)
        self.backend, self.device, self.precision = BACKEND, str(self._place), request.precision
        self._slots: queue.SimpleQueue[TrtSlot] = queue.SimpleQueue()
        self._all: list[TrtSlot] = []
        self._engines: list[Any] = []
        self._closed = False
        self._manifest: Manifest | None = None  # of the engine with the largest batch
        self._remark = ""
        try:
            if plan is None:
                stored = _stored(request, self._place, self._device, library)
                self._manifest = stored[max(stored)][1]
                counts = self._manifest.about.get("computed_in", {})
                self.precision, self._remark = built_as(request.precision, self._place.kind, counts)
                plans = {size: data for size, (data, _) in stored.items()}
            else:
                plans = {request.batch: plan.read_bytes()}
            library.load_plugins(request.plugins)  # after the key: a library that has changed is not run
            with self._device.active():
                self._load(plans, request, library)
        except (DeviceError, EngineError) as exc:
            traceback.clear_frames(exc.__traceback__)  # what was loaded so far would live as long as the error does
            self._free()
            works = self._context_works()
            self.close()
            text = f"tensorrt: {request.onnx.name} on {self.device}: {str(exc).removeprefix('tensorrt: ')}"
            if works:  # nothing runs here yet: what served before, and what is next in the task's list, still can
                raise BackendUnavailable(text + (f"; {FREE_MEMORY}" if OUT_OF_MEMORY.search(text) else "")) from exc
            raise EngineError(text) from exc
        except BaseException:
            self.close()
            raise

    def _load(self, plans: Mapping[int, bytes], request: EngineRequest, library: Library) -> None:
        """Load engines by their largest batch: one on a GPU, on a DLA one for each size, the largest first."""
        by_size = {size: _deserialize(data, self._place, library) for size, data in plans.items()}
        self._engines += by_size.values()
        self.model = model_spec(self._engines[0], library)
        batch, _, _ = picture_input(self.model, request.onnx)
        self.max_batch = batch if batch is not None else max(by_size)
        on_dla = self._place.dla is not None
        self.fixed_batch = batch is not None or (on_dla and len(by_size) == 1)
        sizes = [self.max_batch] if self.fixed_batch else range(1, self.max_batch + 1)
        apart = batch is None and not library.shares_profiles
        engines = self._for_contexts(plans[max(plans)], library, apart=apart)
        graphs = not on_dla
        for number in range(self._place.contexts):
            if self.fixed_batch or not on_dla:
                contexts, arena = make_contexts(engines, sizes, library, self._device)
            else:
                if apart and number:
                    by_size = {size: _deserialize(data, self._place, library) for size, data in plans.items()}
                    self._engines += by_size.values()
                contexts, arena = static_contexts(by_size, library), None
            slot = TrtSlot(
                library, self._device, contexts, arena, self.model, self.max_batch, self.fixed_batch, request.input,
                request.urgency, self._slots.put,
            )  # fmt: skip
            self._all.append(slot)
            graphs = slot.warm_up(graphs)
        for slot in self._all:
            if not graphs:
                slot.forget_graphs()
            self._slots.put(slot)
        self.workers = len(self._all)

    @property
    def note(self) -> str:
        """Return how inferences are started, and what it computes in where that is not as asked."""
        how = "CUDA graphs"
        if not all(slot.all_recorded for slot in self._all):
            how = "plain enqueue: " + ("a DLA engine cannot be recorded" if self._place.dla is not None
                                       else "the engine cannot be recorded as a CUDA graph")  # fmt: skip
        return f"{how}; {self._remark}" if self._remark else how

    def unfit(self, task: str, limit: float) -> str:
        """Return what its figures say against it, those of the largest batch."""
        return "" if self._manifest is None else self._manifest.unfit(task, limit)

    def prime(self, readers: Sequence[Reader]) -> None:
        """Run each slot once, let the readers read, and record what they read. Nobody else uses the engine yet."""
        for slot in self._all:
            slot.submit(1)
            outputs = slot.complete()
            for read in readers:
                with suppress(Exception):  # a parser that fails says so when it has a picture
                    read(outputs)
            with self._device.active():
                slot.record()

    def _for_contexts(self, data: bytes, library: Library, *, apart: bool) -> Iterator[Any]:
        """Yield the engine of one context after another: the same one, or where they must be `apart` a new copy."""
        while True:
            yield self._engines[-1]
            if apart:
                self._engines.append(_deserialize(data, self._place, library))

    def reserve(self, timeout_s: float) -> TrtSlot | None:
        """Take a free slot; each has its own context and stream."""
        try:
            return self._slots.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Free contexts, buffers and the engine, in this order."""
        if self._closed:
            return
        self._closed = True
        self._free()
        self._device.close()

    def _free(self) -> None:
        with suppress(DeviceError), self._device.active():  # a broken context takes everything with it
            for slot in self._all:
                slot.free()
            self._all, self._engines = [], []
        self._slots = queue.SimpleQueue()

    def _context_works(self) -> bool:
        """Say whether CUDA goes on after an error. After some it refuses all calls of the process."""
        try:
            with self._device.active():
                stream = self._device.stream()
                stream.synchronize()
                stream.free()
        except DeviceError:
            return False
        return True


def model_spec(engine: Any, library: Library) -> ModelSpec:
    """Return the inputs and outputs of a TensorRT engine; a size that is open there is None."""
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        shape = tuple(size if size >= 0 else None for size in engine.get_tensor_shape(name))
        spec = TensorSpec(name, shape, numpy_type(engine.get_tensor_dtype(name)))
        (inputs if engine.get_tensor_mode(name) == library.trt.TensorIOMode.INPUT else outputs).append(spec)
    return ModelSpec(tuple(inputs), tuple(outputs))


def _stored(
    request: EngineRequest, place: Place, device: Device, library: Library
) -> dict[int, tuple[bytes, Manifest]]:
    """Return the engines of a request by their largest batch; of a DLA's smaller ones those that are built."""
    if request.store is None:
        raise BackendUnavailable("engine back end 'tensorrt' needs an engine store; set engines.store in edged.yaml")
    store, (largest, *smaller) = Store(request.store), sizes_of(request, place)
    found = {largest: store.read(key_of(request, place, device, library.release))}
    for size in smaller:
        with suppress(EngineMissing):
            found[size] = store.read(key_of(replace(request, batch=size), place, device, library.release))
    return found


def _deserialize(data: bytes, place: Place, library: Library) -> Any:
    runtime = library.runtime()
    if place.dla is not None:
        check_dla(place, runtime.num_DLA_cores, library.release)
        runtime.DLA_core = place.dla  # before the engine is read
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        why = library.why()
        remedy = FREE_MEMORY if OUT_OF_MEMORY.search(why) else "run: edged engine build"
        raise BackendUnavailable(f"TensorRT {library.release} does not take the engine: {why}; {remedy}")
    return engine
