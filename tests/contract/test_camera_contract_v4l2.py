"""The contract of camera sources over V4L2: on stand-ins for the kernel, and on every real camera of this machine."""

from __future__ import annotations

import pytest
import test_camera_contract as contract
from v4l2_double import DeviceDouble, Machine

from edged.camera import SOURCES
from edged.camera.base import Opening
from edged.camera.v4l2 import node, uapi
from edged.camera.v4l2.identity import cameras_here
from edged.errors import BackendUnavailable

MPLANE = uapi.CAP_VIDEO_CAPTURE_MPLANE | uapi.CAP_STREAMING


def doubles(h264):
    at = {(64, 48): [100]}
    return {
        "nv12": DeviceDouble(formats={"NV12": at}),
        "yuyv": DeviceDouble(formats={"YUYV": at}),
        "mplane": DeviceDouble(formats={"NM12": at}, caps=MPLANE),
        "few": DeviceDouble(formats={"NV12": at}, buffers_max=3),
        "mjpg": DeviceDouble(formats={"MJPG": at}),
        "h264": DeviceDouble(formats={"H264": at}, encode=lambda number: h264[number % len(h264)]),
    }


@pytest.fixture(params=["nv12", "yuyv", "mplane", "few", "mjpg", "h264", "real", "real_isolated"])
def kind(request):
    return request.param


@pytest.fixture
def source_class(kind):
    try:
        return SOURCES.load("v4l2_isolated" if kind == "real_isolated" else "v4l2")
    except BackendUnavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def opening(kind, clip, monkeypatch):
    if kind.startswith("real"):
        here, _ = cameras_here()
        if not here:
            pytest.skip("no camera that this user may open; sudo modprobe vivid makes a virtual one")
        return Opening("front", "v4l2", here[0][0], str, open_timeout_s=30, read_timeout_s=30)
    import av

    with av.open(str(clip(".h264", frames=30, gop=10, fmt="h264"))) as container:
        h264 = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    Machine({"/dev/video0": doubles(h264)[kind]}).install(monkeypatch)
    assert node.node_paths() == ["/dev/video0"]
    return Opening("front", "v4l2", "/dev/video0", str)


@pytest.fixture
def source(source_class, opening):
    source = source_class(opening)
    yield source
    source.close()


globals().update(contract.of_every_source("v4l2", "v4l2_isolated", without=contract.ONLY_FINITE))
