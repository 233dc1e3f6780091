"""The reading side of one ring. Trusts nothing that it reads there."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.camera.shm import kernel, layout
from edged.camera.shm.holds import Holds
from edged.camera.shm.layout import Live, PictureHead, Plane, RingHead, State
from edged.errors import CameraError
from edged.frame import HostPlanes, PixelFormat

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Ring:
    """An attached ring. `claim` and what it gives belong to one thread; leases are given back from any.

    A reader that may write the file, and may trust its size (it is sealed, or its owner is root or our own user),
    reads pictures where they lie: it announces each in its own word of the ring, and the feeder leaves them alone.
    Any other reader copies with `pread`, because reading a mapped file that somebody shrinks kills the process.

    Args:
        fd: the open ring; it is owned from here on, and closed with the last lease.
        fed: whether its feeder must hold its lock, as for a ring with a name.

    Raises:
        CameraError: it is not a ring, or nobody feeds it. `fd` is closed.
    """

    def __init__(self, fd: int, *, fed: bool = True) -> None:
        self._fd = fd
        self._fed = fed
        try:
            self.head = self._check()
            self._holds = Holds(fd, self.head.slots)
            self._map = self._attach()
        except BaseException:
            kernel.unlock(fd)
            os.close(fd)
            raise
        self._bell = _address(self._map) + layout.BELL_AT

    def _check(self) -> RingHead:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise CameraError("it is no file of shared memory")
        head = layout.unpack_ring(os.pread(self._fd, layout.FIXED.size, 0))
        if self._fed and not kernel.is_locked(self._fd, layout.FEEDER_BYTE):
            raise CameraError(f"its feeder (process {head.feeder_pid}) is gone")
        if head.state is not State.LIVE:
            raise CameraError(f"its feeder (process {head.feeder_pid}) is not ready")
        self._check_size(head)
        return head

    def _check_size(self, head: RingHead) -> None:
        size = os.fstat(self._fd).st_size
        if size < head.file_bytes:
            raise CameraError(f"it is cut short: {size} bytes of {head.file_bytes}")

    def _attach(self) -> mmap.mmap:
        writable = fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        if writable and self._is_trusted() and self._holds.join():
            return mmap.mmap(self._fd, self.head.file_bytes, prot=mmap.PROT_READ)
        kernel.lock(self._fd, layout.COPIER_BYTE, shared=True)
        return mmap.mmap(self._fd, layout.HEADER_BYTES, prot=mmap.PROT_READ)

    def _is_trusted(self) -> bool:
        try:
            if fcntl.fcntl(self._fd, fcntl.F_GET_SEALS) & SEALS == SEALS:
                return True
        except OSError:
            pass  # not every file can be sealed
        about = os.fstat(self._fd)
        return about.st_uid in (0, os.geteuid()) and not about.st_mode & stat.S_IWOTH

    @property
    def zero_copy(self) -> bool:
        """Whether pictures are read where they lie."""
        return self._holds.announced

    def state(self) -> State:
        """Return what the ring is now. A feeder that died without a word is `CLOSED`."""
        code = os.pread(self._fd, 1, layout.STATE_AT)
        state = State(code[0]) if code and code[0] in set(State) else State.CLOSED
        if state is State.LIVE and self._fed and not kernel.is_locked(self._fd, layout.FEEDER_BYTE):
            return State.CLOSED
        return state

    def live(self) -> Live:
        """Return the ring's changing part. Raise `CameraError` where it is damaged."""
        self._check_size(self.head)
        return layout.unpack_live(os.pread(self._fd, layout.LIVE.size, layout.LIVE_AT), self.head.slots)

    def wait(self, seen: Live, timeout_s: float) -> None:
        """Wait until the feeder rings, at most `timeout_s`."""
        kernel.wait(self._bell, seen.bell, timeout_s)

    def claim(self, sequence: int, slot: int) -> Claim | None:
        """Keep the feeder from one picture, and return it; None when it is being overwritten already.

        Raises:
            CameraError: a picture that cannot be.
        """
        self._holds.take(slot)
        claimed = False
        try:
            head = self._picture_head(slot)
            kernel.fence()
            claimed = head is not None and head.sequence == sequence
            return Claim(self, slot, head) if claimed and head is not None else None
        finally:
            if not claimed:
                self.let_go(slot)

    def _picture_head(self, slot: int) -> PictureHead | None:
        data = os.pread(self._fd, layout.HEAD.size, layout.HEADER_BYTES + slot * self.head.slot_bytes)
        if len(data) < layout.HEAD.size:
            raise CameraError("it is cut short")
        if not any(data[:8]):
            return None  # its feeder writes it at this moment
        return layout.unpack_picture(data, self.head.slot_bytes)

    def let_go(self, slot: int) -> None:
        """Give a slot back to the feeder. Safe from any thread."""
        self._holds.give(slot)

    def may_keep(self) -> bool:
        """Whether the slot claimed last may stay with a frame."""
        return self._holds.room()

    def view(self, claim: Claim) -> HostPlanes:
        """Return a claimed picture's planes where they lie, read-only. Raise `CameraError` if the file shrank."""
        self._check_size(self.head)
        start = layout.HEADER_BYTES + claim.slot * self.head.slot_bytes
        return _planes(self._map, start, claim.head)

    def copy(self, claim: Claim) -> HostPlanes | None:
        """Return a copy of a picture's planes; None when it was overwritten meanwhile."""
        self._check_size(self.head)
        planes = claim.head.planes
        first = min(plane.offset for plane in planes)
        end = max(plane.offset + plane.stride * plane.rows for plane in planes)
        memory = np.empty(min(end, self.head.slot_bytes) - first, np.uint8)
        start = layout.HEADER_BYTES + claim.slot * self.head.slot_bytes
        if os.preadv(self._fd, [memory.data], start + first) < memory.size:
            raise CameraError("it is cut short")
        kernel.fence()
        if os.pread(self._fd, 8, start) != claim.head.sequence.to_bytes(8, "little"):
            return None
        return _planes(memory, -first, claim.head)

    def close(self) -> None:
        """Take no more pictures. The file is closed with the last lease."""
        self._holds.close()


