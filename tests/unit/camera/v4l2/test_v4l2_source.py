"""The V4L2 source on devices that behave as the kernel's do."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from parts import number_of, until
from v4l2_double import ControlDouble, DeviceDouble, Machine

from edged.camera.base import CameraStalled, Opening
from edged.camera.opener import Opener
from edged.camera.v4l2 import source as source_module
from edged.camera.v4l2 import uapi
from edged.camera.v4l2.pictures import Layout, color_of
from edged.camera.v4l2.source import V4l2Source
from edged.camera.worker import CameraWorker, Traits
from edged.errors import CameraError
from edged.frame import Color, PixelFormat
from edged.plan import CameraState, Mode

PATH = "/dev/video0"
ANY = {None: [1, 500]}


@pytest.fixture
def opened(monkeypatch):
    """Return an opener of one device; what it opened is closed in the end."""
    sources = []

    def opened(device, path=PATH, **wishes):
        machine = device if isinstance(device, Machine) else Machine({PATH: device})
        machine.install(monkeypatch)
        sources.append(V4l2Source(Opening("front", "v4l2", path, str, **wishes)))
        return sources[-1]

    yield opened
    for source in sources:
        source.close()


def opener(opening):
    return Opener(opening.camera, [("v4l2", lambda: V4l2Source(opening))])


def next_picture(source):
    while True:
        found = source.decode(source.grab())
        if found:
            return found[0]


def in_step(pairs):
    """Whether both numbers of each pair count the same; the first picture may have been missed."""
    return len({one - other for one, other in pairs}) == 1


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 64])
@pytest.mark.parametrize(
    ("fourcc", "kind", "mplane"),
    [
        ("NV12", PixelFormat.NV12, False),
        ("NV12", PixelFormat.NV12, True),
        ("NM12", PixelFormat.NV12, True),
        ("YU12", PixelFormat.YUV, False),
        ("YM12", PixelFormat.YUV, True),
        ("YV12", PixelFormat.YUV, False),
        ("422P", PixelFormat.YUV, False),
        ("NV16", PixelFormat.YUV, False),
        ("NV21", PixelFormat.YUV, False),
        ("YUYV", PixelFormat.YUV, False),
        ("YVYU", PixelFormat.YUV, False),
        ("UYVY", PixelFormat.YUV, True),
        ("VYUY", PixelFormat.YUV, False),
        ("RGB3", PixelFormat.RGB, False),
        ("BGR3", PixelFormat.RGB, False),
        ("GREY", PixelFormat.GRAY, False),
    ],
)
def test_every_raw_format_gives_its_samples(opened, fourcc, kind, mplane, padding):
    caps = (uapi.CAP_VIDEO_CAPTURE_MPLANE if mplane else uapi.CAP_VIDEO_CAPTURE) | uapi.CAP_STREAMING
    source = opened(DeviceDouble(formats={fourcc: {(64, 48): [500]}}, caps=caps, padding=padding))
    assert source.raw
    assert source.description == f"{fourcc} 64x48 500 Hz, bus:usb-0000:00:14.0-2"
    for _ in range(3):
        grab = source.grab()
        number = grab.data.sequence
        (decoded,) = source.decode(grab)
        picture = decoded.picture
        assert (picture.width, picture.height, picture.format) == (64, 48, kind)
        assert all(not plane.flags.writeable for plane in picture.planes)
        luma = picture.planes[0][..., 0] if kind is PixelFormat.RGB else picture.planes[0]
        assert luma.shape == (48, 64)
        assert number_of(luma) == number
        if kind is PixelFormat.YUV:
            rows, columns = (24 if fourcc in ("YU12", "YM12", "YV12", "NV21") else 48), 32
            assert [plane.shape for plane in picture.planes[1:]] == [(rows, columns)] * 2
            assert [set(plane.ravel()) for plane in picture.planes[1:]] == [{100}, {150}]
        if kind is PixelFormat.NV12:
            assert picture.planes[1].shape == (24, 32, 2)
            assert set(picture.planes[1][..., 0].ravel()) == {100}
            assert set(picture.planes[1][..., 1].ravel()) == {150}
        if kind is PixelFormat.RGB:
            assert set(picture.planes[0][..., 2].ravel()) == {9}
        if decoded.on_release:
            decoded.on_release()


@pytest.mark.parametrize(
    ("space", "encoding", "range_", "color"),
    [
        (0, 0, 0, Color("bt601")),
        (3, 0, 0, Color("bt709")),  # Rec. 709
        (7, 0, 0, Color("bt601", full=True)),  # JPEG
        (8, 0, 0, Color("bt601")),  # sRGB: what webcams say
        (8, 2, 1, Color("bt709", full=True)),
        (10, 0, 2, Color("bt2020")),
        (7, 0, 2, Color("bt601")),
    ],
)
def test_colors_as_the_driver_says(opened, space, encoding, range_, color):
    granted = opened(DeviceDouble())._granted
    assert color_of(replace(granted, colorspace=space, ycbcr_enc=encoding, quantization=range_)) == color


def test_grey_has_the_full_range_unless_the_driver_says_otherwise(opened):
    granted = opened(DeviceDouble(formats={"GREY": {(64, 48): [30]}}))._granted
    assert color_of(granted).full
    assert not color_of(replace(granted, quantization=2)).full


def test_half_pictures_are_refused(opened):
    with pytest.raises(CameraError, match="half pictures"):
        Layout(replace(opened(DeviceDouble())._granted, field=7))


def test_a_format_that_does_not_fit_its_buffers_is_refused(opened):
    with pytest.raises(CameraError, match="YUYV 64x48 does not fit its buffers"):
        Layout(replace(opened(DeviceDouble())._granted, sizes=(100,)))


def test_pictures_lie_in_the_drivers_buffers_as_long_as_it_has_enough_of_them(opened):
    device = DeviceDouble(formats={"NV12": ANY})
    source = opened(device, rate_hz=400)
    held = [next_picture(source) for _ in range(12)]
    assert [decoded.on_release is not None for decoded in held] == [True] * 5 + [False] * 7
    assert in_step([(number_of(decoded.picture.planes[0]), decoded.pts) for decoded in held])
    for decoded in held[:5]:
        decoded.on_release()
    assert next_picture(source).on_release is not None


def test_a_driver_with_few_buffers_gets_each_back_at_once(opened):
    device = DeviceDouble(formats={"NV12": ANY}, buffers_max=2)
    source = opened(device, rate_hz=400)
    held = [next_picture(source) for _ in range(6)]
    assert all(decoded.on_release is None for decoded in held)
    assert in_step([(number_of(decoded.picture.planes[0]), decoded.pts) for decoded in held])


def test_one_buffer_is_too_few(opened):
    with pytest.raises(CameraError, match=r"^cannot start /dev/video0: its driver gives 1 buffer\(s\), 2 are needed$"):
        opened(DeviceDouble(buffers_max=1))


def test_frames_outlive_their_source_and_hold_nobody_up(opened):
    device = DeviceDouble(formats={"NV12": ANY})
    source = opened(device, rate_hz=400)
    held = [next_picture(source) for _ in range(3)]
    before = [decoded.picture.planes[0].copy() for decoded in held]
    source.close()
    assert device.opened == 0
    again = opened(device, rate_hz=400)
    for _ in range(12):
        again.skip(again.grab())
    for decoded, luma in zip(held, before, strict=True):
        assert (decoded.picture.planes[0] == luma).all()
        decoded.on_release()
    again.skip(again.grab())


def test_frames_are_released_from_any_thread(opened):
    device = DeviceDouble(formats={"NV12": ANY})
    source = opened(device, rate_hz=400)
    threads = []
    for _ in range(40):
        decoded = next_picture(source)
        if decoded.on_release is not None:
            threads.append(threading.Thread(target=decoded.on_release))
            threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(threads) > 10
    source.skip(source.grab())
    assert len(device.queued) + len(device.done) == 7


@pytest.mark.parametrize("how", ["error", "short", "empty"])
@pytest.mark.parametrize("fourcc", ["NV12", "YUYV", "MJPG"])
def test_a_damaged_picture_gives_nothing_and_its_buffer_goes_back(opened, fourcc, how):
    device = DeviceDouble(formats={fourcc: {(64, 48): [300]}}, spoil=lambda number: how if number % 2 else "")
    source = opened(device)
    numbers = []
    for _ in range(24):
        for decoded in source.decode(source.grab()):
            numbers.append(number_of(decoded.picture.planes[0]))
            if decoded.on_release is not None:
                decoded.on_release()
    whole = [number for number in numbers if number % 2 == 0]
    assert len(whole) >= 8
    assert (how == "short" and fourcc == "MJPG") or whole == numbers  # half a JPEG is a picture, for FFmpeg
    assert len(device.queued) + len(device.done) >= 7


# ---- what comes, and when --------------------------------------------------------------------------------------------


def test_times_are_the_drivers(opened):
    source = opened(DeviceDouble(formats={"YUYV": {(64, 48): [200]}}))
    captures = []
    for _ in range(5):
        grab = source.grab()
        captures.append(grab.capture)
        source.skip(grab)
        assert 0 <= time.monotonic_ns() - grab.capture.mono_ns < 2e9
        assert abs(time.time_ns() - grab.capture.unix_ns) < 2e9
    assert {capture.clock for capture in captures} == {"driver"}
    steps = np.diff([capture.mono_ns for capture in captures])
    assert all(step % 5_000_000 < 2000 or step % 5_000_000 > 4_998_000 for step in steps)


def test_times_of_a_counter_that_is_ahead_are_brought_back(opened, monkeypatch, tmp_path):
    """As NVIDIA's capture driver has them: CLOCK_MONOTONIC_RAW and a distance that /sys tells, said to be MONOTONIC."""
    ahead_ns = 12_000_000_000
    raw_ns = ahead_ns + time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - time.monotonic_ns()
    for said, believed in ((f"{ahead_ns}\n", True), (f"{ahead_ns // 2}\n", False), ("soon\n", False), (None, False)):
        monkeypatch.setattr(source_module, "COUNTER_AHEAD", tmp_path / str(said is not None) / "offset_ns")
        if said is not None:
            source_module.COUNTER_AHEAD.parent.mkdir(exist_ok=True)
            source_module.COUNTER_AHEAD.write_text(said)
        capture = opened(DeviceDouble(stamp_off_ns=raw_ns)).grab().capture
        assert (capture is not None) is believed, said
        if believed:
            assert capture.clock == "driver"
            assert 0 <= time.monotonic_ns() - capture.mono_ns < 2e9
            assert abs(time.time_ns() - capture.unix_ns) < 2e9


