"""The files that a model is made of: its ONNX file, and those that hold weights beside it.

Which these are is read from the file itself, by the few of ONNX's message fields that lead to a tensor's place: the
`onnx` package is not needed to run. See onnx.proto3.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "place"},
}
"""Kind of message -> number of a field -> the kind of message in it."""
KEY, VALUE = 1, 2  # of a "place", one entry of a tensor's `external_data`
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def model_files(onnx: Path) -> tuple[Path, ...]:
    """Return a model's file, and after it those with its external weights, which need not exist.

    A file that cannot be read or is no model has none: whoever loads it says so.
    """
    try:
        with onnx.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            places = sorted(set(_places(data, "model", 0, len(data))))
    except (OSError, ValueError, LookupError, RecursionError):  # an empty file cannot be mapped: ValueError
        places = []
    return (onnx, *(onnx.parent / place for place in places))


def _places(data: mmap.mmap, kind: str, begin: int, end: int) -> Iterator[str]:
    """Yield the locations that the tensors in one message name."""
    for number, start, stop in _fields(data, begin, end):
        inner = INSIDE[kind].get(number)
        if inner == "place":
            entry = {field: bytes(data[one:two]) for field, one, two in _fields(data, start, stop)}
            if entry.get(KEY) == b"location":
                yield entry[VALUE].decode()
        elif inner is not None:
            yield from _places(data, inner, start, stop)


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of each field with a length. Raise `ValueError` for what is no message."""
    at = begin
    while at < end:
        tag, at = _varint(data, at)
        size, wire = 0, tag & 7
        if wire == VARINT:
            _, at = _varint(data, at)
        elif wire == BYTES:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("a field is longer than its message")
            yield tag >> 3, at, at + size
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        at += size


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
