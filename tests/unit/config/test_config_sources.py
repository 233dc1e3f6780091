"""Sources and endpoints that are fine."""

from __future__ import annotations

import pytest

from edged.config import SCHEMES, CameraConfig, ControlConfig, MetricsConfig, PublishConfig, Source, is_local

FINE = [
    "rtsp://192.0.2.7/stream1",
    "rtsp://admin@192.0.2.7:554/stream1?channel=1",
    "rtsps://${cred:user}:${cred:password}@cam-1.example/x",
    "rtsp://[2001:db8::1]:554/x",
    "http://h/a@b.m3u8",
    "https://h:8443",
    "tcp://127.0.0.1:9001",
    "tcp://0.0.0.0:9001?listen",
    "udp://@:5004",
    "udp://239.0.0.1:5004",
    "srt://:9000?mode=listener&passphrase=${cred:srt}",
    "v4l2:/dev/v4l/by-id/usb-cam-index0",
    "v4l2:bus:usb-0000:00:14.0-2",
    "v4l2:bus:platform:vivid-001#1",
    "csi:0",
    "csi:12",
    "shm:front_wide",
    "shm:/edged.front",
    "scene:front_wide",
]


@pytest.mark.parametrize("text", FINE)
def test_a_source_is_kept_as_it_is_written(text):
    source = CameraConfig.model_validate({"id": "a", "source": text}).source
    assert str(source) == text
    assert source.scheme in SCHEMES


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("file:a b.mp4", "/conf/a b.mp4"),
        ("file:../a.mp4", "/a.mp4"),
        ("file:/media/a.mp4", "/media/a.mp4"),
        ("file:///media/a.mp4", "/media/a.mp4"),
        ("file:x:y.mp4", "/conf/x:y.mp4"),
    ],
)
def test_a_video_file_is_found_beside_the_file_that_names_it(text, rest, tmp_path):
    camera = CameraConfig.model_validate({"id": "a", "source": text}, context={"directory": tmp_path / "conf"})
    expected = rest if rest.startswith("/media") else str(tmp_path) + rest
    assert camera.source == Source("file", expected)


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("ipc:///run/x.sock", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.8.9.10:*", True),
        ("tcp://[::1]:65535", True),
        ("tcp://localhost:1", True),
        ("tcp://lo:1", True),
        ("tcp://*:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://[::]:1", False),
        ("tcp://eth0:1", False),
        ("tcp://127.0.0.1.example:1", False),
        ("tcp://192.0.2.1:1", False),
    ],
)
def test_an_endpoint_that_others_can_reach_needs_keys(endpoint, local):
    assert is_local(endpoint) is local
    curve = {"server_secret": "${cred:k}", "allowed_clients": "c"}
    for model in (PublishConfig, ControlConfig):
        assert model.model_validate({"endpoints": [endpoint], "curve": curve}).endpoints == (endpoint,)
        if local:
            assert model.model_validate({"endpoints": [endpoint]}).endpoints == (endpoint,)
        else:
            with pytest.raises(ValueError, match="needs curve keys"):
                model.model_validate({"endpoints": [endpoint]})


def test_an_address_prints_as_it_was_written():
    for text in ("127.0.0.1:9464", "127.8.9.10:1", "[::1]:80", "localhost:1", "unix:/run/edged/metrics.sock"):
        assert str(MetricsConfig.model_validate({"listen": text}).listen) == text
