"""How commands reach the running daemon."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from edged.errors import UsageError

if TYPE_CHECKING:
    from edged.client import CurveKeys


def add_endpoint(command: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks the daemon."""
    command.add_argument("--json", action="store_true", help="one JSON document")
    add_connection(command, "the daemon's control socket")


def add_connection(command: argparse.ArgumentParser, endpoint: str) -> None:
    """Add the options that say where to connect, and with which keys."""
    command.add_argument("--connect", metavar="ENDPOINT", help=endpoint)
    command.add_argument("--server-key", metavar="KEY", help="behind CURVE: the daemon's public key, or its .key file")
    command.add_argument("--client-key", metavar="FILE", help="behind CURVE: this client's .key_secret file")


def keys_of(args: argparse.Namespace) -> CurveKeys | None:
    """Return the keys that a command is to connect with, None without any.

    Raises:
        UsageError: only some of what they need is given, or they are none.
    """
    from edged.client import CurveKeys

    if args.server_key is None and args.client_key is None:
        return None
    if not (args.server_key and args.client_key and args.connect):
        raise UsageError("an endpoint behind CURVE needs --connect, --server-key and --client-key, all three")
    return CurveKeys.read(args.server_key, args.client_key)


def ask(args: argparse.Namespace, command: str, wait_s: float = 5.0, **arguments: Any) -> Any:
    """Send one command and return its result, which may take `wait_s` to come."""
    from edged.client import Control

    with Control(args.connect, wait_s, keys_of(args)) as control:
        return control.request(command, **arguments)
