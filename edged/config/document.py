"""Reads one YAML file strictly: plain values, the line of each, and none of the surprises of YAML 1.1.

The values are built from the parser's events and not by `yaml.compose`: only events show anchors, and a
deeply nested file is refused before anything recurses into it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from edged.config.faults import Fault, Place
from edged.config.text import show

BYTES_MAX = 1_000_000
DEPTH_MAX = 32
VALUES_MAX = 20_000
DIGITS_MAX = 18

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_OCTAL = re.compile(r"[-+]?0[0-9_]+\Z")
_OTHER_BASE = re.compile(r"[-+]?0[xob][0-9a-fA-F_]+\Z|[-+]?[0-9][0-9]*_[0-9_]*\Z")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t]+[0-9].*)?\Z")
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_NOT_IN_YAML = re.compile(r"[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_YES_NO = {word for w in ("yes", "no", "on", "off") for word in (w, w.capitalize(), w.upper())}
_NULLS = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True)
class Document:
    """What one file says. `data` is None where it could not be read at all."""

    file: str
    data: dict[str, Any] | None = None
    lines: Mapping[Place, int] = field(default_factory=dict)
    bad: frozenset[Place] = frozenset()

    def line(self, place: Place) -> int:
        """Return the line of a value, or of the nearest thing above it that the file has."""
        for end in range(len(place), 0, -1):
            if place[:end] in self.lines:
                return self.lines[place[:end]]
        return self.lines.get((), 1)

    def fault(self, place: Place, text: str) -> Fault:
        """Return a fault with its line filled in."""
        return Fault(self.file, self.line(place), place, text)

    def is_bad(self, place: Place) -> bool:
        """Say whether a fault of this value, or of one around it, is known already."""
        return any(place[:end] in self.bad for end in range(len(place) + 1))


class _GiveUpError(Exception):
    """The rest of the file is not worth reading; the fault is recorded."""


def read_document(path: Path, faults: list[Fault]) -> Document:
    """Read one file. Whatever is wrong is appended to `faults`; nothing is raised."""
    file = str(path)
    raw = read_file(path, faults)
    text = None if raw is None else decode(raw, file, faults)
    return Document(file) if text is None else parse_document(text, file, faults)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read. A FIFO does not block; anything but a regular file is an `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(handle, "rb")


def read_file(path: Path, faults: list[Fault]) -> bytes | None:
    """Return the bytes of a regular file of at most 1 MB, or None and a fault."""
    file = str(path)
    try:
        with open_regular(path) as stream:
            raw = stream.read(BYTES_MAX + 1)
    except OSError as exc:
        remedy = "; check its owner and mode" if isinstance(exc, PermissionError) else ""
        faults.append(Fault(file, 1, (), f"cannot be read: {exc.strerror}{remedy}"))
        return None
    if len(raw) > BYTES_MAX:
        faults.append(Fault(file, 1, (), f"larger than 1 MB; at most {BYTES_MAX} bytes are read"))
        return None
    return raw


def decode(raw: bytes, file: str, faults: list[Fault]) -> str | None:
    """Return the text of a file, or None and a fault for what is no UTF-8 or cannot be in YAML."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        faults.append(Fault(file, line, (), f"byte 0x{raw[exc.start]:02x} is not UTF-8; save the file as UTF-8"))
        return None
    odd = _NOT_IN_YAML.search(text)
    if odd is None:
        return text
    line = text.count("\n", 0, odd.start()) + 1
    faults.append(Fault(file, line, (), f"character U+{ord(odd[0]):04X} is not allowed in YAML; remove it"))
    return None


def parse_document(text: str, file: str, faults: list[Fault]) -> Document:
    """Turn YAML text into values and lines. Whatever is wrong is appended to `faults`."""
    builder = _Builder(file, faults)
    try:
        data = builder.build(yaml.parse(text, Loader=Loader))
    except yaml.MarkedYAMLError as exc:
        faults.append(_syntax_fault(exc, file))
        return Document(file)
    except (yaml.YAMLError, ValueError, OverflowError) as exc:  # an escape such as \UFFFFFFFF reaches chr()
        faults.append(Fault(file, 1, (), f"not valid YAML: {exc}"))
        return Document(file)
    except _GiveUpError:
        return Document(file)
    document = Document(file, None, builder.lines, frozenset(builder.bad))
    if isinstance(data, dict):
        return Document(file, data, builder.lines, frozenset(builder.bad))
    if not document.is_bad(()):
        faults.append(document.fault((), f"must be a map of keys to values, got {show(data)}"))
    return document


def _syntax_fault(exc: yaml.MarkedYAMLError, file: str) -> Fault:
    mark = exc.problem_mark or exc.context_mark
    problem = str(exc.problem or exc.context)
    if r"'\t'" in problem or "tab" in problem.split() or "'\t'" in problem:
        problem = "a tab where only spaces are allowed"
    elif exc.context and exc.context_mark:
        problem = f"{problem} ({exc.context} in line {exc.context_mark.line + 1})"
    return Fault(file, mark.line + 1 if mark else 1, (), f"not valid YAML: {problem}")


