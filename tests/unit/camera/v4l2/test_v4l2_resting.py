"""A camera that rests: whatever its format, its driver's few buffers are never left to fill up."""

from __future__ import annotations

import threading

import pytest
from parts import until
from v4l2_double import DeviceDouble, Machine

from edged.camera.base import Grab, Opening
from edged.camera.opener import Opener
from edged.camera.reader import Reader
from edged.camera.v4l2.source import V4l2Source
from edged.camera.worker import CameraWorker, Traits
from edged.frame import Capture
from edged.plan import Mode


class Waits(list):
    """A bell that nobody rings: it notes how long it was waited for."""

    def wait(self, timeout_s):
        self.append(timeout_s)


@pytest.mark.parametrize(("clock", "waits"), [("driver", 0), ("arrival", 1), ("rtcp", 1)])
def test_packets_are_left_in_a_socket_for_a_while_and_never_in_a_drivers_few_buffers(clock, waits):
    source = type("Source", (), {"raw": False})()
    bell = Waits()
    reader = Reader(source, False, bell)
    reader.waited = True
    capture = None if clock == "arrival" else Capture(1, 1, clock)
    reader.rest(Grab(b"", 1, True, capture=capture, size_bytes=1000))
    assert len(bell) == waits


@pytest.fixture
def resting(monkeypatch):
    """Return a starter of a worker that rests in a mode until the test ends."""
    stop = threading.Event()
    started = []

    def resting(device, mode):
        Machine({"/dev/video0": device}).install(monkeypatch)
        opening = Opening("front", "v4l2", "/dev/video0", str)
        worker = CameraWorker(
            Traits("front"),
            Opener("front", [("v4l2", lambda: V4l2Source(opening))]),
            lambda frame, wait: frame.release(),
        )
        worker.set_mode(mode)
        started.append((worker, threading.Thread(target=worker.run, args=(stop, lambda: None))))
        started[-1][1].start()
        return worker

    yield resting
    stop.set()
    for worker, thread in started:
        worker.wake()
        thread.join()


@pytest.mark.parametrize(
    ("fourcc", "mode"), [("NV12", Mode.WARM), ("MJPG", Mode.PARKED), ("H264", Mode.PARKED), ("H264", Mode.WARM)]
)
def test_a_resting_camera_streams_on_wakes_and_closes(resting, clip, fourcc, mode):
    import av

    with av.open(str(clip(".h264", frames=30, gop=10, fmt="h264"))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    device = DeviceDouble(
        formats={fourcc: {(64, 48): [25]}}, encode=None if fourcc == "MJPG" else lambda n: packets[n % 30]
    )
    worker = resting(device, mode)
    until(lambda: worker.counter.counts.undecoded > 10)
    assert worker.counter.counts.decoded == 0
    worker.set_mode(Mode.HOT)
    until(lambda: worker.counter.counts.decoded > 3)
    worker.set_mode(Mode.COLD)
    until(lambda: device.opened == 0)
    assert not device.streaming
