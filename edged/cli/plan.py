"""`edged plan --simulate`: what this vehicle would get, in simulated time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged.cli.output import print_json, print_table
from edged.errors import UsageError

if TYPE_CHECKING:
    from edged.config import Config
    from edged.simulation.vehicle import Vehicle

LOSSES = ("rate", "superseded", "late", "stopped", "unsynced")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("plan", help="the planner and dispatcher in simulated time")
    command.add_argument("--simulate", action="store_true", required=True, help="run the scheduler in simulated time")
    command.add_argument("--json", action="store_true", help="one JSON document")
    command.add_argument("--seconds", type=_positive, default=30.0, help="simulated seconds (default: %(default)g)")
    command.add_argument("--load", type=Path, metavar="FILE", help="costs of a recorded `edged status --json`")
    command.add_argument("--activate", nargs="+", default=[], metavar="TASK", help="tasks to take as active")
    command.add_argument("--deactivate", nargs="+", default=[], metavar="TASK", help="tasks to take as inactive")
    command.add_argument(
        "--camera-hz", type=_positive, default=30.0, help="rate of cameras that say none (%(default)g)"
    )
    command.add_argument("--decode-ms", type=_positive, default=2.0, help="decoding, where not recorded (%(default)g)")
    command.add_argument("--seed", type=int, default=1, help="of the cameras' phases and jitter")
    command.set_defaults(run=plan)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def plan(args: argparse.Namespace) -> int:
    """Simulate, and print rates, lateness, losses and what was given up."""
    from edged.config import load_config
    from edged.simulation.report import report
    from edged.simulation.simulation import Simulation

    config = load_config(args.config)
    vehicle = _vehicle(args, config)
    found = report(vehicle, Simulation(vehicle, seed=args.seed).run(args.seconds))
    if args.json:
        print_json(found)
    else:
        _show(found)
    return 0


def _vehicle(args: argparse.Namespace, config: Config) -> Vehicle:
    from edged.simulation.vehicle import Assumed, recorded_vehicle, wishes

    for name in (*args.activate, *args.deactivate):
        if name not in config.tasks:
            raise UsageError(f"no task {name!r}; there are {', '.join(config.tasks)}")
    orders = dict.fromkeys(args.activate, True) | dict.fromkeys(args.deactivate, False)
    assumed = Assumed(args.camera_hz, args.decode_ms)
    return recorded_vehicle(config, wishes(config, orders), _recorded(args, config), assumed)


def _recorded(args: argparse.Namespace, config: Config) -> Mapping[str, Any]:
    if args.load is None:
        from edged.assembly import assemble
        from edged.simulation.measure import measured_status

        return measured_status(config, assemble(config))
    try:
        status = json.loads(args.load.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise UsageError(f"{args.load}: cannot be read as a recorded status: {exc}") from exc
    if not isinstance(status, dict):
        raise UsageError(f"{args.load}: a recorded status is a map, got {type(status).__name__}")
    return status


def _show(found: Mapping[str, Any]) -> None:
    print(f"{found['seconds']:g} s simulated\n")
    heads = (
        "TASK",
        "STATE",
        "HZ",
        "WANTED",
        "IN_TIME",
        "AGE_P50",
        "AGE_P99",
        *(loss.upper() for loss in LOSSES),
        "WHY",
    )
    rows = [
        (
            task["task"],
            task["state"],
            f"{task['rate_hz']:.2f}",
            f"{task['wanted_hz']:g}",
            _percent(task["in_time"]),
            *(_ms(task[age]) for age in ("age_p50_ms", "age_p99_ms")),
            *(task["losses"][loss] for loss in LOSSES),
            task["reason"],
        )
        for task in found["tasks"]
    ]
    print_table(heads, rows)
    print()
    print_table(
        ("CAMERA", "MODE", "HZ", "WHY"),
        [(one["id"], one["mode"], f"{one['rate_hz']:g}", one["reason"]) for one in found["cameras"]],
    )
    print()
    print_table(
        ("DEVICE", "CAPACITY", "PLANNED", "BUSY"),
        [
            (one["device"], f"{one['capacity']:.2f}", f"{one['planned']:.2f}", f"{one['busy']:.2f}")
            for one in found["devices"]
        ],
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
