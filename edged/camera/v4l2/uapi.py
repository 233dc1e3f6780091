"""What linux/videodev2.h says: the structures, ioctl numbers and flags that a capture device needs.

Names are the header's without their prefix. Layouts are those of 64-bit Linux (`timeval` and pointers are 16 and 8
bytes); a test compares each of them with the header itself. From Python 3.14 on `_pack_` wants `_layout_` beside it.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_int32, c_int64, c_long, c_uint8, c_uint16, c_uint32, c_uint64
from dataclasses import dataclass

if struct.calcsize("l") != 8:
    raise ImportError("V4L2's structures are known here for 64-bit machines only")

MAX_PLANES = 8


class Capability(ctypes.Structure):
    """`struct v4l2_capability`."""

    _fields_ = (
        ("driver", c_uint8 * 16),
        ("card", c_uint8 * 32),
        ("bus_info", c_uint8 * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class Fract(ctypes.Structure):
    """`struct v4l2_fract`."""

    _fields_ = (("numerator", c_uint32), ("denominator", c_uint32))


class FmtDesc(ctypes.Structure):
    """`struct v4l2_fmtdesc`."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_uint8 * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FrmSizeStepwise(ctypes.Structure):
    """`struct v4l2_frmsize_stepwise`.

    Of a discrete size, `min_width` and `max_width` are width and height: the header has a union there.
    """

    _fields_ = tuple(
        (name, c_uint32) for name in ("min_width", "max_width", "step_width", "min_height", "max_height", "step_height")
    )


class FrmSizeEnum(ctypes.Structure):
    """`struct v4l2_frmsizeenum`."""

    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("type", c_uint32),
        ("stepwise", FrmSizeStepwise),
        ("reserved", c_uint32 * 2),
    )


class FrmIvalStepwise(ctypes.Structure):
    """`struct v4l2_frmival_stepwise`. Of a discrete interval only `min` is given."""

    _fields_ = (("min", Fract), ("max", Fract), ("step", Fract))


class FrmIvalEnum(ctypes.Structure):
    """`struct v4l2_frmivalenum`."""

    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("type", c_uint32),
        ("stepwise", FrmIvalStepwise),
        ("reserved", c_uint32 * 2),
    )


class PixFormat(ctypes.Structure):
    """`struct v4l2_pix_format`."""

    _fields_ = tuple(
        (name, c_uint32)
        for name in (
            "width", "height", "pixelformat", "field", "bytesperline", "sizeimage", "colorspace", "priv", "flags",
            "ycbcr_enc", "quantization", "xfer_func",
        )
    )  # fmt: skip


class PlanePixFormat(ctypes.Structure):
    """`struct v4l2_plane_pix_format`."""

    _pack_, _layout_ = 1, "ms"
    _fields_ = (("sizeimage", c_uint32), ("bytesperline", c_uint32), ("reserved", c_uint16 * 6))


class PixFormatMplane(ctypes.Structure):
    """`struct v4l2_pix_format_mplane`."""

    _pack_, _layout_ = 1, "ms"
    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("colorspace", c_uint32),
        ("plane_fmt", PlanePixFormat * MAX_PLANES),
        ("num_planes", c_uint8),
        ("flags", c_uint8),
        ("ycbcr_enc", c_uint8),
        ("quantization", c_uint8),
        ("xfer_func", c_uint8),
        ("reserved", c_uint8 * 7),
    )


class _FormatUnion(ctypes.Union):
    _fields_ = (
        ("pix", PixFormat),
        ("pix_mp", PixFormatMplane),
        ("raw_data", c_uint8 * 200),
        ("pointer", c_uint64),  # struct v4l2_window has one: it aligns the union
    )


class Format(ctypes.Structure):
    """`struct v4l2_format`."""

    _fields_ = (("type", c_uint32), ("fmt", _FormatUnion))


class CaptureParm(ctypes.Structure):
    """`struct v4l2_captureparm`."""

    _fields_ = (
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("timeperframe", Fract),
        ("extendedmode", c_uint32),
        ("readbuffers", c_uint32),
        ("reserved", c_uint32 * 4),
    )


class _ParmUnion(ctypes.Union):
    _fields_ = (("capture", CaptureParm), ("raw_data", c_uint8 * 200))


