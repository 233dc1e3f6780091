"""One fault of the configuration, the line it is in, and the error that names them all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edged.config.text import hide_passwords, printable, shorten
from edged.errors import ConfigError

FAULTS_SHOWN_MAX = 1000

NOTHING_STARTED = "nothing was started"
Place = tuple[str | int, ...]
"""Keys and list positions from the top of a file down to one value."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: `file:line: path: what, the value, what is allowed`."""

    file: str
    line: int
    place: Place
    text: str

    def __str__(self) -> str:
        path = ".".join(shorten(hide_passwords(str(step))) for step in self.place)
        what = f"{path}: {self.text}" if path else self.text
        return printable(f"{self.file}:{self.line}: {hide_passwords(what)}")


def config_error(faults: Iterable[Fault | str]) -> ConfigError:
    """Return the one error for all faults: a line for each, and a last line with their number."""
    lines: Sequence[str] = [str(fault) for fault in faults]
    more = len(lines) - FAULTS_SHOWN_MAX
    shown = [*lines[:FAULTS_SHOWN_MAX], f"and {more} more"] if more > 0 else lines
    return ConfigError("\n".join([*shown, f"{len(lines)} fault(s); {NOTHING_STARTED}"]))