@pytest.mark.parametrize("stamps", [0, 0x4000])
def test_a_stamp_of_another_clock_is_not_taken(opened, stamps):
    assert opened(DeviceDouble(stamps=stamps)).grab().capture is None


@pytest.mark.parametrize("off_ns", [2_000_000_000, -6_000_000_000])
def test_a_stamp_that_cannot_be_is_not_believed(opened, off_ns):
    assert opened(DeviceDouble(stamp_off_ns=off_ns)).grab().capture is None


def test_lost_pictures_are_told_by_the_drivers_sequence(opened):
    device = DeviceDouble(formats={"YUYV": {(64, 48): [200]}}, spoil=lambda number: "drop" if number in (3, 4) else "")
    source = opened(device)
    seen = []
    while not seen or seen[-1][0] < 8:
        grab = source.grab()
        seen.append((grab.pts, grab.lost))
        source.skip(grab)
    assert sum(lost for _, lost in seen) >= 2
    assert all(pts - before == lost + 1 for (before, _), (pts, lost) in zip(seen, seen[1:], strict=False))


def test_the_newest_picture_is_taken_and_older_ones_are_told_as_lost(opened):
    device = DeviceDouble(formats={"YUYV": {(64, 48): [200]}})
    source = opened(device)
    first = source.grab()
    source.skip(first)
    begin = first.data.sequence
    time.sleep(0.05)  # nobody looks
    grab = source.grab()
    assert grab.lost >= 5
    assert grab.pts == first.pts + grab.lost + 1
    (decoded,) = source.decode(grab)
    assert number_of(decoded.picture.planes[0]) == begin + grab.pts
    assert len(device.queued) + len(device.done) >= 7


