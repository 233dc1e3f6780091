"""`edged camera list`: what every camera is doing, and why."""

from __future__ import annotations

import argparse
from typing import Any

from edged.cli.ask import add_endpoint, ask
from edged.cli.output import print_json, print_table


def add(commands: Any) -> None:
    """Add the command group."""
    group = commands.add_parser("camera", help="list cameras").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    listing = group.add_parser("list", help="every camera: mode, state, rate, age of its newest frame, why")
    add_endpoint(listing)
    listing.set_defaults(run=show)


def show(args: argparse.Namespace) -> int:
    """Print the camera list."""
    result = ask(args, "camera.list")
    if args.json:
        print_json(result)
    else:
        print_cameras(result["cameras"])
    return 0


def print_cameras(cameras: list[dict[str, Any]]) -> None:
    """Print one row for each camera; frames decoded only to catch up, and lost ones, where there are any."""
    extra = [name for name in ("caught_up", "lost") if any(camera.get("frames", {}).get(name) for camera in cameras)]
    rows = [
        (
            camera["id"],
            camera["mode"],
            camera["state"],
            f"{camera['rate_hz']:.1f}",
            "-" if camera["age_ms"] is None else f"{camera['age_ms']:.0f}",
            *(camera.get("frames", {}).get(name, 0) for name in extra),
            camera["backend"],
            camera["stream"],
            camera["reason"],
        )
        for camera in cameras
    ]
    header = ("CAMERA", "MODE", "STATE", "HZ", "AGE_MS", *(name.upper() for name in extra), "BACKEND", "STREAM", "WHY")
    print_table(header, rows)
