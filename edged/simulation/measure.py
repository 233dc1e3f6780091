"""What this machine's engines cost, measured on an empty picture: for a simulation without a recording."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from statistics import median

import numpy as np

from edged.assembly import Assembled
from edged.config import Config
from edged.engine_room import devices_of
from edged.engines.base import Engine
from edged.errors import BackendUnavailable
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.scheduler.costs import fit
from edged.scheduler.demand import CPU
from edged.simulation.recording import CameraRow, DeviceRow, EngineRow, Recording
from edged.tasks.base import Parsing

ROUNDS = 7
SIZE = (1280, 720)


def measured(config: Config, assembled: Assembled, running: AbstractSet[str]) -> Recording:
    """Return what a daemon would have recorded. Takes some tenths of a second an engine, and closes the engines.

    Args:
        config: the cameras.
        assembled: the engines, which nobody else uses.
        running: the tasks that will run; of the others nothing is measured.

    Raises:
        BackendUnavailable: an engine of a task that runs cannot be had here.
    """
    try:
        lacking = [f"task {task}: {why}" for task, why in assembled.blocked.items() if task in running]
        if lacking:
            raise BackendUnavailable(
                f"the costs cannot be measured here; record `edged status --json` where these tasks run, "
                f"and give it to --load: {'; '.join(lacking)}"
            )
        engines = tuple(_row(key, config, assembled, running) for key in assembled.engines)
        devices = devices_of([assembled.lineup().engines])
    finally:
        for loaded in assembled.engines.values():
            loaded.engine.close()
    return Recording(
        engines=engines,
        cameras=tuple(CameraRow(id=name) for name in config.cameras),
        devices=tuple(DeviceRow(device=name, parallel=one.units, workers=one.workers) for name, one in devices.items()),
    )


def _row(key: str, config: Config, assembled: Assembled, running: AbstractSet[str]) -> EngineRow:
    loaded = assembled.engines[key]
    engine = loaded.engine
    users = tuple(task for task, used in assembled.task_engine.items() if used == key)
    row = EngineRow(model=loaded.model, device=engine.device, batch=engine.max_batch, tasks=users)
    if running.isdisjoint(users):
        return row
    parser = assembled.parsers[users[0]]
    view = config.view(config.tasks[users[0]].cameras[0])  # it takes longer to read than a whole picture
    picture = _frame(_picture() if view is None else _picture().through(view))
    cost = fit([(size, _seconds(engine, parser, picture, size), 1.0) for size in sorted({1, engine.max_batch})])
    return row.model_copy(update={"fixed_ms": 1000 * cost.fixed_s, "picture_ms": 1000 * cost.picture_s})


def _seconds(engine: Engine, parser: Parsing, picture: Frame, pictures: int) -> float:
    """Return what an inference with conversion and parsing takes of its device: CPU time on the CPU."""
    clock = time.thread_time if engine.device == CPU else time.perf_counter
    slot = engine.reserve(5.0)
    if slot is None:
        raise BackendUnavailable("no slot of the engine came free in 5 s")
    try:
        took = []
        for _ in range(ROUNDS + 1):
            begin_s = clock()
            fits = [slot.fill(index, picture) for index in range(pictures)]
            slot.submit(pictures)
            outputs = slot.complete()
            for index, place in enumerate(fits):
                parser.parse(outputs, index, place)
            took.append(clock() - begin_s)
    finally:
        slot.release()
    return median(took[1:])


def _picture() -> Picture:
    width, height = SIZE
    planes = tuple(np.full((height // n, width // n), 128, np.uint8) for n in (1, 2, 2))
    return Picture(width, height, PixelFormat.YUV, Color(), planes)


def _frame(picture: Picture) -> Frame:
    return Frame("", 0, picture, Capture(0, 0, "arrival"), 0, 0)