class Claim:
    """One picture that the feeder leaves alone until `release`, which may be called more than once."""

    def __init__(self, ring: Ring, slot: int, head: PictureHead) -> None:
        self.slot, self.head = slot, head
        self._ring = ring
        self._release: Callable[[], None] | None = partial(ring.let_go, slot)

    def take(self) -> tuple[HostPlanes, Callable[[], None] | None] | None:
        """Return the planes and how to give them back; None when they were overwritten.

        They are copied, and the claim released at once, where leaving them in the ring would starve its feeder.
        """
        if self._ring.may_keep():
            return self._ring.view(self), self.release
        try:
            planes = self._ring.copy(self)
        finally:
            self.release()
        return None if planes is None else (planes, None)

    def release(self) -> None:
        """Give the slot back. Safe from any thread."""
        release, self._release = self._release, None
        if release is not None:
            release()


def open_ring(path: Path) -> Ring:
    """Attach to the ring at `path`. Raise `CameraError` when it is not there, is damaged, or nobody feeds it."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            fd = os.open(path, os.O_RDWR | flags)
        except PermissionError:
            fd = os.open(path, os.O_RDONLY | flags)
    except FileNotFoundError as exc:
        raise CameraError(f"{path}: no feeder has made it") from exc
    except OSError as exc:
        raise CameraError(f"{path}: {exc.strerror}") from exc
    try:
        return Ring(fd)
    except CameraError as exc:
        raise CameraError(f"{path}: {exc}") from exc
    except (OSError, ValueError) as exc:
        raise CameraError(f"{path}: cannot be mapped: {exc}") from exc


def _planes(memory: mmap.mmap | NDArray[np.uint8], start: int, head: PictureHead) -> HostPlanes:
    return tuple(_plane(memory, start, head.format, number, plane) for number, plane in enumerate(head.planes))


def _plane(
    memory: mmap.mmap | NDArray[np.uint8], start: int, pixel_format: PixelFormat, number: int, plane: Plane
) -> NDArray[np.uint8]:
    each = layout.samples(pixel_format, number)
    shape = (plane.rows, plane.columns, each) if each > 1 else (plane.rows, plane.columns)
    strides = (plane.stride, each, 1) if each > 1 else (plane.stride, 1)
    rows: NDArray[np.uint8] = np.ndarray(shape, np.uint8, memory, start + plane.offset, strides)
    rows.flags.writeable = False  # also where it is our own copy: frames are never modified
    return rows


def _address(memory: mmap.mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)
