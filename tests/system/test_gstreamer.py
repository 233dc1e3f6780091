"""The GStreamer source as it is: real pipelines on files and on a real RTSP server, in a process of its own."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from parts import children_of, number_of, until
from test_rtsp import camera, gstreamer  # noqa: F401 - fixtures

from edged.camera.base import CameraStalled, Opening
from edged.errors import CameraEnded, CameraError
from edged.frame import PixelFormat


@pytest.fixture(scope="session")
def source_class():
    try:
        return importlib.import_module("edged.camera.gstreamer").GStreamerSource
    except ModuleNotFoundError as missing:
        pytest.skip(f"no GStreamer here ({missing}); apt-get install python3-gi gir1.2-gst-plugins-base-1.0")


@pytest.fixture
def opened(source_class):
    sources = []

    def opened(url, scheme="rtsp", **more):
        redact = lambda text: text.replace("driver:s3cret", "***")  # noqa: E731
        sources.append(source_class(Opening("front", scheme, url, redact, **more)))
        return sources[-1]

    yield opened
    for source in sources:
        source.close()


def read(source, count):
    found = []
    while len(found) < count:
        found += source.decode(source.grab())
    return found


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_rtsp_camera_is_read_parked_and_read_again(opened, camera, transport):  # noqa: F811
    source = opened(camera("320x240").url, transport=transport)
    assert source.description == "h264 320x240 15 Hz"
    assert not source.raw
    pictures = [decoded.picture for decoded in read(source, 10)]
    assert {(one.width, one.height, one.format) for one in pictures} == {(320, 240, PixelFormat.YUV)}
    assert pictures[0].planes[0].std() > 5  # a white ball
    source.rest()
    for _ in range(20):
        source.skip(source.grab())
    while not (grab := source.grab()).key:
        source.skip(grab)
    begin_s = time.monotonic()
    first = source.decode(grab) or read(source, 1)
    assert first[0].pts == grab.pts
    assert time.monotonic() - begin_s < 2


def test_a_killed_server_is_an_error_and_the_camera_can_be_opened_when_it_is_back(opened, camera):  # noqa: F811
    server = camera("320x240")
    source = opened(server.url, read_timeout_s=2.0)
    read(source, 5)
    server.kill()
    with pytest.raises(CameraError):
        while True:
            source.decode(source.grab())
    source.close()
    with pytest.raises(CameraError, match=f"^cannot open {server.url}: "):
        opened(server.url)
    again = opened(camera("160x128").url)
    assert again.description == "h264 160x128 15 Hz"
    read(again, 3)


def test_a_frozen_server_is_a_stall_in_time(opened, camera):  # noqa: F811
    server = camera()
    source = opened(server.url, read_timeout_s=1.0)
    read(source, 5)
    server.signal(signal.SIGSTOP)
    begin_s = time.monotonic()
    with pytest.raises(CameraError):
        while True:
            source.decode(source.grab())
    assert time.monotonic() - begin_s < 4
    server.signal(signal.SIGCONT)


def test_a_server_that_accepts_and_never_answers(opened):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam"
        with pytest.raises(CameraStalled, match=f"^cannot open {url}: nothing came for 0.7 s$"):
            opened(url, open_timeout_s=0.7)


def test_passwords_are_used_and_never_shown(opened, camera, caplog):  # noqa: F811
    caplog.set_level("DEBUG")
    url = camera(account="driver:s3cret").url
    source = opened(url.replace("rtsp://", "rtsp://driver:s3cret@"))
    read(source, 2)
    assert b"s3cret" not in Path(f"/proc/{source.pid}/cmdline").read_bytes()
    source.close()
    with pytest.raises(CameraError, match="nauthorized") as caught:
        opened(url.replace("rtsp://", "rtsp://driver:s3cret@").replace("s3cret", "s3cretx"))
    assert "driver" not in str(caught.value).replace("***x", "")
    assert "s3cret" not in caplog.text


def test_its_process_killed_is_an_error(opened, camera):  # noqa: F811
    source = opened(camera().url)
    read(source, 2)
    os.kill(source.pid, signal.SIGKILL)
    with pytest.raises(CameraError, match="was killed by signal 9"):
        read(source, 100)
    source.close()
    assert source.pid not in children_of(os.getpid())


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [("libx264", "yuv420p", ".mp4"), ("libx264", "yuv420p", ".mkv"), ("mjpeg", "yuvj420p", ".avi")],
)
def test_files(opened, clip, codec, pix_fmt, suffix):
    path = clip(suffix, frames=12, codec=codec, pix_fmt=pix_fmt)
    source = opened(str(path), "file")
    pictures = []
    with pytest.raises(CameraEnded, match=f"^end of {path}$"):
        while True:
            pictures += source.decode(source.grab())
    pictures += source.drain()
    assert [number_of(decoded.picture.planes[0]) for decoded in pictures] == list(range(12))


def test_pictures_in_another_order_than_their_packets(opened, clip):
    source = opened(str(clip(frames=30, bframes=2)), "file")
    pictures = []
    with pytest.raises(CameraEnded):
        while True:
            pictures += source.decode(source.grab())
    pictures += source.drain()
    numbers = [number_of(decoded.picture.planes[0]) for decoded in pictures]
    assert numbers == list(range(30))


@pytest.fixture
def faulty(source_class, monkeypatch, clip):
    """Return an opener of a file with a decoder that is not well."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    sources = []

    def faulty(name, **how):
        target = type("IsolatedFaulty", (source_class,), {"target": f"gst_faulty:{name}"})
        sources.append(target(Opening("front", "file", str(clip(bframes=0, **how)), str)))
        return sources[-1]

    yield faulty
    for source in sources:
        source.close()


