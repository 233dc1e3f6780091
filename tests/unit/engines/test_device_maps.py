"""The maps of views in device memory: kept while they are used, and given back when a view has changed."""

from __future__ import annotations

import pytest
from cuda_double import HostDevice, HostMemory

from edged.engines.kept import UNUSED_S, Kept
from edged.engines.preprocess_device import ROW, DevicePreprocessor
from edged.frame import Capture, Color, DevicePlane, Frame, Picture, PixelFormat
from edged.lens import Equidistant, View
from edged.tensor import InputFormat

SIZE = 64
MAP_BYTES = SIZE * SIZE * 2 * 4
MAP = 3  # the place of a map's address in a row


@pytest.fixture
def device():
    return HostDevice()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def slot(device, now):
    """Return what a slot of four pictures describes them with, by a clock of its own."""
    with device.active():
        slot = DevicePreprocessor(device, (SIZE, SIZE), InputFormat(), "float32", 4)
    slot._maps = Kept(lambda: now[0])
    yield slot
    with device.active():
        slot.free()
    assert device.alive == []


def frame(yaw_deg):
    planes = (DevicePlane(16, 192, 192, 108), DevicePlane(32, 192, 96, 54))
    picture = Picture(192, 108, PixelFormat.NV12, Color(), planes, 0, 0)
    view = View(Equidistant(190.0), SIZE, SIZE, 90.0, yaw_deg=yaw_deg)
    return Frame("c", 0, picture.through(view), Capture(0, 0, "arrival"), 0, 0)


def maps(device):
    return {one.pointer for one in device.alive if isinstance(one, HostMemory) and one.nbytes == MAP_BYTES}


def described(slot):
    """Return the map's address in each of the slot's rows."""
    return [ROW.unpack(row.tobytes())[MAP] for row in slot._rows]


def test_the_maps_of_views_that_changed_are_given_back(device, slot, now):
    for number in range(20):
        now[0] += UNUSED_S / 2
        slot.describe(0, frame(number))
        assert described(slot)[0] in maps(device)
    assert len(maps(device)) == 3


def test_views_in_use_have_their_maps_made_once_however_many_there_are(device, slot, now):
    frames = [frame(number) for number in range(40)]
    pointers = []
    for _ in range(3):
        for number, one in enumerate(frames):
            slot.describe(number % 4, one)
            pointers.append(described(slot)[number % 4])
        now[0] += UNUSED_S / 2
    assert pointers[:40] == pointers[40:80] == pointers[80:]
    assert maps(device) == set(pointers)


def test_a_picture_whose_map_went_gets_another_one(device, slot, now):
    first = frame(0)
    slot.describe(0, first)
    now[0] = UNUSED_S + 1
    slot.describe(0, frame(1))
    assert len(maps(device)) == 1
    slot.describe(0, first)
    assert described(slot)[0] in maps(device)
    assert len(maps(device)) == 2
