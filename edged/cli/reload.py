"""`edged reload`: the running daemon takes over its changed configuration."""

from __future__ import annotations

import argparse
from typing import Any

from edged.cli.ask import add_endpoint, ask
from edged.cli.output import print_json

WAIT_S = 120.0  # new engines are loaded before the answer comes


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("reload", help="read the changed configuration; a faulty one changes nothing")
    add_endpoint(command)
    command.set_defaults(run=reload)


def reload(args: argparse.Namespace) -> int:
    """Reload and print what changed.

    Raises:
        ConfigError: the configuration is at fault, which the daemon tells by file and line; it goes on as it was.
    """
    from edged.client import CommandRefused
    from edged.errors import ConfigError

    try:
        result = ask(args, "reload", WAIT_S)
    except CommandRefused as exc:
        if exc.code == "refused":
            error = ConfigError(str(exc))
            error.faults = exc.faults or ()
            raise error from exc
        raise
    if args.json:
        print_json(result)
    else:
        print_changes(result)
    return 0


def print_changes(result: dict[str, Any]) -> None:
    """Print a line for each change, and what only a restart brings."""
    changed, restart = result["changed"], result["restart"]
    for word in changed:
        print(word)
    if restart:
        print(f"needs a restart: {', '.join(restart)}")
    print(f"{len(changed) or 'nothing'} changed, {result['kept']} camera(s) and task(s) kept")
