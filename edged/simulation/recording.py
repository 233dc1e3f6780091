"""What work costs, from a recorded `edged status --json`; and a configuration's vehicle made of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edged.assembly import Lineup
from edged.camera.counter import FrameCounts
from edged.camera.worker import CameraReport
from edged.config import Config, TaskConfig
from edged.config.text import nearest, show
from edged.errors import UsageError
from edged.plan import CameraState, Mode
from edged.planning import Stock, demand, sync_of
from edged.scheduler.budget import Device
from edged.scheduler.demand import Demand, EngineLoad
from edged.simulation.assumed import Assumed
from edged.simulation.vehicle import SimCamera, Vehicle
from edged.work import Cost

Milliseconds = Annotated[float, Field(ge=0, le=1e6)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class EngineRow(_Row):
    """An engine of a status. It has no costs if it was not used."""

    model: str
    device: str
    batch: Annotated[int, Field(ge=1, le=1024)]
    tasks: tuple[str, ...]
    fixed_ms: Milliseconds | None = None
    picture_ms: Milliseconds | None = None

    @property
    def cost(self) -> Cost | None:
        """The cost of an inference, None where it is not known."""
        if self.fixed_ms is None or self.picture_ms is None or self.fixed_ms + self.picture_ms == 0:
            return None
        return Cost(self.fixed_ms / 1000, self.picture_ms / 1000)


class CameraRow(_Row):
    """A camera of a status. What was never open has no rate, and what was never hot no decoding time."""

    id: str
    stream_hz: Annotated[float, Field(ge=1e-3, le=1e5)] | None = None
    decode_ms: Milliseconds | None = None


class DeviceRow(_Row):
    """A device of a status: the pieces of work it does side by side, and the threads that serve its engines."""

    device: str
    parallel: Annotated[float, Field(ge=1e-3, le=4096)]
    workers: Annotated[int, Field(ge=0, le=4096)]


class Recording(_Row):
    """The part of a status that a simulation is made of."""

    engines: tuple[EngineRow, ...]
    cameras: tuple[CameraRow, ...]
    devices: tuple[DeviceRow, ...]


def read_recording(file: Path) -> Recording:
    """Read a recorded status.

    Raises:
        UsageError: the file cannot be read, or is no status; the text names the value.
    """
    try:
        return Recording.model_validate_json(file.read_bytes())
    except OSError as exc:
        raise UsageError(f"{file}: cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        what = f"{place}: {first['msg']}, got {show(first['input'])}" if place else first["msg"]
        raise UsageError(f"{file}: is no recorded `edged status --json` of this version: {what}") from exc


def wishes(config: Config, orders: Mapping[str, bool]) -> list[Demand]:
    """Return what every task wants: as ordered, else as configured. One with a rule, or for subscribers, runs.

    Raises:
        UsageError: an order for a task that is not there.
    """
    for name in orders:
        if name not in config.tasks:
            raise UsageError(f"no task {show(name)}{nearest(name, config.tasks)}")
    return [_wish(name, task, orders.get(name)) for name, task in config.tasks.items()]


def recorded_vehicle(config: Config, tasks: Sequence[Demand], recording: Recording, assumed: Assumed) -> Vehicle:
    """Return a configuration's vehicle with recorded costs.

    Args:
        config: the cameras, and which tasks group their frames.
        tasks: what the tasks want.
        recording: of a daemon that ran these models.
        assumed: for what was not recorded.

    Raises:
        UsageError: the recording lacks the engine of a task that runs, or its costs; or a camera has no rate of its
            own (`pace: fast`).
    """
    engines, found = {}, []
    for number, row in enumerate(recording.engines):
        engines[f"{row.model}/{number}"] = EngineLoad(row.device, row.cost or Cost(0.0, 0.0), row.batch)
    rows = {task: (f"{row.model}/{number}", row) for number, row in enumerate(recording.engines) for task in row.tasks}
    for wish in tasks:
        if wish.task in rows:
            engine, row = rows[wish.task]
            if wish.active and row.cost is None:
                raise UsageError(
                    f"the recording knows no cost of {row.model}, which was not used then; "
                    f"record a status while task {wish.task} runs"
                )
            found.append(replace(wish, engine=engine))
        elif wish.active:
            known = ", ".join(rows) or "none"
            raise UsageError(f"the recording has no engine for task {wish.task}; it has those of: {known}")
    devices = {one.device: Device(one.parallel, one.workers) for one in recording.devices}
    syncs = {name: sync for name, task in config.tasks.items() if (sync := sync_of(task, config)) is not None}
    cameras = _cameras(config, {row.id: row for row in recording.cameras}, assumed)
    own_s, publish_s = assumed.own_ms / 1000, assumed.publish_ms / 1000
    try:
        return Vehicle(cameras, tuple(found), engines, devices, syncs, own_s, publish_s)
    except ValueError as exc:
        raise UsageError(f"the recording does not fit together: {exc}") from exc


def _wish(name: str, task: TaskConfig, order: bool | None) -> Demand:
    if order is not None:
        active, why = order, f"{'activated' if order else 'deactivated'} by command"
    elif task.when or task.after or task.active == "on_subscribe":
        active, why = (
            True,
            f"taken as active, {'on_subscribe' if task.active == 'on_subscribe' else 'whatever its rule'}",
        )
    else:
        active, why = bool(task.active), "configured" if task.active else "active: false"
    return demand(name, task, Lineup(), active, why)


def _cameras(config: Config, rows: Mapping[str, CameraRow], assumed: Assumed) -> tuple[SimCamera, ...]:
    """Return every camera with what it falls to when nothing needs it, as the daemon takes it."""
    rates = {
        name: (rows[name].stream_hz if name in rows else None) or camera.rate_hz or assumed.camera_hz
        for name, camera in config.cameras.items()
    }
    found = []
    for supply in Stock(config).supplies({name: _running(name, rate_hz) for name, rate_hz in rates.items()}):
        if supply.lossless:
            raise UsageError(f"camera {supply.camera} has pace: fast, and so no rate that could be simulated")
        row = rows.get(supply.camera)
        decode_ms = assumed.decode_ms if row is None or row.decode_ms is None else row.decode_ms
        rate_hz = rates[supply.of or supply.camera]
        found.append(SimCamera(supply.camera, rate_hz, decode_ms / 1000, supply.unneeded, supply.linger_s, supply.of))
    return tuple(found)


def _running(camera: str, rate_hz: float) -> CameraReport:
    """Return the report of a camera that is well."""
    now_ns = time.monotonic_ns()
    return CameraReport(
        camera, Mode.HOT, CameraState.RUNNING, "", now_ns, rate_hz, None, "", "", None, 1, FrameCounts(), 0.0,
        stream_hz=rate_hz,
    )  # fmt: skip
