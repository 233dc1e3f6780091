"""`edged schema`: JSON Schema of the configuration files and of the messages."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("schema", help="JSON Schema of the configuration files and of the messages")
    command.add_argument("--json", action="store_true", help="accepted for uniformity: it is always JSON")
    command.set_defaults(run=schema)


def schema(_: argparse.Namespace) -> int:
    """Print one document with `configuration` and `messages`."""
    from edged.cli.output import print_json
    from edged.config import json_schema
    from edged.publish.schema import SCHEMA

    print_json({"configuration": json_schema(), "messages": SCHEMA}, indent=2)
    return 0