def test_a_decoder_that_fails_is_an_error_and_not_silence(faulty):
    source = faulty("FailsAfterTen", frames=30)
    with pytest.raises(CameraError, match="^cannot decode: ") as caught:
        while True:
            source.decode(source.grab())
    assert not isinstance(caught.value, CameraEnded)
    while not (grab := source.grab()).key:
        source.skip(grab)
    assert source.decode(grab) or read(source, 1), "it has another decoder"


def test_a_decoder_that_was_slow_once_gives_pictures_in_time_again(faulty):
    source, late = faulty("SlowOnce", frames=300), []
    while late[12:].count(False) < 5 and len(late) < 300:
        grab = source.grab()
        late.append(not any(decoded.pts == grab.pts for decoded in source.decode(grab)))
    assert any(late[9:12]), "it was not slow"
    assert late[12:].count(False) == 5


@pytest.fixture
def drawn(source_class, monkeypatch):
    """Return an opener of raw cameras that GStreamer draws; their format stands in for the scheme's address."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    drawn_class = type("IsolatedDrawn", (source_class,), {"target": "gst_drawn:Drawn"})
    sources = []

    def drawn(caps):
        sources.append(drawn_class(Opening("front", "v4l2", caps, str)))
        return sources[-1]

    yield drawn
    for source in sources:
        source.close()


@pytest.mark.parametrize(
    ("name", "kind", "chroma"),
    [
        ("I420", PixelFormat.YUV, (121, 161)),
        ("NV12", PixelFormat.NV12, (121, 161, 2)),
        ("Y42B", PixelFormat.YUV, (241, 161)),
        ("Y444", PixelFormat.YUV, (241, 321)),
        ("GRAY8", PixelFormat.GRAY, None),
        ("RGB", PixelFormat.RGB, None),
        ("YUY2", PixelFormat.YUV, None),  # converted
        ("UYVY", PixelFormat.YUV, None),
    ],
)
def test_raw_pictures_of_any_format_and_odd_size(drawn, name, kind, chroma):
    source = drawn(f"video/x-raw, format={name}, width=321, height=241, framerate=50/1")
    assert source.raw
    assert source.description == "raw 321x241 50 Hz"
    for _ in range(5):
        grab = source.grab()
        assert (grab.key, grab.disposable) == (True, True)
        assert grab.capture.clock == "driver"
        assert -1 < (time.monotonic_ns() - grab.capture.mono_ns) / 1e9 < 1
        (decoded,) = source.decode(grab)
        picture = decoded.picture
        assert (picture.width, picture.height, picture.format, decoded.pts) == (321, 241, kind, grab.pts)
        if chroma is not None:
            assert picture.planes[1].shape == chroma
        level = 81 if kind is not PixelFormat.RGB else 255  # red, by BT.601
        assert abs(int(picture.planes[0][120, 160].flat[0]) - level) <= 3
        assert abs(int(picture.planes[0][240, 320].flat[0]) - level) <= 3
        if kind is PixelFormat.NV12:
            u, v = (int(value) for value in picture.planes[1][120, 160])
            assert abs(u - 90) <= 3
            assert abs(v - 240) <= 3
        source.skip(source.grab())


def test_what_is_no_video_says_so(opened, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video at all, whatever its name says\n" * 100)
    with pytest.raises(CameraError, match=f"^(cannot open|no pictures in) {path}"):
        opened(str(path), "file")
    with pytest.raises(CameraError, match="^no such file: /none/x.mp4$"):
        opened("/none/x.mp4", "file")
    with pytest.raises(CameraError, match="^cannot open /dev/video177: "):
        opened("/dev/video177", "v4l2")


def test_a_daemon_reads_through_it_and_outlives_its_process(daemon, site, task, camera, source_class):  # noqa: F811
    """The whole way: frames from the child's ring to results; its process killed, the camera is back by itself."""
    front = {"source": camera().url, "backend": ["gstreamer"]}
    running = daemon(site({"front": front}, {"t": task("front")}))
    with running.subscriber() as subscriber:
        assert subscriber.receive(15) is not None
        assert running.camera("front")["backend"] == "gstreamer"
        (child,) = children_of(running.process.pid)
        os.kill(child, signal.SIGKILL)
        until(lambda: running.camera("front")["opens"] == 2, 10, lambda: running.camera("front"))
        while subscriber.receive(0) is not None:
            pass
        assert subscriber.receive(5) is not None
    assert "was killed by signal 9" in running.log


def test_a_child_that_hangs_again_and_again_is_replaced_and_the_daemon_goes_on(daemon, site, task, clip, source_class):
    front = {"source": f"file:{clip(frames=50)}", "loop": True, "backend": ["gstreamer"], "stall_timeout_s": 0.5}
    running = daemon(site({"front": front}, {"t": task("front")}))
    stopped = set()
    for count in range(1, 5):
        until(lambda count=count: running.camera("front")["opens"] == count, 20, lambda: running.log)
        (child,) = children_of(running.process.pid) - stopped
        stopped.add(child)
        os.kill(child, signal.SIGSTOP)
        until(lambda: not children_of(running.process.pid) & stopped, 20)
    assert "was abandoned, 3 times within 60 s" in running.log
    until(lambda: running.camera("front")["state"] == "running", 20)
