"""What of a slot's outputs comes to the host.

Outputs stay on the device until somebody reads them. What is read is brought with every inference from then on, in the
same graph: a whole output, or of a large one the entries that a parser looks at. What nobody reads any more is left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from edged.device.base import Device, DeviceError, Memory, Stream
from edged.engines.base import EngineError
from edged.engines.tensorrt.entries import Entries
from edged.errors import BackendUnavailable
from edged.tensor import Picking, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

LEFT_AFTER = 500  # inferences in which nobody read something
CROWDED_MAX = 16  # inferences in a row with too many entries, after which the output comes as a whole

Want = str | Picking
"""What somebody reads: an output, or entries of one."""


class SlotOutputs(Mapping[str, "NDArray[np.generic]"]):
    """The outputs of one inference by name, as the network has them, until its slot is released.

    Reading may wait for it.
    """

    def __init__(self, outputs: Outputs, names: tuple[str, ...]) -> None:
        self._outputs, self._names = outputs, names
        self.over = False

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._names:
            raise KeyError(name)
        self._check()
        return self._outputs.whole(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def picked(self, picking: Picking, index: int) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        """Return positions (n,), ascending, and channels (n, channels) of the entries of image `index` to look at.

        None where there are too many, or the output is small: then it is to be had as a whole.
        """
        self._check()
        return self._outputs.picked(picking, index)

    def _check(self) -> None:
        if self.over:
            raise EngineError("tensorrt: outputs were read after their slot was released")


class Outputs:
    """The outputs of a slot. Used by one thread at a time; but for `whole` and `picked` with the device active.

    `turn` changes whenever something else is to be brought: what was recorded before brings the wrong things.
    """

    def __init__(self, device: Device, stream: Stream) -> None:
        self._device, self._stream = device, stream
        self._specs: dict[str, TensorSpec] = {}
        self._memory: dict[str, Memory] = {}
        self._host: dict[str, dict[int, NDArray[np.generic]]] = {}  # by the images of an inference, in one memory
        self._wants: dict[Want, int] = {}  # what each inference brings, and how many ago it was read
        self.turn = 0
        self._count = 0
        self._here: set[Want] = set()  # what is on the host of the last inference
        self._crowded: set[str] = set()  # its outputs with too many entries
        self._crowds: dict[Picking, int] = {}  # inferences in a row with too many entries
        self._entries: dict[Picking, Entries | None] = {}  # None where the whole output is as quick
        self._given: SlotOutputs | None = None

    def add(self, spec: TensorSpec, shapes: Mapping[int, tuple[int, ...]]) -> Memory:
        """Take the buffers of one output, of which each number of images has its shape; return its device memory.

        The first size is mostly that number. It need not be: a network may leave the batch out, or merge it.
        """
        self._specs[spec.name] = spec
        host = self._device.pinned((max(map(prod, shapes.values())),), spec.dtype)
        self._host[spec.name] = {count: host[: prod(shape)].reshape(shape) for count, shape in shapes.items()}
        self._memory[spec.name] = self._device.allocate(max(host.nbytes, 1))
        return self._memory[spec.name]

    def begin(self, count: int) -> None:
        """An inference of `count` images is to be enqueued, with what is wanted now. The one before it is done."""
        self._forget_unread()
        self._count, self._here = count, set(self._wants)
        self._crowded.clear()

    def bring(self, count: int) -> None:
        """Enqueue the way to the host of all that is wanted. It may be recorded."""
        for want in self._wants:
            self._bring(want, count)

    def give(self) -> SlotOutputs:
        """Return the outputs of the inference, which is done, for reading."""
        self._given = SlotOutputs(self, tuple(self._specs))
        return self._given

    def take_back(self) -> None:
        """End the reading."""
        if self._given is not None:
            self._given.over, self._given = True, None

    def whole(self, name: str) -> NDArray[np.generic]:
        """Return one output; it comes with every inference from now on, unless it was just too crowded to pick from."""
        self._want(name, keep=name not in self._crowded)
        return self._host[name][self._count]

    def picked(self, picking: Picking, index: int) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        """Return the entries of image `index` that a parser looks at, if that pays; see `SlotOutputs`."""
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

    def free(self) -> None:
        """Give the memory back. Nothing that was enqueued may still run. Safe to call twice."""
        for memory in self._memory.values():
            memory.free()
        for entries in filter(None, self._entries.values()):
            entries.free()
        self._memory, self._host, self._entries = {}, {}, {}

    def _make_entries(self, picking: Picking) -> Entries | None:
        shapes = {count: host.shape for count, host in self._host[picking.output].items()}
        shape, dtype = shapes[max(shapes)], self._specs[picking.output].dtype
        if any(shape[:1] != (count,) for count, shape in shapes.items()) or not Entries.pay(shape, dtype):
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
            self.turn += 1

    def _forget_unread(self) -> None:
        """Leave what nobody has read for long, and the entries of outputs that are always crowded."""
        for want in self._wants:
            self._wants[want] += 1
        unread = {want for want, ago in self._wants.items() if ago > LEFT_AFTER}
        crowded = {picking for picking, often in self._crowds.items() if often > CROWDED_MAX}
        for want in unread | crowded:
            self._wants.pop(want, None)
            self.turn += 1
            if isinstance(want, Picking) and (entries := self._entries.pop(want, None)) is not None:
                entries.free()
        for picking in crowded:
            self._entries[picking] = None
            del self._crowds[picking]

    def _bring(self, want: Want, count: int) -> None:
        if isinstance(want, str):
            self._device.copy_out(self._host[want][count], self._memory[want], self._stream)
        elif (entries := self._entries[want]) is not None:
            entries.enqueue(count, self._memory[want.output], self._stream)
