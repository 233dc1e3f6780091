"""`edged doctor`: what this machine has of what the daemon wants."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("doctor", help="what this machine has, what is missing or wrong, and the remedy")
    command.add_argument("--sandbox", action="store_true", help="from inside the unit: say what is out of reach there")
    command.add_argument("--json", action="store_true", help="one JSON document")
    command.set_defaults(run=doctor)


def doctor(args: argparse.Namespace) -> int:
    """Report, in the order in which a person would put things right. 69 when something is wrong."""
    from edged.cli.output import print_json
    from edged.doctor import diagnose
    from edged.doctor.line import State
    from edged.processes import lower_priority

    lower_priority()
    lines = diagnose(args.config, args.sandbox)
    wrong = sum(line.state is State.WRONG for line in lines)
    if args.json:
        print_json({"lines": [vars(line) for line in lines], "wrong": wrong})
        return 69 if wrong else 0
    group = ""
    for line in lines:
        if line.group != group:
            group = line.group
            print(group)
        print(f"  {line.state.value:8}{line.name}: {line.found}")
        if line.remedy:
            print(f"          -> {line.remedy}")
    missing = sum(line.state is State.MISSING for line in lines)
    print(f"{wrong} wrong, {missing} missing that may not be needed")
    return 69 if wrong else 0
