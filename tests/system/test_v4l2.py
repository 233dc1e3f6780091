"""V4L2 cameras as the kernel gives them: its virtual driver vivid, unplugged, unbound, bound again. See vivid.sh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from parts import until

from edged.camera import SOURCES
from edged.camera.base import Opening
from edged.camera.v4l2.identity import cameras_here
from edged.child import DaemonProcess
from edged.engines.preprocess import Preprocessor
from edged.errors import CameraError
from edged.frame import Capture, Frame, PixelFormat
from edged.tensor import InputFormat

pytestmark = pytest.mark.timeout(900)  # also for a machine that is emulated
DRIVER = Path("/sys/bus/platform/drivers/vivid")
LIMIT_S = 120
NEEDS = "run tests/system/vivid.sh as root (it loads the kernel's module vivid, of linux-image-amd64)"


@pytest.fixture(scope="session")
def vivid():
    """The nodes of vivid's cameras by their bus."""
    found = {who.bus: path for path, who in cameras_here()[0] if who.driver == "vivid"}
    if not found:
        pytest.skip(f"no virtual camera here; {NEEDS}")
    return found


@pytest.fixture(scope="session")
def six(vivid):
    """Six cameras that may be taken away."""
    buses = [f"platform:vivid-{n:03d}" for n in range(6)]
    if not set(buses) <= vivid.keys() or not os.access(DRIVER / "unbind", os.W_OK):
        pytest.skip(f"no six virtual cameras that this user may unbind; {NEEDS}")
    if shutil.which("v4l2-ctl") is None:
        pytest.skip("no v4l2-ctl here; apt-get install v4l-utils")
    return buses


@pytest.fixture
def opened(vivid):
    sources = []

    def opened(bus="platform:vivid-000", name="v4l2", **wishes):
        opening = Opening("front", "v4l2", f"bus:{bus}", str, open_timeout_s=60, read_timeout_s=60, **wishes)
        sources.append(SOURCES.load(name)(opening))
        return sources[-1]

    yield opened
    for source in sources:
        source.close()


def ctl(path, *args):
    return subprocess.run(["v4l2-ctl", "-d", path, *args], check=True, capture_output=True, text=True).stdout


def read(source, count):
    found = []
    while len(found) < count:
        found += source.decode(source.grab())
    return found


def colors(decoded):
    """Return what a network would see of a picture: (3, 90, 160) of 0 to 255."""
    out = np.empty((3, 90, 160), np.float32)
    frame = Frame("front", 0, decoded.picture, Capture(0, 0, "arrival"), 0, 0, decoded.on_release)
    Preprocessor((160, 90), InputFormat(fit="stretch", color="rgb")).write(frame, out, 0)
    frame.release()
    return out * 255


RAW = {
    "NV12": PixelFormat.NV12,
    "YU12": PixelFormat.YUV,
    "YV12": PixelFormat.YUV,
    "422P": PixelFormat.YUV,
    "NV16": PixelFormat.YUV,
    "NV21": PixelFormat.YUV,
    "YUYV": PixelFormat.YUV,
    "UYVY": PixelFormat.YUV,
    "YVYU": PixelFormat.YUV,
    "VYUY": PixelFormat.YUV,
    "RGB3": PixelFormat.RGB,
    "BGR3": PixelFormat.RGB,
    "GREY": PixelFormat.GRAY,
}
BARS = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)]
PLAIN = {"osd_text_mode": 2}  # no text over the picture


@pytest.mark.parametrize(
    ("fourcc", "bus"),
    [
        *((fourcc, "platform:vivid-000") for fourcc in RAW),
        *((one, "platform:vivid-006") for one in ("NM12", "YM12", "NV12", "YUYV")),
    ],
)
def test_every_raw_format_shows_the_drivers_color_bars(opened, vivid, fourcc, bus):
    if bus not in vivid:
        pytest.skip(f"no virtual camera with several planes of memory; {NEEDS}")
    source = opened(bus, pixel_format=fourcc, width_px=320, height_px=180, controls=PLAIN)
    assert re.fullmatch(rf"{fourcc} 320x180 [\d.]+ Hz, bus:{bus}", source.description)
    assert source.raw
    *_, last = read(source, 3)
    kind = {**RAW, "NM12": PixelFormat.NV12, "YM12": PixelFormat.YUV}[fourcc]
    assert (last.picture.width, last.picture.height, last.picture.format) == (320, 180, kind)
    seen = colors(last)[:, 45, 10::20][:, :7].T
    wanted = np.array(BARS)
    if kind is PixelFormat.GRAY:
        seen, wanted = seen[:, :1], (wanted @ [0.2126, 0.7152, 0.0722])[:, None]  # vivid's grey is of full range
    assert np.abs(seen - wanted).max() < 12, f"{seen.round()}"


