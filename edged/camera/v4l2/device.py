"""One capture device, asked and told in words: what it is, what it gives, what it was set to."""

from __future__ import annotations

import ctypes
import errno
import grp
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from edged.camera.v4l2 import node, uapi
from edged.camera.v4l2.choice import Intervals, Sizes, Span
from edged.camera.v4l2.identity import Identity, cameras_here, identity_of
from edged.errors import CameraError

GONE = "it is gone (unplugged, or its driver was unbound)"
ENUMERATED_MAX = 512  # entries of one list: a driver that never says EINVAL must not hold us


@dataclass(frozen=True)
class Granted:
    """The format that the driver granted. `strides` and `sizes` are bytes, one for each plane of memory."""

    fourcc: str
    width: int
    height: int
    strides: tuple[int, ...]
    sizes: tuple[int, ...]
    field: int
    colorspace: int
    ycbcr_enc: int
    quantization: int


class Device:
    """An open capture device. Used by one thread. Errors are `CameraError`s, except those of `call`."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.node = node.open_node(path)
        except OSError as exc:
            raise CameraError(f"cannot open {path}: {_why_not(path, exc)}") from exc
        try:
            self.identity = self._identify()
            self._check()
        except BaseException:
            self.close()
            raise
        multi = not self.identity.caps & uapi.CAP_VIDEO_CAPTURE
        self.multiplanar = multi
        self.type = uapi.BUF_TYPE_VIDEO_CAPTURE_MPLANE if multi else uapi.BUF_TYPE_VIDEO_CAPTURE

    def __str__(self) -> str:
        return f"{self.path} ({self.identity.card}, {self.identity.bus})"

    def call(self, request: uapi.Request, argument: ctypes.Structure | ctypes.c_int32) -> None:
        """Do one ioctl. Raise `OSError`."""
        self.node.call(request, argument)

    def close(self) -> None:
        """Close the node."""
        self.node.close()

    def _identify(self) -> Identity:
        try:
            return identity_of(self.node)
        except OSError as exc:
            if exc.errno in (errno.ENOTTY, errno.EINVAL):
                raise CameraError(f"{self.path} is no V4L2 device") from exc
            raise self.failed("cannot open", exc) from exc

    def _check(self) -> None:
        if self.identity.captures and not self.identity.streams:
            raise CameraError(f"{self} cannot stream; its driver only reads")
        if self.identity.captures:
            return
        kind = "the metadata node of a camera" if self.identity.caps & uapi.CAP_META_CAPTURE else "no capture device"
        others = [f"{path} ({who.card})" for path, who in cameras_here()[0] if who.bus == self.identity.bus]
        raise CameraError(f"{self} is {kind}" + (f"; its pictures come from {', '.join(others)}" if others else ""))

    def fourccs(self) -> list[str]:
        """Return the pixel formats that it gives, in its driver's order."""
        entry = uapi.FmtDesc()
        found = []
        for _ in self._entries(uapi.ENUM_FMT, entry, type=self.type):
            found.append(uapi.fourcc(entry.pixelformat))
        return list(dict.fromkeys(found))

    def sizes(self, fourcc: str) -> list[Sizes]:
        """Return the sizes of a format; nothing where the driver does not list them."""
        entry = uapi.FrmSizeEnum()
        found = []
        for _ in self._entries(uapi.ENUM_FRAMESIZES, entry, pixel_format=uapi.fourcc_number(fourcc)):
            step = entry.stepwise
            if entry.type == uapi.FRMSIZE_TYPE_DISCRETE:
                width, height = step.min_width, step.max_width  # the union's other member
                found.append(Sizes(Span(width, width), Span(height, height)))
                continue
            widths = Span(step.min_width, step.max_width, step.step_width)
            return [Sizes(widths, Span(step.min_height, step.max_height, step.step_height))]
        return list(dict.fromkeys(found))

    def intervals(self, fourcc: str, width: int, height: int) -> list[Intervals]:
        """Return the times from frame to frame at a size; nothing where the driver does not list them."""
        entry = uapi.FrmIvalEnum()
        found = []
        number = uapi.fourcc_number(fourcc)
        for _ in self._entries(uapi.ENUM_FRAMEINTERVALS, entry, pixel_format=number, width=width, height=height):
            low = _fraction(entry.stepwise.min)
            discrete = entry.type == uapi.FRMIVAL_TYPE_DISCRETE
            high = low if discrete else _fraction(entry.stepwise.max)
            if low and high:
                found.append(Intervals(low, high))
            if not discrete:
                break
        return list(dict.fromkeys(found))

    def _entries(self, request: uapi.Request, entry: ctypes.Structure, **asked: int) -> Iterator[None]:
        """Fill `entry` with one entry of a list after the other, until the driver has no more."""
        for index in range(ENUMERATED_MAX):
            node.zeroed(entry)
            for name, value in {"index": index, **asked}.items():
                setattr(entry, name, value)
            try:
                self.call(request, entry)
            except OSError as exc:
                if exc.errno in (errno.EINVAL, errno.ENOTTY):
                    return
                raise self.failed("cannot ask", exc) from exc
            yield

    def format(self) -> Granted:
        """Return the format that it is set to."""
        found = uapi.Format(type=self.type)
        self._told(uapi.G_FMT, found, "cannot ask for the format of")
        return self._granted(found)

    def set_format(self, fourcc: str, width: int, height: int) -> Granted:
        """Ask for a format; return what was granted, which may be another one."""
        asked = uapi.Format(type=self.type)
        target = asked.fmt.pix_mp if self.multiplanar else asked.fmt.pix
        target.width, target.height, target.pixelformat = width, height, uapi.fourcc_number(fourcc)
        target.field = uapi.FIELD_NONE
        self._told(uapi.S_FMT, asked, "cannot set the format of")
        return self._granted(asked)

    def _granted(self, found: uapi.Format) -> Granted:
        if self.multiplanar:
            wide = found.fmt.pix_mp
            planes = [wide.plane_fmt[number] for number in range(min(wide.num_planes, uapi.MAX_PLANES))]
            strides = tuple(plane.bytesperline for plane in planes)
            sizes = tuple(plane.sizeimage for plane in planes)
        else:
            wide = found.fmt.pix
            strides, sizes = (wide.bytesperline,), (wide.sizeimage,)
        return Granted(
            uapi.fourcc(wide.pixelformat), wide.width, wide.height, strides, sizes,
            wide.field, wide.colorspace, wide.ycbcr_enc, wide.quantization,
        )  # fmt: skip

    def interval(self) -> Fraction | None:
        """Return the time from frame to frame that it is set to, where its driver knows one."""
        found = uapi.StreamParm(type=self.type)
        try:
            self.call(uapi.G_PARM, found)
        except OSError as exc:
            if exc.errno in (errno.EINVAL, errno.ENOTTY):
                return None
            raise self.failed("cannot ask for the rate of", exc) from exc
        return _fraction(found.parm.capture.timeperframe)

    def set_interval(self, interval: Fraction) -> Fraction | None:
        """Ask for a time from frame to frame; return what was granted, None where the driver sets none."""
        asked = uapi.StreamParm(type=self.type)
        try:
            self.call(uapi.G_PARM, asked)
            if not asked.parm.capture.capability & uapi.CAP_TIMEPERFRAME:
                return None
            asked.parm.capture.timeperframe = uapi.Fract(interval.numerator, interval.denominator)
            self.call(uapi.S_PARM, asked)
        except OSError as exc:
            if exc.errno in (errno.EINVAL, errno.ENOTTY):
                return None
            raise self.failed("cannot set the rate of", exc) from exc
        return _fraction(asked.parm.capture.timeperframe)

    def _told(self, request: uapi.Request, argument: ctypes.Structure, doing: str) -> None:
        try:
            self.call(request, argument)
        except OSError as exc:
            raise self.failed(doing, exc) from exc

    def failed(self, doing: str, exc: OSError, *, gone: bool = False) -> CameraError:
        """Translate an error of one of its calls; `gone` says that it is one of a device that went away."""
        reasons = {
            errno.EBUSY: "it is in use: another program streams from it, or another camera of ours",
            errno.ENODEV: GONE,
            errno.ENOSPC: "the USB bus has no room for it at this size and rate: choose a smaller size, a lower rate "
            "or a compressed pixel_format, or plug it into another controller",
        }
        reason = GONE if gone else reasons.get(exc.errno or 0, exc.strerror or str(exc))
        return CameraError(f"{doing} {self.path}: {reason}")


def _fraction(found: uapi.Fract) -> Fraction | None:
    return Fraction(found.numerator, found.denominator) if found.numerator and found.denominator else None


def _why_not(path: str, exc: OSError) -> str:
    """Say why a node cannot be opened, and what to do about it."""
    if exc.errno == errno.EACCES:
        return f"permission denied; {_who_may(path)}"
    if exc.errno == errno.EPERM:
        return "not permitted; a service needs DeviceAllow=char-video4linux rw"
    if exc.errno == errno.EBUSY:
        return "it is in use by another program"
    if exc.errno in (errno.ENODEV, errno.ENXIO):
        return GONE
    return exc.strerror or str(exc)


def _who_may(path: str) -> str:
    try:
        known = Path(path).stat()
    except OSError:
        return "its folder is closed to this user"
    try:
        group = grp.getgrgid(known.st_gid).gr_name
    except KeyError:
        group = str(known.st_gid)
    if known.st_mode & (stat.S_IRGRP | stat.S_IWGRP) != stat.S_IRGRP | stat.S_IWGRP:
        return f"only its owner (user id {known.st_uid}) may use it"
    return f"it is open to the group {group}, of which this process is not"
