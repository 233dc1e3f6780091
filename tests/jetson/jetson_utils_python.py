"""A stand-in for jetson-utils' compiled module: the calls and the habits of the real one, on host memory.

Files are decoded by PyAV; cameras draw, with a white pixel up left. What goes wrong is said by the environment variable
JETSON: `none` (a lost stream: None for ever), `frozen` (the last image again and again), `hang` (Capture does not
return), `error` (a bare exception), `device` (images that are not mapped).
"""

from __future__ import annotations

import ctypes
import os
import time

import av
import numpy as np

OPTIONS = {"resource", "save", "width", "height", "bitrate", "numBuffers", "loop", "latency", "zeroCopy", "framerate"}
OPTIONS |= {"stunServer", "sslCert", "sslKey", "codec", "codecType", "flipMethod"}


def cudaDeviceSynchronize():  # noqa: N802 - the library's names
    """Finish the conversions: until then an image holds what was there before."""
    for image, pixels in _pending:
        image[:] = pixels
    _pending.clear()


_pending = []


class Log:
    """Only what the documentation names."""

    @staticmethod
    def SetLevel(level):  # noqa: N802
        assert level in ("silent", "error", "warning", "success", "info", "verbose", "debug")
        Log.level = level

    level = "info"


class cudaImage:  # noqa: N801
    """Memory borrowed from a source's ring."""

    def __init__(self, memory, width, height, timestamp, mapped):
        self.ptr = ctypes.addressof(memory)
        self.size = len(memory)
        self.width, self.height, self.channels, self.format = width, height, 3, "rgb8"
        self.shape = (height, width, 3)
        self.timestamp, self.mapped, self.freeOnDelete = timestamp, mapped, False


class videoSource:  # noqa: N801
    """`videoSource(uri, argv, positionArg, options)`."""

    def __init__(self, uri=None, argv=None, positionArg=-1, options=None):  # noqa: N803
        assert not set(options) - OPTIONS
        if Log.level == "info":
            print(f"[video] created source from {uri}")
        self._options = options
        self._file = not uri.startswith(("csi://", "rtsp://", "/dev/"))
        if "none-there" in uri:
            raise Exception("jetson.utils -- failed to create videoSource device")  # noqa: TRY002 - as the real one
        self._width, self._height = options.get("width", 64), options.get("height", 48)
        self._rate = options.get("framerate", 25)
        flip = options.get("flipMethod", "none")
        if uri.startswith("csi://"):  # as gstCamera.cpp has it
            flip = {"none": "rotate-180", "rotate-180": "none"}.get(flip, flip)
        self._turned = flip == "rotate-180"
        self._frames = self._decoded(uri) if self._file else self._drawn()
        self._streaming = True
        self._ring = []
        self._count = 0
        self._last = None

    def _decoded(self, uri):
        container = av.open(uri)
        stream = container.streams.video[0]
        self._width, self._height = stream.codec_context.width, stream.codec_context.height
        self._rate = int(stream.average_rate)
        for frame in container.decode(stream):
            luma = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)[:, : frame.width]
            yield np.repeat(luma[..., None], 3, axis=2), int(frame.time * 1e9) + 70_000_000
        container.close()

    def _drawn(self):
        number = 0
        while True:
            time.sleep(1 / self._rate)
            pixels = np.full((self._height, self._width, 3), number % 256, np.uint8)
            pixels[-1 if self._turned else 0, -1 if self._turned else 0] = 255
            yield pixels, time.monotonic_ns() - _began_ns
            number += 1

    def Open(self):  # noqa: N802
        """Must never be called: the real one can run without the interpreter's lock after it."""
        os.abort()

    def Capture(self, format="rgb8", timeout=1000, stream=0):  # noqa: A002, N802
        assert format == "rgb8"
        assert 0 < timeout <= 1000
        habit = os.environ.get("JETSON", "") if self._count else ""
        if habit == "hang":
            time.sleep(3600)
        if habit == "none":
            time.sleep(timeout / 1000)
            return None
        if habit == "error":
            raise Exception("jetson.utils -- videoSource failed to capture image")  # noqa: TRY002 - as the real one
        if habit == "frozen":
            time.sleep(0.02)
            return self._last
        found = next(self._frames, None)
        if found is None:
            self._streaming = False
            raise Exception("jetson.utils -- videoSource failed to capture image")  # noqa: TRY002 - as the real one
        return self._image(*found)

    def _image(self, pixels, timestamp):
        self._count += 1
        if len(self._ring) < self._options["numBuffers"]:
            self._ring.append((ctypes.c_uint8 * pixels.size)())
        memory = self._ring[(self._count - 1) % self._options["numBuffers"]]
        _pending.append((np.ctypeslib.as_array(memory).reshape(pixels.shape), pixels))
        mapped = self._options["zeroCopy"] and os.environ.get("JETSON") != "device"
        self._last = cudaImage(memory, self._width, self._height, timestamp, mapped)
        return self._last

    def Close(self):  # noqa: N802
        for memory in self._ring:
            np.ctypeslib.as_array(memory)[:] = 0xEE

    def IsStreaming(self):  # noqa: N802
        return self._streaming

    def GetFrameRate(self):  # noqa: N802
        return self._rate

    def GetWidth(self):  # noqa: N802
        return self._width

    def GetHeight(self):  # noqa: N802
        return self._height


_began_ns = time.monotonic_ns()
