"""Which GStreamer elements serve a source, with and without those of a Jetson; and modules of the distribution."""

from __future__ import annotations

import sys

import pytest

from edged.camera import system_packages
from edged.camera.base import Opening
from edged.camera.gst.recipes import recipes
from edged.errors import BackendUnavailable, CameraError


def chosen(scheme, url, nvidia=False, **more):
    opening = Opening("left", scheme, url, str, **more)
    return recipes(opening, lambda name: nvidia or not name.startswith("nv"))


def test_a_csi_camera_on_a_jetson():
    (recipe,) = chosen("csi", "1", nvidia=True, width_px=1920, height_px=1080, rate_hz=29.97)
    assert recipe.launch == (
        "nvarguscamerasrc name=src "
        "! video/x-raw(memory:NVMM), format=NV12, width=1920, height=1080, framerate=29970/1000 "
        "! nvvidconv ! video/x-raw, format=NV12 ! appsink name=sink sync=false max-buffers=1 drop=true"
    )
    assert recipe.properties == {"sensor-id": "1"}


def test_a_csi_camera_elsewhere_says_what_is_missing():
    with pytest.raises(BackendUnavailable, match="no nvarguscamerasrc, nvvidconv for csi cameras here"):
        chosen("csi", "0")


def test_v4l2_tries_the_jetsons_element_last_which_takes_every_camera_to_give_uyvy():
    found = [(recipe.launch.split()[0], recipe.stamped) for recipe in chosen("v4l2", "/dev/video0", nvidia=True)]
    assert found == [("v4l2src", True), ("nvv4l2camerasrc", False)]
    (recipe,) = chosen("v4l2", "/dev/video0", width_px=640, height_px=480)
    assert 'caps="video/x-raw, width=640, height=480; image/jpeg, width=640, height=480"' in recipe.launch


def test_an_address_is_never_part_of_the_pipelines_text():
    for scheme, url in (("rtsp", "rtsp://h/a ! filesink location=x"), ("v4l2", "/dev/x ! fakesink"), ("csi", "0 ! x")):
        for recipe in chosen(scheme, url, nvidia=True):
            assert url not in recipe.launch
            assert url in recipe.properties.values()


def test_rtsp_waits_have_an_end():
    (recipe,) = chosen("rtsp", "rtsp://h/a", transport="udp", read_timeout_s=2.5)
    assert recipe.properties["protocols"] == "udp"
    assert recipe.properties["tcp-timeout"] == recipe.properties["timeout"] == "2500000"


def test_schemes_and_files_that_are_not_there():
    with pytest.raises(CameraError, match="GStreamer serves csi, v4l2, rtsp, rtsps, file, and not srt"):
        chosen("srt", "srt://h:1")
    with pytest.raises(CameraError, match="^no such file: /none/x.mp4$"):
        chosen("file", "/none/x.mp4")


def test_a_module_is_found_without_importing_it(tmp_path, monkeypatch):
    (tmp_path / "onboard.py").write_text("raise AssertionError")
    monkeypatch.setattr(system_packages, "FOLDERS", (str(tmp_path),))
    assert system_packages.folder_of("onboard") == str(tmp_path)
    assert str(tmp_path) not in sys.path


def test_the_distributions_folder_comes_last(tmp_path, monkeypatch):
    (tmp_path / "onboard.py").write_text("")
    (tmp_path / "numpy.py").write_text("raise AssertionError")
    monkeypatch.setattr(system_packages, "FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(sys, "path", list(sys.path))
    system_packages.make_importable("onboard")
    system_packages.make_importable("onboard")
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize("compiled", ["_gi", None])
def test_a_module_for_another_python_is_said_to_be_that(tmp_path, monkeypatch, compiled):
    if compiled:
        (tmp_path / "onboard").mkdir()
        (tmp_path / "onboard" / "__init__.py").touch()
        (tmp_path / "onboard" / "_gi.cpython-38-x86_64-linux-gnu.so").touch()
    else:
        (tmp_path / "onboard.cpython-38-x86_64-linux-gnu.so").touch()
    monkeypatch.setattr(system_packages, "FOLDERS", (str(tmp_path),))
    with pytest.raises(ModuleNotFoundError, match=f"onboard: in {tmp_path} it is built for another Python than 3"):
        system_packages.folder_of("onboard", compiled)


def test_a_module_that_is_nowhere(monkeypatch):
    monkeypatch.setattr(system_packages, "FOLDERS", ())
    with pytest.raises(ModuleNotFoundError, match="^onboard: not installed$"):
        system_packages.folder_of("onboard")
