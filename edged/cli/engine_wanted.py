"""Which engines a configuration's tasks want built, and by whom."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edged.errors import BackendUnavailable, ConfigError, UsageError

if TYPE_CHECKING:
    from edged.config import Config
    from edged.engines.arranging import Target
    from edged.engines.base import EngineRequest
    from edged.engines.store import EngineKey

BUILDERS = {"tensorrt": "edged.engines.build.trt", "onnxruntime": "edged.engines.build.int8"}
NO_BUILD = "needs no build"


@dataclass(frozen=True)
class Wanted:
    """A task, one engine that is to be built for it, and the tasks that share that engine."""

    task: str
    target: Target
    sharers: tuple[str, ...]

    @property
    def request(self) -> EngineRequest:
        """Return what is asked of the engine, its device and batch pinned."""
        return self.target.request

    @property
    def key(self) -> EngineKey:
        """Return its key in the store."""
        return self.target.key

    def __str__(self) -> str:
        batch = f", batch {self.request.batch}" if self.target.place.startswith("dla") else ""
        return f"{self.key} on {self.target.place}{batch}"


def request_of(config: Config, task: str) -> EngineRequest:
    """Return what a task asks of an engine."""
    from edged.assembly import engine_request
    from edged.config import config_error
    from edged.tasks import PARSERS

    try:
        parser = PARSERS.load(config.tasks[task].model.parser)
    except ConfigError as exc:
        raise config_error([config.fault("task", task, "model.parser", str(exc))]) from exc
    return engine_request(config, config.tasks[task], parser)


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
        targets_of = builder_of(backend).targets
        request = request_of(config, task)
        try:
            targets = targets_of(request)
        except BackendUnavailable as exc:
            missing.append(str(exc))
            continue
        others = [name for name in config.tasks if _needs_build(config, name, backend)]
        keys = {name: _keys(request, request_of(config, name), targets, targets_of) for name in others}
        wanted += [Wanted(task, one, tuple(name for name in others if one.key in keys[name])) for one in targets]
    return wanted, missing


def _keys(
    request: EngineRequest, other: EngineRequest, targets: Sequence[Target], targets_of: Callable[..., Sequence[Target]]
) -> list[EngineKey]:
    """Return the keys of the engines that another task wants."""
    try:
        return [one.key for one in (targets if request == other else targets_of(other))]
    except BackendUnavailable:
        return []


def _needs_build(config: Config, task: str, backend: str) -> bool:
    engine = config.tasks[task].engine
    if backend not in engine.backend:
        return False
    if backend == "onnxruntime":
        return engine.precision == "int8" and engine.device in ("auto", "cpu")
    return engine.device != "cpu"


def must_want(config: Config, task: str, backend: str | None, place: str | None = None, name: str = "") -> Wanted:
    """Return the first engine that is to be built for a task: at a place, or of a name, where these are given."""
    wanted, missing = wanted_engines(config, task, backend)
    fits = [one for one in wanted if place in (None, one.target.place) and name in ("", one.key.name)]
    if fits:
        return fits[0]
    if wanted:
        places = ", ".join(dict.fromkeys(one.target.place for one in wanted))
        raise UsageError(f"task {task} wants no engine on {place or name}; it wants some on {places}")
    if missing:
        raise BackendUnavailable(f"task {task}: {'; '.join(missing)}")
    engine = config.tasks[task].engine
    raise UsageError(f"task {task}: {engine.precision} on {', '.join(engine.backend)} {NO_BUILD}")


def needs_none(config: Config, task: str) -> bool:
    """Say whether one of a task's back ends runs the model as it is."""
    engine = config.tasks[task].engine
    return "onnxruntime" in engine.backend and engine.precision == "fp32" and engine.device in ("auto", "cpu")