class StreamParm(ctypes.Structure):
    """`struct v4l2_streamparm`."""

    _fields_ = (("type", c_uint32), ("parm", _ParmUnion))


class RequestBuffers(ctypes.Structure):
    """`struct v4l2_requestbuffers`."""

    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("reserved", c_uint32),
    )


class _PlaneMemory(ctypes.Union):
    _fields_ = (("mem_offset", c_uint32), ("userptr", c_uint64), ("fd", c_int32))


class Plane(ctypes.Structure):
    """`struct v4l2_plane`."""

    _fields_ = (
        ("bytesused", c_uint32),
        ("length", c_uint32),
        ("m", _PlaneMemory),
        ("data_offset", c_uint32),
        ("reserved", c_uint32 * 11),
    )


class Timeval(ctypes.Structure):
    """`struct timeval`."""

    _fields_ = (("tv_sec", c_long), ("tv_usec", c_long))


class Timecode(ctypes.Structure):
    """`struct v4l2_timecode`."""

    _fields_ = (
        ("type", c_uint32),
        ("flags", c_uint32),
        ("frames", c_uint8),
        ("seconds", c_uint8),
        ("minutes", c_uint8),
        ("hours", c_uint8),
        ("userbits", c_uint8 * 4),
    )


class _BufferMemory(ctypes.Union):
    _fields_ = (("offset", c_uint32), ("userptr", c_uint64), ("planes", ctypes.POINTER(Plane)), ("fd", c_int32))


