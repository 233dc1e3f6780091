"""Device memory for decoded pictures, used again and again: who has read a picture gives its surface back."""

from __future__ import annotations

import threading
from contextlib import suppress

from edged.device.base import Device, DeviceError, Event, Memory, Stream
from edged.frame import Color, DevicePlane, Picture, PixelFormat


class Surface:
    """One NV12 picture in device memory, and the event after which it is there.

    `give_back` may be called by any thread, once nothing on the device reads it any more.
    """

    def __init__(self, owner: Surfaces, memory: Memory, event: Event, picture: Picture) -> None:
        self._owner, self.memory, self.event, self.picture = owner, memory, event, picture

    def give_back(self) -> None:
        """Let the decoder write to it again."""
        self._owner.give_back(self)


class Surfaces:
    """The surfaces of one decoder. There are as many as were ever in use at once; they have one size at a time.

    Made, asked and closed by the camera's worker; closing waits for nobody: a surface that is in use is freed when it
    comes back, and the device let go with the last one.

    Args:
        device: where they are; given over.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._free: list[Surface] = []
        self._in_use = 0
        self._closed = False
        self._shape: tuple[int, int, Color] | None = None

    def take(self, width: int, height: int, color: Color) -> Surface:
        """Return a surface for a picture of that size; what the decoder puts there must be followed by its event."""
        with self._lock:
            if self._shape != (width, height, color):
                self._shape = (width, height, color)
                self._drop()
            self._in_use += 1
            if self._free:
                return self._free.pop()
        try:
            return self._make(width, height, color)
        except BaseException:
            with self._lock:
                self._in_use -= 1
            raise

    def put(self, source: int, width: int, height: int, color: Color, stream: Stream) -> Surface:
        """Enqueue a copy of an NV12 picture without gaps, chroma behind luma, and return where it will be."""
        surface = self.take(width, height, color)
        try:
            self._device.copy(surface.memory.pointer, source, surface.memory.nbytes, stream)
            surface.event.record(stream)
        except BaseException:
            surface.give_back()
            raise
        return surface

    def give_back(self, surface: Surface) -> None:
        """Take a surface back, from any thread."""
        with self._lock:
            self._in_use -= 1
            shape = (surface.picture.width, surface.picture.height, surface.picture.color)
            if not self._closed and shape == self._shape:
                self._free.append(surface)
                return
            with suppress(DeviceError), self._device.active():
                _destroy(surface)
            self._let_go()

    def shrink(self) -> None:
        """Free what is not in use."""
        with self._lock:
            self._drop()

    def close(self) -> None:
        """Free what is not in use, and the rest when it comes back. Safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._drop()
                self._let_go()

    def _make(self, width: int, height: int, color: Color) -> Surface:
        columns, rows = (width + 1) // 2, (height + 1) // 2
        with self._device.active():
            memory = self._device.allocate(width * height + 2 * columns * rows)
            event = self._device.event()
        luma = DevicePlane(memory.pointer, width, width, height)
        chroma = DevicePlane(memory.pointer + width * height, 2 * columns, columns, rows)
        number, planes = self._device.number, (luma, chroma)
        picture = Picture(width, height, PixelFormat.NV12, color, planes, number, event.handle)
        return Surface(self, memory, event, picture)

    def _drop(self) -> None:
        with suppress(DeviceError), self._device.active():  # a broken context takes everything with it
            for surface in self._free:
                _destroy(surface)
        self._free.clear()

    def _let_go(self) -> None:
        if self._closed and not self._in_use:
            with suppress(DeviceError):
                self._device.close()


def _destroy(surface: Surface) -> None:
    surface.event.free()
    surface.memory.free()
