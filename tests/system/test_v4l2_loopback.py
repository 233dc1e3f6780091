"""Compressed pictures, and a camera that falls silent, through the module v4l2loopback: a real node that we feed."""

from __future__ import annotations

import fcntl
import os
import threading
import time

import pytest
from parts import number_of
from v4l2_double import mjpeg_of

from edged.camera import SOURCES
from edged.camera.base import CameraStalled, Opening
from edged.camera.v4l2 import node, uapi
from edged.camera.v4l2.identity import identity_of
from edged.frame import PixelFormat

pytestmark = pytest.mark.timeout(600)
OUTPUT = 2  # V4L2_BUF_TYPE_VIDEO_OUTPUT
SIZE = (320, 240)


@pytest.fixture(scope="module")
def path():
    for path in node.node_paths():
        try:
            opened = node.open_node(path)
        except OSError:
            continue
        who = identity_of(opened)
        opened.close()
        if who.driver == "v4l2 loopback":
            return path
    pytest.skip(
        "no loopback device here; apt-get install v4l2loopback-dkms, then modprobe v4l2loopback devices=1 as root"
    )


class Producer:
    """Writes packets into the device at a steady rate until it is stopped, and leaves it open."""

    def __init__(self, path, fourcc, packets, rate_hz=8):
        self._fd = os.open(path, os.O_RDWR)
        wanted = uapi.Format(type=OUTPUT)
        pix = wanted.fmt.pix
        (pix.width, pix.height), pix.pixelformat, pix.field = SIZE, uapi.fourcc_number(fourcc), 1
        pix.sizeimage = SIZE[0] * SIZE[1] * 2
        fcntl.ioctl(self._fd, uapi.S_FMT.number, wanted, True)
        self._packets, self._rate_hz = packets, rate_hz
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        os.write(self._fd, packets(0))
        self._thread.start()

    def _run(self):
        number = 1
        while not self._stop.wait(1 / self._rate_hz):
            os.write(self._fd, self._packets(number))
            number += 1

    def fall_silent(self):
        self._stop.set()
        self._thread.join()

    def close(self):
        self.fall_silent()
        os.close(self._fd)


@pytest.fixture
def producer(path):
    started = []

    def producer(fourcc, packets):
        started.append(Producer(path, fourcc, packets))
        return started[-1]

    yield producer
    for one in started:
        one.close()


def opened(path, name, **wishes):
    return SOURCES.load(name)(Opening("front", "v4l2", path, str, open_timeout_s=60, **wishes))


@pytest.mark.parametrize("name", ["v4l2", "v4l2_isolated"])
def test_mjpeg_is_decoded_in_order_and_silence_is_a_stall_in_time(path, producer, name):
    feed = producer("MJPG", lambda number: mjpeg_of(number, SIZE))
    source = opened(path, name, read_timeout_s=15)
    try:
        assert source.description.startswith("MJPG 320x240 ")
        assert not source.raw
        numbers = []
        while len(numbers) < 8:
            for decoded in source.decode(source.grab()):
                picture = decoded.picture
                assert (picture.width, picture.height, picture.format) == (*SIZE, PixelFormat.YUV)
                assert picture.color.full
                numbers.append(number_of(picture.planes[0]))
                if decoded.on_release is not None:
                    decoded.on_release()
        assert numbers == sorted(set(numbers))
        feed.fall_silent()
        begin_s = time.monotonic()
        with pytest.raises(CameraStalled, match="nothing came for 15 s"):
            while True:
                source.skip(source.grab())
        assert 14 < time.monotonic() - begin_s < 60
    finally:
        source.close()


def test_h264_starts_at_a_key_frame_and_loses_nothing(path, producer, clip):
    import av

    with av.open(str(clip(".h264", frames=30, gop=10, size=SIZE, fmt="h264"))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    producer("H264", lambda number: packets[number % 30])
    source = opened(path, "v4l2", read_timeout_s=30)
    try:
        assert source.description.startswith("H264 320x240 ")
        while not (grab := source.grab()).key:
            source.skip(grab)
        numbers = []
        while len(numbers) < 10:
            numbers += [number_of(decoded.picture.planes[0]) for decoded in source.decode(grab)]
            grab = source.grab()
        assert [(later - sooner) % 30 for sooner, later in zip(numbers, numbers[1:], strict=False)] == [1] * 9
    finally:
        source.close()
