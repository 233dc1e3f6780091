"""The command line. Add a command: a module in this folder with `add` and a row in COMMANDS."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from edged import __version__
from edged.cli.output import print_json
from edged.errors import ConfigError, EdgedError
from edged.journal import is_the_journal

COMMANDS = (
    "run", "check", "doctor", "schema", "status", "task", "camera", "signal", "engine", "plan", "reload", "sub",
    "bench", "demo",
)  # fmt: skip
CONFIG_DEFAULT = "/etc/edged"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = argparse.ArgumentParser("edged", description="Edge perception daemon: tasks own cameras.")
    root.add_argument("--version", action="version", version=f"edged {__version__}")
    root.add_argument(
        "--config",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("EDGED_CONFIG") or CONFIG_DEFAULT),
        help="configuration directory (default: $EDGED_CONFIG, else %(default)s)",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"edged.cli.{name}").add(commands)
    return root


def main(argv: list[str] | None = None) -> int:
    """Run one command. Our own errors become one message and an exit code; anything else is a bug."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `edged sub | head`: the reader has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open until exit flushes it
        return 0


def _run(args: argparse.Namespace) -> int:
    try:
        code: int = args.run(args)
    except EdgedError as exc:  # ours: a clear message and a code systemd can act on
        if exc.exit_code == EdgedError.exit_code:  # what a worker or a camera should have dealt with: a bug
            raise
        print(_complaint(exc), file=sys.stderr)
        if isinstance(exc, ConfigError) and getattr(args, "json", False):
            print_json({"faults": exc.faults or [{"file": None, "line": None, "key": None, "text": str(exc)}]})
        return exc.exit_code
    return code


def _complaint(exc: EdgedError) -> str:
    """Return an error as people read it; in the journal each line has the priority of an error."""
    text = f"edged: {exc}"
    return "\n".join(f"<3>{line}" for line in text.splitlines()) if is_the_journal(sys.stderr) else text
