"""A stand-in for V4L2 devices at the ioctl: nodes that behave as the kernel's videobuf2 and its drivers do.

Nothing runs in the background: each call first does what the device would have done until now. Every picture says its
sequence number (see `parts.painted`).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from parts import painted

from edged.camera.v4l2 import uapi

SIZE = (64, 48)
SEPARATE = {"NM12": 2, "YM12": 3}


def mjpeg_of(number: int, size: tuple[int, int]) -> bytes:
    """Encode one picture that says its number."""
    import av

    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame(*size, "yuvj420p")
    for plane, values in zip(frame.planes, (painted(number % 4096, size), 128, 128), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def raw_of(fourcc: str, number: int, size: tuple[int, int], stride: int) -> list[bytes]:
    """Return the memory planes of a picture with U = 100 and V = 150, rows `stride` bytes apart."""
    width, height = size
    luma = painted(number % 4096, size)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    u, v = np.full((rows, columns), 100, np.uint8), np.full((rows, columns), 150, np.uint8)

    def plane(values: np.ndarray, bytes_per_row: int) -> bytes:
        padded = np.full((values.shape[0], bytes_per_row), 77, np.uint8)
        padded[:, : values.shape[1]] = values
        return padded.tobytes()

    def pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.stack([first, second], 2).reshape(first.shape[0], -1)

    wide_u, wide_v = np.full((height, columns), 100, np.uint8), np.full((height, columns), 150, np.uint8)
    y = plane(luma, stride)
    if fourcc in ("NV12", "NM12", "NV21", "NV16"):
        chroma = pairs(wide_u, wide_v) if fourcc == "NV16" else pairs(v, u) if fourcc == "NV21" else pairs(u, v)
        found = [y, plane(chroma, stride)]
    elif fourcc in ("YU12", "YM12", "YV12", "422P"):
        first, second = (v, u) if fourcc == "YV12" else (wide_u, wide_v) if fourcc == "422P" else (u, v)
        found = [y, plane(first, stride // 2), plane(second, stride // 2)]
    elif fourcc == "GREY":
        found = [y]
    elif fourcc in ("RGB3", "BGR3"):
        colors = np.stack([luma, luma, np.full_like(luma, 9)], 2)
        found = [plane((colors if fourcc == "RGB3" else colors[..., ::-1]).reshape(height, -1), stride)]
    else:
        order = {"YUYV": "y0y1", "YVYU": "y1y0", "UYVY": "0y1y", "VYUY": "1y0y"}[fourcc]
        fours = np.zeros((height, width // 2, 4), np.uint8)
        lumas = iter((luma[:, 0::2], luma[:, 1::2]))
        for place, what in enumerate(order):
            fours[..., place] = next(lumas) if what == "y" else (100, 150)[int(what)]
        found = [plane(fours.reshape(height, -1), stride)]
    return found if fourcc in SEPARATE else [b"".join(found)]


@dataclass
class ControlDouble:
    """One control of a device."""

    name: str
    type: int = uapi.CTRL_TYPE_INTEGER
    low: int = 0
    high: int = 255
    step: int = 1
    value: int = 0
    flags: int = 0
    menu: dict[int, str] = field(default_factory=dict)


@dataclass
class DeviceDouble:
    """One capture device: what it can do, what it was set to, and who holds its buffers.

    `formats` has, for each format and size, its rates in Hz; a size of None stands for any from 16x16 to 1024x1024 in
    steps of 16 by 8, and its two rates for all between them.
    """

    bus: str = "usb-0000:00:14.0-2"
    card: str = "Double"
    caps: int = uapi.CAP_VIDEO_CAPTURE | uapi.CAP_STREAMING
    formats: dict[str, dict[tuple[int, int] | None, list[float]]] = field(
        default_factory=lambda: {"YUYV": {SIZE: [200]}}
    )
    controls: dict[int, ControlDouble] = field(default_factory=dict)
    buffers_max: int = 32
    padding: int = 0
    stamps: int = uapi.BUF_FLAG_TIMESTAMP_MONOTONIC
    sets_rates: bool = True
    lists_sizes: bool = True
    encode: Callable[[int], bytes] | None = None
    grant: Callable[[str, int, int], tuple[str, int, int]] = lambda fourcc, width, height: (fourcc, width, height)
    errors: dict[str, int] = field(default_factory=dict)
    """Errors of ioctls by name, without VIDIOC_, until they are taken out."""
    spoil: Callable[[int], str] = lambda sequence: ""
    """Of a picture's number: `error`, `short` or `empty` spoils it, `drop` loses it."""
    forget_sequence: bool = False
    stamp_off_ns: int = 0

    def __post_init__(self) -> None:
        self.opened, self.life = 0, 0
        self.requested: list[int] = []
        self._begin()

    def _begin(self) -> None:
        self.life += 1
        self.here = True
        self.gone_with = errno.ENODEV
        self.fourcc = next(iter(self.formats), "YUYV")
        self.size = next(iter(self.formats.get(self.fourcc, {})), None) or SIZE
        self.rate = Fraction(min(self.formats.get(self.fourcc, {}).get(self.size, [30])))
        self.owner: NodeDouble | None = None
        self.memories: list[list[mmap.mmap]] = []
        self.queued: list[int] = []
        self.done: list[tuple[int, int, int, str]] = []
        self.streaming = False
        self.sequence = 0
        self.due_ns = 0

    @property
    def multiplanar(self) -> bool:
        return not self.caps & uapi.CAP_VIDEO_CAPTURE

    @property
    def stride(self) -> int:
        each = {"YUYV": 2, "UYVY": 2, "YVYU": 2, "VYUY": 2, "RGB3": 3, "BGR3": 3}.get(self.fourcc, 1)
        return self.size[0] * each + self.padding

    def planes(self, number: int) -> list[bytes]:
        if self.encode is not None and self.fourcc in ("MJPG", "JPEG", "H264", "HEVC"):
            return [self.encode(number)]
        if self.fourcc == "MJPG":
            return [mjpeg_of(number, self.size)]
        return raw_of(self.fourcc, number, self.size, self.stride)

    def sizes_bytes(self) -> list[int]:
        if self.fourcc in ("MJPG", "JPEG", "H264", "HEVC"):
            return [self.size[0] * self.size[1] * 2 + 4096]
        return [len(plane) for plane in raw_of(self.fourcc, 0, self.size, self.stride)]

    def unplug(self, code: int = errno.ENODEV) -> None:
        """Take the device away, as a pulled plug does (ENODEV), or an unbound driver (EINVAL)."""
        self.here, self.gone_with, self.streaming = False, code, False

    def plug_in(self) -> None:
        """Bring it back as a new device of the same kind."""
        self._begin()

    def advance(self) -> None:
        """Fill the queued buffers with what was due until now."""
        while self.streaming and self.due_ns <= time.monotonic_ns():
            how = self.spoil(self.sequence)
            if self.queued and how != "drop":
                index = self.queued.pop(0)
                for memory, plane in zip(self.memories[index], self.planes(self.sequence), strict=True):
                    memory[: len(plane)] = plane
                self.done.append((index, self.sequence, self.due_ns, how))
            self.sequence += 1
            self.due_ns += round(1e9 / self.rate)


