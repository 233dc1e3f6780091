"""Which back ends a camera may name."""

from __future__ import annotations

import pytest

from edged.assembly import assemble
from edged.camera import NAMED, ORDER, SOURCES, check_backend, order_of
from edged.config import load_config
from edged.doctor import cameras
from edged.doctor.line import State
from edged.doctor.probing import Answer
from edged.doctor.who import Who
from edged.errors import ConfigError

FILE = "choose from nvdec, pyav, gstreamer, jetson_utils"


@pytest.mark.parametrize("scheme", ORDER)
def test_every_scheme_is_served_by_its_own_order_and_what_may_be_named_beside_it(scheme):
    served = {*ORDER[scheme], *NAMED.get(scheme, ())}
    for name in served:
        check_backend(name, scheme)
    for name in set(SOURCES.names()) - served:
        with pytest.raises(ConfigError, match=f"^camera backend '{name}' serves no {scheme} source; choose from "):
            check_backend(name, scheme)


def test_on_a_jetson_the_boards_decoder_comes_before_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setattr("edged.camera.JETSON_DECODER", (tmp_path / "old", tmp_path / "new"))
    assert {scheme: order_of(scheme) for scheme in ORDER} == ORDER
    (tmp_path / "new").touch()
    assert order_of("rtsp") == order_of("file") == order_of("rtsps") == ("nvdec", "gstreamer", "pyav")
    for scheme in ORDER.keys() - {"rtsp", "rtsps", "file"}:
        assert order_of(scheme) == ORDER[scheme]


@pytest.mark.parametrize(
    ("backend", "text"),
    [
        ("v4l2", f"camera backend 'v4l2' serves no file source; {FILE}"),
        (["pyav", "scene"], f"camera backend 'scene' serves no file source; {FILE}"),
        ("pyaw", "unknown camera backend 'pyaw'; did you mean 'pyav'?"),
    ],
)
def test_a_back_end_of_another_scheme_is_a_fault_before_a_camera_is_opened(backend, text, site, task, clip):
    config = site({"front": {"source": f"file:{clip()}", "backend": backend}}, {"t": task("front")})
    with pytest.raises(ConfigError) as refused:
        assemble(load_config(config))
    fault, total = str(refused.value).splitlines()
    assert fault.startswith(f"{config}/cameras.yaml:")
    assert fault.endswith(f": cameras.front.backend: {text}")
    assert total == "1 fault(s); nothing was started"


@pytest.mark.parametrize(
    ("camera", "asked"),
    [
        ({"source": "v4l2:bus:usb-0000:00:14.0-2"}, "bus address"),
        ({"source": "v4l2:/dev/video7", "controls": {"gain": 3}, "pixel_format": "MJPG"}, "pixel_format, controls"),
        ({"source": "rtsp://192.0.2.1/a", "clock_synced": True}, "clock_synced"),
    ],
)
def test_a_key_that_no_back_end_of_the_order_knows_is_a_fault(camera, asked, site, task):
    def faults(*backend):
        config = site({"front": {**camera, "backend": list(backend)}}, {"t": task("front")})
        try:
            assemble(load_config(config))
        except ConfigError as exc:
            return str(exc)
        return ""

    others, known = (["gstreamer", "jetson_utils"], "pyav") if "rtsp" in camera["source"] else (["pyav"], "v4l2")
    said = "; ".join(f"{one} knows no {asked}" for one in others)
    assert f": cameras.front.backend: {said}\n" in faults(*others)
    for one in ([*others, known], [known]):
        assert faults(*one) == ""


def test_the_doctor_says_so_too():
    camera = {"id": "front", "scheme": "file", "place": "/", "backend": ["v4l2"]}
    answers = {name: Answer() for name in ("av", "nvdec", "gstreamer", "jetson_utils")}
    (line,) = cameras.configured([camera], answers, Who("me", 0, frozenset()))
    assert (line.state, line.found) == (State.WRONG, f"camera backend 'v4l2' serves no file source; {FILE}")
