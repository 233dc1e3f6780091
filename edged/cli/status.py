"""`edged status`: the running daemon on one screen."""

from __future__ import annotations

import argparse
from typing import Any

from edged.cli.ask import add_endpoint, ask
from edged.cli.camera import print_cameras
from edged.cli.output import print_json, print_table
from edged.cli.task import print_tasks

LOSSES = ("rate", "superseded", "late", "stopped", "failed", "dropped")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("status", help="the running daemon: tasks, cameras, engines, rates, losses")
    add_endpoint(command)
    command.set_defaults(run=status)


def status(args: argparse.Namespace) -> int:
    """Print everything the daemon says of itself."""
    state = ask(args, "status")
    if args.json:
        print_json(state)
        return 0
    print(
        f"edged {state['version']} pid {state['pid']} boot {state['boot']}: up {state['uptime_s']:.0f} s, "
        f"{state['cpu_cores']:.2f} cores, {state['rss_mb']:.0f} MB\n"
    )
    print_tasks(state["tasks"])
    print()
    print_cameras(state["cameras"])
    print()
    print_table(
        ("ENGINE", "BACKEND", "DEVICE", "PRECISION", "BATCH", "TASKS"),
        [
            (
                one["model"],
                one["backend"],
                one["device"],
                one["precision"],
                one["batch"],
                ",".join(one["tasks"]),
            )
            for one in state["engines"]
        ],
    )
    print()
    print_table(
        ("FRAMES", "CAMERA", "OFFERED", "PUBLISHED", *(loss.upper() for loss in LOSSES)),
        [
            (task["task"], camera, frames["offered"], frames["published"], *(frames[loss] for loss in LOSSES))
            for task in state["tasks"]
            for camera, frames in task["frames"].items()
        ],
    )
    return 0