def _resolve(text: str) -> tuple[Any, str]:
    """Return the value of an unquoted word, or what is wrong with it."""
    if text in _BOOLS:
        return _BOOLS[text], ""
    if text in _NULLS:
        return None, "has no value; give one, or leave the key out"
    if text in _YES_NO:
        return (
            None,
            f"{text} is a truth value to YAML 1.1 and a text to 1.2; write true or false, or quote the text",
        )
    if text[0] not in "+-.0123456789":
        return text, ""
    if _INT.match(text):
        return (int(text), "") if len(text) <= DIGITS_MAX else (None, f"number {show(text)} is too long")
    if _FLOAT.match(text):
        return float(text), ""
    if _NOT_FINITE.match(text):
        return float(text.replace(".", "", 1)), ""
    if _SEXAGESIMAL.match(text):
        return (
            None,
            f"{text} is a number in base 60 to some YAML versions; write it as one number, or quote it",
        )
    if _OCTAL.match(text) or _OTHER_BASE.match(text):
        return (
            None,
            f"{show(text)} is not a plain decimal number; write it as one, or quote it if it is a text",
        )
    if _DATE.match(text):
        return None, f"{show(text)} is a date in YAML; quote it"
    return text, ""


class _Builder:
    """Builds values from parser events, and keeps the line of every place."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        self.lines: dict[Place, int] = {}
        self.bad: set[Place] = set()
        self._file = file
        self._faults = faults
        self._count = 0
        self._events: Iterator[Any] = iter(())

    def build(self, events: Iterator[Any]) -> Any:
        self._events = events
        next(events)  # the stream's start
        start = next(events)
        if isinstance(start, yaml.StreamEndEvent):
            return {}
        first = next(events)
        if isinstance(first, yaml.ScalarEvent) and first.value == "" and first.tag is None:
            data: Any = {}
        else:
            data = self._node(first, (), 1)
        next(events)  # the document's end
        more = next(events)
        if isinstance(more, yaml.DocumentStartEvent):
            self._refuse(more, (), "a second document starts here (---); one file is one document")
        return data

    def _refuse(self, event: Any, place: Place, text: str) -> None:
        self._faults.append(Fault(self._file, event.start_mark.line + 1, place, text))

    def _spoil(self, event: Any, place: Place, text: str) -> None:
        """Refuse a value so that later checks do not report its absence as well."""
        self._refuse(event, place, text)
        self.bad.add(place)

    def _node(self, event: Any, place: Place, depth: int) -> Any:
        self._count += 1
        if depth > DEPTH_MAX:
            self._refuse(event, (), f"nested deeper than {DEPTH_MAX} levels")
            raise _GiveUpError
        if self._count > VALUES_MAX:
            self._refuse(event, (), f"more than {VALUES_MAX} values in one file")
            raise _GiveUpError
        self.lines.setdefault(place, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            self._spoil(event, place, f"alias *{event.anchor} is not allowed; write the value out")
            return None
        self._check_decoration(event, place)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(place, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth)
        return self._scalar(event, place)

    def _check_decoration(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._refuse(event, place, f"anchor &{event.anchor} is not allowed; write the value out where it is used")
        if event.tag is not None:
            self._spoil(event, place, f"tag {show(event.tag)} is not allowed; write a plain value")

    def _scalar(self, event: Any, place: Place) -> Any:
        text: str = event.value
        if event.implicit[0]:
            value, problem = _resolve(text)
        else:
            value, problem = text, ""
        if not problem and isinstance(value, str) and _UNSPEAKABLE.search(value):
            value, problem = None, f"control characters are not allowed, got {show(value)}"
        if problem and place not in self.bad:
            self._spoil(event, place, problem)
        return value

    def _sequence(self, place: Place, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*place, len(items)), depth + 1))
        return items

    def _mapping(self, place: Place, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, place, depth)
            below: Place = (*place, "?" if key is None else key)
            twice = key is not None and key in found
            if twice:
                self._refuse(event, below, f"given twice, first in line {self.lines[below]}")
            else:
                self.lines[below] = event.start_mark.line + 1
            value = self._node(next(self._events), below, depth + 1)
            if key is not None and not twice:
                found[key] = value
        return found

    def _key(self, event: Any, place: Place, depth: int) -> str | None:
        """Return the key, or None and a fault for one that is no plain text."""
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, place, f"alias *{event.anchor} is not allowed as a key; write it out")
            return None
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, place, "a key must be a text, not a list or a map")
            self._node(event, (*place, "?"), depth + 1)
            return None
        text: str = event.value
        if event.anchor is not None or event.tag is not None:
            self._refuse(event, place, f"key {show(text)} has an anchor or a tag; write the plain key")
        if not event.implicit[0]:
            value, problem = text, ""
        elif text == "<<":
            value, problem = None, "merge key << is not allowed; write the keys out"
        else:
            value, problem = _resolve(text)
        if not problem and not isinstance(value, str):
            problem = f"must be a text, got {show(value)}; quote it"
        if not problem and isinstance(value, str) and _UNSPEAKABLE.search(value):
            problem = "control characters are not allowed"
        if not problem:
            return str(value)
        self._refuse(event, place, problem if text == "<<" else f"key {show(text)}: {problem}")
        return None
