"""`edged task list|activate|deactivate|auto`: the task set while it runs."""

from __future__ import annotations

import argparse
from typing import Any

from edged.cli.ask import add_endpoint, ask
from edged.cli.output import print_json, print_table

SWITCHES = {
    "activate": "activate tasks, until `auto` or the daemon's end",
    "deactivate": "deactivate tasks, until `auto` or the daemon's end",
    "auto": "take `activate` and `deactivate` back: the tasks' rules, subscribers or `active` decide again",
}


def add(commands: Any) -> None:
    """Add the command group."""
    group = commands.add_parser("task", help="list tasks, and switch them by hand").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    listing = group.add_parser("list", help="every task: state, rate, cameras, why")
    add_endpoint(listing)
    listing.set_defaults(run=lambda args: show(args, ask(args, "task.list")))
    for action, text in SWITCHES.items():
        command = group.add_parser(action, help=text)
        command.add_argument("tasks", nargs="+", metavar="NAME")
        add_endpoint(command)
        command.set_defaults(run=switch)


def switch(args: argparse.Namespace) -> int:
    """Switch tasks, and print the task set that results, with what the machine can give to new tasks."""
    result = ask(args, f"task.{args.action}", tasks=args.tasks)
    show(args, result)
    if not args.json:
        for task, words in result.get("admission", {}).items():
            print(f"{task}: {words}")
    return 0


def show(args: argparse.Namespace, result: dict[str, Any]) -> int:
    """Print the task list."""
    if args.json:
        print_json(result)
    else:
        print_tasks(result["tasks"])
    return 0


def rate(task: dict[str, Any]) -> str:
    """Return what a task gets, beside what it wants: `4.2/10`."""
    wanted = f"/{task['wanted_hz']:g}" if "wanted_hz" in task else ""
    return f"{task['rate_hz']:.1f}{wanted}"


def print_tasks(tasks: list[dict[str, Any]]) -> None:
    """Print one row for each task."""
    rows = [
        (
            task["task"],
            task["state"],
            rate(task),
            ",".join(task["cameras"]),
            task["engine"],
            task["reason"],
        )
        for task in tasks
    ]
    print_table(("TASK", "STATE", "HZ", "CAMERAS", "ENGINE", "WHY"), rows)