def test_packets_that_refer_to_others_are_all_given_in_their_order(opened, clip):
    import av

    with av.open(str(clip(".h264", frames=30, gop=10, fmt="h264"))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    device = DeviceDouble(formats={"H264": {(64, 48): [30]}}, encode=lambda number: packets[number % 30])
    source = opened(device)
    assert not source.raw
    grabs = []
    for _ in range(4):
        time.sleep(0.08)  # two are there each time
        grabs += [source.grab() for _ in range(3)]
    assert [grab.pts for grab in grabs] == list(range(12))
    assert [grab.key for grab in grabs] == [n % 10 == 0 for n in range(12)]
    pictures = [decoded for grab in grabs for decoded in source.decode(grab)] + list(source.drain())
    assert [number_of(decoded.picture.planes[0]) for decoded in pictures] == [decoded.pts for decoded in pictures]
    assert len(pictures) == 12


def test_a_driver_that_does_not_count_has_places_all_the_same(opened):
    source = opened(DeviceDouble(forget_sequence=True))
    grabs = []
    for _ in range(4):
        grabs.append(source.grab())
        source.skip(grabs[-1])
    assert [(grab.pts, grab.lost) for grab in grabs] == [(n, 0) for n in range(4)]


def test_a_sequence_that_wraps_around(opened):
    source = opened(DeviceDouble())
    found = [source._placed(number)[0] for number in (0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 4, 0x7000_0000, 0x7000_0001)]
    assert found == [0, 1, 2, 3, 6, 7, 8]


def test_silence_is_a_stall_in_time(opened):
    source = opened(DeviceDouble(formats={"YUYV": {(64, 48): [0.01]}}), read_timeout_s=0.2)
    begin_s = time.monotonic()
    with pytest.raises(CameraStalled, match=r"^cannot read /dev/video0: nothing came for 0.2 s$"):
        source.grab()
    assert 0.15 < time.monotonic() - begin_s < 1.5


def test_a_camera_that_is_live_cannot_be_rewound(opened):
    with pytest.raises(CameraError, match="^/dev/video0 is live and cannot be rewound$"):
        opened(DeviceDouble()).rewind()


# ---- what cannot be opened -------------------------------------------------------------------------------------------


def refused(opened, device, **wishes):
    with pytest.raises(CameraError) as caught:
        opened(device, **wishes)
    devices = device.devices.values() if isinstance(device, Machine) else [device]
    assert all(one.opened == 0 for one in devices), "left open"
    return str(caught.value)


def test_wishes_that_a_device_cannot_do(opened):
    formats = {"YUYV": {(640, 480): [30, 15], (1280, 720): [10]}, "MJPG": {(1280, 720): [30]}}
    device = DeviceDouble(formats=formats)
    gives = "it gives YUYV: 640x480 at 30, 15 Hz, 1280x720 at 10 Hz; MJPG: 1280x720 at 30 Hz"
    name = "/dev/video0 (Double, usb-0000:00:14.0-2)"
    assert refused(opened, device, rate_hz=60) == f"{name} gives no 60 Hz; {gives}"
    assert refused(opened, device, width_px=800, height_px=600) == f"{name} gives no 800x600; {gives}"
    assert refused(opened, device, pixel_format="NV12") == f"{name} gives no NV12; {gives}"
    source = opened(device, width_px=1280, height_px=720, rate_hz=30)
    assert source.description.startswith("MJPG 1280x720 30 Hz")


def test_what_was_granted_is_looked_at(opened):
    device = DeviceDouble(formats={"YUYV": {(64, 48): [30], (320, 240): [30]}})
    device.grant = lambda fourcc, *_: (fourcc, 320, 240)
    assert "was asked for YUYV 64x48 and granted YUYV 320x240; it gives YUYV: 64x48, 320x240 at 30 Hz" in refused(
        opened, device, width_px=64, height_px=48
    )
    deaf = DeviceDouble(formats={"YUYV": {(64, 48): [30, 15]}}, sets_rates=False)
    assert "cannot be set to 15 Hz: its driver sets no rate; leave rate_hz out" in refused(opened, deaf, rate_hz=15)
    only = DeviceDouble(formats={"YUYV": {(64, 48): [30]}}, sets_rates=False)
    assert opened(only, rate_hz=30).description.startswith("YUYV 64x48 30 Hz")


def test_a_driver_that_lists_no_sizes_is_believed_once_it_granted_them(opened):
    device = DeviceDouble(formats={"UYVY": {(64, 48): [30]}}, lists_sizes=False)
    assert opened(device, width_px=128, height_px=96).description.startswith("UYVY 128x96")


def test_nodes_that_are_no_cameras(opened):
    streaming = uapi.CAP_STREAMING
    camera = DeviceDouble(card="Cam")
    machine = Machine(
        {"/dev/video0": camera, "/dev/video1": DeviceDouble(card="Cam", caps=uapi.CAP_META_CAPTURE | streaming)}
    )
    assert refused(opened, machine, path="/dev/video1") == (
        "/dev/video1 (Cam, usb-0000:00:14.0-2) is the metadata node of a camera; "
        "its pictures come from /dev/video0 (Cam)"
    )
    radio = DeviceDouble(caps=0x10000 | streaming, bus="radio")
    assert refused(opened, radio) == "/dev/video0 (Double, radio) is no capture device"
    reader = DeviceDouble(caps=uapi.CAP_VIDEO_CAPTURE)
    assert "cannot stream; its driver only reads" in refused(opened, reader)
    assert refused(opened, DeviceDouble(errors={"QUERYCAP": errno.ENOTTY})) == "/dev/video0 is no V4L2 device"


def test_nodes_that_may_not_be_opened(opened, tmp_path):
    device = DeviceDouble()
    machine = Machine({PATH: device})
    said = {
        errno.EPERM: "cannot open /dev/video0: not permitted; a service needs DeviceAllow=char-video4linux rw",
        errno.EBUSY: "cannot open /dev/video0: it is in use by another program",
        errno.ENODEV: "cannot open /dev/video0: it is gone (unplugged, or its driver was unbound)",
        errno.ENOENT: "cannot open /dev/video0: No such file or directory",
    }
    for code, text in said.items():
        machine.errors[PATH] = code
        assert refused(opened, machine) == text
    node = tmp_path / "video0"
    node.touch()
    node.chmod(0o660)
    machine.errors[str(node)] = errno.EACCES
    text = refused(opened, machine, path=str(node))
    assert text.startswith(f"cannot open {node}: permission denied; it is open to the group {node.group()}, of which")
    node.chmod(0o600)
    assert f"only its owner (user id {node.stat().st_uid}) may use it" in refused(opened, machine, path=str(node))


@pytest.mark.parametrize("call", ["S_FMT", "REQBUFS", "STREAMON"])
def test_a_device_in_use_says_so(opened, call):
    assert "it is in use: another program streams from it" in refused(opened, DeviceDouble(errors={call: errno.EBUSY}))


def test_two_cannot_stream_from_one_device(opened):
    device = DeviceDouble()
    first = opened(device)
    with pytest.raises(CameraError, match="it is in use: another program streams from it"):
        opened(device)
    first.skip(first.grab())


def test_a_full_usb_bus_says_what_helps(opened):
    text = refused(opened, DeviceDouble(errors={"STREAMON": errno.ENOSPC}))
    assert text.startswith("cannot start /dev/video0: the USB bus has no room for it at this size and rate: choose a")


def test_what_a_device_calls_itself_cannot_spoil_a_log(opened):
    assert refused(opened, DeviceDouble(card="Cam\x1b[2J\nroot"), rate_hz=999).startswith("/dev/video0 (Cam?[2J?root, ")


# ---- a camera by its bus ---------------------------------------------------------------------------------------------


def test_a_camera_is_found_by_its_bus_whatever_its_number(opened):
    left, right = DeviceDouble(bus="platform:vivid-000"), DeviceDouble(bus="platform:vivid-001")
    machine = Machine({"/dev/video0": left, "/dev/video1": right})
    assert opened(machine, path="bus:platform:vivid-001")._device.path == "/dev/video1"
    machine.devices = {"/dev/video3": right, "/dev/video7": left}
    opened(machine, path="bus:platform:vivid-000")
    assert (left.opened, right.opened) == (1, 1)


def test_two_capture_devices_of_one_bus_are_told_apart_by_their_index(opened):
    color, infrared = DeviceDouble(card="Color"), DeviceDouble(card="Infrared", formats={"GREY": {(64, 48): [30]}})
    machine = Machine({"/dev/video0": color, "/dev/video1": infrared})
    bus = "bus:usb-0000:00:14.0-2"
    assert refused(opened, machine, path=bus) == (
        "2 capture devices have the bus 'usb-0000:00:14.0-2': add one of #0 (/dev/video0), #1 (/dev/video1)"
    )
    assert opened(machine, path=f"{bus}#1").description.startswith("GREY")


def test_a_bus_without_a_camera_lists_those_that_are_there(opened):
    machine = Machine(
        {"/dev/video0": DeviceDouble(bus="usb-1"), "/dev/video1": DeviceDouble(bus="usb-2", card="Other")}
    )
    machine.errors["/dev/video1"] = errno.EACCES
    assert refused(opened, machine, path="bus:usb-7") == (
        "no camera at the bus 'usb-7'; there are 'usb-1' (Double, /dev/video0); "
        "this process may not look at /dev/video1"
    )
    assert refused(opened, Machine({}), path="bus:x#2") == "no camera at the bus 'x' with the index 2; there is none"


# ---- controls --------------------------------------------------------------------------------------------------------


def controlled(**more):
    menu = {1: "Manual Mode", 3: "Aperture Priority Mode"}
    return DeviceDouble(
        controls={
            0x980913: ControlDouble("Gain", high=100, step=5),
            0x980914: ControlDouble("Horizontal Flip", uapi.CTRL_TYPE_BOOLEAN, high=1),
            0x9A0901: ControlDouble("Auto Exposure", uapi.CTRL_TYPE_MENU, high=3, menu=menu),
            0x9A0902: ControlDouble("Exposure Time, Absolute", low=-10, high=5000),
            0x9A0910: ControlDouble("Temperature", flags=uapi.CTRL_FLAG_READ_ONLY),
            0x9A0911: ControlDouble("Long", uapi.CTRL_TYPE_INTEGER64, high=1 << 40),
            0x9A0912: ControlDouble("Bits", uapi.CTRL_TYPE_BITMASK, high=0xFFFFFFFF),
            0x9A0913: ControlDouble("Text", 7),
        },
        **more,
    )


def test_controls_are_set_at_each_opening_in_their_order(opened):
    device = controlled()
    wanted = {"auto_exposure": 1, "exposure_time_absolute": -7, "gain": 20, "horizontal_flip": True, "long": 1 << 33}
    wanted["bits"] = 0xF0000001
    for _ in range(2):
        source = opened(device, controls=wanted)
        values = {one.name: one.value for one in device.controls.values()}
        assert values["Auto Exposure"], values["Exposure Time, Absolute"] == (1, -7)
        assert (values["Gain"], values["Horizontal Flip"], values["Long"]) == (20, 1, 1 << 33)
        assert values["Bits"] & 0xFFFFFFFF == 0xF0000001
        source.close()
        for one in device.controls.values():
            one.value = 0


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (
            {"gian": 1},
            "has no control 'gian'; it has gain, horizontal_flip, auto_exposure, exposure_time_absolute, temperature, "
            "long, bits",
        ),
        ({"gain": 101}, "control gain must be from 0 to 100 in steps of 5, got 101"),
        ({"gain": 13}, "control gain must be from 0 to 100 in steps of 5, got 13"),
        ({"exposure_time_absolute": -11}, "control exposure_time_absolute must be from -10 to 5000, got -11"),
        ({"auto_exposure": 2}, "must be one of 1 (Manual Mode), 3 (Aperture Priority Mode), got 2"),
        ({"horizontal_flip": 2}, "control horizontal_flip must be true or false, got 2"),
        ({"bits": -1}, "control bits must be bits of 0xffffffff, got -1"),
        (
            {"temperature": 5},
            "control temperature is read-only; those that can be set are gain, horizontal_flip, auto_exposure, "
            "exposure_time_absolute, long, bits",
        ),
    ],
)
def test_controls_that_cannot_be_set_say_what_can(opened, wanted, text):
    assert text in refused(opened, controlled(), controls=wanted)


