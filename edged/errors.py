"""Every error edged raises on purpose, each with the exit code it ends a command with."""

from __future__ import annotations

import difflib
import importlib
import textwrap
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class EdgedError(Exception):
    """Base of all errors that are ours: one clear message, one exit code.

    Those with this one's exit code are dealt with where cameras and arrays are: one that ends a command is a bug.
    """

    exit_code = 1


class UsageError(EdgedError):
    """The command line asks for something that is not there, such as an unknown task."""

    exit_code = 2


class BackendUnavailable(EdgedError):
    """A library, device or daemon that is needed is not there.

    Examples: TensorRT is not installed; no daemon answers on the control socket;
    another daemon holds the runtime directory.
    """

    exit_code = 69


class WorkerFailed(EdgedError):
    """A vital worker failed or fell silent; systemd is to start the daemon anew."""

    exit_code = 70


class NoAnswer(EdgedError, TimeoutError):
    """Somebody who should answer did not, in the time allowed."""

    exit_code = 75


class ConfigError(EdgedError):
    """The configuration is at fault: a file, a line, a value, a model that does not fit its parser.

    `faults` are maps of `file`, `line`, `key` and `text`, for programs; none where the text is all there is.
    """

    exit_code = 78
    faults: Sequence[Mapping[str, Any]] = ()


class ShapeError(EdgedError):
    """An array has another shape or type than its receiver was built for."""


class CameraError(EdgedError):
    """A camera could not be opened or read; its worker retries after a back-off."""


class CameraEnded(CameraError):
    """A finite source has no more frames."""


WORDS_MAX = 400
NAME_MAX = 64  # characters of a name that are compared: it may be anything that somebody sent
_OURS, _IMPORTS = Path(__file__).parent, Path(importlib.__file__).parent


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6, then: str = "") -> str:
    """Return the words that offer the known name which is most like an unknown one; none where none is like it.

    Args:
        name: the unknown one.
        known: the names that there are. Capitals make no difference.
        cutoff: least likeness, 0..1, of `difflib.get_close_matches`.
        then: what follows in any case.
    """
    names = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name[:NAME_MAX].lower(), names, n=1, cutoff=cutoff)
    offer = f"did you mean {names[near[0]]!r}?" if near else ""
    return " ".join(filter(None, (offer, then)))


def foreign(error: BaseException) -> str:
    """Return what somebody else's code failed of, in one line: kind and text of the error, and where it was raised."""
    try:
        text = textwrap.shorten(str(error), WORDS_MAX, placeholder=" …")
    except Exception:  # noqa: BLE001 - the error's own code
        text = ""
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    files = [(Path(at.filename), at.lineno) for at in traceback.extract_tb(error.__traceback__)]
    theirs = [(path, line) for path, line in files if path.is_file() and not {_OURS, _IMPORTS} & {*path.parents}]
    return words + "".join(f" ({path.name}:{line})" for path, line in theirs[-1:])