class Buffer(ctypes.Structure):
    """`struct v4l2_buffer`."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("timestamp", Timeval),
        ("timecode", Timecode),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("m", _BufferMemory),
        ("length", c_uint32),
        ("reserved2", c_uint32),
        ("request_fd", c_int32),
    )


class QueryExtCtrl(ctypes.Structure):
    """`struct v4l2_query_ext_ctrl`."""

    _fields_ = (
        ("id", c_uint32),
        ("type", c_uint32),
        ("name", c_uint8 * 32),
        ("minimum", c_int64),
        ("maximum", c_int64),
        ("step", c_uint64),
        ("default_value", c_int64),
        ("flags", c_uint32),
        ("elem_size", c_uint32),
        ("elems", c_uint32),
        ("nr_of_dims", c_uint32),
        ("dims", c_uint32 * 4),
        ("reserved", c_uint32 * 32),
    )


class _MenuUnion(ctypes.Union):
    _pack_, _layout_ = 1, "ms"
    _fields_ = (("name", c_uint8 * 32), ("value", c_int64))


class QueryMenu(ctypes.Structure):
    """`struct v4l2_querymenu`."""

    _pack_, _layout_ = 1, "ms"
    _anonymous_ = ("union",)
    _fields_ = (("id", c_uint32), ("index", c_uint32), ("union", _MenuUnion), ("reserved", c_uint32))


class _ControlUnion(ctypes.Union):
    _pack_, _layout_ = 1, "ms"
    _fields_ = (("value", c_int32), ("value64", c_int64))


class ExtControl(ctypes.Structure):
    """`struct v4l2_ext_control`."""

    _pack_, _layout_ = 1, "ms"
    _anonymous_ = ("union",)
    _fields_ = (("id", c_uint32), ("size", c_uint32), ("reserved2", c_uint32), ("union", _ControlUnion))


class ExtControls(ctypes.Structure):
    """`struct v4l2_ext_controls`."""

    _fields_ = (
        ("which", c_uint32),
        ("count", c_uint32),
        ("error_idx", c_uint32),
        ("request_fd", c_int32),
        ("reserved", c_uint32),
        ("controls", ctypes.POINTER(ExtControl)),
    )


@dataclass(frozen=True)
class Request:
    """One ioctl: its name in the header, and the number that the kernel knows it by."""

    name: str
    number: int


def _request(name: str, place: int, argument: type, *, reads: bool = True, writes: bool = True) -> Request:
    """Number a request as asm-generic/ioctl.h does (x86-64, arm64): direction, size, type, place."""
    direction = 2 * reads + writes
    return Request(name, direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | place)


QUERYCAP = _request("VIDIOC_QUERYCAP", 0, Capability, writes=False)
ENUM_FMT = _request("VIDIOC_ENUM_FMT", 2, FmtDesc)
G_FMT = _request("VIDIOC_G_FMT", 4, Format)
S_FMT = _request("VIDIOC_S_FMT", 5, Format)
REQBUFS = _request("VIDIOC_REQBUFS", 8, RequestBuffers)
QUERYBUF = _request("VIDIOC_QUERYBUF", 9, Buffer)
QBUF = _request("VIDIOC_QBUF", 15, Buffer)
DQBUF = _request("VIDIOC_DQBUF", 17, Buffer)
STREAMON = _request("VIDIOC_STREAMON", 18, c_int32, reads=False)
STREAMOFF = _request("VIDIOC_STREAMOFF", 19, c_int32, reads=False)
G_PARM = _request("VIDIOC_G_PARM", 21, StreamParm)
S_PARM = _request("VIDIOC_S_PARM", 22, StreamParm)
QUERYMENU = _request("VIDIOC_QUERYMENU", 37, QueryMenu)
G_EXT_CTRLS = _request("VIDIOC_G_EXT_CTRLS", 71, ExtControls)
S_EXT_CTRLS = _request("VIDIOC_S_EXT_CTRLS", 72, ExtControls)
ENUM_FRAMESIZES = _request("VIDIOC_ENUM_FRAMESIZES", 74, FrmSizeEnum)
ENUM_FRAMEINTERVALS = _request("VIDIOC_ENUM_FRAMEINTERVALS", 75, FrmIvalEnum)
QUERY_EXT_CTRL = _request("VIDIOC_QUERY_EXT_CTRL", 103, QueryExtCtrl)

CAP_VIDEO_CAPTURE, CAP_VIDEO_CAPTURE_MPLANE = 0x00000001, 0x00001000
CAP_META_CAPTURE, CAP_STREAMING, CAP_DEVICE_CAPS = 0x00800000, 0x04000000, 0x80000000
CAP_TIMEPERFRAME = 0x1000

BUF_TYPE_VIDEO_CAPTURE, BUF_TYPE_VIDEO_CAPTURE_MPLANE = 1, 9
MEMORY_MMAP = 1
FIELD_NONE = 1
FIELDS_WHOLE = frozenset({0, FIELD_NONE, 4, 8, 9})  # any, none and the interlaced ones: a buffer is a whole picture

BUF_FLAG_KEYFRAME, BUF_FLAG_ERROR = 0x00000008, 0x00000040
BUF_FLAG_TIMESTAMP_MASK, BUF_FLAG_TIMESTAMP_MONOTONIC = 0x0000E000, 0x00002000

FRMSIZE_TYPE_DISCRETE = FRMIVAL_TYPE_DISCRETE = 1

COLORSPACE_REC709, COLORSPACE_JPEG, COLORSPACE_BT2020, COLORSPACE_DCI_P3 = 3, 7, 10, 12
YCBCR_ENC_DEFAULT, YCBCR_ENC_709, YCBCR_ENC_XV709, YCBCR_ENC_BT2020, YCBCR_ENC_BT2020_CONST_LUM = 0, 2, 4, 6, 7
QUANTIZATION_DEFAULT, QUANTIZATION_FULL_RANGE = 0, 1

CTRL_TYPE_INTEGER, CTRL_TYPE_BOOLEAN, CTRL_TYPE_MENU, CTRL_TYPE_INTEGER64 = 1, 2, 3, 5
CTRL_TYPE_BITMASK, CTRL_TYPE_INTEGER_MENU = 8, 9
CTRL_FLAG_DISABLED, CTRL_FLAG_GRABBED, CTRL_FLAG_READ_ONLY, CTRL_FLAG_INACTIVE = 0x1, 0x2, 0x4, 0x10
CTRL_FLAG_NEXT_CTRL = 0x80000000


def fourcc(number: int) -> str:
    """Return a pixel format's four characters, as `v4l2-ctl` prints them, without blanks at the end."""
    return bytes(number >> shift & 0x7F for shift in (0, 8, 16, 24)).decode("ascii").rstrip()


def fourcc_number(text: str) -> int:
    """Return the number of a pixel format's four characters."""
    return int.from_bytes(text.ljust(4).encode("ascii"), "little")


def text_of(field: ctypes.Array[c_uint8]) -> str:
    """Return the text in a field of bytes that a NUL may end; a plugged-in device chooses it, so only what prints."""
    text = bytes(field).partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
