"""The plan as a pure function: demands, health of the cameras, limits of the machine -> who runs, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from edged.plan import CameraPlan, CameraState, Mode, Plan, TaskPlan, TaskState
from edged.scheduler.clusters import Cluster, group_cameras
from edged.scheduler.demand import Demand, EngineLoad, Machine, Supply
from edged.scheduler.shares import Share, Shares

__all__ = ["NO_PLAN", "UNMEASURED", "Demand", "EngineLoad", "Machine", "Supply", "make_plan"]

UNMEASURED = Machine()
NO_PLAN = Plan()
OPENING_S = 2.0  # a camera that was just asked for is not missed for so long: every start would be a false alarm


def make_plan(
    demands: Iterable[Demand],
    supplies: Iterable[Supply],
    machine: Machine = UNMEASURED,
    previous: Plan = NO_PLAN,
    now_s: float = 0.0,
) -> Plan:
    """Unite the camera sets of the running tasks, and share the machine out. The order of the items never matters.

    A camera that several tasks share is hot once. A camera that nothing needs falls to its `unneeded` mode and, after
    `linger_s` in it, is closed until something needs it; one that no task names is closed at once. Work that does not
    fit into the machine's capacity is taken from the lowest priority first. A camera is decoded once for itself and its
    views, at the highest rate that any of them is wanted at; a view has its camera's mode.

    Args:
        demands: each task once.
        supplies: each camera once, each view beside its camera.
        machine: costs and limits. They should be steady: each change of a digit may be a new plan.
        previous: the plan that is in force. Rates and suspended tasks come back with some hysteresis to it.
        now_s: the time on any clock that never goes back, the same as for `previous`.
    """
    tasks = sorted(demands, key=lambda demand: demand.task)
    cameras = sorted(supplies, key=lambda supply: supply.camera)
    grouping = group_cameras(tasks, cameras, machine.decode_s)
    shares = Shares(tasks, grouping, machine, previous)
    plans = _camera_plans(tasks, grouping.clusters, shares.of, previous, now_s)
    opening = {one.camera for one in cameras if _is_opening(one, now_s - plans[one.camera].since_s)}
    return Plan(
        cameras=plans,
        tasks=_task_plans(tasks, cameras, opening, shares.of, machine),
        devices=shares.devices,
    )


def _camera_plans(
    tasks: Sequence[Demand], clusters: Sequence[Cluster], shares: Mapping[int, Share], previous: Plan, now_s: float
) -> dict[str, CameraPlan]:
    rates = {position: share.rate_hz for position, share in shares.items() if share.rate_hz > 0}
    granted = {position: f"{tasks[position].task} {rate:g} Hz" for position, rate in rates.items()}
    wanted = {position: f"{tasks[position].task} {tasks[position].rate_hz:g} Hz" for position in rates}
    plans: dict[str, CameraPlan] = {}
    for cluster in clusters:
        running = [position for position in cluster.members if position in rates]
        if running:  # a lossless camera is never slowed: it waits instead
            words = wanted if cluster.lossless else granted
            rate_hz = max([tasks[one].rate_hz if cluster.lossless else rates[one] for one in running])
            names = tuple([tasks[one].task for one in running])
            reason = f"needed by {', '.join([words[one] for one in running])}"
            if cluster.views:  # for decoding; who claims its own pictures is known
                names = plans[cluster.supplies[0].camera].tasks
                through = [one for one in cluster.views if plans[one].tasks]
                reason += f" ({', '.join(through)})" if through else ""
            for supply in cluster.supplies:
                since_s = _since(supply.camera, Mode.HOT, previous, now_s)
                plans[supply.camera] = CameraPlan(Mode.HOT, rate_hz, names, reason, since_s)
        else:
            reason = _why_unneeded([(tasks[one].task, one in shares) for one in cluster.members])
            for supply in cluster.supplies:
                plans[supply.camera] = _resting(supply, bool(cluster.members), reason, previous, now_s)
        for view in cluster.views:  # goes with its camera
            camera, of = plans[cluster.supplies[0].camera], cluster.supplies[0].camera
            reason = f"view of {of}: {plans[view].reason}"
            plans[view] = replace(plans[view], mode=camera.mode, reason=reason, since_s=camera.since_s)
    return {camera: plans[camera] for camera in sorted(plans)}


def _why_unneeded(wanted: Sequence[tuple[str, bool]]) -> str:
    """Say who would need a camera, from (task, whether it is suspended)."""
    if not wanted:
        return "no task names it"
    states = ["suspended" if suspended else "inactive" for _, suspended in wanted]
    names = [task for task, _ in wanted]
    if len(names) == 1:
        return f"only {names[0]} needs it and {names[0]} is {states[0]}"
    if len(set(states)) == 1:
        return f"needed by {', '.join(names)}, all {states[0]}"
    return f"needed by {', '.join(f'{name} ({state})' for name, state in zip(names, states, strict=True))}"


def _resting(supply: Supply, named: bool, reason: str, previous: Plan, now_s: float) -> CameraPlan:
    """Plan a camera that nothing needs: its `unneeded` mode, cold when it lingered long enough or was cold before.

    The mode of a view is its camera's, whatever it is here.
    """
    mode = supply.unneeded if named and not supply.of else Mode.COLD
    before = previous.cameras.get(supply.camera)
    if mode is not Mode.COLD:
        since_s = _since(supply.camera, mode, previous, now_s)
        lingered = supply.linger_s is not None and now_s - since_s >= supply.linger_s
        if lingered or (before is not None and before.mode is Mode.COLD):
            if supply.linger_s is not None:
                reason = f"closed: not needed for {supply.linger_s:g} s; {reason}"
            mode = Mode.COLD
    return CameraPlan(mode, 0.0, (), reason, _since(supply.camera, mode, previous, now_s))


def _since(camera: str, mode: Mode, previous: Plan, now_s: float) -> float:
    before = previous.cameras.get(camera)
    return before.since_s if before is not None and before.mode is mode else now_s


def _is_opening(supply: Supply, wanted_s: float) -> bool:
    """Tell whether a camera is on its way: its first attempt to open it is under way, or about to begin."""
    fresh = supply.state is CameraState.CLOSED or (supply.state is CameraState.CONNECTING and not supply.tried)
    return fresh and wanted_s < OPENING_S


def _task_plans(
    tasks: Sequence[Demand],
    cameras: Sequence[Supply],
    opening: Collection[str],
    shares: Mapping[int, Share],
    machine: Machine,
) -> dict[str, TaskPlan]:
    states = {supply.camera: "" if supply.camera in opening else _missing(supply) for supply in cameras}
    lost = {camera for camera, words in states.items() if words}
    texts: dict[tuple[str, ...], str] = {}
    for demand in tasks:
        if demand.cameras not in texts:
            gone = lost.intersection(demand.cameras) or not states.keys() >= set(demand.cameras)
            words = [states.get(camera, f"{camera} is not there") for camera in demand.cameras] if gone else []
            texts[demand.cameras] = "; ".join([one for one in words if one])
    return {
        demand.task: _task_plan(demand, shares.get(position), texts[demand.cameras], opening, machine)
        for position, demand in enumerate(tasks)
    }


def _task_plan(
    demand: Demand, share: Share | None, missing: str, opening: Collection[str], machine: Machine
) -> TaskPlan:
    if share is None:
        why = demand.why if not demand.active or demand.blocked is None else demand.blocked
        return TaskPlan(TaskState.INACTIVE, (), 0.0, why, demand.rate_hz)
    if share.rate_hz == 0:
        return TaskPlan(TaskState.INACTIVE, (), 0.0, share.why, demand.rate_hz, suspended=True)
    faults = [words for words in (missing, demand.failing, share.why) if words]
    state = TaskState.DEGRADED if faults else TaskState.ACTIVE
    told = [words for words in (_connecting(demand, opening), _hopeless(demand, machine)) if words]
    reason = "; ".join((faults or [demand.why]) + told)
    return TaskPlan(state, demand.cameras, share.rate_hz, reason, demand.rate_hz)


def _connecting(demand: Demand, opening: Collection[str]) -> str:
    """Say which of a task's cameras are on their way."""
    mine = [camera for camera in demand.cameras if camera in opening] if opening else []
    return f"connecting: {', '.join(mine)}" if mine else ""


def _hopeless(demand: Demand, machine: Machine) -> str:
    """Say that a task's deadline is shorter than its own inference. It runs all the same."""
    load = machine.engines.get(demand.engine)
    if load is None or demand.deadline_ms is None or load.cost.of(1) * 1000 <= demand.deadline_ms:
        return ""
    return f"deadline_ms {demand.deadline_ms:g} is shorter than one inference, {load.cost.of(1) * 1000:.3g} ms"


def _missing(supply: Supply) -> str:
    if supply.state is CameraState.RUNNING:
        return ""
    since = f" since {supply.since}" if supply.since else ""
    return f"{supply.camera} {supply.state.value}{since}" + (f": {supply.reason}" if supply.reason else "")