class NodeDouble:
    """One open file of a device."""

    def __init__(self, device: DeviceDouble) -> None:
        self.device = device
        self.closed, self.life = False, device.life
        device.opened += 1

    def call(self, request: uapi.Request, argument: Any) -> None:
        assert not self.closed, f"{request.name} on a closed node"
        device = self.device
        name = request.name.removeprefix("VIDIOC_")
        if not self.lives:
            raise OSError(device.gone_with, os.strerror(device.gone_with))
        if name in device.errors:
            raise OSError(device.errors[name], os.strerror(device.errors[name]))
        device.advance()
        code = getattr(self, f"_{name.lower()}")(argument)
        if code:
            raise OSError(code, os.strerror(code))

    @property
    def lives(self) -> bool:
        """Whether its device is still there, and is still the one that was opened."""
        return self.device.here and self.life == self.device.life

    def map(self, length: int, offset: int) -> memoryview:
        index, plane = divmod(offset >> 12, uapi.MAX_PLANES)
        memory = self.device.memories[index][plane]
        assert length == len(memory)
        return memoryview(memory).toreadonly()

    def wait(self, timeout_s: float) -> int:
        device = self.device
        end_s = time.monotonic() + timeout_s
        while True:
            device.advance()
            if not self.lives or not device.streaming:
                return select.POLLERR | (select.POLLHUP if not self.lives else 0)
            if device.done:
                return select.POLLIN
            if time.monotonic() >= end_s:
                return 0
            time.sleep(0.001)

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        self.device.opened -= 1
        if self.device.owner is self:
            self._free()

    def _free(self) -> None:
        device = self.device
        device.streaming, device.owner = False, None
        device.memories = []  # who mapped them keeps them
        device.queued.clear()
        device.done.clear()

    def _querycap(self, cap: uapi.Capability) -> None:
        _write(cap.driver, "double")
        _write(cap.card, self.device.card)
        _write(cap.bus_info, self.device.bus)
        cap.device_caps = self.device.caps
        cap.capabilities = self.device.caps | uapi.CAP_DEVICE_CAPS | uapi.CAP_META_CAPTURE

    def _enum_fmt(self, entry: uapi.FmtDesc) -> int:
        names = list(self.device.formats)
        if entry.index >= len(names) or entry.type != self._type:
            return errno.EINVAL
        entry.pixelformat = uapi.fourcc_number(names[entry.index])
        return 0

    @property
    def _type(self) -> int:
        return uapi.BUF_TYPE_VIDEO_CAPTURE_MPLANE if self.device.multiplanar else uapi.BUF_TYPE_VIDEO_CAPTURE

    def _enum_framesizes(self, entry: uapi.FrmSizeEnum) -> int:
        if not self.device.lists_sizes:
            return errno.ENOTTY
        sizes = list(self.device.formats.get(uapi.fourcc(entry.pixel_format), {}))
        if entry.index >= len(sizes):
            return errno.EINVAL
        size = sizes[entry.index]
        step = entry.stepwise
        if size is None:
            entry.type = 3
            (step.min_width, step.max_width, step.step_width) = (16, 1024, 16)
            (step.min_height, step.max_height, step.step_height) = (16, 1024, 8)
        else:
            entry.type, (step.min_width, step.max_width) = 1, size
        return 0

    def _enum_frameintervals(self, entry: uapi.FrmIvalEnum) -> int:
        if not self.device.lists_sizes:
            return errno.ENOTTY
        sizes = self.device.formats.get(uapi.fourcc(entry.pixel_format), {})
        rates = sizes.get((entry.width, entry.height), [])
        if not rates and None in sizes:
            if entry.index:
                return errno.EINVAL
            entry.type = 2
            entry.stepwise.min, entry.stepwise.max = (
                _fract(1 / Fraction(max(sizes[None]))),
                _fract(1 / Fraction(min(sizes[None]))),
            )
            return 0
        if entry.index >= len(rates):
            return errno.EINVAL
        entry.type = 1
        entry.stepwise.min = _fract(1 / Fraction(rates[entry.index]).limit_denominator(1001))
        return 0

    def _g_fmt(self, found: uapi.Format) -> int:
        if found.type != self._type:
            return errno.EINVAL
        device = self.device
        if device.multiplanar:
            wide = found.fmt.pix_mp
            wide.num_planes = len(device.sizes_bytes())
            for number, size in enumerate(device.sizes_bytes()):
                wide.plane_fmt[number].sizeimage = size
                narrow = device.fourcc == "YM12" and number
                wide.plane_fmt[number].bytesperline = device.stride // 2 if narrow else device.stride
        else:
            wide = found.fmt.pix
            wide.bytesperline, wide.sizeimage = device.stride, device.sizes_bytes()[0]
        (wide.width, wide.height), wide.pixelformat, wide.field = device.size, uapi.fourcc_number(device.fourcc), 1
        return 0

    def _s_fmt(self, asked: uapi.Format) -> int:
        """Take the format, or one that the device has instead, as drivers must."""
        device = self.device
        if device.memories:
            return errno.EBUSY
        wide = asked.fmt.pix_mp if device.multiplanar else asked.fmt.pix
        fourcc, width, height = device.grant(uapi.fourcc(wide.pixelformat), wide.width, wide.height)
        device.fourcc = fourcc if fourcc in device.formats else next(iter(device.formats))
        sizes = device.formats[device.fourcc]
        device.size = (
            (width, height)
            if (width, height) in sizes or None in sizes or not device.lists_sizes
            else next(iter(sizes))
        )
        device.rate = Fraction(max(sizes.get(device.size) or sizes.get(None) or [30]))
        return self._g_fmt(asked)

    def _g_parm(self, found: uapi.StreamParm) -> int:
        if not self.device.sets_rates:
            return errno.ENOTTY
        found.parm.capture.capability = uapi.CAP_TIMEPERFRAME
        found.parm.capture.timeperframe = _fract(1 / self.device.rate)
        return 0

    def _s_parm(self, asked: uapi.StreamParm) -> int:
        device = self.device
        wanted = asked.parm.capture.timeperframe
        rate = Fraction(wanted.denominator, wanted.numerator)
        rates = [Fraction(one).limit_denominator(1001) for one in device.formats[device.fourcc].get(device.size, [])]
        device.rate = min(rates, key=lambda one: abs(one - rate)) if rates else rate
        return self._g_parm(asked)

    def _reqbufs(self, request: uapi.RequestBuffers) -> int:
        device = self.device
        if device.owner not in (None, self):
            return errno.EBUSY
        if request.count == 0:
            self._free()
            return 0
        device.requested.append(request.count)
        request.count = min(request.count, device.buffers_max)
        device.owner = self
        device.memories = [
            [mmap.mmap(-1, -(-size // 4096) * 4096) for size in device.sizes_bytes()] for _ in range(request.count)
        ]
        return 0

    def _querybuf(self, buffer: uapi.Buffer) -> int:
        memories = self.device.memories[buffer.index]
        places = [(len(memory), (buffer.index * uapi.MAX_PLANES + n) << 12) for n, memory in enumerate(memories)]
        if not self.device.multiplanar:
            buffer.length, buffer.m.offset = places[0]
            return 0
        for number, (length, offset) in enumerate(places):
            buffer.m.planes[number].length, buffer.m.planes[number].m.mem_offset = length, offset
        buffer.length = len(places)
        return 0

    def _qbuf(self, buffer: uapi.Buffer) -> int:
        device = self.device
        if buffer.index >= len(device.memories) or buffer.type != self._type or device.owner is not self:
            return errno.EINVAL
        if buffer.index in device.queued or any(buffer.index == done[0] for done in device.done):
            return errno.EINVAL
        device.queued.append(buffer.index)
        return 0

    def _dqbuf(self, buffer: uapi.Buffer) -> int:
        device = self.device
        if not device.streaming or device.owner is not self:
            return errno.EINVAL
        if not device.done:
            return errno.EAGAIN
        index, sequence, stamp_ns, how = device.done.pop(0)
        stamp_ns += device.stamp_off_ns
        buffer.index, buffer.sequence = index, 0 if device.forget_sequence else sequence & 0xFFFFFFFF
        buffer.flags = device.stamps | (uapi.BUF_FLAG_ERROR if how == "error" else 0)
        buffer.timestamp.tv_sec, buffer.timestamp.tv_usec = divmod(stamp_ns // 1000, 1_000_000)
        used = [len(plane) for plane in device.planes(sequence)]
        used = [0] * len(used) if how == "empty" else [one // 2 for one in used] if how == "short" else used
        if not device.multiplanar:
            buffer.bytesused = used[0]
            return 0
        for number, one in enumerate(used):
            buffer.m.planes[number].bytesused = one
        buffer.length = len(used)
        return 0

    def _streamon(self, kind: ctypes.c_int32) -> int:
        device = self.device
        if kind.value != self._type or device.owner is not self or not device.queued:
            return errno.EINVAL
        device.streaming, device.due_ns = True, time.monotonic_ns() + round(1e9 / device.rate)
        device.sequence = 0
        return 0

    def _streamoff(self, kind: ctypes.c_int32) -> int:
        self.device.streaming = False
        self.device.queued.clear()
        self.device.done.clear()
        return 0

    def _query_ext_ctrl(self, entry: uapi.QueryExtCtrl) -> int:
        last = entry.id & ~uapi.CTRL_FLAG_NEXT_CTRL
        after = [number for number in sorted(self.device.controls) if number > last]
        if not after:
            return errno.EINVAL
        control = self.device.controls[after[0]]
        entry.id, entry.type, entry.flags = after[0], control.type, control.flags
        entry.minimum, entry.maximum, entry.step = control.low, control.high, control.step
        _write(entry.name, control.name)
        return 0

    def _querymenu(self, entry: uapi.QueryMenu) -> int:
        menu = self.device.controls[entry.id].menu
        if entry.index not in menu:
            return errno.EINVAL
        _write(entry.name, menu[entry.index])
        return 0

    def _s_ext_ctrls(self, controls: uapi.ExtControls) -> int:
        one = controls.controls[0]
        control = self.device.controls[one.id]
        if control.flags & uapi.CTRL_FLAG_READ_ONLY:
            return errno.EACCES
        if control.flags & uapi.CTRL_FLAG_GRABBED:
            return errno.EBUSY
        control.value = one.value64 if control.type == uapi.CTRL_TYPE_INTEGER64 else one.value
        return 0


class Machine:
    """The video nodes of a machine. `install` puts it in the kernel's place."""

    def __init__(self, devices: dict[str, DeviceDouble]) -> None:
        self.devices = devices
        self.errors: dict[str, int] = {}

    def install(self, monkeypatch: Any) -> None:
        from edged.camera.v4l2 import node

        monkeypatch.setattr(node, "open_node", self.open_node)
        monkeypatch.setattr(node, "node_paths", lambda: sorted(self.devices))
        monkeypatch.setattr(node, "node_index", self.index)

    def open_node(self, path: str) -> NodeDouble:
        if path in self.errors:
            raise OSError(self.errors[path], os.strerror(self.errors[path]))
        if path not in self.devices or not self.devices[path].here:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return NodeDouble(self.devices[path])

    def index(self, path: str) -> int:
        """Return which of its bus's nodes a path is."""
        same = [one for one in sorted(self.devices) if self.devices[one].bus == self.devices[path].bus]
        return same.index(path)


def _write(target: Any, text: str) -> None:
    target[: len(text) + 1] = text.encode() + b"\0"


def _fract(value: Fraction) -> uapi.Fract:
    return uapi.Fract(value.numerator, value.denominator)
