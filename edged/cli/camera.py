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
    """Print one row for each camera; the frames decoded only to catch up where there are any."""
    caught_up = [camera.get("frames", {}).get("caught_up", 0) for camera in cameras]
    extra = any(caught_up)
    rows = [
        (
            camera["id"],
            camera["mode"],
            camera["state"],
            f"{camera['rate_hz']:.1f}",
            "-" if camera["age_ms"] is None else f"{camera['age_ms']:.0f}",
            *([frames] if extra else []),
            camera["backend"],
            camera["stream"],
            camera["reason"],
        )
        for camera, frames in zip(cameras, caught_up, strict=True)
    ]
    header = ("CAMERA", "MODE", "STATE", "HZ", "AGE_MS", *(["CAUGHT_UP"] if extra else []), "BACKEND", "STREAM", "WHY")
    print_table(header, rows)
