"""`edged check`: the configuration, as `run` would take it."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("check", help="read the whole configuration, open no camera and no GPU")
    command.add_argument("--json", action="store_true", help="one JSON document")
    command.set_defaults(run=check)


def check(args: argparse.Namespace) -> int:
    """Report every fault by file and line, else what would run."""
    from edged.assembly import assemble, checked_guards
    from edged.config import Secrets, load_config

    config = load_config(args.config)
    checked_guards(config, Secrets.from_environment(args.config))
    assembled = assemble(config)
    if args.json:
        from edged.cli.output import print_json

        cameras = [*config.cameras, *config.views]
        print_json({"tasks": dict(assembled.chosen), "cameras": cameras, "notes": list(config.notes)})
        return 0
    for note in config.notes:
        print(note)
    for task, chosen in assembled.chosen.items():
        print(f"task {task}: {chosen}")
    views = f" with {len(config.views)} view(s)" if config.views else ""
    print(f"{args.config}: {len(config.tasks)} task(s) and {len(config.cameras)} camera(s){views}, no fault")
    return 0
