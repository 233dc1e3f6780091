"""The driver's buffers, mapped into this process: queued, filled, looked at, given back."""

from __future__ import annotations

import ctypes
import errno
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.camera.v4l2 import node, uapi
from edged.camera.v4l2.device import Device
from edged.errors import CameraError

WANTED = 8
QUEUED_MIN = 3  # one being filled, the next one, and one that is done while we are looking: those are never kept

Memories = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Filled:
    """A buffer that the driver filled; `memories` are the bytes it wrote to each plane of memory, where they lie.

    `stamp_ns` is CLOCK_MONOTONIC by the driver, None where it stamps otherwise.
    """

    index: int
    sequence: int
    flags: int
    stamp_ns: int | None
    memories: Memories

    @property
    def damaged(self) -> bool:
        """Whether the driver says that the picture may be broken."""
        return bool(self.flags & uapi.BUF_FLAG_ERROR)


class Buffers:
    """Mapped buffers and the stream that fills them. Used by the camera's worker; only `give` is for any thread.

    A buffer that is given back is queued with the next `take`, so that one thread only talks to the driver, and a
    frame may outlive the stream: its memory stays mapped as long as anything refers to it.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._returned: deque[int] = deque()
        self._outside = 0  # taken, and not queued again
        self._memory: list[Memories] = []
        self._planes = (uapi.Plane * uapi.MAX_PLANES)()
        self._buffer = uapi.Buffer()
        request = uapi.RequestBuffers(count=WANTED, type=device.type, memory=uapi.MEMORY_MMAP)
        try:
            device.call(uapi.REQBUFS, request)
        except OSError as exc:
            raise device.failed("cannot start", exc) from exc
        self.count: int = request.count
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        device = self._device
        if self.count < 2:
            raise CameraError(f"cannot start {device.path}: its driver gives {self.count} buffer(s), 2 are needed")
        try:
            self._memory = [self._mapped(index) for index in range(self.count)]
            for index in range(self.count):
                self._queue(index)
            device.call(uapi.STREAMON, ctypes.c_int32(device.type))
        except OSError as exc:
            raise device.failed("cannot start", exc) from exc

    def _described(self, index: int = 0) -> uapi.Buffer:
        """Return the one structure that buffers are named with, filled in anew."""
        buffer = self._buffer
        node.zeroed(buffer)
        buffer.index, buffer.type, buffer.memory = index, self._device.type, uapi.MEMORY_MMAP
        if self._device.multiplanar:
            ctypes.memset(self._planes, 0, ctypes.sizeof(self._planes))
            buffer.m.planes = ctypes.cast(self._planes, ctypes.POINTER(uapi.Plane))
            buffer.length = uapi.MAX_PLANES
        return buffer

    def _mapped(self, index: int) -> Memories:
        buffer = self._described(index)
        self._device.call(uapi.QUERYBUF, buffer)
        if self._device.multiplanar:
            places = [(self._planes[n].length, self._planes[n].m.mem_offset) for n in range(buffer.length)]
        else:
            places = [(buffer.length, buffer.m.offset)]
        return tuple(np.frombuffer(self._device.node.map(*place), np.uint8) for place in places)

    def _queue(self, index: int) -> None:
        self._device.call(uapi.QBUF, self._described(index))

    def take(self) -> Filled | None:
        """Return the next filled buffer, None when there is none now. Raise `OSError`."""
        while self._returned:
            self._queue(self._returned.popleft())
            self._outside -= 1
        buffer = self._described()
        try:
            self._device.call(uapi.DQBUF, buffer)
        except BlockingIOError:
            return None
        self._outside += 1
        kind = buffer.flags & uapi.BUF_FLAG_TIMESTAMP_MASK
        stamp = buffer.timestamp
        stamp_ns = (stamp.tv_sec * 1_000_000 + stamp.tv_usec) * 1000
        return Filled(
            buffer.index,
            buffer.sequence,
            buffer.flags,
            stamp_ns if kind == uapi.BUF_FLAG_TIMESTAMP_MONOTONIC else None,
            self._used(buffer),
        )

    def _used(self, buffer: uapi.Buffer) -> Memories:
        memory = self._memory[buffer.index]
        if not self._device.multiplanar:
            return (memory[0][: buffer.bytesused],)
        planes = (self._planes[number] for number in range(len(memory)))
        return tuple(one[plane.data_offset : plane.bytesused] for one, plane in zip(memory, planes, strict=True))

    @property
    def may_keep(self) -> bool:
        """Whether the buffer taken last may stay with a frame, and the driver still has enough."""
        return self.count - self._outside + len(self._returned) >= QUEUED_MIN

    def give(self, index: int) -> None:
        """Give a buffer back. Safe from any thread, also after `close`."""
        self._returned.append(index)

    def close(self) -> None:
        """Stop the stream and free the buffers, but for those that frames still lie in."""
        with suppress(OSError):
            self._device.call(uapi.STREAMOFF, ctypes.c_int32(self._device.type))
        self._memory.clear()
        with suppress(OSError):  # the device is free for the next one who opens it, though a frame is still mapped
            self._device.call(
                uapi.REQBUFS, uapi.RequestBuffers(count=0, type=self._device.type, memory=uapi.MEMORY_MMAP)
            )


def is_gone(exc: OSError) -> bool:
    """Whether an error means that the device went away: unplugged, its driver unbound, or the stream stopped."""
    return exc.errno in (errno.ENODEV, errno.EINVAL, errno.ENXIO)
