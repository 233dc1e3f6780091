"""The threads that serve a configuration: workers for each device's engines, one for each camera."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from edged.assembly import Assembled, source_opener
from edged.camera.counter import FrameCounter
from edged.camera.worker import CameraWorker, Sink, Traits
from edged.config import Config, Secrets
from edged.engines.worker import EngineHolder, EngineTable, EngineWorker
from edged.results import Result
from edged.scheduler.budget import Budget, Device, Place
from edged.scheduler.demand import CPU
from edged.scheduler.dispatch import Dispatcher, EngineLimits


def table_of(assembled: Assembled) -> EngineTable:
    """Return what the workers serve batches with."""
    parsers = {(task, assembled.task_engine[task]): parser.parse for task, parser in assembled.parsers.items()}
    return EngineTable(assembled.engines, parsers)


def together(one: EngineTable, other: EngineTable) -> EngineTable:
    """Return the engines and parsers of both, for the while in which batches of both are served."""
    return EngineTable({**one.engines, **other.engines}, {**one.parsers, **other.parsers})


def limits_of(table: EngineTable) -> dict[str, EngineLimits]:
    """Return what the dispatcher must know of each engine."""
    return {
        key: EngineLimits(loaded.engine.max_batch, loaded.engine.workers, loaded.engine.device)
        for key, loaded in table.engines.items()
    }


def places_of(table: EngineTable) -> dict[str, Place]:
    """Return what the budget must know of each engine."""
    return {key: Place(loaded.engine.device, loaded.engine.max_batch) for key, loaded in table.engines.items()}


def devices_of(table: EngineTable) -> dict[str, Device]:
    """Return the devices that there is work for; the CPU is always one, for it decodes."""
    workers: dict[str, int] = {CPU: 0}
    for loaded in table.engines.values():
        device = loaded.engine.device
        workers[device] = max(workers.get(device, 0), loaded.engine.workers)
    cores = len(os.sched_getaffinity(0))
    return {name: Device(cores if name == CPU else 1.0, count) for name, count in workers.items()}


def engine_workers(
    devices: Mapping[str, Device],
    running: Mapping[str, int],
    dispatcher: Dispatcher,
    holder: EngineHolder,
    emit: Callable[[Result, bool], None],
    budget: Budget,
) -> Iterator[EngineWorker]:
    """Yield the workers that the devices need beyond those that are running."""
    for device, about in devices.items():
        for number in range(running.get(device, 0), about.workers):
            yield EngineWorker(f"engine:{device}:{number}", dispatcher, holder, emit, budget.measured, device)


def camera_worker(name: str, config: Config, secrets: Secrets, sink: Sink, counter: FrameCounter) -> CameraWorker:
    """Return the worker of one camera, closed until a plan wakes it."""
    camera, edged = config.cameras[name], config.edged
    backend, opener = source_opener(name, camera, secrets)
    traits = Traits(
        camera=name,
        loop=camera.loop,
        fast=camera.pace == "fast",
        stall_timeout_s=camera.stall_timeout_s,
        picture_max_px=int(edged.limits.picture_mpx * 1e6),
        patience_s=camera.open_timeout_s + camera.stall_timeout_s,
        warm_max_s=edged.scheduler.warm_max_s,
        warm_max_bytes=int(edged.scheduler.warm_max_mb * 1e6),
    )
    return CameraWorker(traits, backend, opener, sink, counter)
