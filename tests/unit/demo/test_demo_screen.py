from __future__ import annotations

import io
import re

import pytest

from edged.demo.render import Span
from edged.demo.screen import HIDE_CURSOR, SHOW_CURSOR, LiveScreen, PlainScreen, choose_screen

CODE = re.compile(r"\x1b\[(\??\d*)([A-Za-z])|(\n)|(\r)|([^\x1b\n\r]+)")


class Terminal(io.StringIO):
    """Just enough of one to see what stands on it."""

    def isatty(self) -> bool:
        return True

    def seen(self) -> list[str]:
        rows, row, column = [""], 0, 0
        for number, letter, feed, back, text in CODE.findall(self.getvalue()):
            if letter == "A":
                row = max(0, row - int(number))
            elif letter == "K":
                rows[row] = rows[row][:column]
            elif letter == "J":
                rows[row:] = [rows[row][:column]]
            elif feed:
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            elif back:
                column = 0
            elif text:
                rows[row] = rows[row][:column].ljust(column) + text + rows[row][column + len(text) :]
                column += len(text)
        return rows[:-1]


def lines(*texts: str) -> list[tuple[Span, ...]]:
    return [(Span(text, "good"),) for text in texts]


def test_live_redraws_in_place_and_events_stay_above() -> None:
    out = Terminal()
    screen = LiveScreen(out, lambda: (40, 10), color=True)
    screen.event("started")
    screen.show(lines("long line one", "two", "three"))
    screen.event("lane off")
    screen.show(lines("one", "2"))
    assert out.seen() == ["started", "lane off", "", "one", "2"]


def test_live_never_writes_more_than_the_terminal_holds() -> None:
    out = Terminal()
    screen = LiveScreen(out, lambda: (10, 4), color=False)
    screen.show(lines(*["x" * 50] * 9))
    screen.event("y" * 50)
    assert out.seen() == ["y" * 9, "", *["x" * 9] * 2]


def test_live_brings_the_cursor_back_after_an_error() -> None:
    out = Terminal()
    with pytest.raises(KeyError), LiveScreen(out, lambda: (40, 10), color=True):
        assert out.getvalue() == HIDE_CURSOR
        raise KeyError
    assert out.getvalue() == f"{HIDE_CURSOR}{SHOW_CURSOR}\n"


def test_plain_writes_blocks_without_a_code() -> None:
    out = io.StringIO()
    with PlainScreen(out) as screen:
        screen.event("lane off")
        screen.show(lines("one ", "two"))
    assert out.getvalue() == "lane off\none\ntwo\n\n"


@pytest.mark.parametrize("term", ["", "dumb", None])
def test_a_terminal_that_knows_no_codes_gets_plain_lines(term: str | None) -> None:
    environment = {} if term is None else {"TERM": term}
    assert isinstance(choose_screen(Terminal(), False, environment), PlainScreen)


def test_a_pipe_and_a_wish_get_plain_lines() -> None:
    environment = {"TERM": "xterm"}
    assert isinstance(choose_screen(io.StringIO(), False, environment), PlainScreen)
    assert isinstance(choose_screen(Terminal(), True, environment), PlainScreen)


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_no_color_is_respected(no_color: str, colored: bool) -> None:
    out = Terminal()
    screen = choose_screen(out, False, {"TERM": "xterm", "NO_COLOR": no_color})
    screen.show(lines("one"))
    assert ("\x1b[32m" in out.getvalue()) is colored
    assert out.seen() == ["", "one"]
