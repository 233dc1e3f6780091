"""One line of the report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """OK is there and works. MISSING is not there, and may not be needed. WRONG keeps the daemon from its work."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True)
class Line:
    """What was looked at, how it is, what was found, and what to do about it ("" where nothing is to be done)."""

    group: str
    name: str
    state: State
    found: str
    remedy: str = ""


WORDS_MAX = 400


def line(group: str, name: str, found: str, wrong: str = "", remedy: str = "", needed: bool = True) -> Line:
    """Return a line that is OK unless `wrong` says what is not; that is only MISSING where it is not `needed`."""
    if not wrong:
        return Line(group, name, State.OK, found)
    short = wrong if len(wrong) <= WORDS_MAX else f"{wrong[: WORDS_MAX - 1]}…"
    return Line(group, name, State.WRONG if needed else State.MISSING, short.replace("\n", " "), remedy)
