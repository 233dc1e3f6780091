"""Smooth pictures in every format, and the tensors they must become: a plain float64 computation."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from edged.device import gpu
from edged.frame import Capture, DevicePlane, Frame, Picture, PixelFormat
from edged.tensor import InputFormat

KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
CHROMA = {"yuv420": (2, 2), "yuv422": (2, 1), "yuv444": (1, 1), "nv12": (2, 2)}


def frame_of(picture):
    return Frame("c", 0, picture, Capture(0, 0, "arrival"), 0, 0)


def waves(height, width, seed):
    """A smooth picture of 16..235: what any good way of resizing agrees on."""
    rng = np.random.default_rng(seed)
    y, x = (np.arange(height) + 0.5)[:, None] / height, (np.arange(width) + 0.5)[None, :] / width
    a, b, c = rng.uniform(0.2, 0.9, 3)
    return 126 + 50 * np.sin(2.5 * a * x + 2 * b * y + 6 * c) + 50 * np.cos(2.2 * b * x - 2.5 * a * y)


def picture_of(kind, width, height, color, seed=0):
    """Return a picture of one kind, and its samples plane by plane in float64."""
    if kind == "rgb":
        planes = [waves(height, width, seed + n).round() for n in range(3)]
        host = (np.stack(planes, axis=2).astype(np.uint8),)
        return Picture(width, height, PixelFormat.RGB, color, host), planes
    luma = waves(height, width, seed).round()
    if kind == "gray":
        return Picture(width, height, PixelFormat.GRAY, color, (luma.astype(np.uint8),)), [luma]
    across, down = CHROMA[kind]
    size = -(-height // down), -(-width // across)
    chroma = [(128 + (waves(*size, seed + n) - 126) * 0.5).round() for n in (1, 2)]
    host = [plane.astype(np.uint8) for plane in (luma, *chroma)]
    if kind == "nv12":
        host = [host[0], np.stack(host[1:], axis=2)]
    # decoders pad their rows: every plane is a view into something wider
    wide = [np.pad(plane, [(0, 0), (0, 13)] + [(0, 0)] * (plane.ndim - 2)) for plane in host]
    views = tuple(padded[:, : plane.shape[1]] for padded, plane in zip(wide, host, strict=True))
    fmt = PixelFormat.NV12 if kind == "nv12" else PixelFormat.YUV
    return Picture(width, height, fmt, color, views), [luma, *chroma]


def resized(plane, width, height):
    """Bilinear interpolation between pixel centres, in float64."""
    rows, columns = plane.shape
    y = np.clip((np.arange(height) + 0.5) * rows / height - 0.5, 0, rows - 1)
    x = np.clip((np.arange(width) + 0.5) * columns / width - 0.5, 0, columns - 1)
    top, left = y.astype(int), x.astype(int)
    bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    fy, fx = (y - top)[:, None], (x - left)[None, :]
    above = plane[top][:, left] * (1 - fx) + plane[top][:, right] * fx
    below = plane[bottom][:, left] * (1 - fx) + plane[bottom][:, right] * fx
    return above * (1 - fy) + below * fy


def reference(kind, planes, color, fmt, size, fit):
    """Return the (3, height, width) tensor computed the plain way."""
    inner = [resized(plane, fit.inner_width, fit.inner_height) for plane in planes]
    if kind == "rgb":
        rgb = inner
    else:
        y, u, v = inner if len(inner) == 3 else (inner[0], np.full_like(inner[0], 128), np.full_like(inner[0], 128))
        kr, kb = KR_KB[color.matrix]
        luma = y if color.full else (y - 16) * 255 / 219
        cb, cr = ((one - 128) * (1 if color.full else 255 / 224) for one in (u, v))
        red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
        rgb = [red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue]
    channels = np.clip(np.stack(rgb if fmt.color == "rgb" else rgb[::-1]), 0, 255)
    mean, std = (np.array(values)[:, None, None] for values in (fmt.mean, fmt.std))
    tensor = np.empty((3, size[1], size[0]))
    tensor[:] = (fmt.pad / 255 - mean) / std
    inside = (channels / 255 - mean) / std
    tensor[:, fit.top : fit.top + fit.inner_height, fit.left : fit.left + fit.inner_width] = inside
    return tensor


FORMATS = {
    "plain": InputFormat(),
    "stretch_bgr": InputFormat("stretch", "bgr"),
    "normalised": InputFormat("letterbox", "rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0),
    "0_to_255": InputFormat("stretch", "bgr", std=(1 / 255,) * 3),
}


def host_planes(picture):
    """Return a picture's planes on the host: its own, or a copy of those in device memory once they are there."""
    if picture.device is None:
        return picture.planes
    device = gpu.open_device(picture.device)
    planes = []
    with closing(device), device.active():
        stream = device.stream()
        if picture.ready:
            stream.wait(picture.ready)
        for number, plane in enumerate(picture.planes):
            host = device.pinned((plane.height, plane.pitch), np.uint8)
            device.copy_out(host, SimpleNamespace(pointer=plane.pointer, nbytes=host.nbytes), stream)
            stream.synchronize()
            pairs = picture.format is PixelFormat.NV12 and number == 1
            rows = host[:, : plane.width * (2 if pairs else 1)].copy()
            planes.append(rows.reshape(plane.height, plane.width, 2) if pairs else rows)
        stream.free()
    return tuple(planes)


class Uploaded:
    """A picture's planes in device memory, with rows `gap` bytes longer than they need to be; freed by `free`."""

    def __init__(self, device, picture, gap=7):
        self.memory, planes = [], []
        stream = device.stream()
        for plane in picture.planes:
            height, width = plane.shape[:2]
            rows = plane.reshape(height, -1)
            host = device.pinned((height, rows.shape[1] + gap), np.uint8)
            host[:, : rows.shape[1]] = rows
            self.memory.append(device.allocate(host.nbytes))
            device.copy_in(self.memory[-1], host, stream)
            planes.append(DevicePlane(self.memory[-1].pointer, host.shape[1], width, height))
            stream.synchronize()
        stream.free()
        self.picture = replace(picture, planes=tuple(planes), device=device.number)

    def free(self):
        for memory in self.memory:
            memory.free()