def test_wishes_are_met_or_refused_with_what_there_is(opened):
    source = opened(width_px=640, height_px=360, rate_hz=10)
    assert re.match(r"NV12 640x360 10 Hz", source.description)
    source.close()
    with pytest.raises(CameraError, match=r"gives no 1000x1000; it gives .*NV12.*320x180.*1280x720.* Hz") as caught:
        opened(width_px=1000, height_px=1000)
    assert "not read here: " in str(caught.value)
    with pytest.raises(CameraError, match=r"gives no 320x180 500 Hz; it gives "):
        opened(width_px=320, height_px=180, rate_hz=500)
    with pytest.raises(CameraError, match=r"gives no MJPG; it gives "):
        opened(pixel_format="MJPG")
    with pytest.raises(
        CameraError, match=r"^no camera at the bus 'platform:vivid-099'; there are 'platform:vivid-000' "
    ):
        opened("platform:vivid-099")


def test_controls_are_set_and_what_is_wrong_is_named(opened, vivid):
    if shutil.which("v4l2-ctl") is None:
        pytest.skip("no v4l2-ctl here; apt-get install v4l-utils")
    path = vivid["platform:vivid-000"]
    opened(controls={"brightness": 77, "horizontal_flip": True, "test_pattern": 3}).close()
    said = ctl(path, "-C", "brightness,horizontal_flip,test_pattern")
    assert re.findall(r": (\d+)", said) == ["77", "1", "3"]
    opened(controls={"brightness": 128, "horizontal_flip": False, "test_pattern": 0}).close()
    names = re.findall(
        r"^ *(\w+) 0x[0-9a-f]+ \((?:int|int64|bool|menu|intmenu|bitmask)\)", ctl(path, "-l"), re.MULTILINE
    )
    with pytest.raises(CameraError, match="has no control 'brihtness'; it has ") as caught:
        opened(controls={"brihtness": 1})
    assert str(caught.value).partition("it has ")[2].split(", ") == [
        name for name in names if name in str(caught.value)
    ]
    assert set(re.findall(r"\w+", str(caught.value).partition("it has ")[2])) >= set(names)
    with pytest.raises(CameraError, match="control brightness must be from 0 to 255, got 300"):
        opened(controls={"brightness": 300})
    with pytest.raises(CameraError, match=r"control test_pattern must be one of 0 \(75% Colorbar\), 1 \(100% Colorbar"):
        opened(controls={"test_pattern": 99})
    with pytest.raises(CameraError, match="control (read_only_)?\\w+ is read-only"):
        opened(controls={"read_only_integer_32_bits": 5})
    with pytest.raises(CameraError, match="control gain has no effect: an automatic mode owns it"):
        opened(controls={"gain_automatic": True, "gain": 30})
    opened(controls={"gain_automatic": False, "gain": 30}).close()
    opened(controls={"gain_automatic": True}).close()


def test_times_are_the_drivers_and_lost_pictures_are_told(opened):
    wanted = {"timestamp_source": 1, "percentage_of_dropped_buffers": 40}
    source = opened(width_px=320, height_px=180, rate_hz=10, controls=wanted)
    lost = taken = 0
    before = None
    while taken < 20:
        grab = source.grab()
        assert grab.capture.clock == "driver"
        assert 0 <= time.monotonic_ns() - grab.capture.mono_ns < 5e9
        if before is not None:
            assert grab.capture.mono_ns > before.capture.mono_ns
            assert grab.pts - before.pts == grab.lost + 1
        lost, taken, before = lost + grab.lost, taken + 1, grab
        source.skip(grab)
    assert lost >= 3
    source.close()
    source = opened(controls=dict.fromkeys(wanted, 0))
    assert source.grab().capture is None  # the end of a frame that vivid says lies ahead of us: not believed


def test_a_camera_in_use_says_so_and_is_free_again_while_frames_are_still_held(opened):
    first = opened(width_px=320, height_px=180, pixel_format="NV12")
    held = read(first, 3)
    assert all(decoded.on_release is not None for decoded in held)
    with pytest.raises(CameraError, match="it is in use: another program streams from it"):
        opened(width_px=640, height_px=360)
    before = [decoded.picture.planes[0].copy() for decoded in held]
    first.close()
    second = opened(width_px=640, height_px=360)
    read(second, 3)
    for decoded, luma in zip(held, before, strict=True):
        assert (decoded.picture.planes[0] == luma).all()
        decoded.on_release()


def test_buffers_that_frames_keep_are_never_written_to(opened):
    """vivid writes a counter over its picture: a kept frame must not change while others come."""
    source = opened(width_px=320, height_px=180, rate_hz=10, pixel_format="NV12", controls={"osd_text_mode": 0})
    held = read(source, 8)
    assert [decoded.on_release is not None for decoded in held] == [True] * 5 + [False] * 3
    before = [decoded.picture.planes[0].copy() for decoded in held]
    assert any((one != other).any() for one, other in zip(before, before[1:], strict=False))
    for _ in range(12):
        source.skip(source.grab())
    for decoded, luma in zip(held, before, strict=True):
        assert (decoded.picture.planes[0] == luma).all()


