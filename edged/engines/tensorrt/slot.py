"""What one inference works with: a stream, buffers, and for each batch size a context and a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from edged.device.base import Device, DeviceError, Graph, Memory
from edged.engines.base import EngineError
from edged.engines.preprocess import Preprocessor
from edged.engines.tensorrt.library import Library
from edged.errors import BackendUnavailable
from edged.frame import Frame
from edged.geometry import Fit
from edged.tensor import InputFormat, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TrtSlot:
    """The means for one inference. Made, used and freed with the device active; see `Slot`.

    Args:
        contexts: batch size -> execution context; the slot's own.
        arena: the device memory that these work in, where they do not have it themselves; the slot frees it.
        model: inputs and outputs; the one input is a picture.
        capacity: images in the largest inference.
        fixed: whether every inference has that many.
        give_back: takes the slot when it is released.
    """

    def __init__(
        self,
        library: Library,
        device: Device,
        contexts: Mapping[int, Any],
        arena: Memory | None,
        model: ModelSpec,
        capacity: int,
        fixed: bool,
        fmt: InputFormat,
        give_back: Callable[[TrtSlot], None],
    ) -> None:
        self.capacity = capacity
        self._library, self._device, self._fixed = library, device, fixed
        self._contexts, self._arena = dict(contexts), arena
        self._give_back = give_back
        self._stream, self._done = device.stream(), device.event()
        self._memory: dict[str, Memory] = {}
        self._host: dict[str, NDArray[np.generic]] = {}
        self._graphs: dict[int, Graph] = {}
        self._outputs = [spec.name for spec in model.outputs]
        self._count = 0
        self._input = model.inputs[0].name
        height, width = model.inputs[0].shape[2:]
        self._preprocessor = Preprocessor((width or 0, height or 0), fmt)
        try:
            self._prepare(model)
        except BaseException:
            self.free()
            raise

    def _prepare(self, model: ModelSpec) -> None:
        """Take the buffers, and tell each context its shape and where they are."""
        spec = model.inputs[0]
        for count, context in self._contexts.items():
            if not context.set_input_shape(spec.name, (count, *spec.shape[1:])):
                raise EngineError(f"tensorrt: batch {count}: {self._library.why()}")
        self._take(spec.name, (self.capacity, *spec.shape[1:]), spec.dtype)
        for output in model.outputs:
            self._take(output.name, self._output_shape(output.name), output.dtype)
        for context in self._contexts.values():
            for name, memory in self._memory.items():
                if not context.set_tensor_address(name, memory.pointer):
                    raise EngineError(f"tensorrt: tensor {name!r}: {self._library.why()}")

    def _take(self, name: str, shape: tuple[Any, ...], dtype: str) -> None:
        self._host[name] = self._device.pinned(shape, dtype)
        self._memory[name] = self._device.allocate(max(self._host[name].nbytes, 1))

    def _output_shape(self, name: str) -> tuple[int, ...]:
        shape = tuple(self._contexts[self.capacity].get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise BackendUnavailable(
                f"engine back end 'tensorrt': output {name!r} has {shape}: sizes that depend on the picture are not "
                "supported; use onnxruntime"
            )
        return shape

    def warm_up(self, graphs: bool) -> bool:
        """Run every batch size once, and record it as a graph if wanted. Return whether all are recorded."""
        for count in self._contexts:
            if not self._enqueue(count):
                raise EngineError(f"tensorrt: the first inference failed: {self._library.why()}")
            self._stream.synchronize()
            graph = self._device.capture(self._stream, partial(self._enqueue, count)) if graphs else None
            if graph is not None:
                self._graphs[count] = graph
            else:
                graphs = False
        if not graphs:
            self.forget_graphs()
        return graphs

    def fill(self, index: int, frame: Frame) -> Fit:
        """Convert a host frame into the page-locked input; it is not read after that."""
        return self._preprocessor.write(frame, self._host[self._input][index], index)

    def submit(self, count: int) -> None:
        """Enqueue copies and inference, or launch the graph that has them."""
        self._count = self.capacity if self._fixed else count
        try:
            with self._device.active():
                graph = self._graphs.get(self._count)
                if graph is not None:
                    graph.launch(self._stream)
                elif not self._enqueue(self._count):
                    raise EngineError(f"tensorrt: inference of {self._input!r} failed: {self._library.why()}")
                self._done.record(self._stream)
        except DeviceError as exc:
            raise EngineError(f"tensorrt: {exc}") from exc

    def complete(self) -> Mapping[str, NDArray[np.generic]]:
        """Wait for the copies back; other threads run meanwhile."""
        try:
            with self._device.active():
                self._done.wait()
        except DeviceError as exc:
            raise EngineError(f"tensorrt: {exc}") from exc
        return {name: self._host[name][: self._count] for name in self._outputs}

    def release(self) -> None:
        """Give the slot back."""
        self._give_back(self)

    def free(self) -> None:
        """Wait for what runs, and give everything back. Safe to call twice."""
        if not self._contexts:
            return
        self._stream.synchronize()
        self.forget_graphs()
        self._contexts = {}
        for memory in (*self._memory.values(), *([] if self._arena is None else [self._arena])):
            memory.free()
        self._memory, self._host, self._arena = {}, {}, None
        del self._stream, self._done

    def forget_graphs(self) -> None:
        """Go over to plain enqueues."""
        for graph in self._graphs.values():
            graph.free()
        self._graphs = {}

    def _enqueue(self, count: int) -> bool:
        self._device.copy_in(self._memory[self._input], self._host[self._input][:count], self._stream)
        done: bool = self._contexts[count].execute_async_v3(self._stream.handle)
        if not done:
            return False
        for name in self._outputs:
            self._device.copy_out(self._host[name][:count], self._memory[name], self._stream)
        return True
