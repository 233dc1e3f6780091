"""Stands where the CUDA driver stands: device memory is host memory, and a stream works only when it is waited for.

So a result that is read before its event, a buffer that is used after it was freed, and a call without an active
context all fail, as they would not always on a GPU.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np

from edged.device.base import DeviceError

STREAMS: dict[int, HostStream] = {}
_handles = itertools.count(1000)


class HostStream:
    """Work in order, done when somebody waits; while `recording` is a list it is kept there instead."""

    def __init__(self, device: HostDevice) -> None:
        self.device, self.handle = device, next(_handles)
        self.todo: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.lock = threading.Lock()
        STREAMS[self.handle] = self

    def do(self, work: Callable[[], None]) -> None:
        self.device.must_be_active()
        (self.todo if self.recording is None else self.recording).append(work)

    def synchronize(self) -> None:
        self.device.must_be_active()
        if self.recording is not None:
            raise DeviceError("CUDA: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        self.work(len(self.todo))

    def work(self, count: int) -> None:
        with self.lock:
            todo, self.todo = self.todo[:count], self.todo[count:]
            for one in todo:
                one()


class HostEvent:
    def __init__(self, device: HostDevice) -> None:
        self.device, self.stream, self.behind = device, None, 0

    def record(self, stream: HostStream) -> None:
        self.device.must_be_active()
        self.stream, self.behind = stream, len(stream.todo)

    def wait(self) -> None:
        self.device.must_be_active()
        if self.device.broken:
            raise DeviceError(f"CUDA: {self.device.broken}")
        if self.stream is not None:
            self.stream.work(self.behind)
            self.behind = 0


class HostMemory:
    def __init__(self, device: HostDevice, nbytes: int) -> None:
        self.device, self.nbytes = device, nbytes
        self.array = np.full(nbytes, 0xCD, np.uint8)
        self.pointer = self.array.ctypes.data
        device.alive.append(self)

    def free(self) -> None:
        self.device.must_be_active()
        if self in self.device.alive:
            self.device.alive.remove(self)
            self.array = None


class HostGraph:
    def __init__(self, device: HostDevice, work: list[Callable[[], None]]) -> None:
        self.device, self.work, self.launches = device, work, 0
        device.alive.append(self)

    def launch(self, stream: HostStream) -> None:
        self.launches += 1
        for one in self.work:
            stream.do(one)

    def free(self) -> None:
        if self in self.device.alive:
            self.device.alive.remove(self)
            self.work = []


class HostDevice:
    """See `edged.device.base.Device`. `broken` makes every wait fail with that text."""

    def __init__(self, number: int = 0, name: str = "NVIDIA Stand-In", capability: str = "8.7") -> None:
        self.number, self.name, self.capability, self.driver = number, name, capability, "12.6"
        self.alive: list[Any] = []
        self.graphs: list[HostGraph] = []
        self.broken = ""
        self.closed = 0
        self._depth = threading.local()

    @contextmanager
    def active(self):
        assert not self.closed, "the context was given back"
        self._depth.value = getattr(self._depth, "value", 0) + 1
        try:
            yield
        finally:
            self._depth.value -= 1

    def must_be_active(self) -> None:
        assert getattr(self._depth, "value", 0) > 0, "a CUDA call without an active context"

    def stream(self) -> HostStream:
        self.must_be_active()
        return HostStream(self)

    def event(self) -> HostEvent:
        self.must_be_active()
        return HostEvent(self)

    def allocate(self, nbytes: int) -> HostMemory:
        self.must_be_active()
        return HostMemory(self, nbytes)

    def pinned(self, shape, dtype):
        self.must_be_active()
        return np.zeros(shape, dtype)

    def copy_in(self, memory: HostMemory, array, stream: HostStream) -> None:
        assert array.flags.c_contiguous
        assert array.nbytes <= memory.nbytes
        stream.do(lambda: np.copyto(memory.array[: array.nbytes], array.reshape(-1).view(np.uint8)))

    def copy_out(self, array, memory: HostMemory, stream: HostStream) -> None:
        assert array.flags.c_contiguous
        assert array.nbytes <= memory.nbytes
        stream.do(lambda: np.copyto(array.reshape(-1).view(np.uint8), memory.array[: array.nbytes]))

    def capture(self, stream: HostStream, enqueue: Callable[[], bool]) -> HostGraph | None:
        self.must_be_active()
        stream.recording = []
        try:
            recorded = enqueue()
            work = stream.recording
        except DeviceError:
            recorded, work = False, []
        finally:
            stream.recording = None
        if not recorded:
            return None
        self.graphs.append(HostGraph(self, work))
        return self.graphs[-1]

    def close(self) -> None:
        self.closed += 1
