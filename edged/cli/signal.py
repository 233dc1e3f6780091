"""`edged signal set|stream|list`: vehicle signals that activation rules read."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edged.cli.ask import add_endpoint, ask, keys_of
from edged.cli.output import print_json, print_table
from edged.errors import NoAnswer, UsageError

if TYPE_CHECKING:
    from edged.client import Control

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_FLAGS = {"true": True, "false": False}

END = "end of stream"  # the name of no signal, for it has spaces: the daemon refuses it after all that came before
SETTLE_S = 5.0


def add(commands: Any) -> None:
    """Add the command group."""
    group = commands.add_parser("signal", help="set or list vehicle signals").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    setting = group.add_parser("set", help="set signals, such as speed_mps=3.5 gear=reverse brake=true")
    setting.add_argument("signals", nargs="+", metavar="NAME=VALUE")
    add_endpoint(setting)
    setting.set_defaults(run=lambda args: show(args, ask(args, "signal.set", signals=parsed(args.signals))))
    stream = group.add_parser("stream", help="set signals from lines of NAME=VALUE… on standard input, until it ends")
    add_endpoint(stream)
    stream.set_defaults(run=run_stream)
    listing = group.add_parser("list", help="every signal there is: value, age, kind, meaning")
    add_endpoint(listing)
    listing.set_defaults(run=lambda args: show(args, ask(args, "signal.list")))


def parsed(pairs: Iterable[str]) -> dict[str, float | bool | str]:
    """Return the signals that NAME=VALUE texts set.

    A value is a number or a flag if it looks like one, else a text; in quotes of its own it is always a text.

    Raises:
        UsageError: a text without a name or value, or a name that is given twice.
    """
    signals: dict[str, float | bool | str] = {}
    for pair in pairs:
        name, equals, said = pair.partition("=")
        if not name or not equals or not said:
            raise UsageError(f"expected NAME=VALUE, got {pair[:80]!r}")
        if name in signals:
            raise UsageError(f"{name[:80]} is given twice")
        signals[name] = _value(said)
    return signals


def _value(said: str) -> float | bool | str:
    if said in _FLAGS:
        return _FLAGS[said]
    if _NUMBER.match(said):
        return float(said)
    quoted = len(said) > 1 and said[0] == said[-1] and said[0] in "'\""
    return said[1:-1] if quoted else said


def run_stream(args: argparse.Namespace) -> int:
    """Send each line over one connection. A line that is refused is told on stderr, and the next one is read.

    No line waits for an answer, so that a refusal by the daemon comes while later lines are read: it names none. With
    `--json` each line is answered with one document before the next one is read. Returns 2 if any line was refused.
    """
    from edged.client import Control

    stream = _Stream()
    with Control(args.connect, curve=keys_of(args)) as control:
        for number, line in enumerate(sys.stdin, 1):
            if not line.strip():
                continue
            try:
                signals = parsed(_words(line))
            except UsageError as exc:
                stream.tell(f"line {number}", exc)
                continue
            if args.json:
                stream.ask(control, number, signals)
            else:
                stream.send(control, signals)
        if not args.json:
            stream.settle(control)
    return stream.code


class _Stream:
    """What was refused of a stream, here or by the daemon. All lines may be wrong in the same way: that is told once.

    `code` is the exit code so far.
    """

    def __init__(self) -> None:
        self.code = 0
        self._told: dict[type[Exception], str] = {}

    def ask(self, control: Control, number: int, signals: Mapping[str, Any]) -> None:
        """Send one line, wait for its answer, and print it."""
        from edged.client import CommandRefused

        try:
            print_json(control.request("signal.set", signals=signals))
        except CommandRefused as exc:
            self.tell(f"line {number}", exc)

    def send(self, control: Control, signals: Mapping[str, Any]) -> str:
        """Send one line, and tell of an earlier one that was refused; return the refusal, "" without one."""
        from edged.client import CommandRefused

        try:
            control.send("signal.set", signals=signals)
        except CommandRefused as exc:
            if END not in str(exc):
                self.tell("an earlier line was refused", exc)
            return str(exc)
        return ""

    def settle(self, control: Control) -> None:
        """Wait until the daemon has looked at every line: what follows them is refused in its turn."""
        until_s = time.monotonic() + SETTLE_S
        while END not in self.send(control, {END: True}):
            if time.monotonic() > until_s:
                raise NoAnswer(f"signal.set: no answer from {control.endpoint} in {SETTLE_S:g} s")
            time.sleep(0.01)

    def tell(self, where: str, exc: Exception) -> None:
        """Say what is wrong with a line."""
        self.code = 2
        if str(exc) != self._told.get(type(exc)):
            self._told[type(exc)] = str(exc)
            print(f"edged: {where}: {exc}", file=sys.stderr)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as exc:
        raise UsageError(f"{exc} in {line.strip()[:80]!r}".lower()) from exc


def show(args: argparse.Namespace, result: dict[str, Any]) -> int:
    """Print the signals."""
    if args.json:
        print_json(result)
    else:
        print_signals(result["signals"])
    return 0


def print_signals(signals: list[dict[str, Any]]) -> None:
    """Print one row for each signal; kind and meaning where they are given."""
    described = any("kind" in signal for signal in signals)
    header = ("SIGNAL", "VALUE", "AGE_MS", "STALE", *(("KIND", "UNIT", "MEANING") if described else ()))
    print_table(header, [_row(signal) for signal in signals])


def _row(signal: dict[str, Any]) -> tuple[str, ...]:
    value, age_ms = signal["value"], signal["age_ms"]
    row = (
        signal["signal"],
        "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value),
        "-" if age_ms is None else f"{age_ms:.0f}",
        "yes" if signal["stale"] else "no",
    )
    if "kind" not in signal:
        return row
    return (*row, "|".join(signal["allowed"]) or signal["kind"], signal["unit"] or "-", signal["meaning"])
