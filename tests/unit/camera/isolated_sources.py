"""Sources that misbehave, for the child process: `?` in the URL says how."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time

import numpy as np

from edged.camera.base import CameraStalled, Decoded, Grab
from edged.camera.isolated import IsolatedSource
from edged.errors import BackendUnavailable, CameraEnded
from edged.frame import Capture, Color, Picture, PixelFormat


class Odd:
    """Grabs 1, 2, 3, … whose pictures are filled with their number; each verb may do something else."""

    raw = False

    def __init__(self, opening):
        self.opening = opening
        self.released = 0
        self.number = 0
        self._do("open")

    def _do(self, verb):
        for step in self.opening.url.split(","):
            name, _, what = step.partition("=")
            if name == verb:
                getattr(self, f"do_{what}")()

    def do_hang(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        while True:
            time.sleep(10)

    def do_crash(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def do_exit(self):
        os._exit(3)

    def do_bare(self):
        raise Exception("jetson.utils -- videoSource failed to capture image")  # noqa: TRY002 - what that library raises

    def do_stall(self):
        raise CameraStalled("nothing came for 3 s from rtsp://user:hunter2@host/")

    def do_lack(self):
        raise BackendUnavailable("no decoder for video/x-h265 here")

    def do_end(self):
        raise CameraEnded("end of it")

    def do_print(self):
        os.write(1, b"a library prints rtsp://user:hunter2@host/\n")
        logging.getLogger("odd").warning("a logger warns")
        logging.getLogger("odd").debug("too fine")

    def do_chatter(self):
        for number in range(3000):
            print(f"line {number} " + "x" * 400, file=sys.stderr)

    @property
    def description(self):
        return f"odd 8x4 {self.opening.rate_hz:g} Hz"

    def grab(self):
        self._do("grab")
        self.number += 1
        capture = Capture(self.number, 2, "driver", 3)
        return Grab(self.number, self.number, key=True, due_s=0.5, capture=capture, disposable=True, size_bytes=77)

    def decode(self, grab):
        self._do("decode")
        return [self._decoded(grab.data)]

    def _decoded(self, number):
        side = 8 if "grow" not in self.opening.url else 8 * number
        planes = (np.full((side, 8), number % 256, np.uint8), *[np.full((side // 2, 4), 1, np.uint8)] * 2)
        picture = Picture(8, side, PixelFormat.YUV, Color("bt2020", full=True), planes)
        return Decoded(picture, number, self._release)

    def _release(self):
        self.released += 1

    def skip(self, grab):
        self.number = -grab.data

    def rest(self):
        self.number = 1000

    def drain(self):
        return [self._decoded(number) for number in range(1, 24)]

    def rewind(self):
        self.number = self.released

    def close(self):
        self._do("close")


class IsolatedOdd(IsolatedSource):
    target = "isolated_sources:Odd"
