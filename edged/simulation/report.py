"""What a simulation gave, as plain values."""

from __future__ import annotations

from typing import Any

from edged.plan import Plan
from edged.simulation.simulation import Outcome
from edged.simulation.vehicle import Vehicle

LOSSES = ("rate", "superseded", "late", "stopped", "unsynced")


def report(vehicle: Vehicle, outcome: Outcome) -> dict[str, Any]:
    """Return tasks, cameras and devices: by the last plan, and by what was counted.

    A task's `rate_hz` is results in time per camera and second; `in_time` is their share of the frames that its granted
    rate let through, None where there was none; ages are from capture to result. Its frames are those that its cameras
    decoded while it ran: `offered` = `served` + all losses + `waiting`. A camera's `overrun` are frames that the CPU
    could not decode, 0 for a view, which it does not decode; a device's `busy` is in seconds of work per second.
    """
    plan = outcome.plans[-1][1] if outcome.plans else Plan()
    return {
        "seconds": outcome.seconds,
        "tasks": [_task(task.task, len(task.cameras), plan, outcome) for task in vehicle.tasks],
        "cameras": [
            {
                "id": name,
                "mode": one.mode.value,
                "rate_hz": one.rate_hz,
                "overrun": outcome.overrun.get(name, 0),
                "reason": one.reason,
            }
            for name, one in plan.cameras.items()
        ],
        "devices": [
            {
                "device": name,
                "capacity": share.capacity,
                "planned": share.planned,
                "wanted": share.wanted,
                "busy": outcome.busy_s[name] / outcome.seconds,
                "parallel": vehicle.devices[name].units,
            }
            for name, share in plan.devices.items()
        ],
    }


def _task(name: str, cameras: int, plan: Plan, outcome: Outcome) -> dict[str, Any]:
    counts = [count for (task, _), count in outcome.counts.items() if task == name]
    losses = {loss: sum(getattr(count, loss) for count in counts) for loss in LOSSES}
    offered, served = sum(count.offered for count in counts), sum(count.served for count in counts)
    due = served + losses["superseded"] + losses["late"]
    ages = sorted(outcome.ages_ms.get(name, []))
    planned = plan.tasks[name]
    return {
        "task": name,
        "state": planned.state.value,
        "rate_hz": served / outcome.seconds / cameras,
        "granted_hz": planned.rate_hz,
        "wanted_hz": planned.wanted_hz,
        "in_time": served / due if due else None,
        "age_p50_ms": _at(ages, 0.5),
        "age_p99_ms": _at(ages, 0.99),
        "offered": offered,
        "served": served,
        "waiting": offered - served - sum(losses.values()),
        "losses": losses,
        "reason": planned.reason,
    }


def _at(ages: list[float], share: float) -> float | None:
    return ages[min(len(ages) - 1, int(len(ages) * share))] if ages else None
