"""A ring whose contents are wrong on purpose: a clear error, never a crash or a read out of bounds."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from edged.camera.base import Opening
from edged.camera.shm import kernel, layout
from edged.camera.shm.source import ShmSource
from edged.errors import CameraError
from edged.feeder import Feeder

NAME = f"edged-hostile-{os.getpid()}"
PATH = Path(layout.FOLDER, NAME)


def opened():
    return ShmSource(Opening("front", "shm", NAME, str, open_timeout_s=0.02, read_timeout_s=0.02))


@pytest.fixture(params=["in place", "copied"])
def ring(request):
    """A good ring with one picture, open for changes; copied by readers where its mode says that others may write."""
    with Feeder(NAME, mode=0o660 if request.param == "in place" else 0o666) as feeder:
        feeder.write([bytes(48 * 64), bytes(24 * 64)], 64, 48)
        yield feeder


def patch(at, fmt, *values):
    with PATH.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(fmt, *values))


def slot(ring):
    return layout.HEADER_BYTES + ring._writer._newest * ring._writer.head.slot_bytes


@pytest.mark.parametrize(
    ("at", "fmt", "value", "text"),
    [
        (0, "<8s", b"notaring", "it is no ring of edged: wrong magic"),
        (8, "<I", 2, "its layout is version 2; this edged reads version 1"),
        (12, "<I", 0, "its header is damaged: 0 bytes"),
        (16, "<I", 0, "it has 0 slots; 3 to 64 are allowed"),
        (16, "<I", 2**32 - 1, "it has 4294967295 slots"),
        (20, "<I", 9, "its header is damaged: 4096 bytes, 9 readers"),
        (24, "<Q", 2**63, "its slots have 9223372036854775808 bytes"),
        (24, "<Q", 4097, "its slots have 4097 bytes; a multiple of 4096"),
        (24, "<Q", 1 << 29, "it is cut short"),
        (44, "<I", 77, "its header is damaged: 4096 bytes, 8 readers, state 77"),
        (44, "<I", 0, "is not ready"),
        (64, "<Q", 1 << 8 | 255, "its newest picture is said to be in slot 255 of 6"),
    ],
)
def test_a_damaged_header_is_refused(ring, at, fmt, value, text):
    patch(at, fmt, value)
    with pytest.raises(CameraError) as caught:
        opened()
    assert str(caught.value).startswith(f"{PATH}: ")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("at", "values", "text"),
    [
        (8, (0,), "a picture of 0x48"),
        (8, (2**32 - 1,), "a picture of 4294967295x48"),
        (16, (9,), "a picture of unknown kind: format 9"),
        (20, (0,), "matrix 0"),
        (24, (2,), "range 2"),
        (28, (5,), "clock 5"),
        (48, (0,), "a plane outside of its slot"),
        (48, (2**32 - 1,), "a plane outside of its slot"),
        (52, (2**32 - 1,), "a plane outside of its slot"),
        (52, (63,), "a plane outside of its slot"),
        (56, (0,), "a plane outside of its slot"),
        (60, (0,), "a plane outside of its slot"),
        (60, (2**32 - 1,), "a plane outside of its slot"),
        (60, (47,), "planes that do not fit a 64x48 picture of format nv12"),
        (72, (31,), "planes that do not fit a 64x48 picture of format nv12"),
    ],
)
def test_a_damaged_picture_is_refused(ring, at, values, text):
    patch(slot(ring) + at, f"<{len(values)}I", *values)
    with pytest.raises(CameraError) as caught:
        opened()
    assert text in str(caught.value)


def test_a_file_that_is_cut_short_at_any_length_is_an_error(ring):
    source = opened()
    whole = PATH.stat().st_size
    for size in (whole - 1, whole // 2, 4096, 100, 3, 0):
        os.truncate(PATH, size)
        with pytest.raises(CameraError, match="cut short|wrong magic|is not ready|is gone"):
            source.decode(source.grab())
        with pytest.raises(CameraError, match="cut short|wrong magic"):
            opened()
    source.close()
    os.truncate(PATH, whole)  # its feeder lives in this process, and trusts its own file


def test_what_is_no_ring_is_refused(tmp_path):
    PATH.mkdir()
    try:
        with pytest.raises(CameraError, match="Is a directory"):
            opened()
    finally:
        PATH.rmdir()
    PATH.symlink_to(tmp_path)
    try:
        with pytest.raises(CameraError, match="symbolic links"):
            opened()
    finally:
        PATH.unlink()
    os.mkfifo(PATH)
    try:
        with pytest.raises(CameraError, match="no file of shared memory"):
            opened()
    finally:
        PATH.unlink()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=some.sampled_from(["header", "slot"]),
    patches=some.lists(some.tuples(some.integers(0, 250), some.binary(min_size=1, max_size=12)), min_size=1),
)
def test_random_damage_gives_pictures_inside_the_ring_or_a_camera_error(where, patches):
    """Whatever a feeder writes, what comes out lies in its slot, or is a `CameraError`."""
    with Feeder(NAME) as ring:
        ring.write([bytes(48 * 64), bytes(24 * 64)], 64, 48)
        start = slot(ring) if where == "slot" else 0
        with PATH.open("r+b") as file:
            for at, data in patches:
                file.seek(start + at)
                file.write(data)
        try:
            source = opened()
        except CameraError:
            return
        try:
            for decoded in source.decode(source.grab()):
                assert all(plane.sum() >= 0 for plane in decoded.picture.planes)
                if decoded.on_release is not None:
                    decoded.on_release()
        except CameraError:
            pass
        finally:
            source.close()


def test_a_lock_is_given_back_by_a_process_that_ends(ring):
    fd = os.open(PATH, os.O_RDWR)
    other = os.open(PATH, os.O_RDWR)
    assert kernel.lock(fd, 3)
    assert not kernel.lock(other, 3)
    assert kernel.is_locked(other, 0, 9)
    os.close(fd)
    assert kernel.lock(other, 3)
    os.close(other)
