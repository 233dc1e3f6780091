"""What a task would get if it were activated now, with the numbers in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edged.plan import DeviceShare, Plan
from edged.scheduler.clusters import group_cameras
from edged.scheduler.demand import Demand, Machine, Supply
from edged.scheduler.shares import Share, Shares

LIMITLESS = 1e6


@dataclass(frozen=True)
class Admission:
    """What one task would get. `breaks` says which deadline of higher priority it would break, None without one."""

    granted_hz: float
    wanted_hz: float
    numbers: str
    breaks: str | None = None


def admit_all(
    demands: Iterable[Demand],
    supplies: Iterable[Supply],
    machine: Machine,
    previous: Plan,
    tasks: Iterable[str],
) -> dict[str, Admission]:
    """Return what each of some tasks would get if all of them were activated now; arguments as of `admit`.

    Each is asked about with those of higher priority active, and of equal priority with those named before it.
    """
    wishes, cameras = {demand.task: demand for demand in demands}, tuple(supplies)
    found: dict[str, Admission] = {}
    for task in sorted(tasks, key=lambda name: -wishes[name].priority):
        found[task] = admit(wishes.values(), cameras, machine, previous, task)
        wishes[task] = replace(wishes[task], active=True)
    return found


def admit(
    demands: Iterable[Demand],
    supplies: Iterable[Supply],
    machine: Machine,
    previous: Plan,
    task: str,
) -> Admission:
    """Plan with one task active. The numbers leave out lower priorities: they would give way to it.

    Args:
        demands: all tasks as they are, the one in question among them, whether active or not.
        supplies: all cameras.
        machine: costs and limits.
        previous: the plan that is in force.
        task: the task in question.

    Raises:
        KeyError: no demand is that task's.
    """
    by_name = {demand.task: demand for demand in demands}
    wish = replace(by_name[task], active=True)
    if wish.blocked is not None:
        return Admission(0.0, wish.rate_hz, wish.blocked)
    rivals = [one for one in by_name.values() if one.task != task and one.priority >= wish.priority]
    cameras = sorted(supplies, key=lambda supply: supply.camera)
    share, _ = _shares([*rivals, wish], cameras, machine, previous, task)
    if share.breaks:
        return Admission(0.0, wish.rate_hz, f"gets 0 of {wish.rate_hz:g} Hz: {share.why}", share.why)
    limitless = replace(machine, capacity=dict.fromkeys(machine.capacity, LIMITLESS))
    _, left = _shares(rivals, cameras, machine, previous, task)
    _, without = _shares(rivals, cameras, limitless, previous, task)
    _, with_it = _shares([*rivals, wish], cameras, limitless, previous, task)
    wants = {device: round(with_it[device].wanted - without[device].wanted, 3) for device in with_it}
    numbers = [
        f"{device} has {max(0.0, left[device].capacity - left[device].planned):.2f} of {left[device].capacity:.2f} s/s "
        f"left, it wants {seconds:.2f}"
        for device, seconds in wants.items()
        if seconds > 0
    ]
    load = machine.engines.get(wish.engine)
    if load is None or load.cost.of(1) <= 0:
        numbers.append("its inference is not measured yet")
    numbers += _waits(wish, rivals, machine)
    words = f"gets {share.rate_hz:g} of {wish.rate_hz:g} Hz: {'; '.join(numbers) or 'nothing limits it'}"
    return Admission(share.rate_hz, wish.rate_hz, words)


def _shares(
    demands: Iterable[Demand], cameras: Sequence[Supply], machine: Machine, previous: Plan, task: str
) -> tuple[Share, dict[str, DeviceShare]]:
    tasks = sorted(demands, key=lambda demand: demand.task)
    shares = Shares(tasks, group_cameras(tasks, cameras, machine.decode_s), machine, previous)
    own = [shares.of[position] for position, demand in enumerate(tasks) if demand.task == task]
    return (own[0] if own else Share(0.0)), shares.devices


def _waits(wish: Demand, rivals: Iterable[Demand], machine: Machine) -> list[str]:
    """Name the tasks of higher priority for which a worker must be kept free, because they cannot wait for this one."""
    load = machine.engines.get(wish.engine)
    workers = machine.workers.get(load.device, 0) if load else 0
    if load is None or workers < 2:
        return []
    told = []
    for other in sorted(rivals, key=lambda demand: demand.task):
        theirs = machine.engines.get(other.engine)
        if theirs is None or other.deadline_ms is None or other.engine == wish.engine or not other.active:
            continue
        alone, after = theirs.cost.of(1) * 1000, (theirs.cost.of(1) + load.cost.of(1)) * 1000
        if other.priority > wish.priority and theirs.device == load.device and alone <= other.deadline_ms < after:
            told.append(f"one of {workers} workers of {load.device} stays free of it for {other.task}")
    return told
