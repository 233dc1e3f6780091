"""Where the show is seen: redrawn in place on a terminal, as blocks of lines in a pipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, TextIO

from edged.demo.render import Line, painted, plain

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
ERASE_LINE_END, ERASE_BELOW = "\x1b[K", "\x1b[J"


class Screen(Protocol):
    """Shows the newest view, and events that stay."""

    period_s: float

    def __enter__(self) -> Screen: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, lines: Sequence[Line]) -> None:
        """Show the newest view in place of the last one."""

    def event(self, text: str) -> None:
        """Show one line that stays."""


class PlainScreen:
    """Blocks of lines without any control code."""

    period_s = 2.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to restore."""

    def show(self, lines: Sequence[Line]) -> None:
        """Write one block, and an empty line."""
        self._out.write("".join(f"{plain(line)}\n" for line in (*lines, ())))
        self._out.flush()

    def event(self, text: str) -> None:
        """Write one line."""
        self._out.write(f"{text}\n")
        self._out.flush()


class LiveScreen:
    """Redraws in place with plain ANSI codes; events scroll away above. Hides the cursor while it is entered.

    Args:
        out: the terminal.
        size: its columns and rows, asked before each redraw.
        color: whether colours are welcome.
    """

    period_s = 0.2

    def __init__(self, out: TextIO, size: Callable[[], tuple[int, int]], color: bool) -> None:
        self._out, self._size, self._color = out, size, color
        self._lines: Sequence[Line] = ()
        self._drawn = 0

    def __enter__(self) -> LiveScreen:
        self._out.write(HIDE_CURSOR)
        return self

    def __exit__(self, *_: object) -> None:
        self._out.write(f"{SHOW_CURSOR}\n")
        self._out.flush()

    def show(self, lines: Sequence[Line]) -> None:
        """Draw over the last view."""
        self._lines = lines
        self._draw("")

    def event(self, text: str) -> None:
        """Put one line above the view."""
        columns, _ = self._size()
        self._draw(f"{text[: columns - 1]}{ERASE_LINE_END}\n")

    def _draw(self, above: str) -> None:
        columns, rows = self._size()
        lines = ((), *self._lines)[: max(1, rows - 1)]  # an empty line sets the view off from the events
        home = f"\x1b[{self._drawn}A\r" if self._drawn else "\r"
        body = "".join(f"{painted(line, columns - 1, self._color)}{ERASE_LINE_END}\n" for line in lines)
        self._out.write(f"{home}{above}{body}{ERASE_BELOW}")
        self._out.flush()
        self._drawn = len(lines)


def choose_screen(out: TextIO, plain_wanted: bool, environment: Mapping[str, str]) -> Screen:
    """Return the screen that fits where `out` goes: live on a terminal that knows ANSI codes, else plain."""
    if plain_wanted or not out.isatty() or environment.get("TERM", "dumb") in ("", "dumb"):
        return PlainScreen(out)
    return LiveScreen(out, lambda: _size_of(out), color=not environment.get("NO_COLOR"))


def _size_of(out: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(out.fileno())
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24
