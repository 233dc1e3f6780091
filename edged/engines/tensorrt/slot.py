"""What one inference works with: a stream, buffers, and for each batch size a context and CUDA graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edged.device.base import Device, DeviceError, Graph, Memory
from edged.engines.base import EngineError
from edged.engines.preprocess import Preprocessor
from edged.engines.preprocess_device import DevicePreprocessor
from edged.engines.tensorrt.contexts import choose_profile
from edged.engines.tensorrt.library import Library
from edged.engines.tensorrt.outputs import Outputs
from edged.errors import BackendUnavailable
from edged.frame import Frame
from edged.geometry import Fit
from edged.tensor import InputFormat, ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

Feed = Literal["host", "device"]
"""Where the pictures of a batch are: it decides how they get into the network's input."""


class TrtSlot:
    """The means for one inference. Made, used and freed with the device active; see `Slot`.

    A batch of host frames is converted by the CPU into page-locked memory and copied; frames of this device are read
    where they are, by one kernel, and kept until the inference is done. Mixed batches do both, without a graph.

    Args:
        contexts: batch size -> execution context; the slot's own.
        arena: the device memory that these work in, where they do not have it themselves; the slot frees it.
        model: inputs and outputs; the one input is a picture.
        capacity: images in the largest inference.
        fixed: whether every inference has that many.
        urgency: of its stream, in 0..1.
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
        urgency: float,
        give_back: Callable[[TrtSlot], None],
    ) -> None:
        self.capacity = capacity
        self._library, self._device, self._fixed = library, device, fixed
        self._contexts, self._arena = dict(contexts), arena
        self._give_back = give_back
        self.all_recorded = False
        self._stream, self._done = device.stream(urgency), device.event()
        self._outputs = Outputs(device, self._stream)
        self._graphs: dict[tuple[Feed, int], tuple[Graph, int]] = {}  # with the turn of the outputs that they bring
        self._count = 0
        self._frames: dict[int, Frame] = {}  # of this device, by place, until the inference is done
        self._host_fed: list[int] = []
        self._input = model.inputs[0]
        self._host: NDArray[np.generic] = np.empty(0)
        self._memory: Memory | None = None
        height, width = self._input.shape[2:]
        size = (width or 0, height or 0)
        self._preprocessor = Preprocessor(size, fmt)
        self._pictures: DevicePreprocessor | None = None
        try:
            self._pictures = DevicePreprocessor(device, size, fmt, self._input.dtype, capacity)
            self._prepare(model)
        except BaseException:
            self.free()
            raise

    def _prepare(self, model: ModelSpec) -> None:
        """Take the buffers, and tell each context its shape and where they are."""
        name, sizes = self._input.name, self._input.shape[1:]
        for count, context in self._contexts.items():
            if self._input.shape[0] is None:
                choose_profile(context, self._stream, self._library)
            if not context.set_input_shape(name, (count, *sizes)):
                raise EngineError(f"tensorrt: batch {count}: {self._library.why()}")
        self._host = self._device.pinned((self.capacity, *(size or 0 for size in sizes)), self._input.dtype)
        self._memory = self._device.allocate(max(self._host.nbytes, 1))
        places = {name: self._memory.pointer}
        for output in model.outputs:
            shapes = {count: _output_shape(context, output.name) for count, context in self._contexts.items()}
            places[output.name] = self._outputs.add(output, shapes).pointer
        for context in self._contexts.values():
            for tensor, pointer in places.items():
                if not context.set_tensor_address(tensor, pointer):
                    raise EngineError(f"tensorrt: tensor {tensor!r}: {self._library.why()}")

    def warm_up(self, graphs: bool) -> bool:
        """Run every batch size once, fed in both ways, and record it as graphs if wanted. Return whether all are."""
        feeds: tuple[Feed, ...] = ("host", "device")
        for count in self._contexts:
            for feed in feeds:
                if not self._enqueue(feed, count):
                    raise EngineError(f"tensorrt: the first inference failed: {self._library.why()}")
                self._stream.synchronize()
            for feed in feeds if graphs else ():
                graph = self._device.capture(self._stream, partial(self._enqueue, feed, count))
                if graph is None:
                    graphs = False
                    break
                self._graphs[feed, count] = graph, self._outputs.turn
        if not graphs:
            self.forget_graphs()
        self.all_recorded = graphs
        return graphs

    def fill(self, index: int, frame: Frame) -> Fit:
        """Convert a host frame now, or note where a frame of this device is, which is then kept until `complete`."""
        if frame.picture.device is None:
            self._host_fed.append(index)
            return self._preprocessor.write(frame, self._host[index], index)
        assert self._pictures is not None
        fit = self._pictures.describe(index, frame)
        frame.retain()
        self._frames[index] = frame
        return fit

    def submit(self, count: int) -> None:
        """Enqueue copies and inference, or launch the graph that has them."""
        self._count = self.capacity if self._fixed else self._size_for(count)
        feed: Feed = "device" if self._frames else "host"
        try:
            with self._device.active():
                if self._frames:
                    self._await_frames()
                mixed = self._frames and self._host_fed
                self._outputs.begin(self._count)
                graph = None if mixed else self._graph(feed, self._count)
                if graph is not None:
                    graph.launch(self._stream)
                elif not self._enqueue(feed, self._count):
                    raise EngineError(f"tensorrt: inference of {self._input.name!r} failed: {self._library.why()}")
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
        self._let_go()
        return self._outputs.give()

    def release(self) -> None:
        """Give the slot back."""
        self._outputs.take_back()
        if self._frames:  # it was filled and not completed
            with self._device.active():
                self._stream.synchronize()
            self._let_go()
        self._host_fed.clear()
        self._give_back(self)

    def free(self) -> None:
        """Wait for what runs, and give everything back. Safe to call twice."""
        if not self._contexts:
            return
        self._stream.synchronize()
        self.forget_graphs()
        self._contexts = {}
        for one in (self._memory, self._arena, self._pictures, self._outputs):
            if one is not None:
                one.free()
        self._memory = self._arena = None
        self._host = np.empty(0)  # page-locked memory goes here
        self._done.free()
        self._stream.free()

    def forget_graphs(self) -> None:
        """Go over to plain enqueues."""
        self.all_recorded = False
        for graph, _ in self._graphs.values():
            graph.free()
        self._graphs = {}

    def record(self) -> None:
        """Make the graphs of all batches bring what is wanted by now."""
        for feed, count in list(self._graphs):
            self._graph(feed, count)

    def _graph(self, feed: Feed, count: int) -> Graph | None:
        """Return the graph of a batch, made anew where something else is wanted by now; None: there is none."""
        if (feed, count) not in self._graphs:
            return None
        graph, turn = self._graphs[feed, count]
        if turn == self._outputs.turn:
            return graph
        del self._graphs[feed, count]
        graph.free()
        why: DeviceError | str = "the engine cannot be recorded"
        try:
            again = self._device.capture(self._stream, partial(self._enqueue, feed, count))
        except DeviceError as exc:  # no memory for it; where CUDA is broken the next call says so
            again, why = None, exc
        if again is None:
            log.warning("tensorrt: a batch of %d is enqueued from now on: %s", count, why)
            self.all_recorded = False
            return None
        self._graphs[feed, count] = again, self._outputs.turn
        return again

    def _size_for(self, count: int) -> int:
        """Return the batch size that takes so many: on a DLA not every one has an engine."""
        return count if count in self._contexts else min(size for size in self._contexts if size > count)

    def _await_frames(self) -> None:
        """Let the stream wait for the decoders, and the kernel find no picture of another batch."""
        assert self._pictures is not None
        for index in range(self._count):
            frame = self._frames.get(index)
            if frame is None:
                self._pictures.leave_out(index)
            elif frame.picture.ready:
                self._stream.wait(frame.picture.ready)

    def _let_go(self) -> None:
        """Give back the frames that the inference has read: their source may write to them again."""
        for frame in self._frames.values():
            frame.release()
        self._frames.clear()
        self._host_fed.clear()

    def _enqueue(self, feed: Feed, count: int) -> bool:
        assert self._memory is not None
        if feed == "device":
            assert self._pictures is not None
            self._pictures.enqueue(count, self._memory, self._stream)
            for index in self._host_fed:
                self._device.copy_in(self._memory, self._host[index], self._stream, index * self._host[0].nbytes)
        else:
            self._device.copy_in(self._memory, self._host[:count], self._stream)
        done: bool = self._contexts[count].execute_async_v3(self._stream.handle)
        if not done:
            return False
        self._outputs.bring(count)
        return True


def _output_shape(context: Any, name: str) -> tuple[int, ...]:
    shape = tuple(context.get_tensor_shape(name))
    if any(size < 0 for size in shape):
        raise BackendUnavailable(
            f"engine back end 'tensorrt': output {name!r} has {shape}: sizes that depend on the picture are not "
            "supported; use onnxruntime"
        )
    return shape
