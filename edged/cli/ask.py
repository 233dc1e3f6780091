"""How commands ask the running daemon."""

from __future__ import annotations

import argparse
from typing import Any


def add_endpoint(command: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks the daemon."""
    command.add_argument("--json", action="store_true", help="one JSON document")
    command.add_argument("--connect", metavar="ENDPOINT", help="the daemon's control socket")


def ask(args: argparse.Namespace, command: str, wait_s: float = 5.0, **arguments: Any) -> Any:
    """Send one command and return its result, which may take `wait_s` to come."""
    from edged.client import Control

    with Control(args.connect, wait_s) as control:
        return control.request(command, **arguments)
