"""`edged plan --simulate`: what this vehicle would get, in simulated time."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged.cli.numbers import real
from edged.cli.output import print_json, print_table
from edged.errors import UsageError
from edged.simulation.assumed import Assumed

if TYPE_CHECKING:
    from edged.config import Config
    from edged.simulation.vehicle import Vehicle

MOST = 1e6
AMOUNT, POSITIVE = real(0, MOST), real(0.001, MOST)
ASSUMED = Assumed()


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("plan", help="the planner and dispatcher in simulated time")
    command.add_argument("--simulate", action="store_true", required=True, help="run the scheduler in simulated time")
    command.add_argument("--json", action="store_true", help="one JSON document")
    command.add_argument("--seconds", type=POSITIVE, default=30.0, help="simulated seconds (default: %(default)g)")
    command.add_argument(
        "--load", type=Path, metavar="FILE", help="costs of a recorded `edged status --json` (default: measured here)"
    )
    command.add_argument("--activate", nargs="+", default=[], metavar="TASK", help="tasks to take as active")
    command.add_argument("--deactivate", nargs="+", default=[], metavar="TASK", help="tasks to take as inactive")
    command.add_argument(
        "--camera-hz",
        type=POSITIVE,
        default=ASSUMED.camera_hz,
        help="rate of cameras where none is known (default: %(default)g)",
    )
    command.add_argument(
        "--decode-ms",
        type=AMOUNT,
        default=ASSUMED.decode_ms,
        help="CPU time to decode a frame where none is recorded (default: %(default)g)",
    )
    command.add_argument(
        "--own-ms",
        type=AMOUNT,
        default=ASSUMED.own_ms,
        help="CPU time of the daemon's own work on a frame (default: %(default)g)",
    )
    command.add_argument(
        "--publish-ms",
        type=AMOUNT,
        default=ASSUMED.publish_ms,
        help="CPU time to publish a result (default: %(default)g)",
    )
    command.add_argument("--seed", type=int, default=1, help="of the cameras' phases and jitter (default: %(default)d)")
    command.set_defaults(run=plan)


def plan(args: argparse.Namespace) -> int:
    """Simulate, and print rates, lateness, losses and what was given up."""
    from edged.config import load_config
    from edged.simulation.report import report
    from edged.simulation.simulation import Simulation

    vehicle = _vehicle(args, load_config(args.config))
    found = report(vehicle, Simulation(vehicle, seed=args.seed).run(args.seconds))
    if args.json:
        print_json(found)
    else:
        _show(found)
    return 0


def _vehicle(args: argparse.Namespace, config: Config) -> Vehicle:
    from edged.simulation.recording import read_recording, recorded_vehicle, wishes

    if both := set(args.activate) & set(args.deactivate):
        raise UsageError(f"task {min(both)} is both in --activate and in --deactivate")
    tasks = wishes(config, dict.fromkeys(args.activate, True) | dict.fromkeys(args.deactivate, False))
    if args.load is not None:
        recording = read_recording(args.load)
    else:
        from edged.assembly import assemble
        from edged.simulation.measure import measured

        recording = measured(config, assemble(config), {demand.task for demand in tasks if demand.active})
    assumed = Assumed(args.camera_hz, args.decode_ms, args.own_ms, args.publish_ms)
    return recorded_vehicle(config, tasks, recording, assumed)


def _show(found: Mapping[str, Any]) -> None:
    from edged.simulation.report import LOSSES

    print(f"{found['seconds']:g} s simulated; ages in ms, losses in frames, devices in seconds of work a second\n")
    rows = [
        (
            task["task"],
            task["state"],
            f"{task['rate_hz']:.2f}",
            f"{task['granted_hz']:g}",
            f"{task['wanted_hz']:g}",
            _percent(task["in_time"]),
            *(_ms(task[age]) for age in ("age_p50_ms", "age_p99_ms")),
            *(task["losses"][loss] for loss in LOSSES),
            task["reason"],
        )
        for task in found["tasks"]
    ]
    heads = ("TASK", "STATE", "HZ", "GRANTED", "WANTED", "IN_TIME", "AGE_P50", "AGE_P99")
    print_table((*heads, *(loss.upper() for loss in LOSSES), "WHY"), rows)
    print()
    print_table(
        ("CAMERA", "MODE", "HZ", "OVERRUN", "WHY"),
        [(one["id"], one["mode"], f"{one['rate_hz']:g}", one["overrun"], one["reason"]) for one in found["cameras"]],
    )
    print()
    columns = ("capacity", "planned", "wanted", "busy", "parallel")
    print_table(
        ("DEVICE", *(column.upper() for column in columns)),
        [(one["device"], *(f"{one[column]:.2f}" for column in columns)) for one in found["devices"]],
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
