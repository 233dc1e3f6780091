"""One fault of the configuration, the line it is in, and the error that names them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

    @property
    def path(self) -> str:
        """The keys down to the value, with dots; empty for a whole file."""
        return ".".join(shorten(hide_passwords(str(step))) for step in self.place)

    def __str__(self) -> str:
        what = f"{self.path}: {self.text}" if self.path else self.text
        return printable(f"{self.file}:{self.line}: {hide_passwords(what)}")

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` and a refused `reload` give of it; `key` is None for a whole file."""
        key, text = printable(hide_passwords(self.path)), printable(hide_passwords(self.text))
        return {"file": printable(self.file), "line": self.line, "key": key or None, "text": text}


def config_error(faults: Sequence[Fault]) -> ConfigError:
    """Return the one error for all faults: a line for each, and a last line with their number."""
    shown, more = faults[:FAULTS_SHOWN_MAX], len(faults) - FAULTS_SHOWN_MAX
    lines = [
        *map(str, shown),
        *([f"and {more} more"] if more > 0 else []),
        f"{len(faults)} fault(s); {NOTHING_STARTED}",
    ]
    error = ConfigError("\n".join(lines))
    error.faults = tuple(fault.to_json() for fault in shown)
    return error
