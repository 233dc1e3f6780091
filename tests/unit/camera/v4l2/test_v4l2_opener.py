"""What the configuration asks of a V4L2 camera reaches its source, or is refused by name."""

from __future__ import annotations

import pytest
from v4l2_double import ControlDouble, DeviceDouble, Machine

from edged.camera import ORDER
from edged.camera.base import Opening
from edged.camera.isolation import wire
from edged.cameras import source_opener
from edged.config import CameraConfig, Secrets
from edged.errors import BackendUnavailable


def opener(**keys):
    return source_opener("front", CameraConfig.model_validate({"id": "front", **keys}), Secrets())


def test_all_of_a_cameras_keys_reach_its_device(monkeypatch):
    device = DeviceDouble(formats={"NV12": {None: [1, 60]}, "YUYV": {None: [1, 60]}}, bus="usb-1")
    device.controls = {0x980900: ControlDouble("Brightness"), 0x980913: ControlDouble("Gain")}
    Machine({"/dev/video4": device}).install(monkeypatch)
    open_source = opener(
        source="v4l2:bus:usb-1",
        width_px=320,
        height_px=240,
        rate_hz=15,
        pixel_format="YUYV",
        controls={"gain": 3, "brightness": True},
    )
    source = open_source()
    assert (open_source.backend, source.description) == ("v4l2", "YUYV 320x240 15 Hz, bus:usb-1")
    assert [one.value for one in device.controls.values()] == [1, 3]
    source.close()


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"source": "v4l2:bus:usb-1"}, "bus address"),
        ({"source": "v4l2:/dev/video0", "pixel_format": "YUYV"}, "pixel_format"),
        ({"source": "v4l2:/dev/video0", "controls": {"gain": 1}, "pixel_format": "YUYV"}, "pixel_format, controls"),
    ],
)
def test_a_back_end_that_would_leave_a_key_aside_is_not_taken(keys, what):
    assert opener(**keys).backend == "v4l2"
    assert opener(**keys, backend=["gstreamer", "v4l2_isolated"]).backend == "v4l2_isolated"
    open_source = opener(**keys, backend="pyav")
    assert open_source.backend == "none"
    with pytest.raises(BackendUnavailable, match=f"^camera backend 'pyav' knows no {what}$"):
        open_source()
    assert ORDER["v4l2"][0] == "v4l2"


def test_an_opening_with_controls_travels_to_another_process():
    opening = Opening("front", "v4l2", "/dev/video0", str, pixel_format="YUYV", controls={"b": 2, "a": True})
    found = Opening(**wire.unpack(wire.pack(**wire.opening_fields(opening))), redact=str)
    assert found == opening
    assert list(found.controls) == ["b", "a"]
