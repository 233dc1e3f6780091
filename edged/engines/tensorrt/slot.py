"""What one inference works with: a stream, buffers, and for each batch size a context and CUDA graphs.

Outputs stay on the device until somebody reads them. What is read is brought with every inference from then on, in the
same graph: a whole output, or of a large one the entries that a parser looks at. What nobody reads any more is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from edged.device.base import Device, DeviceError, Graph, Memory
from edged.engines.base import EngineError
from edged.engines.preprocess import Preprocessor
from edged.engines.preprocess_device import DevicePreprocessor
from edged.engines.tensorrt.entries import Entries
from edged.engines.tensorrt.library import Library
from edged.errors import BackendUnavailable
from edged.frame import Frame
from edged.geometry import Fit
from edged.tensor import InputFormat, ModelSpec, Picking

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

LEFT_AFTER = 500  # inferences in which nobody read something
CROWDED_MAX = 16  # inferences in a row with too many entries, after which the output comes as a whole

Feed = Literal["host", "device"]
"""Where the pictures of a batch are: it decides how they get into the network's input."""


Want = str | Picking
"""What somebody reads: an output, or entries of one."""


@dataclass(frozen=True)
class _Recorded:
    """A graph, what it brings, and for which turn of the slot's wants it was made."""

    graph: Graph
    brings: frozenset[Want]
    turn: int


