"""Which engines a configuration's tasks want built, and by whom."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edged.errors import BackendUnavailable, UsageError

if TYPE_CHECKING:
    from edged.config import Config
    from edged.engines.base import EngineRequest
    from edged.engines.store import EngineKey

BUILDERS = {"tensorrt": "edged.engines.build.trt", "onnxruntime": "edged.engines.build.int8"}
NO_BUILD = "needs no build"


@dataclass(frozen=True)
class Wanted:
    """A task, its engine as wanted, and the other tasks that share it."""

    task: str
    request: EngineRequest
    key: EngineKey
    sharers: tuple[str, ...]


def request_of(config: Config, task: str) -> EngineRequest:
    """Return what a task asks of an engine."""
    from edged.assembly import engine_request
    from edged.tasks import PARSERS

    return engine_request(config, config.tasks[task], PARSERS.load(config.tasks[task].model.parser))


def builder_of(backend: str) -> Any:
    """Return the module that builds for a back end."""
    return importlib.import_module(BUILDERS[backend])


def wanted_engines(config: Config, task: str, only: str | None = None) -> tuple[list[Wanted], list[str]]:
    """Return the engines that are to be built for a task, in the order of its back ends, and why others cannot be.

    Args:
        config: the configuration.
        task: the task's name.
        only: the one back end to look at; all of the task's when absent.
    """
    wanted, missing = [], []
    for backend in config.tasks[task].engine.backend:
        if backend not in BUILDERS or only not in (None, backend) or not _needs_build(config, task, backend):
            continue
        key_of = builder_of(backend).wanted_key
        request = request_of(config, task)
        try:
            key = key_of(request)
        except BackendUnavailable as exc:
            missing.append(str(exc))
            continue
        others = [name for name in config.tasks if _needs_build(config, name, backend)]
        sharers = [name for name in others if _same(request, request_of(config, name), key, key_of)]
        wanted.append(Wanted(task, request, key, tuple(sharers)))
    return wanted, missing


def _same(request: EngineRequest, other: EngineRequest, key: EngineKey, key_of: Callable[..., EngineKey]) -> bool:
    try:
        return request == other or key_of(other) == key
    except BackendUnavailable:
        return False


def _needs_build(config: Config, task: str, backend: str) -> bool:
    engine = config.tasks[task].engine
    if backend not in engine.backend:
        return False
    if backend == "onnxruntime":
        return engine.precision == "int8" and engine.device in ("auto", "cpu")
    return engine.device != "cpu"


def must_want(config: Config, task: str, backend: str | None) -> Wanted:
    """Return the first engine that is to be built for a task."""
    wanted, missing = wanted_engines(config, task, backend)
    if wanted:
        return wanted[0]
    if missing:
        raise BackendUnavailable(f"task {task}: {'; '.join(missing)}")
    engine = config.tasks[task].engine
    raise UsageError(f"task {task}: {engine.precision} on {', '.join(engine.backend)} {NO_BUILD}")


def needs_none(config: Config, task: str) -> bool:
    """Say whether one of a task's back ends runs the model as it is."""
    engine = config.tasks[task].engine
    return "onnxruntime" in engine.backend and engine.precision == "fp32" and engine.device in ("auto", "cpu")
