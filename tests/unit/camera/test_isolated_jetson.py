"""The jetson-utils source over a stand-in for its compiled module, with the habits of the real one."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import pytest

from edged.camera import isolated
from edged.camera.base import CameraStalled, Opening
from edged.camera.isolation import process as isolation_process
from edged.camera.isolation.process import Abandoned
from edged.errors import BackendUnavailable, CameraEnded, CameraError
from edged.frame import PixelFormat

STANDIN = str(Path(__file__).parents[2] / "jetson")


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.syspath_prepend(STANDIN)
    monkeypatch.setenv("PYTHONPATH", STANDIN)
    forget(monkeypatch)


def forget(monkeypatch):
    """Import the source's module anew, now and after this test."""
    monkeypatch.setitem(sys.modules, "edged.camera.jetson", None)
    del sys.modules["edged.camera.jetson"]


@pytest.fixture
def opened(importable, monkeypatch):
    """Return an opener of isolated sources; its first keyword is the stand-in's habit."""
    source_class = importlib.import_module("edged.camera.jetson").JetsonSource
    sources = []

    def opened(scheme, url, habit="", **more):
        monkeypatch.setenv("JETSON", habit)
        more = {"read_timeout_s": 0.5, **more}
        redact = lambda text: text.replace("user:hunter2", "***")  # noqa: E731
        sources.append(source_class(Opening("left", scheme, url, redact, **more)))
        return sources[-1]

    yield opened
    for source in sources:
        source.close()


def test_a_csi_camera_gives_rgb_pictures_that_stay_whole_while_its_ring_turns(opened):
    source = opened("csi", "0", width_px=32, height_px=16, rate_hz=200)
    assert source.description == "jetson-utils 32x16 200 Hz"
    assert source.raw
    pictures = []
    for _ in range(12):  # three times around its ring of four
        grab = source.grab()
        assert (grab.key, grab.disposable, grab.due_s, grab.size_bytes) == (True, True, None, 32 * 16 * 3)
        (decoded,) = source.decode(grab)
        pictures.append(decoded.picture)
    assert {picture.format for picture in pictures} == {PixelFormat.RGB}
    inner = [picture.planes[0][1:-1] for picture in pictures]
    assert [int(pixels.min()) for pixels in inner] == list(range(12))
    assert [int(pixels.max()) for pixels in inner] == list(range(12))
    source.close()
    assert int(inner[-1][0, 0, 0]) == 11


@pytest.mark.parametrize(("scheme", "url"), [("csi", "0"), ("rtsp", "rtsp://h/1")])
def test_pictures_are_as_the_sensor_has_them(opened, scheme, url):
    """For CSI cameras the library exchanges its flip methods none and rotate-180."""
    (decoded,) = (source := opened(scheme, url, rate_hz=200)).decode(source.grab())
    picture = decoded.picture.planes[0]
    assert (int(picture[0, 0, 0]), int(picture[-1, -1, 0])) == (255, 0)


def test_skipped_images_are_not_copied(opened):
    source = opened("csi", "0", rate_hz=200)
    for _ in range(9):
        source.skip(source.grab())
    (decoded,) = source.decode(source.grab())
    assert int(decoded.picture.planes[0][1, 0, 0]) == 9


@pytest.mark.parametrize(
    ("habit", "text"),
    [
        ("none", "cannot read csi:0: nothing came for 0.5 s"),
        ("frozen", "cannot read csi:0: the same picture came again and again for 0.5 s"),
    ],
)
def test_a_lost_stream_and_a_frozen_one_are_stalls(opened, habit, text):
    source = opened("csi", "0", habit)
    source.skip(source.grab())
    with pytest.raises(CameraStalled) as caught:
        source.grab()
    assert str(caught.value) == text


def test_a_bare_exception_is_a_camera_error_on_a_camera_and_the_end_of_a_file(opened, clip):
    source = opened("csi", "0", "error")
    source.skip(source.grab())
    with pytest.raises(CameraError, match="cannot read csi:0: jetson-utils failed to capture, and does not say why"):
        source.grab()
    path = clip(frames=5)
    source = opened("file", str(path))
    for _ in range(5):
        source.decode(source.grab())
    with pytest.raises(CameraEnded, match=f"^end of {path}$"):
        source.grab()


def test_three_captures_of_any_csi_camera_that_do_not_return_ask_for_a_restart_of_argus(opened, monkeypatch, tmp_path):
    monkeypatch.setattr(isolated, "GRACE_S", 0.2)
    monkeypatch.setattr(isolation_process, "ABANDONED", Abandoned())
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    for count in (1, 2, 3):
        source = opened("csi", str(count), "hang", read_timeout_s=0.1)
        source.skip(source.grab())
        began_s = time.monotonic()
        with pytest.raises(CameraStalled, match="did not return within") as caught:
            source.grab()
        assert time.monotonic() - began_s < 5
        source.close()
        assert [path.name for path in tmp_path.iterdir()] == ["restart-argus"] * (count == 3)
    assert str(caught.value).endswith("abandoned, 3 times within 60 s; a restart of Argus is asked for")


@pytest.mark.parametrize(
    ("scheme", "url", "text"),
    [
        ("csi", "none-there", "cannot open csi:none-there: jetson.utils -- failed to create videoSource device"),
        ("file", "/none/x.mp4", "no such file: /none/x.mp4"),
        ("v4l2", "/dev/video177", "no such device: /dev/video177"),
        ("http", "http://host/", "jetson-utils serves csi, v4l2, rtsp and file, and not http"),
        ("rtsp", "rtsp://h/a ! filesink location=/etc/x", "blanks, quotes, ! and ; cannot be passed to jetson-utils"),
        ("rtsp", "rtsp://user:hunter2@none-there/a", "cannot open rtsp://***@none-there/a: jetson.utils -- failed"),
    ],
)
def test_what_cannot_be_opened_says_why(opened, scheme, url, text):
    with pytest.raises(CameraError) as caught:
        opened(scheme, url)
    assert text in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_the_library_does_not_know_by_its_name(opened, clip):
    with pytest.raises(CameraError, match=r"jetson-utils knows files by \.avi, .*, and not .*\.ts"):
        opened("file", str(clip(".ts", frames=5)))


def test_images_in_device_memory_alone_are_refused(opened):
    source = opened("csi", "0", "device")
    with pytest.raises(CameraError, match="device memory only"):
        source.decode(source.grab())


def test_the_library_prints_no_address(opened, caplog):
    caplog.set_level("INFO")
    source = opened("rtsp", "rtsp://user:hunter2@host/a")
    source.grab()
    source.close()
    assert "created source" not in caplog.text
    assert "hunter2" not in caplog.text


def test_a_module_of_that_name_without_cameras_is_no_back_end(tmp_path, monkeypatch, importable):
    source_class = importlib.import_module("edged.camera.jetson").JetsonSource
    (tmp_path / "jetson_utils_python.py").write_text("version = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BackendUnavailable, match="this one has no videoSource"):
        source_class(Opening("left", "csi", "0", str))


def test_without_the_library_the_source_cannot_be_imported(monkeypatch):
    forget(monkeypatch)
    assert STANDIN not in sys.path
    with pytest.raises(ModuleNotFoundError, match="^jetson_utils_python: not installed$"):
        importlib.import_module("edged.camera.jetson")
