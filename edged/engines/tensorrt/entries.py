"""Picks on the device what parsers look at, by one kernel (`device/kernels/entries.cu`)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, cast

import numpy as np

from edged.device import kernels
from edged.device.base import Device, Memory, Stream
from edged.tensor import Picking

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYOUT = "PPPP" + "i" * 7 + "f"
BLOCK = (128, 1, 1)
MOST = 1024
"""Entries of one image that are picked; of one with more all leave the device."""
PAYS_BYTES = 300_000
"""Of one image's output; a smaller one is copied as a whole in the time that picking takes."""


class Entries:
    """The picked entries of one output of a slot. Made and used with the device active.

    Args:
        device: where the output is.
        picking: which entries.
        shape: of the output, batch first.
        dtype: of the output, float32 or float16.
    """

    def __init__(self, device: Device, picking: Picking, shape: tuple[int, ...], dtype: str) -> None:
        batch, *rest = shape
        self._channels = rest[-1] if picking.channels_last else rest[0]
        self._count = prod(rest) // self._channels
        steps = (self._channels, 1) if picking.channels_last else (1, self._count)
        end = self._channels if picking.end is None else picking.end
        self._numbers = (self._count, self._channels, *steps, picking.first, end, MOST, picking.least)
        self._device = device
        defines = ["HALF"] if dtype == "float16" else []
        self._kernel = device.kernel(kernels.source("entries"), "entries", LAYOUT, defines)
        self._none, self._found = (cast("NDArray[np.int32]", device.pinned((batch,), np.int32)) for _ in range(2))
        self._positions = cast("NDArray[np.int32]", device.pinned((batch, MOST), np.int32))
        self._values = cast("NDArray[np.float32]", device.pinned((batch, MOST, self._channels), np.float32))
        self._counter = device.allocate(4 * batch)  # last: what is page-locked goes by itself

    @staticmethod
    def pay(shape: tuple[int, ...], dtype: str) -> bool:
        """Tell whether picking takes less time than copying an output of this shape, batch first."""
        return dtype in ("float32", "float16") and prod(shape[1:]) * np.dtype(dtype).itemsize >= PAYS_BYTES

    def enqueue(self, count: int, output: Memory, stream: Stream) -> None:
        """Enqueue the picking for the first `count` images. It may be recorded."""
        self._device.copy_in(self._counter, self._none, stream)
        grid = (-(-self._count // BLOCK[0]), 1, count)
        self._kernel.launch(
            stream, grid, BLOCK, output.pointer, self._counter.pointer, self._positions.ctypes.data,
            self._values.ctypes.data, *self._numbers,
        )  # fmt: skip
        self._device.copy_out(self._found, self._counter, stream)

    def of(self, index: int) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        """Return positions, ascending, and channels of image `index`'s entries; None where there are too many.

        What was enqueued is done. The arrays are the caller's own.
        """
        found = int(self._found[index])
        if found > MOST:
            return None
        positions = self._positions[index, :found]
        order = np.argsort(positions)
        return positions[order].astype(np.intp), self._values[index, :found][order]

    def free(self) -> None:
        """Give the memory back. Nothing that was enqueued may still run. Safe to call twice."""
        self._counter.free()
        self._none = self._found = np.empty(0, np.int32)  # page-locked memory goes here
        self._positions, self._values = np.empty((0, 0), np.int32), np.empty((0, 0, 0), np.float32)
