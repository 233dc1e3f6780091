"""The maps of views in device memory: kept while they are used, and given back when a view has changed."""

from __future__ import annotations

import pytest
from cuda_double import HostDevice, HostMemory

from edged.engines import preprocess_device
from edged.engines.preprocess_device import ROW, DevicePreprocessor
from edged.frame import Capture, Color, DevicePlane, Frame, Picture, PixelFormat
from edged.lens import Equidistant, View
from edged.tensor import InputFormat

SIZE = 64
MAP_BYTES = SIZE * SIZE * 2 * 4
KEPT = 3
MAP = 3  # the place of a map's address in a row


@pytest.fixture
def device():
    return HostDevice()


@pytest.fixture
def slot(device, monkeypatch):
    """Return what a slot of four pictures describes them with; it may keep three maps."""
    monkeypatch.setattr(preprocess_device, "MAPS_MAX_BYTES", KEPT * MAP_BYTES)
    with device.active():
        slot = DevicePreprocessor(device, (SIZE, SIZE), InputFormat(), "float32", 4)
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


def test_the_maps_of_views_that_changed_are_given_back(device, slot):
    for number in range(20):
        slot.describe(0, frame(number))
        assert described(slot)[0] in maps(device)
    assert len(maps(device)) == KEPT


def test_what_is_used_again_is_kept_and_not_made_again(device, slot):
    steady = frame(0)
    slot.describe(0, steady)
    (pointer,) = maps(device)
    for number in range(1, 10):
        slot.describe(0, frame(number))
        slot.describe(0, steady)
    assert described(slot)[0] == pointer


def test_no_map_goes_that_the_batch_needs_however_many_those_are(device, slot):
    for turn in range(3):
        for index in range(4):
            slot.describe(index, frame(10 * turn + index))
        assert len(set(described(slot))) == 4
        assert set(described(slot)) <= maps(device)
    assert len(maps(device)) == 4


def test_a_picture_whose_map_went_gets_another_one(device, slot):
    first = frame(0)
    slot.describe(0, first)
    for number in range(1, 10):
        slot.describe(0, frame(number))
    slot.describe(0, first)
    assert described(slot)[0] in maps(device)
