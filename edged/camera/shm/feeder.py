"""The writing side of a ring with a name, for programs that own cameras; without numpy."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edged.camera.shm import kernel, layout
from edged.camera.shm.layout import PictureHead, RingHead, State
from edged.camera.shm.writer import Writer, give_up
from edged.errors import BackendUnavailable
from edged.frame import Capture, Color, PixelFormat

NAME = re.compile(r"/?[A-Za-z0-9_.\-]{1,64}\Z")


class Feeder:
    """Hands the frames of one camera to `source: shm:NAME`. One feeder a name; used by one thread.

    A feeder that was killed is simply started again; a picture that it was writing is never seen.

    Args:
        name: of the ring, without its folder.
        rate_hz: what the camera gives, for readers' descriptions; 0 where it is not known.
        slots: pictures in the ring; readers keep up to `slots - 3` of them in use, all together.
        mode: permissions of /dev/shm/NAME. Readers of the same user, or of any user when the feeder is root's, read
            where the picture lies; others copy it.

    Raises:
        ValueError: a name, count or rate out of its range.
        BackendUnavailable: another process feeds this name; or the shared memory cannot be had.
    """

    def __init__(self, name: str, rate_hz: float = 0.0, slots: int = 6, mode: int = 0o660) -> None:
        kernel.check_machine()
        if not NAME.match(name):
            raise ValueError(f"name={name!r}: letters, digits, _, - and ., at most 64, are allowed")
        if not layout.SLOTS_MIN <= slots <= layout.SLOTS_MAX:
            raise ValueError(f"slots={slots}: {layout.SLOTS_MIN} to {layout.SLOTS_MAX} are allowed")
        if not 0 <= rate_hz <= 1e6:
            raise ValueError(f"rate_hz={rate_hz}: 0 to 1e6 is allowed")
        self.path = Path(layout.FOLDER, name.lstrip("/"))
        self._mode = mode
        self._head = RingHead(slots, 0, secrets.randbits(63), os.getpid(), State.LIVE, rate_hz)
        self._writer = self._place(layout.HEADER_BYTES, 0)

    def __enter__(self) -> Feeder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(
        self,
        planes: Sequence[Any],
        width: int,
        height: int,
        pixel_format: PixelFormat = PixelFormat.NV12,
        color: Color = Color(),  # noqa: B008 - frozen
        capture: Capture | None = None,
    ) -> bool:
        """Copy one picture into the ring and wake the readers. False when they hold all slots: it is dropped.

        `planes` are objects with a buffer (bytes, numpy arrays) of unsigned bytes without padding: Y and UV for NV12;
        Y, U and V at half the width and height for YUV; one of 3 bytes a pixel for RGB.

        Raises:
            ValueError: planes that are not as large as the picture says.
        """
        with self.picture(width, height, pixel_format, color, capture) as places:
            if places is None:
                return False
            if len(planes) != len(places):
                raise ValueError(f"{len(planes)} planes; {pixel_format.value} has {len(places)}")
            for number, (plane, place) in enumerate(zip(planes, places, strict=True)):
                data = _flat(plane)
                if len(data) != len(place):
                    raise ValueError(f"plane {number} has {len(data)} bytes; {width}x{height} needs {len(place)}")
                place[:] = data
        return True

    @contextmanager
    def picture(
        self,
        width: int,
        height: int,
        pixel_format: PixelFormat = PixelFormat.NV12,
        color: Color = Color(),  # noqa: B008 - frozen
        capture: Capture | None = None,
    ) -> Iterator[list[memoryview] | None]:
        """Give the planes of the next picture to write into, and publish it at the end of the `with` block.

        Gives None when the readers hold all slots. A block that raises publishes nothing. `capture` is when the
        picture was taken, by the clock `driver` or `rtcp`; without it readers take the time it came in.
        """
        if not (1 <= width <= layout.SIDE_MAX_PX and 1 <= height <= layout.SIDE_MAX_PX):
            raise ValueError(f"{width}x{height}: sides of 1 to {layout.SIDE_MAX_PX} pixels are allowed")
        places, slot_bytes = layout.lay_out(pixel_format, layout.shapes_of(pixel_format, width, height))
        if slot_bytes > self._writer.head.slot_bytes:
            self._replace(slot_bytes)
        head = PictureHead(0, width, height, pixel_format, color, capture, places)
        slot = self._writer.reserve()
        yield None if slot is None else self._writer.planes(slot, head)
        if slot is not None:
            self._writer.commit(slot, head)

    @property
    def readers(self) -> int:
        """How many read: a feeder may rest while it is 0. All readers that copy count as one."""
        first = layout.READER_BYTE
        return sum(kernel.is_locked(self._writer.fd, first + entry) for entry in range(layout.READERS + 1))

    def beat(self) -> None:
        """Say that the feeder is alive, though its camera gives nothing."""
        self._writer.beat()

    def close(self) -> None:
        """End the ring: its readers are told, its name is free."""
        if self._writer.fd >= 0:
            self._writer.set_state(State.CLOSED)
            self.path.unlink(missing_ok=True)
            self._writer.close()

    def _replace(self, slot_bytes: int) -> None:
        """Go on in a new ring whose slots are larger. Readers follow by themselves."""
        old = self._writer
        self._writer = self._place(slot_bytes, old.sequence, over_own=True)
        old.set_state(State.REPLACED)
        old.close()

    def _place(self, slot_bytes: int, sequence: int, *, over_own: bool = False) -> Writer:
        head = replace(self._head, slot_bytes=slot_bytes, generation=secrets.randbits(63))
        try:
            fd = os.open(layout.FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, self._mode)
        except OSError as exc:
            raise BackendUnavailable(f"no shared memory in {layout.FOLDER}: {exc.strerror}") from exc
        try:
            os.fchmod(fd, self._mode)
            os.posix_fallocate(fd, 0, head.file_bytes)  # else a full /dev/shm is a SIGBUS in mid-picture
            kernel.lock(fd, layout.FEEDER_BYTE)
            writer = Writer(fd, head, sequence)
            if over_own:
                self.path.unlink(missing_ok=True)
            self._link(fd)
        except OSError as exc:
            give_up(fd)
            raise BackendUnavailable(f"cannot make {self.path} of {head.file_bytes} bytes: {exc.strerror}") from exc
        except BackendUnavailable:
            give_up(fd)
            raise
        return writer

    def _link(self, fd: int) -> None:
        """Give the new ring its name, over one whose feeder is gone."""
        while True:
            with suppress(FileExistsError):
                # With a folder's descriptor, even one that an absolute path ignores, Python calls linkat and not link.
                os.link(f"/proc/self/fd/{fd}", self.path, src_dir_fd=fd, follow_symlinks=True)
                return
            self._remove_stale()

    def _remove_stale(self) -> None:
        """Remove the ring of a feeder that is gone. Whoever has its lock may."""
        try:
            stale = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            if not kernel.lock(stale, layout.FEEDER_BYTE):
                raise BackendUnavailable(f"{self.path} is fed by another process")
            with suppress(FileNotFoundError):
                if self.path.stat().st_ino == os.fstat(stale).st_ino:
                    self.path.unlink()
        finally:
            give_up(stale)


def _flat(plane: Any) -> memoryview:
    view = memoryview(plane)
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
