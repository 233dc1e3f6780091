"""CUDA through pycuda; graphs, which pycuda does not have, through cuda-bindings on the same streams.

Both share the device's primary context. pycuda keeps a stack of contexts for each thread and aborts the process when a
thread ends with something on it, so a context is pushed only for the length of a `with` block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edged.device.base import DeviceError
from edged.errors import BackendUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from edged.device.base import Event, Graph, Memory, Stream

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


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
        return Gpu(number, cuda, driver)
    except cuda.Error as exc:
        raise BackendUnavailable(f"no usable GPU: {exc}") from exc


class Gpu:
    """One GPU of this machine. See `Device`."""

    def __init__(self, number: int, cuda: Any, driver: Any) -> None:
        device = cuda.Device(number)
        self.number, self.name = number, device.name()
        self.capability = "{}.{}".format(*device.compute_capability())
        version = cuda.get_driver_version()
        self.driver = f"{version // 1000}.{version % 1000 // 10}"
        self._cuda, self._driver = cuda, driver
        self._context: Any = device.retain_primary_context()

    def active(self) -> _Active:
        """Push the primary context, and pop it at the end."""
        return _Active(self._cuda, self._context)

    def stream(self) -> Stream:
        """Return a non-blocking stream."""
        with _translated(self._cuda):
            return _Stream(self._cuda, self._cuda.Stream(NON_BLOCKING))

    def event(self) -> Event:
        """Return an event without times whose wait sleeps instead of spinning."""
        flags = self._cuda.event_flags
        with _translated(self._cuda):
            return _Event(self._cuda, self._cuda.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING))

    def allocate(self, nbytes: int) -> Memory:
        """Take device memory."""
        with _translated(self._cuda):
            return _Memory(self._cuda.mem_alloc(nbytes), nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """Return a page-locked array."""
        with _translated(self._cuda):
            array: NDArray[np.generic] = self._cuda.pagelocked_zeros(shape, dtype)
        return array

    def copy_in(self, memory: Memory, array: NDArray[Any], stream: Any) -> None:
        """Enqueue a copy to the device."""
        with _translated(self._cuda):
            self._cuda.memcpy_htod_async(memory.pointer, array, stream.native)

    def copy_out(self, array: NDArray[Any], memory: Memory, stream: Any) -> None:
        """Enqueue a copy to the host."""
        with _translated(self._cuda):
            self._cuda.memcpy_dtoh_async(array, memory.pointer, stream.native)

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
            return _Graph(driver, _must(driver, driver.cuGraphInstantiate(graph, 0))) if recorded else None
        finally:
            _must(driver, driver.cuGraphDestroy(graph))

    def close(self) -> None:
        """Release the primary context."""
        if self._context is not None:
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
    def __init__(self, cuda: Any, native: Any) -> None:
        self._cuda, self.native, self.handle = cuda, native, int(native.handle)

    def synchronize(self) -> None:
        with _translated(self._cuda):
            self.native.synchronize()


class _Event:
    def __init__(self, cuda: Any, native: Any) -> None:
        self._cuda, self._native = cuda, native

    def record(self, stream: Any) -> None:
        with _translated(self._cuda):
            self._native.record(stream.native)

    def wait(self) -> None:
        with _translated(self._cuda):
            self._native.synchronize()


class _Memory:
    def __init__(self, native: Any, nbytes: int) -> None:
        self._native, self.pointer, self.nbytes = native, int(native), nbytes

    def free(self) -> None:
        if self._native is not None:
            self._native.free()
            self._native = None


class _Graph:
    def __init__(self, driver: Any, native: Any) -> None:
        self._driver, self._native = driver, native

    def launch(self, stream: Stream) -> None:
        _must(self._driver, self._driver.cuGraphLaunch(self._native, stream.handle))

    def free(self) -> None:
        if self._native is not None:
            _must(self._driver, self._driver.cuGraphExecDestroy(self._native))
            self._native = None


@contextmanager
def _translated(cuda: Any) -> Iterator[None]:
    try:
        yield
    except cuda.Error as exc:
        raise DeviceError(f"CUDA: {exc}") from exc


def _must(driver: Any, answer: Any) -> Any:
    """Return the value of a cuda-bindings call, whose first element is its status."""
    status, *values = answer
    if status != driver.CUresult.CUDA_SUCCESS:
        raise DeviceError(f"CUDA: {driver.CUresult(status).name}")
    return values[0] if values else None
