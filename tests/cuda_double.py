"""Stands where the CUDA driver stands: device memory is host memory, and a stream works only when it is waited for.

So a result that is read before its event, a buffer that is used after it was freed, and a call without an active
context all fail, as they would not always on a GPU.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edged.device.base import DeviceError

STREAMS: dict[int, HostStream] = {}
EVENTS: dict[int, HostEvent] = {}
COMPILER = shutil.which("g++") or shutil.which("c++")
NO_COMPILER = "no C++ compiler, with which kernels run on the host; apt-get install g++"
TYPES = {"P": ctypes.c_void_p, "i": ctypes.c_int, "f": ctypes.c_float}
AROUND = """
#include <cmath>
#include <cstring>
struct Place {{ int x, y, z; }};
static Place blockIdx, blockDim, threadIdx;
#define __device__ static
#define __forceinline__ inline
#define __global__
#define __restrict__
static inline int min(int a, int b) {{ return a < b ? a : b; }}
static inline int atomicAdd(int *at, int more) {{ int before = *at; *at += more; return before; }}
#if defined(__F16C__)
#include <immintrin.h>
static inline unsigned short half_bits(float value) {{ return _cvtss_sh(value, 0); }}
static inline float float_of(unsigned short bits) {{ return _cvtsh_ss(bits); }}
#elif defined(__aarch64__)
static inline unsigned short half_bits(float value) {{
    __fp16 half = value; unsigned short bits; std::memcpy(&bits, &half, 2); return bits;
}}
static inline float float_of(unsigned short bits) {{ __fp16 half; std::memcpy(&half, &bits, 2); return half; }}
#endif
{source}
struct Any {{ void *at; template <class T> operator T *() const {{ return (T *)at; }} }};
extern "C" void run(const int *grid, const int *block, {parameters}) {{
    blockDim = {{block[0], block[1], block[2]}};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
    for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
    for (threadIdx.z = 0; threadIdx.z < block[2]; threadIdx.z++)
    for (threadIdx.y = 0; threadIdx.y < block[1]; threadIdx.y++)
    for (threadIdx.x = 0; threadIdx.x < block[0]; threadIdx.x++)
        {name}({arguments});
}}
"""  # a kernel without barriers, one thread after the other
_handles = itertools.count(1000)


@functools.lru_cache(maxsize=8)
def compiled(source: str, name: str, layout: str, defines: tuple[str, ...]) -> Any:
    """Return a kernel as a function of the host, None where there is no compiler."""
    if COMPILER is None:
        return None
    kinds = {"P": "void *", "i": "int ", "f": "float "}
    parameters = ", ".join(f"{kinds[letter]}a{number}" for number, letter in enumerate(layout))
    arguments = ", ".join(
        f"Any{{a{number}}}" if letter == "P" else f"a{number}" for number, letter in enumerate(layout)
    )
    text = AROUND.format(source=source, name=name, parameters=parameters, arguments=arguments)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernel.so"
        flags = ["-O2", "-shared", "-fPIC", "-w", "-xc++", *(["-mf16c"] if "HALF" in defines and not is_arm() else [])]
        command = [COMPILER, *flags, *(f"-D{define}" for define in defines), "-o", str(library), "-"]
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)
        run = ctypes.CDLL(str(library)).run
    run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *(TYPES[letter] for letter in layout)]
    run.restype = None
    return run


def is_arm() -> bool:
    return platform.machine() == "aarch64"


class HostStream:
    """Work in order, done when somebody waits; while `recording` is a list it is kept there instead."""

    def __init__(self, device: HostDevice) -> None:
        self.device, self.handle = device, next(_handles)
        self.todo: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.lock = threading.RLock()
        self.done = 0  # pieces of work since it was made
        STREAMS[self.handle] = self
        device.alive.append(self)

    def do(self, work: Callable[[], None]) -> None:
        self.device.must_be_active()
        (self.todo if self.recording is None else self.recording).append(work)

    def wait(self, event: int) -> None:
        """What comes now waits for the event: on the host that is to do what is before it."""
        waited = EVENTS[event]
        if waited.stream is not None:
            source, behind = waited.stream, waited.behind
            self.do(lambda: source.work(max(0, behind - source.done)))

    def free(self) -> None:
        if STREAMS.pop(self.handle, None) is not None:
            self.device.alive.remove(self)

    def synchronize(self) -> None:
        self.device.must_be_active()
        if self.recording is not None:
            raise DeviceError("CUDA: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        if self.device.broken:
            raise DeviceError(f"CUDA: {self.device.broken}")
        self.work(len(self.todo))

    def work(self, count: int) -> None:
        with self.lock:
            todo, self.todo = self.todo[:count], self.todo[count:]
            self.done += len(todo)
            for one in todo:
                one()


class HostEvent:
    def __init__(self, device: HostDevice) -> None:
        self.device, self.stream, self.behind, self.handle = device, None, 0, next(_handles)
        EVENTS[self.handle] = self
        device.alive.append(self)

    def record(self, stream: HostStream) -> None:
        self.device.must_be_active()
        with stream.lock:
            self.stream, self.behind = stream, stream.done + len(stream.todo)

    def free(self) -> None:
        if EVENTS.pop(self.handle, None) is not None:
            self.device.alive.remove(self)

    def wait(self) -> None:
        self.device.must_be_active()
        if self.device.broken:
            raise DeviceError(f"CUDA: {self.device.broken}")
        if self.stream is not None:
            self.stream.work(max(0, self.behind - self.stream.done))


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


class HostKernel:
    """A kernel, run by the host; it does nothing where there is no compiler."""

    def __init__(self, device: HostDevice, run: Any) -> None:
        self.device, self.run, self.launches = device, run, 0

    def launch(self, stream: HostStream, grid, block, *values) -> None:
        def work() -> None:
            self.launches += 1
            if self.run is not None:
                sizes = (ctypes.c_int * 3)(*grid), (ctypes.c_int * 3)(*block)
                self.run(*sizes, *values)

        stream.do(work)


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
        self.context = id(self)
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

    def stream(self, urgency: float = 0.0) -> HostStream:
        self.must_be_active()
        assert 0 <= urgency <= 1
        return HostStream(self)

    def kernel(self, source: str, name: str, layout: str, defines: Sequence[str] = ()) -> HostKernel:
        self.must_be_active()
        return HostKernel(self, compiled(source, name, layout, tuple(defines)))

    def event(self) -> HostEvent:
        self.must_be_active()
        return HostEvent(self)

    def allocate(self, nbytes: int) -> HostMemory:
        self.must_be_active()
        return HostMemory(self, nbytes)

    def pinned(self, shape, dtype):
        self.must_be_active()
        return np.zeros(shape, dtype)

    def copy_in(self, memory: HostMemory, array, stream: HostStream, offset: int = 0) -> None:
        assert array.flags.c_contiguous
        end = offset + array.nbytes
        assert end <= memory.nbytes
        stream.do(lambda: np.copyto(memory.array[offset:end], array.reshape(-1).view(np.uint8)))

    def copy(self, to: int, source: int, nbytes: int, stream: HostStream) -> None:
        stream.do(lambda: ctypes.memmove(to, source, nbytes))

    def copy_out(self, array, memory: HostMemory, stream: HostStream) -> None:
        assert array.flags.c_contiguous
        assert array.nbytes <= memory.nbytes
        stream.do(lambda: ctypes.memmove(array.ctypes.data, memory.pointer, array.nbytes))

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
