"""The seam of CUDA: what a device does for its users, whichever library does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from edged.errors import EdgedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray


class DeviceError(EdgedError):
    """A CUDA call failed. The context may be broken for good: the process ends, and systemd starts it anew."""

    exit_code = 70


class Stream(Protocol):
    """Work in order. Belongs to one device; used by one thread at a time."""

    handle: int
    """The CUstream as a number, for libraries that enqueue by themselves."""

    def synchronize(self) -> None:
        """Wait until all that was enqueued is done."""

    def wait(self, event: int) -> None:
        """Let what is enqueued from now on wait for what was before an event's last record. The host does not wait.

        `event` is its handle; it may be of another stream, another library, or another device.
        """

    def free(self) -> None:
        """Destroy it once its work is done. Safe to call twice."""


class Event(Protocol):
    """A place in a stream that the host, sleeping, and other streams can wait for."""

    handle: int
    """The CUevent as a number, for `Stream.wait` and `Picture.ready`."""

    def record(self, stream: Stream) -> None:
        """Put the event behind all that is enqueued now."""

    def wait(self) -> None:
        """Return when the work before the last `record` is done."""

    def free(self) -> None:
        """Destroy it. Nothing may wait for it any more. Safe to call twice."""


class Memory(Protocol):
    """Bytes in device memory; owned by whoever allocated them."""

    pointer: int
    nbytes: int

    def free(self) -> None:
        """Give them back. Nothing may use them any more. Safe to call twice."""


class Kernel(Protocol):
    """One function that runs on the device; it goes with its device."""

    def launch(self, stream: Stream, grid: tuple[int, int, int], block: tuple[int, int, int], *values: float) -> None:
        """Enqueue it on `grid` blocks of `block` threads each, with values of its layout's types."""


class Graph(Protocol):
    """Recorded work that one call starts as a whole."""

    def launch(self, stream: Stream) -> None:
        """Enqueue all of it."""

    def free(self) -> None:
        """Destroy it. It may not be running. Safe to call twice."""


class Device(Protocol):
    """One GPU through its primary context.

    Everything but the attributes and `active` itself is called inside `with device.active():`, in any thread. Every
    method raises `DeviceError` with CUDA's own words when a call fails.
    """

    number: int
    name: str
    capability: str
    """Compute capability, as in `8.7`."""
    driver: str
    """The newest CUDA that the driver knows, as in `12.6`."""
    context: int
    """The primary CUcontext as a number, for libraries that take it."""

    def active(self) -> AbstractContextManager[None]:
        """Make the device's context the thread's own for as long as the `with` block lasts."""

    def stream(self, urgency: float = 0.0) -> Stream:
        """Return a new stream that does not wait for the default stream.

        `urgency` in 0..1 is its place in the device's range of priorities: blocks of a more urgent stream start first.
        """

    def event(self) -> Event:
        """Return a new event."""

    def allocate(self, nbytes: int) -> Memory:
        """Take device memory; its content is not set."""

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """Return a zeroed host array in page-locked memory; it is given back with the last reference."""

    def copy_in(self, memory: Memory, array: NDArray[Any], stream: Stream, offset: int = 0) -> None:
        """Enqueue a copy of a contiguous, page-locked host array to `memory`, `offset` bytes from its beginning."""

    def copy_out(self, array: NDArray[Any], memory: Memory, stream: Stream) -> None:
        """Enqueue a copy of the beginning of `memory` to a contiguous, page-locked host array."""

    def copy(self, to: int, source: int, nbytes: int, stream: Stream) -> None:
        """Enqueue a copy from device memory to device memory, given as addresses; they may be of two devices."""

    def kernel(self, source: str, name: str, layout: str, defines: Sequence[str] = ()) -> Kernel:
        """Compile CUDA C++ for this device and return its function `name`.

        Args:
            source: the text; what was compiled once in this process is not compiled again.
            name: of an `extern "C"` function.
            layout: the types of its parameters, one letter each as in `struct`: P an address, i an int, f a float.
            defines: macros that are set.

        Raises:
            BackendUnavailable: the run-time compiler (NVRTC) is not there.
        """

    def capture(self, stream: Stream, enqueue: Callable[[], bool]) -> Graph | None:
        """Record what `enqueue` puts into the stream instead of doing it.

        Returns:
            The graph, or None where `enqueue` says False or something in it cannot be recorded.
        """

    def close(self) -> None:
        """Let go of the context. All memory, streams and graphs must be gone. Safe to call twice."""
