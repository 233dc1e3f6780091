"""How values, names and near misses are worded in fault messages. Nothing shown here holds a password."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from edged.errors import did_you_mean

SHOWN_MAX = 80
LOOKED_AT_MAX = 4096

_USERINFO = re.compile(
    r"""([A-Za-z][A-Za-z0-9+.\-]*://)(?:[^\s/?#'"<>]{0,1000}@|[^\s/?#'"<>@]{0,1000}:[^\s'"<>]{0,1000}@)"""
)
_QUERY = re.compile(r"(?i)\b((?:password|passwd|passphrase|pwd|token|secret|api_?key)=)[^&\s'\"]+")


def hide_passwords(text: str) -> str:
    """Replace the `user:password@` part and password parameters of every URL in free text by `***`."""
    if "://" in text:
        text = _USERINFO.sub(r"\1***@", text)
    return _QUERY.sub(r"\1***", text) if "=" in text else text


def printable(text: str) -> str:
    """Return the text with everything a terminal would act on, or could not write, as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shorten(text: str) -> str:
    """Cut a text to what fits a message."""
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def show(value: object) -> str:
    """Return a value the way the YAML file has it, without passwords, at most 80 characters long."""
    return shorten(hide_passwords(_plain(value)[:LOOKED_AT_MAX]))


def _plain(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{printable(str(k))}: {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    return repr(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, else all of them."""
    names = sorted(known)
    if hint := did_you_mean(name, names):
        return f"; {hint}"
    return f"; allowed: {_some(names)}" if names else ""


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 30 else ", ".join(names[:30]) + f" and {len(names) - 30} more"


def wanted(what: str, value: object, hint: str = "") -> ValueError:
    """Return the error that says what a value must be, what it is, and what to do."""
    return ValueError(f"must be {what}, got {show(value)}{hint}")
