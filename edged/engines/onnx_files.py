"""The files that a model is made of: its ONNX file, and those that hold weights beside it.

Which these are is read from the file itself, by the few of ONNX's message fields that lead to a tensor's place: the
`onnx` package is not needed to run. See onnx.proto3.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

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
        with onnx.open("rb") as file:  # not mapped: another export into the same file may cut it meanwhile
            places = sorted(set(_places(file, "model", 0, file.seek(0, os.SEEK_END))))
    except (OSError, ValueError, LookupError, RecursionError):
        places = []
    return (onnx, *(onnx.parent / place for place in places))


def _places(file: BinaryIO, kind: str, begin: int, end: int) -> Iterator[str]:
    """Yield the locations that the tensors in one message name."""
    for number, start, stop in _fields(file, begin, end):
        inner = INSIDE[kind].get(number)
        if inner == "place":
            entry = dict(_texts(file, start, stop))
            if entry.get(KEY) == b"location":
                yield entry[VALUE].decode()
        elif inner is not None:
            yield from _places(file, inner, start, stop)


def _texts(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    for number, start, stop in _fields(file, begin, end):
        file.seek(start)
        yield number, file.read(stop - start)


def _fields(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of each field with a length. Raise `ValueError` or `LookupError` for no message."""
    at = begin
    while at < end:
        file.seek(at)
        tag = _varint(file)
        wire = tag & 7
        size = {FIXED32: 4, FIXED64: 8}.get(wire, 0)
        if wire == VARINT:
            _varint(file)
        elif wire == BYTES:
            size = _varint(file)
        elif not size:
            raise ValueError(f"wire type {wire}")
        start = file.tell()
        at = start + size
        if at > end:
            raise ValueError("a field is longer than its message")
        if wire == BYTES:
            yield tag >> 3, start, at


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7
