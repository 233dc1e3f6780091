"""Kinds of single values in the configuration, each with its check, its message and its JSON Schema."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from edged.config.text import nearest, show, wanted
from edged.expression import CHARS_MAX

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
NAME_RULE = "a lower-case letter, then lower-case letters, digits or _, at most 32 in all"
TEXT_MAX = 1000
BACKENDS_MAX = 16
FILES_MAX = 16

_BACKEND = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}\Z")
_TCP = re.compile(r"tcp://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.\-]+|\*)):(?P<port>[0-9]{1,5}|\*)\Z")
_IPC_BYTES_MAX = 107  # sun_path, less its closing NUL


@dataclass(frozen=True, eq=False)  # compared by identity: typing hashes it
class Checked:
    """Pydantic metadata: one function that checks and converts a value, and the schema that says the same."""

    check: Callable[[Any, ValidationInfo], Any]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def real(low: float, high: float) -> Checked:
    """A finite number in low..high, inclusive; whole numbers become floats."""
    what = f"a number from {_number(low)} to {_number(high)}"

    def check(value: Any, _: ValidationInfo) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise wanted(what, value)
        return float(value)

    return Checked(check, {"type": "number", "minimum": low, "maximum": high})


def whole(low: int, high: int) -> Checked:
    """A whole number in low..high, inclusive."""
    what = f"a whole number from {low} to {high}"

    def check(value: Any, _: ValidationInfo) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wanted(what, value)
        return value

    return Checked(check, {"type": "integer", "minimum": low, "maximum": high})


def triple(low: float, high: float) -> Checked:
    """Three finite numbers in low..high, one for each color channel."""
    what = f"a list of three numbers from {_number(low)} to {_number(high)}"
    item = real(low, high)

    def check(value: Any, info: ValidationInfo) -> tuple[float, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            raise wanted(what, value)
        return tuple(item.check(number, info) for number in value)

    return Checked(check, {"type": "array", "items": dict(item.schema), "minItems": 3, "maxItems": 3})


def reals(low: float, high: float, least: int, most: int) -> Checked:
    """A list of `least` to `most` finite numbers in low..high."""
    what = f"a list of {least} to {most} numbers from {_number(low)} to {_number(high)}"
    item = real(low, high)

    def check(value: Any, info: ValidationInfo) -> tuple[float, ...]:
        if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
            raise wanted(what, value)
        return tuple(item.check(number, info) for number in value)

    return Checked(check, {"type": "array", "items": dict(item.schema), "minItems": least, "maxItems": most})


def _boolean(value: Any, _: ValidationInfo) -> bool:
    if not isinstance(value, bool):
        raise wanted("true or false", value)
    return value


BOOLEAN = Checked(_boolean, {"type": "boolean"})


def one_of(*allowed: str | bool) -> Checked:
    """One of a few words; true and false may be among them."""
    words = [show(a) if isinstance(a, bool) else a for a in allowed]
    what = ", ".join(words[:-1]) + f" or {words[-1]}"

    def check(value: Any, _: ValidationInfo) -> str | bool:
        for choice in allowed:
            if type(choice) is type(value) and choice == value:
                return choice
        hint = nearest(value, words) if isinstance(value, str) else ""
        raise wanted(what, value, hint if hint.startswith("; did") else "")

    return Checked(check, {"enum": list(allowed)})


def text(chars_max: int = TEXT_MAX) -> Checked:
    """A text of one line, not empty."""

    def check(value: Any, _: ValidationInfo) -> str:
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise wanted("a text of one line", value)
        if len(value) > chars_max:
            raise wanted(f"a text of at most {chars_max} characters", value)
        return value

    return Checked(check, {"type": "string", "minLength": 1, "maxLength": chars_max})


def _expression(value: Any, _: ValidationInfo) -> str:
    if not isinstance(value, str) or not value.strip():
        raise wanted('an expression in quotes, such as "speed_mps < 20"', value)
    if len(value) > CHARS_MAX:
        raise wanted(f"an expression of at most {CHARS_MAX} characters", value)
    return value


EXPRESSION = Checked(_expression, {"type": "string", "minLength": 1, "maxLength": CHARS_MAX})


def _name(value: Any, _: ValidationInfo) -> str:
    if not isinstance(value, str) or not NAME.match(value):
        raise wanted(f"a name ({NAME_RULE})", value)
    return value


NAME_OF_OURS = Checked(_name, {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$"})


def _table_name(value: Any, _: ValidationInfo) -> str:
    if not isinstance(value, str) or not _BACKEND.match(value):
        raise wanted("a name (a letter, then letters, digits, _, - or ., at most 64 in all)", value)
    return value


TABLE_NAME = Checked(_table_name, {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,63}$"})


def _in_order(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not 1 <= len(names) <= BACKENDS_MAX:
        raise wanted(f"a name, or a list of 1 to {BACKENDS_MAX} names in the order to try", value)
    found = tuple(_table_name(name, info) for name in names)
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"{show(name)} is listed twice, got {show(value)}")
    return found


_LISTED = {
    "type": "array",
    "items": TABLE_NAME.schema,
    "uniqueItems": True,
    "minItems": 1,
    "maxItems": BACKENDS_MAX,
}
NAMES_IN_ORDER = Checked(_in_order, {"anyOf": [TABLE_NAME.schema, _LISTED]})


def directory_of(info: ValidationInfo) -> Path | None:
    """Return the folder of the file being read, or None for a model that is made in Python."""
    return info.context["directory"] if info.context else None


def absolute(value: str | Path, info: ValidationInfo) -> Path:
    """Return the absolute path of one that starts at the file naming it; its last part is kept as it is."""
    base = directory_of(info)
    if base is None:
        return Path(value)
    if str(value).startswith("~") or "${" in str(value):
        raise wanted("a path in full; ~ and variables are not replaced", value)
    path = base / value
    if path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def _path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return absolute(value, info)
    if not isinstance(value, str) or not value.strip() or "\n" in value or len(value) > TEXT_MAX:
        raise wanted("a path", value)
    return absolute(value, info)


PATH = Checked(_path, {"type": "string", "minLength": 1, "maxLength": TEXT_MAX})


def _existing_file(value: Any, info: ValidationInfo) -> Path:
    path = _path(value, info)
    if directory_of(info) is not None:
        why = why_not_readable(path)
        if why:
            raise ValueError(f"{why}, got {show(str(value))}, which is {path}")
    return path


EXISTING_FILE = Checked(_existing_file, PATH.schema)


def _existing_files(value: Any, info: ValidationInfo) -> tuple[Path, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > FILES_MAX:
        raise wanted(f"a list of at most {FILES_MAX} files", value)
    return tuple(_existing_file(one, info) for one in value)


EXISTING_FILES = Checked(_existing_files, {"type": "array", "items": dict(PATH.schema), "maxItems": FILES_MAX})


def why_not_readable(path: Path) -> str:
    """Return what keeps a file from being read, or nothing."""
    try:
        if not path.exists():
            return "no such file"
        if not path.is_file():
            return "not a regular file"
    except OSError as exc:
        return f"cannot be looked at ({exc.strerror})"
    return "" if os.access(path, os.R_OK) else "not readable by this user"


def _endpoint(value: Any, _: ValidationInfo) -> str:
    if isinstance(value, str):
        if value.startswith("ipc:///"):
            if len(value.encode()) - len("ipc://") > _IPC_BYTES_MAX:
                raise wanted(f"an ipc path of at most {_IPC_BYTES_MAX} bytes", value)
            return value
        match = _TCP.match(value)
        if match and (match["port"] == "*" or 1 <= int(match["port"]) <= 65535):
            return value
    raise wanted("tcp://HOST:PORT with a port from 1 to 65535, or ipc:///ABSOLUTE/PATH", value)


ENDPOINT = Checked(_endpoint, {"type": "string", "pattern": "^(tcp://.+:([0-9]+|\\*)|ipc:///.+)$"})


def is_local(endpoint: str) -> bool:
    """Say whether only this machine can reach an endpoint."""
    match = _TCP.match(endpoint)
    if match is None:
        return True
    host = match["six"] or match["host"]
    if host in ("localhost", "lo"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Address:
    """A host and a TCP port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class SocketPath:
    """A Unix socket to listen on, by its absolute path."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


def _listen(value: Any, _: ValidationInfo) -> Address | SocketPath:
    if isinstance(value, (Address, SocketPath)):
        return value
    if isinstance(value, str) and value.startswith("unix:/") and "\n" not in value:
        if len(value.encode()) - len("unix:") > _IPC_BYTES_MAX:
            raise wanted(f"a socket path of at most {_IPC_BYTES_MAX} bytes", value)
        return SocketPath(Path(value.removeprefix("unix:")))
    match = _TCP.match(f"tcp://{value}") if isinstance(value, str) else None
    if match is None or match["port"] == "*" or not 1 <= int(match["port"]) <= 65535:
        raise wanted('"HOST:PORT" with a port from 1 to 65535, or unix:/ABSOLUTE/PATH', value)
    if not is_local(f"tcp://{value}") or match["host"] == "lo":
        raise ValueError(
            f"{show(value)} is no loopback address, and whoever reaches the port may read it; "
            f"use 127.0.0.1:{match['port']} or unix:/ABSOLUTE/PATH"
        )
    return Address(match["six"] or match["host"], int(match["port"]))


LISTEN = Checked(_listen, {"type": "string", "pattern": "^(unix:/.+|.+:[0-9]{1,5})$"})


def _options(value: Any, _: ValidationInfo) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wanted("a map of keys to values", value)
    for key, item in value.items():
        _check_plain(item, str(key))
    return dict(value)


def _check_plain(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, f"{path}.{index}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} must be finite, got {show(value)}")


OPTIONS = Checked(_options, {"type": "object"})
