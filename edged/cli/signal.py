"""`edged signal set|stream|list`: vehicle signals that activation rules read."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from edged.cli.ask import add_endpoint, ask
from edged.cli.output import print_json, print_table
from edged.errors import UsageError

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_FLAGS = {"true": True, "false": False}


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

    Nothing is printed, unless with `--json`: then one document for each line. Returns 2 if any line was refused.
    """
    from edged.client import CommandRefused, Control

    told, code = "", 0
    with Control(args.connect) as control:
        for number, line in enumerate(sys.stdin, 1):
            if not line.strip():
                continue
            try:
                answer = control.request("signal.set", signals=parsed(_words(line)))
            except (CommandRefused, UsageError) as exc:
                code = 2
                if str(exc) != told:  # a hundred lines a second may all be wrong in the same way
                    told = str(exc)
                    print(f"edged: line {number}: {told}", file=sys.stderr)
                continue
            if args.json:
                print_json(answer)
    return code


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
