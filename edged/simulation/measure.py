"""What this machine's engines cost, measured on an empty picture: for a simulation without a recording."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from edged.assembly import Assembled
from edged.config import Config
from edged.engines.base import Engine
from edged.errors import BackendUnavailable
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.scheduler.costs import fit
from edged.scheduler.demand import CPU
from edged.tasks.base import Parser

ROUNDS = 5
SIZE = (1280, 720)


def measured_status(config: Config, assembled: Assembled) -> dict[str, Any]:
    """Return the part of a daemon's status that `recorded_vehicle` reads. Takes some tenths of a second an engine.

    Raises:
        BackendUnavailable: a task's engine cannot be had here, so nothing can be measured.
    """
    if assembled.blocked:
        lacking = "; ".join(f"{task}: {why}" for task, why in assembled.blocked.items())
        raise BackendUnavailable(f"cannot measure here, record a status where these run and use --load: {lacking}")
    rows, devices = [], {}
    for key, loaded in assembled.engines.items():
        users = [task for task, engine in assembled.task_engine.items() if engine == key]
        engine, parser = loaded.engine, assembled.parsers[users[0]]
        cost = fit([(size, _seconds(engine, parser, size), 1.0) for size in sorted({1, engine.max_batch})])
        rows.append(
            {
                "model": loaded.model,
                "device": engine.device,
                "batch": engine.max_batch,
                "tasks": users,
                "fixed_ms": 1000 * cost.fixed_s,
                "picture_ms": 1000 * cost.picture_s,
            }
        )
        devices[engine.device] = {"parallel": engine.workers if engine.device == CPU else 1, "workers": engine.workers}
    cameras: list[Mapping[str, Any]] = [{"id": name} for name in config.cameras]
    return {"engines": rows, "cameras": cameras, "devices": [{"device": name, **one} for name, one in devices.items()]}


def _seconds(engine: Engine, parser: Parser, pictures: int) -> float:
    """Return the least seconds of an inference with conversion and parsing, of a few after a first one."""
    slot = engine.reserve(5.0)
    if slot is None:
        raise BackendUnavailable("no slot of the engine came free in 5 s")
    try:
        took = []
        for _ in range(ROUNDS + 1):
            begin_s = time.perf_counter()
            fits = [slot.fill(index, _picture()) for index in range(pictures)]
            slot.submit(pictures)
            outputs = slot.complete()
            for index, place in enumerate(fits):
                parser.parse(outputs, index, place)
            took.append(time.perf_counter() - begin_s)
    finally:
        slot.release()
    return min(took[1:])


def _picture() -> Frame:
    width, height = SIZE
    planes = tuple(np.full((height // n, width // n), 128, np.uint8) for n in (1, 2, 2))
    picture = Picture(width, height, PixelFormat.YUV, Color(), planes)
    return Frame("", 0, picture, Capture(0, 0, "arrival"), 0, 0)
