"""`edged status`: the running daemon on one screen."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from edged.cli.ask import add_endpoint, ask
from edged.cli.camera import print_cameras
from edged.cli.output import print_json, print_table
from edged.cli.signal import print_signals
from edged.cli.task import print_tasks

LOSSES = ("rate", "superseded", "late", "stopped", "failed", "dropped")
NO_LOSSES = ("offered", "served", "published")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("status", help="the running daemon: tasks, cameras, engines, signals, rates, losses")
    add_endpoint(command)
    command.set_defaults(run=status)


def status(args: argparse.Namespace) -> int:
    """Print everything the daemon says of itself."""
    state = ask(args, "status")
    if args.json:
        print_json(state)
    else:
        print_status(state)
    return 0


def print_status(state: dict[str, Any]) -> None:
    """Print one table for each kind of thing; what the daemon does not say, or has none of, is left out."""
    print(
        f"edged {state['version']} pid {state['pid']} boot {state['boot']}: up {state['uptime_s']:.0f} s, "
        f"{state['cpu_cores']:.2f} cores, {state['rss_mb']:.0f} MB"
    )
    for device in state.get("devices", []):
        print(_device(device))
    for line in _telemetry(state.get("telemetry") or {}):
        print(line)
    print()
    print_tasks(state["tasks"])
    print()
    print_cameras(state["cameras"])
    print()
    _print_engines(state["engines"])
    if signals := [one for one in state.get("signals", []) if one["value"] is not None]:
        print()
        print_signals(signals)
    print()
    _print_latencies(state["tasks"])
    _print_frames(state["tasks"])


def _device(device: dict[str, Any]) -> str:
    capacity = "" if device["capacity"] is None else f" of {device['capacity']:.2f}"
    done = "" if device.get("done") is None else f", {device['done']:.2f} done"
    note = f" ({device['note']})" if device.get("note") else ""
    return f"{device['device']} {device['planned']:.2f}{capacity} s/s planned{done}{note}"


def _telemetry(telemetry: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each kind of sensor that the machine has."""
    readings = {
        "temperature": [f"{one['zone']} {one['celsius']:.1f} C" for one in telemetry.get("temperatures", [])],
        "clock": [f"{one['name']} {one['hz'] / 1e9:.2f} GHz" for one in telemetry.get("clocks", []) if one["hz"]],
        "power": [f"{one['name']} {one['watts']:.2f} W" for one in telemetry.get("rails", [])],
        "load": [f"{one['unit']} {_share(one)}" for one in telemetry.get("loads", [])],
        "memory": [
            f"{one['unit']} {one['used_bytes'] / 1e9:.1f} of {one['total_bytes'] / 1e9:.1f} GB"
            for one in telemetry.get("memories", [])
        ],
        "no reading": telemetry.get("missing", []),
    }
    for kind, texts in readings.items():
        if texts:
            yield f"{kind}: {', '.join(texts)}"


def _share(load: dict[str, Any]) -> str:
    return f"{100 * load['share']:.0f} %" + ("" if load["measure"] == "busy" else f" {load['measure']}")


def _print_latencies(tasks: list[dict[str, Any]]) -> None:
    """Print the mean milliseconds in each stage, of the tasks that had results in the last second."""
    rows = {task["task"]: means for task in tasks if (means := task.get("latency_ms"))}
    if rows:
        stages = list(next(iter(rows.values())))
        header = ("LATENCY_MS", *(stage.upper() for stage in stages))
        print_table(header, [(task, *(f"{means[stage]:.1f}" for stage in stages)) for task, means in rows.items()])
        print()


def _print_engines(engines: list[dict[str, Any]]) -> None:
    measured = any(one.get("cost_ms") for one in engines)
    header = ("ENGINE", "BACKEND", "DEVICE", "PRECISION", "BATCH", *(["COST_MS"] if measured else []), "TASKS")
    rows = [
        (
            one["model"],
            one["backend"],
            one["device"],
            one["precision"],
            one["batch"],
            *([_cost(one.get("cost_ms") or {})] if measured else []),
            ",".join(one["tasks"]),
        )
        for one in engines
    ]
    print_table(header, rows)


def _cost(cost_ms: dict[str, float]) -> str:
    """Return milliseconds of one inference by batch size: `1:10.2 4:31.0`."""
    return " ".join(f"{size}:{ms:.1f}" for size, ms in sorted(cost_ms.items(), key=lambda one: int(one[0]))) or "-"


def _print_frames(tasks: list[dict[str, Any]]) -> None:
    """Print where every frame went, with a column for each cause of loss that the daemon counts."""
    counted = dict.fromkeys(name for task in tasks for frames in task["frames"].values() for name in frames)
    causes = [*LOSSES, *(name for name in counted if name not in (*LOSSES, *NO_LOSSES))]
    rows = [
        (task["task"], camera, frames["offered"], frames["published"], *(frames.get(cause, 0) for cause in causes))
        for task in tasks
        for camera, frames in task["frames"].items()
    ]
    print_table(("FRAMES", "CAMERA", "OFFERED", "PUBLISHED", *(cause.upper() for cause in causes)), rows)
