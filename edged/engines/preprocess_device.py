"""From planes in device memory to a network's input, by one kernel for a whole batch (`device/kernels/pictures.cu`)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from edged.device import kernels
from edged.device.base import Device, Memory, Stream
from edged.engines.kept import Kept
from edged.engines.preprocess import color_matrix
from edged.errors import ShapeError
from edged.frame import DevicePlane, Frame, Picture, PixelFormat
from edged.geometry import Fit, fit_frame
from edged.lens import View
from edged.optics import picture_map, source_size
from edged.tensor import InputFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = {PixelFormat.NV12: 0, PixelFormat.YUV: 1, PixelFormat.RGB: 2, PixelFormat.GRAY: 3}
NV12_EVEN = 4  # pairs may be read as one: every row begins at an even address
ROW = struct.Struct("<4Q 3i 2i 2i 2f i 2i 2i 2f 12f")
"""One picture as the kernel reads it, `struct Picture` there: planes, map, pitches, sizes of the first plane and of
chroma, scale of chroma, kind, corner and size of the inner rectangle, scale, matrix."""
NOTHING = bytes(ROW.size)
KNOWN_MAX = 512  # rows kept
LAYOUT = "PPii" + "f" * 9
BLOCK = (32, 4, 1)
ROWS, BLOCKS = 4, 6
"""Pixels that a thread makes, one below the other, and blocks that are to fit on a multiprocessor at once: many threads
hide the memory's latency, and each that asks for much at once hides it too."""
PREFETCHES = (7, 5)  # the first compute capability that fetches more than was asked for

_MapKey = tuple[View, tuple[int, int], Fit]
_Known = tuple[Picture, Fit, _MapKey | None, bytes]


class DevicePreprocessor:
    """Describes frames, and enqueues the kernel that reads them. One per slot. Made and used with the device active.

    Args:
        device: where frames and input are.
        size: (width, height) of the network's input in pixels.
        fmt: the picture format the network was trained on.
        dtype: float32 or float16, of the input.
        capacity: images in the input.
    """

    def __init__(self, device: Device, size: tuple[int, int], fmt: InputFormat, dtype: str, capacity: int) -> None:
        self._device, self._size, self._format = device, size, fmt
        defines = [f"ROWS={ROWS}", f"BLOCKS={BLOCKS}", *(["HALF"] if dtype == "float16" else [])]
        if tuple(map(int, device.capability.split("."))) >= PREFETCHES:
            defines.append("WIDE")
        self._kernel = device.kernel(kernels.source("pictures"), "pictures", LAYOUT, defines)
        self._rows = cast("NDArray[np.uint8]", device.pinned((capacity, ROW.size), np.uint8))
        self._bytes = self._rows.data.cast("B")
        self._known: dict[int, _Known] = {}
        self._maps: Kept[_MapKey, Memory] = Kept()
        self._memory: Memory = device.allocate(self._rows.nbytes)
        mean, std = np.array(fmt.mean), np.array(fmt.std)
        self._constants = tuple(
            float(value) for value in (*1 / (255 * std), *-mean / std, *(fmt.pad / 255 - mean) / std)
        )

    def describe(self, index: int, frame: Frame) -> Fit:
        """Say where the pixels of image `index` are. They are read when what `enqueue` put into its stream runs.

        Raises:
            ShapeError: the frame is on another device, or on the host.
        """
        picture = frame.picture
        known = self._known.get(id(picture))
        if known is None or known[0] is not picture:  # sources use few surfaces again and again
            if picture.device != self._device.number:
                raise ShapeError(f"{frame!r} is not on GPU {self._device.number}")
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            fit = fit_frame((picture.width, picture.height), self._size, self._format.fit)
            view = None if picture.view is None else (picture.view, source_size(picture), fit)
            known = self._known[id(picture)] = (picture, fit, view, self._row(picture, fit, view))
        _, fit, view, row = known
        if view is not None:
            self._maps.get(view)  # it is in use
        self._bytes[index * ROW.size : (index + 1) * ROW.size] = row
        return fit

    def leave_out(self, index: int) -> None:
        """Say that there is no image `index`: its input becomes padding."""
        self._bytes[index * ROW.size : (index + 1) * ROW.size] = NOTHING

    def enqueue(self, count: int, out: Memory, stream: Stream) -> None:
        """Enqueue the conversion of the first `count` images into the network's input. It may be recorded."""
        self._device.copy_in(self._memory, self._rows[:count], stream)
        self.launch(count, out, stream)

    def launch(self, count: int, out: Memory, stream: Stream) -> None:
        """Enqueue the kernel alone, for images that the device knows of already."""
        width, height = self._size
        grid = (-(-width // BLOCK[0]), -(-height // (BLOCK[1] * ROWS)), count)
        self._kernel.launch(stream, grid, BLOCK, out.pointer, self._memory.pointer, width, height, *self._constants)

    def free(self) -> None:
        """Give the memory back. Nothing that was enqueued may still run. Safe to call twice."""
        for memory in (self._memory, *self._maps.clear().values()):
            memory.free()
        self._rows, self._bytes = np.empty((0, ROW.size), np.uint8), memoryview(b"")  # page-locked memory goes here

    def _map(self, picture: Picture, fit: Fit, key: _MapKey | None) -> int:
        """Return the address of a view's map, which is made and copied once for as long as it is in use."""
        if key is None:
            return 0
        memory = self._maps.get(key)
        if memory is None:
            points = picture_map(picture, fit)
            with self._device.active():
                host = cast("NDArray[np.float32]", self._device.pinned(points.shape, np.float32))
                host[:] = points
                memory, stream = self._device.allocate(host.nbytes), self._device.stream()
                self._device.copy_in(memory, host, stream)
                stream.synchronize()
                stream.free()
                del host
                self._forget(self._maps.put(key, memory))
        return memory.pointer

    def _forget(self, gone: Mapping[_MapKey, Memory]) -> None:
        """Free the maps of views that are in use no more. Nothing of this slot runs while its batch is filled."""
        for memory in gone.values():
            memory.free()
        self._known = {name: known for name, known in self._known.items() if known[2] not in gone}

    def _row(self, picture: Picture, fit: Fit, view: _MapKey | None) -> bytes:
        planes = cast("tuple[DevicePlane, ...]", picture.planes)
        luma, chroma = planes[0], planes[min(1, len(planes) - 1)]
        absent = (0,) * (3 - len(planes))
        kind = KINDS[picture.format]
        if picture.format is PixelFormat.NV12 and not (chroma.pointer | chroma.pitch) & 1:
            kind = NV12_EVEN
        return ROW.pack(
            *(plane.pointer for plane in planes), *absent, self._map(picture, fit, view),
            *(plane.pitch for plane in planes), *absent,
            luma.width, luma.height, chroma.width, chroma.height,
            chroma.width / luma.width, chroma.height / luma.height, kind,
            fit.left, fit.top, fit.inner_width, fit.inner_height,
            luma.width / fit.inner_width, luma.height / fit.inner_height, *self._matrix(picture),
        )  # fmt: skip

    def _matrix(self, picture: Picture) -> Sequence[float]:
        if picture.format is PixelFormat.RGB:
            return (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0) if self._format.color == "rgb" else (
                0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0)  # fmt: skip
        flat: list[float] = color_matrix(picture.color, self._format.color).reshape(12).tolist()
        return flat
