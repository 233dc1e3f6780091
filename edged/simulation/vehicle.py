"""What is simulated: cameras, tasks, and what work costs on which device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edged.config import Config
from edged.errors import UsageError
from edged.plan import Mode
from edged.scheduler.demand import CPU, Demand, EngineLoad
from edged.scheduler.groups import Sync
from edged.work import Cost


@dataclass(frozen=True)
class SimCamera:
    """A camera that gives `rate_hz` frames a second, each of which takes `decode_s` of the CPU."""

    id: str
    rate_hz: float
    decode_s: float = 0.0
    unneeded: Mode = Mode.PARKED


@dataclass(frozen=True)
class SimDevice:
    """A device that does `parallel` pieces of work at full speed side by side, for `workers` threads."""

    parallel: float
    workers: int


@dataclass(frozen=True)
class Order:
    """Something that happens at a time: a task is activated or not, or a device loses part of its speed.

    `share` is what is left of the device, 0 to 1, as when other programs or heat take the rest.
    """

    at_s: float
    task: str = ""
    active: bool = True
    device: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class Vehicle:
    """All that the simulator knows. `tasks` say by `active` whether they run at the start."""

    cameras: tuple[SimCamera, ...]
    tasks: tuple[Demand, ...]
    engines: Mapping[str, EngineLoad]
    devices: Mapping[str, SimDevice]
    syncs: Mapping[str, Sync] = field(default_factory=dict)


@dataclass(frozen=True)
class Assumed:
    """What is taken where nothing is recorded."""

    camera_hz: float = 30.0
    decode_ms: float = 2.0


def recorded_vehicle(config: Config, tasks: Iterable[Demand], status: Mapping[str, Any], assumed: Assumed) -> Vehicle:
    """Return a configuration's vehicle with the costs of a recorded `edged status --json`.

    Args:
        config: the cameras.
        tasks: what the tasks want; their `engine` is replaced by the recorded one.
        status: of a daemon that ran these models: engines with `cost_ms`, cameras with `decode_ms`, devices.
        assumed: for cameras that were not decoded then.

    Raises:
        UsageError: the recording lacks a task's engine or its costs.
    """
    try:
        engines, engine_of = _engines(status["engines"])
        cameras = {camera["id"]: camera for camera in status["cameras"]}
        devices = {one["device"]: SimDevice(one["parallel"], one["workers"]) for one in status["devices"]}
    except (KeyError, TypeError, ValueError) as exc:
        raise UsageError(f"the recorded status is none of this version's: {exc!r}") from exc
    demands = []
    for demand in tasks:
        if demand.task not in engine_of:
            raise UsageError(f"the recorded status has no engine for task {demand.task}; it has {', '.join(engine_of)}")
        demands.append(_with_engine(demand, engine_of[demand.task]))
    found = [_camera(config, name, cameras.get(name, {}), assumed) for name in config.cameras]
    syncs = {
        name: Sync(task.sync.tolerance_ms, task.sync.wait_ms, task.cameras)
        for name, task in config.tasks.items()
        if task.sync is not None
    }
    return Vehicle(tuple(found), tuple(demands), engines, devices or {CPU: SimDevice(1.0, 1)}, syncs)


def _engines(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, EngineLoad], dict[str, str]]:
    """Return engines by name, and the engine of each task. An engine that was never used costs nothing known."""
    engines: dict[str, EngineLoad] = {}
    engine_of: dict[str, str] = {}
    for number, row in enumerate(rows):
        name = f"{row['model']}/{number}"
        cost = Cost(row["fixed_ms"] / 1000, row["picture_ms"] / 1000)
        engines[name] = EngineLoad(row["device"], cost, row["batch"])
        engine_of |= dict.fromkeys(row["tasks"], name)
    return engines, engine_of


def _with_engine(demand: Demand, engine: str) -> Demand:
    return replace(demand, engine=engine, blocked=None)


def _camera(config: Config, name: str, row: Mapping[str, Any], assumed: Assumed) -> SimCamera:
    decode_ms = row.get("decode_ms")
    rate_hz = row.get("stream_hz") or config.cameras[name].rate_hz or assumed.camera_hz
    return SimCamera(name, rate_hz, (assumed.decode_ms if decode_ms is None else decode_ms) / 1000)


def wishes(config: Config, orders: Mapping[str, bool]) -> list[Demand]:
    """Return what every task of a configuration wants: as ordered, else as configured; one with a rule runs."""
    return [
        Demand(
            task=name,
            cameras=task.cameras,
            rate_hz=task.rate_hz,
            active=orders.get(name, task.active is not False),
            why="ordered" if name in orders else "configured",
            rate_min_hz=task.rate_min_hz,
            priority=task.priority,
            deadline_ms=task.deadline_ms,
        )
        for name, task in config.tasks.items()
    ]
