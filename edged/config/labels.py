"""Class names of a network: a list in the task file, or a file with one name per line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from edged.config.scalars import Checked, absolute, text, why_not_readable
from edged.config.text import show, wanted

LABELS_MAX = 10_000
LABEL_CHARS_MAX = 128
FILE_BYTES_MAX = 1_000_000

_LABEL = text(LABEL_CHARS_MAX)


def _texts(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > LABELS_MAX:
        raise wanted(f"a list of at most {LABELS_MAX} names", value)
    return tuple(_LABEL.check(item, info) for item in value)


def _labels(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    if isinstance(value, (str, Path)):
        return _from_file(str(value), info)
    if not isinstance(value, (list, tuple)):
        raise wanted("a list of class names, or a file with one name per line", value)
    return _texts(value, info)


def _from_file(value: str, info: ValidationInfo) -> tuple[str, ...]:
    if not value.strip() or "\n" in value:
        raise wanted("a list of class names, or a file with one name per line", value)
    path = absolute(value, info)
    why = why_not_readable(path)
    if why:
        raise ValueError(f"{why}, got {show(value)}, which is {path}")
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_BYTES_MAX + 1)
        lines = raw.decode("utf-8-sig").rstrip().split("\n")
    except OSError as exc:
        raise ValueError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"{path} is not UTF-8 text") from exc
    if len(lines) > LABELS_MAX or len(raw) > FILE_BYTES_MAX:
        raise ValueError(f"{path} has more than {LABELS_MAX} lines or more than 1 MB")
    names = tuple(line.strip() for line in lines)
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable() or len(name) > LABEL_CHARS_MAX:
            raise ValueError(
                f"{path}:{number}: must be a name of 1 to {LABEL_CHARS_MAX} characters, got {show(name)}; "
                "a class id is the number of its line, so none may be left out"
            )
    return names


_ITEM = dict(_LABEL.schema)
TEXTS = Checked(_texts, {"type": "array", "items": _ITEM, "maxItems": LABELS_MAX})
LABELS = Checked(_labels, {"anyOf": [{"type": "string", "minLength": 1}, dict(TEXTS.schema)]})