def test_controls_that_an_automatic_mode_owns(opened):
    device = controlled()
    device.controls[0x980913].flags = uapi.CTRL_FLAG_INACTIVE
    assert "control gain has no effect: an automatic mode owns it" in refused(opened, device, controls={"gain": 5})
    device.controls[0x980913].flags = uapi.CTRL_FLAG_GRABBED
    assert "control gain cannot be set to 5 now (Device or resource busy" in refused(
        opened, device, controls={"gain": 5}
    )


def test_a_camera_without_controls_says_so(opened):
    assert refused(opened, DeviceDouble(), controls={"gain": 1}).endswith("has no control 'gain'; it has none")


# ---- gone and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EINVAL])
def test_a_device_that_goes_away_is_an_error_at_once(opened, code):
    device = DeviceDouble()
    source = opened(device)
    source.skip(source.grab())
    device.unplug(code)
    with pytest.raises(CameraError, match=r"^cannot read /dev/video0: it is gone \(unplugged, or its driver was unb"):
        source.grab()
    source.close()
    source.close()
    assert device.opened == 0


def test_a_device_that_goes_away_while_it_is_waited_for(opened):
    device = DeviceDouble(formats={"YUYV": {(64, 48): [0.1]}})
    source = opened(device)
    timer = threading.Timer(0.1, device.unplug)
    timer.start()
    begin_s = time.monotonic()
    with pytest.raises(CameraError, match="it is gone"):
        source.grab()
    assert time.monotonic() - begin_s < 2
    timer.join()


