"""A daemon that reads a ring: results come, the feeder is told, and a feeder that returns is read again."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from parts import number_in, painted, until

from edged.camera.shm import layout
from edged.feeder import Capture, Feeder

NAME = f"edged-daemon-{os.getpid()}"


class Camera:
    """Feeds painted numbers from a thread, 50 a second, while somebody reads."""

    def __init__(self):
        self.stop = threading.Event()
        self.feeder = Feeder(NAME, rate_hz=50)
        self.number = 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.02):
            if self.feeder.readers:
                self.number = (self.number + 1) % 4096
                capture = Capture(time.time_ns(), time.monotonic_ns(), "driver")
                self.feeder.write([painted(self.number), bytes([128]) * (24 * 64)], 64, 48, capture=capture)

    def close(self):
        self.stop.set()
        self.thread.join()
        self.feeder.close()


@pytest.fixture
def camera():
    cameras = []

    def camera():
        cameras.append(Camera())
        return cameras[-1]

    yield camera
    for one in cameras:
        one.close()
    assert not Path(layout.FOLDER, NAME).exists()


def test_results_of_a_ring_and_its_feeder_gone_and_back(daemon, site, task, camera):
    running = daemon(site({"front": {"source": f"shm:{NAME}"}}, {"t": task("front")}))
    until(lambda: "no feeder has made it" in running.camera("front")["reason"], 5)
    first = camera()
    with running.subscriber() as subscriber:
        results = [subscriber.receive(5) for _ in range(10)]
        assert results[0].message["t"]["clock"] == "driver"
        numbers = [number_in(result.message["detections"]) for result in results]
        assert numbers == sorted(set(numbers))
        assert first.feeder.readers == 1
        first.close()
        until(lambda: running.camera("front")["state"] == "backoff", 5)
        camera()
        while subscriber.receive(0) is not None:
            pass
        assert subscriber.receive(5).frame_id > results[-1].frame_id
    assert running.camera("front")["backend"] == "shm"
