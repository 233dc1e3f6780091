"""CUDA through pycuda (contexts, memory) and cuda-bindings (streams, events, graphs, kernels).

Both share the device's primary context. Streams are cuda-bindings' because pycuda's have no priorities, and what works
on streams goes with them. pycuda keeps a stack of contexts for each thread and aborts the process when a thread ends
with something on it, so a context is pushed only for the length of a `with` block.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edged.device.base import DeviceError
from edged.errors import BackendUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from edged.device.base import Event, Graph, Kernel, Memory, Stream

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
SLEEPING, NO_TIMES = 1, 2  # CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING
TYPES = {"P": ctypes.c_void_p, "i": ctypes.c_int, "f": ctypes.c_float}


class _Quick:
    """Driver calls that only enqueue, made without letting go of the interpreter's lock.

    They take a few microseconds; getting the lock back from sixty threads takes much longer. cuda-bindings lets go of
    it in every call.
    """

    def __init__(self) -> None:
        library = ctypes.PyDLL("libcuda.so.1")
        pointer = ctypes.c_void_p
        for name, types in {
            "cuGraphLaunch": (pointer, pointer),
            "cuEventRecord": (pointer, pointer),
            "cuStreamWaitEvent": (pointer, pointer, ctypes.c_uint),
            "cuMemcpyAsync": (pointer, pointer, ctypes.c_size_t, pointer),
        }.items():
            function = getattr(library, name)
            function.argtypes, function.restype = types, ctypes.c_int
            setattr(self, name, function)


def open_device(number: int) -> Gpu:
    """Return the GPU of that number.

    Raises:
        BackendUnavailable: pycuda, cuda-bindings or the GPU is not there.
    """
    try:
        import pycuda.driver as cuda
        from cuda.bindings import driver
    except ImportError as exc:
        raise BackendUnavailable(f"the GPU needs pycuda and cuda-bindings ({exc})") from exc
    try:
        cuda.init()
        count = cuda.Device.count()
        if number >= count:
            raise BackendUnavailable(f"no GPU {number}; this machine has {count}")
        return Gpu(number, cuda, driver, _Quick())
    except cuda.Error as exc:
        raise BackendUnavailable(f"no usable GPU: {exc}") from exc


class Gpu:
    """One GPU of this machine. See `Device`."""

    def __init__(self, number: int, cuda: Any, driver: Any, quick: Any) -> None:
        device = cuda.Device(number)
        self.number, self.name = number, device.name()
        self.capability = "{}.{}".format(*device.compute_capability())
        version = cuda.get_driver_version()
        self.driver = f"{version // 1000}.{version % 1000 // 10}"
        self._cuda, self._driver, self._quick = cuda, driver, quick
        self._context: Any = device.retain_primary_context()
        self.context = int(self._context.handle)
        self._modules: dict[bytes, Any] = {}
        self._loading = threading.Lock()

    def active(self) -> _Active:
        """Push the primary context, and pop it at the end."""
        return _Active(self._cuda, self._context)

    def stream(self, urgency: float = 0.0) -> Stream:
        """Return a non-blocking stream."""
        driver = self._driver
        least, greatest = _must(driver, driver.cuCtxGetStreamPriorityRange())  # the greatest is the lowest number
        priority = least + round((greatest - least) * urgency)
        return _Stream(driver, self._quick, _must(driver, driver.cuStreamCreateWithPriority(NON_BLOCKING, priority)))

    def event(self) -> Event:
        """Return an event without times whose wait sleeps instead of spinning."""
        return _Event(self._driver, self._quick, _must(self._driver, self._driver.cuEventCreate(SLEEPING | NO_TIMES)))

    def allocate(self, nbytes: int) -> Memory:
        """Take device memory."""
        with _translated(self._cuda):
            return _Memory(self._cuda.mem_alloc(nbytes), nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """Return a page-locked array."""
        with _translated(self._cuda):
            array: NDArray[np.generic] = self._cuda.pagelocked_zeros(shape, dtype)
        return array

    def copy_in(self, memory: Memory, array: NDArray[Any], stream: Stream, offset: int = 0) -> None:
        """Enqueue a copy to the device."""
        call = self._driver.cuMemcpyHtoDAsync
        _must(self._driver, call(memory.pointer + offset, array.ctypes.data, array.nbytes, stream.handle))

    def copy_out(self, array: NDArray[Any], memory: Memory, stream: Stream) -> None:
        """Enqueue a copy to the host."""
        call = self._driver.cuMemcpyDtoHAsync
        _must(self._driver, call(array.ctypes.data, memory.pointer, array.nbytes, stream.handle))

    def copy(self, to: int, source: int, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy within device memory; addresses are unique over all devices and the host."""
        _must_be_done(self._driver, self._quick.cuMemcpyAsync(to, source, nbytes, stream.handle))

    def kernel(self, source: str, name: str, layout: str, defines: Sequence[str] = ()) -> Kernel:
        """Compile with NVRTC, and load what it made once."""
        image = _compiled(source, self.capability, tuple(defines))
        driver = self._driver
        with self._loading:  # workers may ask at the same time
            if image not in self._modules:
                self._modules[image] = _must(driver, driver.cuModuleLoadData(image))
        function = _must(driver, driver.cuModuleGetFunction(self._modules[image], name.encode()))
        return _Kernel(driver, function, tuple(TYPES[letter] for letter in layout))

    def capture(self, stream: Stream, enqueue: Callable[[], bool]) -> Graph | None:
        """Record in this thread's own mode: what other threads do meanwhile is neither recorded nor refused."""
        driver = self._driver
        handle = driver.CUstream(stream.handle)
        _must(
            driver, driver.cuStreamBeginCapture(handle, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        )
        try:
            recorded = enqueue()
        except DeviceError:
            recorded = False
        except BaseException:
            driver.cuStreamEndCapture(handle)
            raise
        status, graph = driver.cuStreamEndCapture(handle)
        if status != driver.CUresult.CUDA_SUCCESS or not int(graph):
            return None
        try:
            return _Graph(driver, self._quick, _must(driver, driver.cuGraphInstantiate(graph, 0))) if recorded else None
        finally:
            _must(driver, driver.cuGraphDestroy(graph))

    def close(self) -> None:
        """Unload what was compiled, and release the primary context."""
        if self._context is None:
            return
        with self.active():
            for module in self._modules.values():
                self._driver.cuModuleUnload(module)
        self._modules = {}
        self._context.detach()
        self._context = None


class _Active:
    """A pushed context; a class of its own because it is entered several times in every inference."""

    __slots__ = ("_context", "_cuda")

    def __init__(self, cuda: Any, context: Any) -> None:
        self._cuda, self._context = cuda, context

    def __enter__(self) -> None:
        try:
            self._context.push()
        except self._cuda.Error as exc:
            raise DeviceError(f"CUDA: {exc}") from exc

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._context.pop()


class _Stream:
    def __init__(self, driver: Any, quick: Any, native: Any) -> None:
        self._driver, self._quick, self._native, self.handle = driver, quick, native, int(native)

    def synchronize(self) -> None:
        _must(self._driver, self._driver.cuStreamSynchronize(self._native))

    def wait(self, event: int) -> None:
        _must_be_done(self._driver, self._quick.cuStreamWaitEvent(self.handle, event, 0))

    def free(self) -> None:
        if self._native is not None:
            _must(self._driver, self._driver.cuStreamDestroy(self._native))
            self._native = None


class _Event:
    def __init__(self, driver: Any, quick: Any, native: Any) -> None:
        self._driver, self._quick, self._native, self.handle = driver, quick, native, int(native)

    def record(self, stream: Stream) -> None:
        _must_be_done(self._driver, self._quick.cuEventRecord(self.handle, stream.handle))

    def wait(self) -> None:
        _must(self._driver, self._driver.cuEventSynchronize(self._native))

    def free(self) -> None:
        if self._native is not None:
            _must(self._driver, self._driver.cuEventDestroy(self._native))
            self._native = None


class _Memory:
    def __init__(self, native: Any, nbytes: int) -> None:
        self._native, self.pointer, self.nbytes = native, int(native), nbytes

    def free(self) -> None:
        if self._native is not None:
            self._native.free()
            self._native = None


class _Kernel:
    def __init__(self, driver: Any, function: Any, types: tuple[Any, ...]) -> None:
        self._driver, self._function, self._types = driver, function, types

    def launch(self, stream: Stream, grid: tuple[int, int, int], block: tuple[int, int, int], *values: float) -> None:
        call = self._driver.cuLaunchKernel
        _must(self._driver, call(self._function, *grid, *block, 0, stream.handle, (values, self._types), 0))


class _Graph:
    def __init__(self, driver: Any, quick: Any, native: Any) -> None:
        self._driver, self._quick, self._native, self._handle = driver, quick, native, int(native)

    def launch(self, stream: Stream) -> None:
        _must_be_done(self._driver, self._quick.cuGraphLaunch(self._handle, stream.handle))

    def free(self) -> None:
        if self._native is not None:
            _must(self._driver, self._driver.cuGraphExecDestroy(self._native))
            self._native = None


@lru_cache(maxsize=32)
def _compiled(source: str, capability: str, defines: tuple[str, ...]) -> bytes:
    """Return the machine code of a kernel's source for a compute capability."""
    try:
        from cuda.bindings import nvrtc

        program = _must(nvrtc, nvrtc.nvrtcCreateProgram(source.encode(), b"edged.cu", 0, [], []), "nvrtcResult")
    except (ImportError, RuntimeError) as exc:  # a library that it cannot load is a RuntimeError there
        raise BackendUnavailable(f"the GPU needs NVRTC, CUDA's run-time compiler ({exc})") from exc
    options = [f"--gpu-architecture=sm_{capability.replace('.', '')}".encode(), b"--use_fast_math"]
    options += [f"-D{name}".encode() for name in defines]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        size = _must(nvrtc, nvrtc.nvrtcGetProgramLogSize(program), "nvrtcResult")
        text = b" " * size
        nvrtc.nvrtcGetProgramLog(program, text)
        raise DeviceError(f"CUDA: a kernel does not compile for {capability}: {text.decode(errors='replace').strip()}")
    size = _must(nvrtc, nvrtc.nvrtcGetCUBINSize(program), "nvrtcResult")
    image = b" " * int(size)
    _must(nvrtc, nvrtc.nvrtcGetCUBIN(program, image), "nvrtcResult")
    nvrtc.nvrtcDestroyProgram(program)
    return image


@contextmanager
def _translated(cuda: Any) -> Iterator[None]:
    try:
        yield
    except cuda.Error as exc:
        raise DeviceError(f"CUDA: {exc}") from exc


def _must_be_done(driver: Any, status: int) -> None:
    """Raise what a quick call answered."""
    if status != 0:
        raise DeviceError(f"CUDA: {driver.CUresult(status).name}")


def _must(library: Any, answer: Any, statuses: str = "CUresult") -> Any:
    """Return the value of a cuda-bindings call, whose first element is its status; several as a tuple."""
    status, *values = answer
    if status != 0:
        raise DeviceError(f"CUDA: {getattr(library, statuses)(status).name}")
    return values[0] if len(values) == 1 else tuple(values) or None