def test_other_errors_of_the_driver_are_named(opened):
    device = DeviceDouble()
    source = opened(device)
    device.errors["DQBUF"] = errno.EIO
    with pytest.raises(CameraError, match=r"^cannot read /dev/video0: Input/output error$"):
        source.grab()
    device.errors.clear()
    device.streaming = False
    device.errors["DQBUF"] = errno.EAGAIN
    with pytest.raises(CameraError, match=r"^cannot read /dev/video0: its driver reports an error$"):
        source.grab()


def test_a_camera_that_was_pulled_comes_back_to_its_id_under_another_number(monkeypatch):
    """Two cameras swap their numbers while they are away; each worker finds its own."""
    left, right = DeviceDouble(bus="usb-1"), DeviceDouble(bus="usb-2", formats={"GREY": {(64, 48): [100]}})
    machine = Machine({"/dev/video0": left, "/dev/video1": right})
    machine.install(monkeypatch)
    stop = threading.Event()
    seen = {"left": [], "right": []}

    def sink(frame, wait):
        seen[frame.camera].append((frame.picture.format, frame.id))
        frame.release()

    workers = [
        CameraWorker(
            Traits(name),
            opener(Opening(name, "v4l2", f"bus:{bus}", str, read_timeout_s=1.0)),
            sink,
        )
        for name, bus in (("left", "usb-1"), ("right", "usb-2"))
    ]
    threads = [threading.Thread(target=worker.run, args=(stop, lambda: None)) for worker in workers]
    for worker, thread in zip(workers, threads, strict=True):
        worker.set_mode(Mode.HOT)
        thread.start()
    try:
        until(lambda: all(len(frames) > 3 for frames in seen.values()))
        left.unplug(errno.EINVAL)
        right.unplug()
        until(lambda: all(worker.report().state is CameraState.BACKOFF for worker in workers))
        machine.devices = {"/dev/video0": right, "/dev/video5": left}
        right.plug_in()
        left.plug_in()
        until(lambda: all(worker.report().opens == 2 for worker in workers))
        counts = {name: len(frames) for name, frames in seen.items()}
        until(lambda: all(len(seen[name]) > count + 3 for name, count in counts.items()))
    finally:
        stop.set()
        for worker, thread in zip(workers, threads, strict=True):
            worker.wake()
            thread.join()
    assert {kind for kind, _ in seen["left"]} == {PixelFormat.YUV}
    assert {kind for kind, _ in seen["right"]} == {PixelFormat.GRAY}
    for frames in seen.values():
        ids = [number for _, number in frames]
        assert ids == sorted(set(ids))
    assert (left.opened, right.opened) == (0, 0)


def test_lost_frames_use_up_their_numbers_and_are_counted(monkeypatch):
    device = DeviceDouble(formats={"YUYV": {(64, 48): [200]}}, spoil=lambda number: "drop" if number % 5 == 4 else "")
    Machine({PATH: device}).install(monkeypatch)
    stop, seen = threading.Event(), []

    def sink(frame, wait):
        seen.append((frame.id, number_of(frame.picture.planes[0])))
        frame.release()

    worker = CameraWorker(Traits("front"), opener(Opening("front", "v4l2", PATH, str)), sink)
    worker.set_mode(Mode.HOT)
    thread = threading.Thread(target=worker.run, args=(stop, lambda: None))
    thread.start()
    try:
        until(lambda: len(seen) > 20)
    finally:
        stop.set()
        worker.wake()
        thread.join()
    counts = worker.counter.counts
    assert counts.lost >= 4
    assert counts.read == counts.decoded + counts.undecoded + counts.damaged
    assert in_step(seen)
    assert seen[-1][0] + 1 <= counts.read + counts.lost