class SlotOutputs(Mapping[str, "NDArray[np.generic]"]):
    """A slot's outputs by name, batch first, until it is released. Reading one may wait for the device."""

    def __init__(self, slot: TrtSlot, names: list[str]) -> None:
        self._slot, self._names = slot, names
        self.over = False

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._names:
            raise KeyError(name)
        if self.over:
            raise EngineError("tensorrt: outputs were read after their slot was released")
        return self._slot.output(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def picked(self, picking: Picking, index: int) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        """Return positions and channels of the entries of image `index` that a parser looks at.

        None where there are too many, or the output is small: then it is to be had as a whole.
        """
        return None if self.over else self._slot.picked(picking, index)


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
        self._memory: dict[str, Memory] = {}
        self._host: dict[str, NDArray[np.generic]] = {}
        self._graphs: dict[tuple[Feed, int], _Recorded] = {}
        self._outputs = {spec.name: spec for spec in model.outputs}
        self._wants: dict[Want, int] = {}  # what each inference brings, and how many ago it was read
        self._turn = 0  # of the wants: with each change the graphs are recorded anew
        self._here: set[Want] = set()  # what is on the host since the last inference
        self._crowded: set[str] = set()  # outputs with too many entries in that inference
        self._entries: dict[Picking, Entries | None] = {}  # None where the whole output is as quick
        self._crowds: dict[Picking, int] = {}  # inferences in a row with too many entries
        self._given: SlotOutputs | None = None
        self._count = 0
        self._frames: dict[int, Frame] = {}  # of this device, by place, until the inference is done
        self._host_fed: list[int] = []
        self._input = model.inputs[0].name
        height, width = model.inputs[0].shape[2:]
        size = (width or 0, height or 0)
        self._preprocessor = Preprocessor(size, fmt)
        self._pictures: DevicePreprocessor | None = None
        try:
            self._pictures = DevicePreprocessor(device, size, fmt, model.inputs[0].dtype, capacity)
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
                self._graphs[feed, count] = _Recorded(graph, frozenset(), self._turn)
        if not graphs:
            self.forget_graphs()
        self.all_recorded = graphs
        return graphs

    def fill(self, index: int, frame: Frame) -> Fit:
        """Convert a host frame now, or note where a frame of this device is, which is then kept until `complete`."""
        if frame.picture.device is None:
            self._host_fed.append(index)
            return self._preprocessor.write(frame, self._host[self._input][index], index)
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
                self._forget_unread()
                self._crowded.clear()
                recorded = None if mixed else self._recorded(feed, self._count)
                self._here = set(self._wants if recorded is None else recorded.brings)
                if recorded is not None:
                    recorded.graph.launch(self._stream)
                elif not self._enqueue(feed, self._count):
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
        self._let_go()
        self._given = SlotOutputs(self, [*self._outputs])
        return self._given

    def output(self, name: str) -> NDArray[np.generic]:
        """Return one output as a whole; it comes with every inference from now on, unless it was just too crowded."""
        self._want(name, keep=name not in self._crowded)
        return self._host[name][: self._count]

    def picked(self, picking: Picking, index: int) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        """Return the entries of image `index` that a parser looks at, if they pay; see `SlotOutputs`."""
        if picking not in self._entries:
            self._entries[picking] = self._make_entries(picking)
        entries = self._entries[picking]
        if entries is None:
            return None
        self._want(picking)
        found = entries.of(index)
        if found is None:
            self._crowded.add(picking.output)
            self._crowds[picking] = self._crowds.get(picking, 0) + 1
        else:
            self._crowds.pop(picking, None)
        return found

    def _make_entries(self, picking: Picking) -> Entries | None:
        shape, dtype = self._host[picking.output].shape, self._outputs[picking.output].dtype
        if not Entries.pay(shape, dtype):
            return None
        try:
            with self._device.active():
                return Entries(self._device, picking, shape, dtype)
        except (DeviceError, BackendUnavailable) as exc:
            log.warning("tensorrt: output %r comes as a whole: %s", picking.output, exc)
            return None

    def _want(self, want: Want, *, keep: bool = True) -> None:
        """Have something on the host: now, where the inference has not brought it, and later with each."""
        if want in self._wants:
            self._wants[want] = 0
        if want in self._here:
            return
        try:
            with self._device.active():
                self._bring(want, self._count)
                self._stream.synchronize()
        except DeviceError as exc:
            raise EngineError(f"tensorrt: {exc}") from exc
        self._here.add(want)
        if keep and want not in self._wants:
            self._wants[want] = 0
            self._turn += 1

    def _forget_unread(self) -> None:
        """Leave what nobody has read for long, and the entries of outputs that are always crowded."""
        for want in self._wants:
            self._wants[want] += 1
        over = {want for want, unread in self._wants.items() if unread > LEFT_AFTER}
        crowded = {picking for picking, often in self._crowds.items() if often > CROWDED_MAX}
        for want in over | crowded:
            self._wants.pop(want, None)
            self._turn += 1
            if isinstance(want, Picking):
                if (entries := self._entries.pop(want, None)) is not None:
                    entries.free()
                if want in crowded:
                    self._entries[want] = None
                    del self._crowds[want]

    def _bring(self, want: Want, count: int) -> None:
        if isinstance(want, str):
            self._device.copy_out(self._host[want][:count], self._memory[want], self._stream)
        elif (entries := self._entries[want]) is not None:
            entries.enqueue(count, self._memory[want.output], self._stream)

    def release(self) -> None:
        """Give the slot back."""
        if self._given is not None:
            self._given.over, self._given = True, None
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
        for memory in (*self._memory.values(), *([] if self._arena is None else [self._arena])):
            memory.free()
        if self._pictures is not None:
            self._pictures.free()
        for entries in filter(None, self._entries.values()):
            entries.free()
        self._memory, self._host, self._arena = {}, {}, None
        self._done.free()
        self._stream.free()

    def forget_graphs(self) -> None:
        """Go over to plain enqueues."""
        self.all_recorded = False
        for recorded in self._graphs.values():
            recorded.graph.free()
        self._graphs = {}

    def record(self) -> None:
        """Make the graphs of all batches bring what is wanted by now."""
        for feed, count in list(self._graphs):
            self._recorded(feed, count)

    def _recorded(self, feed: Feed, count: int) -> _Recorded | None:
        """Return the graph of a batch, made anew where something else is wanted by now; None: there is none."""
        known = self._graphs.get((feed, count))
        if known is None or known.turn == self._turn:
            return known
        del self._graphs[feed, count]
        known.graph.free()
        graph = self._device.capture(self._stream, partial(self._enqueue, feed, count))
        if graph is None:
            log.warning("tensorrt: a batch of %d cannot be recorded any more: its inferences are enqueued", count)
            self.all_recorded = False
            return None
        self._graphs[feed, count] = _Recorded(graph, frozenset(self._wants), self._turn)
        return self._graphs[feed, count]

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
        array, memory = self._host[self._input], self._memory[self._input]
        if feed == "device":
            assert self._pictures is not None
            self._pictures.enqueue(count, memory, self._stream)
            for index in self._host_fed:
                self._device.copy_in(memory, array[index], self._stream, index * array[0].nbytes)
        else:
            self._device.copy_in(memory, array[:count], self._stream)
        done: bool = self._contexts[count].execute_async_v3(self._stream.handle)
        if not done:
            return False
        for want in self._wants:
            self._bring(want, count)
        return True