@pytest.mark.parametrize("name", ["v4l2", "v4l2_isolated"])
def test_a_pulled_camera_is_an_error_at_once_and_can_be_opened_again(opened, six, vivid, name):
    source = opened(six[1], name, width_px=320, height_px=180, rate_hz=10)
    read(source, 2)
    pull = threading.Timer(0.3, ctl, [vivid[six[1]], "-c", "disconnect=1"])
    pull.start()
    with pytest.raises(CameraError, match="it is gone"):
        while True:
            source.decode(source.grab())
    pull.join()
    source.close()
    again = until(lambda: reopened(opened, six[1], name), LIMIT_S)
    read(again, 2)


def reopened(opened, bus, name):
    try:
        return opened(bus, name, width_px=320, height_px=180)
    except CameraError:
        return None


@pytest.fixture
def running(site, task):
    """Return a starter of a daemon process; it must end with 0."""
    started = []

    def running(cameras):
        folder = site(cameras, {"look": task(*cameras, rate_hz=5)})
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        started.append((DaemonProcess(folder, log), log))
        started[-1][0].wait_until_answering(LIMIT_S)
        return started[-1][0]

    yield running
    for child, log in started:
        code = child.stop(60)
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
        log.close()
        print(text[-6000:])
        assert code == 0, text[-3000:]
        assert "Traceback" not in text, text[-3000:]


@pytest.fixture
def bound(six):
    """Leave vivid bound, whatever happened."""
    yield
    if not (DRIVER / "vivid.0").exists():
        (DRIVER / "bind").write_text("vivid.0")


def cameras_of(child):
    with child.client(30) as control:
        return {one["id"]: one for one in control.request("camera.list")["cameras"]}


def is_gone(camera):
    """Whether a camera is known to be away, or just looked for again."""
    gone = ("it is gone", "no camera at the bus")
    return camera["state"] == "connecting" or any(text in camera["reason"] for text in gone)


def brightness_by_bus():
    """Return what v4l2-ctl says of each of vivid's cameras: its brightness, by its bus."""
    found = {}
    for path, who in cameras_here()[0]:
        if who.driver == "vivid":
            found[who.bus] = int(ctl(path, "-C", "brightness").rpartition(":")[2])
    return found


def test_six_cameras_come_back_to_their_ids_after_their_driver_was_away(running, six, bound):
    """Under load, and with other numbers: a program that keeps the old nodes open keeps theirs in use."""
    cameras = {
        f"camera{n}": {
            "source": f"v4l2:bus:{bus}",
            "width_px": 320,
            "height_px": 180,
            "rate_hz": 5,
            "pixel_format": ["NV12", "YUYV", "YU12", "UYVY", "RGB3", "GREY"][n],
            "controls": {"brightness": 100 + n},
            "stall_timeout_s": 20,
            "open_timeout_s": 60,
        }
        for n, bus in enumerate(six)
    }
    child = running(cameras)
    before = {who.bus: path for path, who in cameras_here()[0]}

    def all_run(opens):
        now = cameras_of(child)
        return all(one["state"] == "running" and one["opens"] >= opens and one["rate_hz"] > 1 for one in now.values())

    until(lambda: all_run(1), LIMIT_S, lambda: cameras_of(child), every_s=0.5)
    with child.subscriber() as results:
        seen: set[str] = set()
        end_s = time.monotonic() + LIMIT_S
        while len(seen) < 6 and time.monotonic() < end_s:
            result = results.receive(30)
            seen |= {result.camera} if result is not None else set()
        assert len(seen) == 6

    held = [os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in before.values()]
    (DRIVER / "unbind").write_text("vivid.0")
    until(
        lambda: all(is_gone(one) for one in cameras_of(child).values()), LIMIT_S, lambda: cameras_of(child), every_s=0.3
    )
    (DRIVER / "bind").write_text("vivid.0")
    begin_s = time.monotonic()
    until(lambda: all_run(2), LIMIT_S, lambda: cameras_of(child), every_s=0.5)
    print(f"all six run again {time.monotonic() - begin_s:.1f} s after their driver was bound")
    print({name: one["stream"] for name, one in cameras_of(child).items()})

    for fd in held:
        os.close(fd)
    after = {who.bus: path for path, who in cameras_here()[0]}
    assert all(before[bus] != after[bus] for bus in six), (before, after)
    now = cameras_of(child)
    for n, bus in enumerate(six):
        assert now[f"camera{n}"]["stream"].endswith(f"bus:{bus}")
    found = brightness_by_bus()
    assert [found[bus] for bus in six] == [100 + n for n in range(6)]
