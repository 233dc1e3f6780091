"""The plan as a pure function: demands of the tasks, health of the cameras -> who runs, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edged.plan import CameraPlan, CameraState, Mode, Plan, TaskPlan, TaskState


@dataclass(frozen=True)
class Demand:
    """What one task wants. `blocked` says why it cannot run although it is active ("no engine; run: ...")."""

    task: str
    cameras: tuple[str, ...]
    rate_hz: float
    active: bool
    why: str
    blocked: str | None = None


@dataclass(frozen=True)
class Supply:
    """One camera as it is: the state of its stream, why, and the mode it falls to when nothing needs it."""

    camera: str
    state: CameraState
    reason: str
    unneeded: Mode


def make_plan(demands: Iterable[Demand], supplies: Iterable[Supply]) -> Plan:
    """Unite the camera sets of the running tasks. The order of the arguments' items never matters.

    A camera that several tasks share is hot once. A camera that nothing needs falls to its `unneeded` mode; one that no
    task names is closed.
    """
    tasks = sorted(demands, key=lambda demand: demand.task)
    cameras = {supply.camera: supply for supply in sorted(supplies, key=lambda supply: supply.camera)}
    return Plan(
        cameras={camera: _camera_plan(supply, tasks) for camera, supply in cameras.items()},
        tasks={demand.task: _task_plan(demand, cameras) for demand in tasks},
    )


def _camera_plan(supply: Supply, demands: list[Demand]) -> CameraPlan:
    wanted = [demand for demand in demands if supply.camera in demand.cameras]
    running = [demand for demand in wanted if demand.active and demand.blocked is None]
    if running:
        rates = ", ".join(f"{demand.task} {demand.rate_hz:g} Hz" for demand in running)
        names = tuple(demand.task for demand in running)
        return CameraPlan(Mode.HOT, max(demand.rate_hz for demand in running), names, f"needed by {rates}")
    if not wanted:
        return CameraPlan(Mode.COLD, 0.0, (), "no task names it")
    if len(wanted) == 1:
        reason = f"only {wanted[0].task} needs it and {wanted[0].task} is inactive"
    else:
        reason = f"needed by {', '.join(demand.task for demand in wanted)}, all inactive"
    return CameraPlan(supply.unneeded, 0.0, (), reason)


def _task_plan(demand: Demand, cameras: Mapping[str, Supply]) -> TaskPlan:
    if not demand.active:
        return TaskPlan(TaskState.INACTIVE, (), 0.0, demand.why)
    if demand.blocked is not None:
        return TaskPlan(TaskState.INACTIVE, (), 0.0, demand.blocked)
    missing = [cameras[camera] for camera in demand.cameras if cameras[camera].state is not CameraState.RUNNING]
    if missing:
        reason = "; ".join(_missing(supply) for supply in missing)
        return TaskPlan(TaskState.DEGRADED, demand.cameras, demand.rate_hz, reason)
    return TaskPlan(TaskState.ACTIVE, demand.cameras, demand.rate_hz, demand.why)


def _missing(supply: Supply) -> str:
    return f"{supply.camera} {supply.state.value}" + (f": {supply.reason}" if supply.reason else "")
