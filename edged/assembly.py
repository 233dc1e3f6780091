"""From a configuration to things that run: engines, parsers, camera openers. Shared by `run` and `check`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from edged.camera import beyond, check_backend
from edged.config import Config, ControlConfig, PublishConfig, Secrets, TaskConfig, config_error
from edged.config.faults import Fault
from edged.engines import ARRANGERS, ENGINES
from edged.engines.arranging import Arranged, Want
from edged.engines.base import Engine, EngineError, EngineFacts, EngineRequest
from edged.engines.onnx_files import model_files
from edged.engines.store import EngineMissing
from edged.engines.worker import LoadedEngine
from edged.errors import BackendUnavailable, ConfigError, UsageError
from edged.geometry import Fit, fit_frame
from edged.publish.curve import Guarded, guard_fault
from edged.rundir import check_ipc_path
from edged.tasks import PARSERS
from edged.tasks.base import Parser, ParserSettings, Parsing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """What an engine was loaded from: equal origins give equal engines. `files` are (name, inode, size, mtime)."""

    backend: str
    request: EngineRequest
    files: tuple[tuple[str, int, int, int], ...]

    def digest(self) -> str:
        """Return eight hexadecimal digits that are the same in every process."""
        said = (self.backend, replace(self.request, urgency=0.0), self.files)
        return hashlib.sha256(repr(said).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Lineup:
    """What serves which task, as values.

    `task_engine` has a row for each task that can run; `blocked` says why the others cannot; `chosen` has a line for
    each task: what serves it, and why what stood before that in its list does not.
    """

    engines: Mapping[str, EngineFacts] = field(default_factory=dict)
    task_engine: Mapping[str, str] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Assembled:
    """The networks of a configuration, loaded, and a parser for each task that can run; the rest is as in `Lineup`."""

    engines: Mapping[str, LoadedEngine] = field(default_factory=dict)
    task_engine: Mapping[str, str] = field(default_factory=dict)
    parsers: Mapping[str, Parsing] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[Origin, str] = field(default_factory=dict)

    def lineup(self) -> Lineup:
        """Return what serves which task."""
        facts = {key: loaded.facts() for key, loaded in self.engines.items()}
        return Lineup(facts, self.task_engine, self.blocked, self.chosen)


Arrangements = Mapping[tuple[str, EngineRequest], Arranged]
"""Where a back end serves a request."""

NOTHING = Assembled()


class _Assembly:
    def __init__(self, config: Config, running: Assembled) -> None:
        self.config = config
        self.running = running
        self.engines: dict[Origin, tuple[str, LoadedEngine]] = {}
        self.refused: dict[Origin, BackendUnavailable] = {}
        self.arranged = arrangements(config)
        self.files = cache(_files)  # many tasks share a model, and finding out what it is made of reads it
        self.built: list[tuple[str, str, ParserSettings, Parsing]] = []
        self.task_engine: dict[str, str] = {}
        self.parsers: dict[str, Parsing] = {}
        self.blocked: dict[str, str] = {}
        self.chosen: dict[str, str] = {}
        self.faults: list[Fault] = []

    def add(self, name: str, task: TaskConfig) -> None:
        """Load one task's engine and build its parser; note a fault with its line."""
        try:
            parser_class = PARSERS.load(task.model.parser)
        except (ConfigError, BackendUnavailable) as exc:
            self.faults.append(self.config.fault("task", name, "model.parser", str(exc)))
            return
        request = engine_request(self.config, task, parser_class)
        missing: list[str] = []
        for backend in task.engine.backend:
            try:
                ENGINES.check(backend)
            except ConfigError as exc:
                self.faults.append(self.config.fault("task", name, "engine.backend", str(exc)))
                return
        for backend, device, why in self._places(task, request):
            if device is None:
                missing.append(why)
                continue
            before = f"{device}: " if device.startswith("dla") else ""
            try:
                key, loaded = self._engine(backend, replace(request, device=device))
            except BackendUnavailable as exc:
                missing.append(f"{before}{self._with_next(exc, request)}")
                continue
            except ConfigError as exc:
                self.faults.append(self.config.fault("task", name, "model.onnx", str(exc)))
                return
            if unfit := loaded.engine.unfit(name, task.engine.max_accuracy_drop):
                missing.append(f"{before}{unfit}")
                continue
            self._bind(name, task, key, loaded, parser_class)
            engine = loaded.engine
            kept = engine.fixed_batch and engine.max_batch != task.engine.batch
            own = f"batch {engine.max_batch} is the model's own" if kept else ""
            reasons = "; ".join([*missing, *filter(None, (why, own))])
            self.chosen[name] = f"{engine.backend} on {engine.device}, {engine.precision}" + (
                f" ({reasons})" if reasons else ""
            )
            return
        self.blocked[name] = "; ".join(missing)
        self.chosen[name] = f"none: {self.blocked[name]}"

    def _places(self, task: TaskConfig, request: EngineRequest) -> Iterator[tuple[str, str | None, str]]:
        """Yield the back ends and devices to try in this order, with what is to be said of them; no device: why not."""
        for backend in task.engine.backend:
            arranged = self.arranged.get((backend, request), Arranged((request.device,), ""))
            first, *others = arranged.devices or (None,)
            yield backend, first, arranged.reason
            for device in others:
                yield backend, device, f"in place of {first}"

    def _engine(self, backend: str, request: EngineRequest) -> tuple[str, LoadedEngine]:
        origin = Origin(backend, request, self.files(request.onnx, request.store))
        if origin in self.refused:
            raise self.refused[origin]
        if origin not in self.engines:
            self.engines[origin] = self._running(origin) or self._load(origin)
        return self.engines[origin]

    def _with_next(self, missing: BackendUnavailable, request: EngineRequest) -> BackendUnavailable:
        """Return why there is no engine, with the command that is next."""
        if not isinstance(missing, EngineMissing) or request.precision != "int8" or request.store is None:
            return missing
        from edged.engines.build.record import next_of

        return next_of(missing, request.store, self._sharers(request))

    def _sharers(self, request: EngineRequest) -> list[str]:
        """Return the tasks whose frames serve the same engine, whatever their batch."""
        found = []
        for name, task in self.config.tasks.items():
            with suppress(ConfigError, BackendUnavailable):
                other = engine_request(self.config, task, PARSERS.load(task.model.parser))
                if replace(other, batch=request.batch) == request:
                    found.append(name)
        return found

    def _running(self, origin: Origin) -> tuple[str, LoadedEngine] | None:
        key = self.running.origins.get(origin)
        return None if key is None else (key, self.running.engines[key])

    def _load(self, origin: Origin) -> tuple[str, LoadedEngine]:
        try:
            engine: Engine = ENGINES.load(origin.backend)(origin.request)
        except BackendUnavailable as exc:
            self.refused[origin] = exc
            raise
        except EngineError as exc:
            if not origin.request.device.startswith("dla"):
                raise
            self.refused[origin] = BackendUnavailable(str(exc))  # a core that fails at start need not end the daemon
            raise self.refused[origin] from exc
        key = f"{origin.request.onnx.stem}/{origin.backend}/{engine.device}/{engine.precision}/{origin.digest()}"
        return key, LoadedEngine(engine, origin.request.onnx.name)

    def let_go(self, used: Container[str] = ()) -> None:
        """Let go of the engines that are not used, and free those of them that are new."""
        for origin, (key, loaded) in list(self.engines.items()):
            if key not in used:
                del self.engines[origin]
                if key not in self.running.engines:
                    loaded.engine.close()

    def prime_new(self) -> None:
        """Let the new engines know what will be read of their outputs."""
        for origin, (key, loaded) in self.engines.items():
            if key not in self.running.engines:
                height, width = loaded.engine.model.inputs[0].shape[2:]
                size = (width or 1, height or 1)
                fit = fit_frame(size, size, origin.request.input.fit)
                parsers = [parser for built, _, _, parser in self.built if built == key]
                loaded.engine.prime([partial(_read, parser, fit) for parser in parsers])

    def _bind(self, name: str, task: TaskConfig, key: str, loaded: LoadedEngine, parser_class: type[Parser]) -> None:
        model = task.model
        settings = ParserSettings(model.labels, model.keep, model.score_min, model.iou_max, dict(model.options))
        same = [row[3] for row in self.built if row[:3] == (key, model.parser, settings)]
        if same:
            parser: Parsing = same[0]  # equal settings: one parser, so that a frame is parsed once
        else:
            try:
                parser = parser_class(loaded.engine.model, settings)
            except ConfigError as exc:
                self.faults.append(self.config.fault("task", name, "model", str(exc)))
                return
            self.built.append((key, model.parser, settings, parser))
        self.task_engine[name] = key
        self.parsers[name] = parser


def _read(parser: Parsing, fit: Fit, outputs: Mapping[str, NDArray[np.generic]]) -> None:
    parser.parse(outputs, 0, fit)


def arrangements(config: Config) -> Arrangements:
    """Return where each engine of a back end that has several places is to run. Faults are found when it is loaded."""
    found: dict[tuple[str, EngineRequest], Arranged] = {}
    for backend in ARRANGERS.names():
        wants = _wants(config, backend)
        with suppress(BackendUnavailable, ConfigError):
            if wants:
                arranged = ARRANGERS.load(backend)().arrange(wants)
                found |= {(backend, request): one for request, one in arranged.items()}
    return found


def _wants(config: Config, backend: str) -> list[Want]:
    """Return the engines that tasks want of a back end. A frame that two tasks want of one engine is inferred once."""
    wants: dict[EngineRequest, Want] = {}
    for task in config.tasks.values():
        if backend not in task.engine.backend or task.engine.device == "cpu":
            continue
        with suppress(ConfigError, BackendUnavailable):
            request = engine_request(config, task, PARSERS.load(task.model.parser))
            want = wants.get(request, Want(request, task.priority, {}))
            rates = {camera: max(task.rate_hz, want.rates_hz.get(camera, 0.0)) for camera in task.cameras}
            wants[request] = Want(request, max(task.priority, want.priority), {**want.rates_hz, **rates})
    return list(wants.values())


def _files(onnx: Path, store: Path | None) -> tuple[tuple[str, int, int, int], ...]:
    """Return the identity of the model's files and of what the store holds for it: a rebuilt engine is another one."""
    paths = [*model_files(onnx)]
    if store is not None:
        with suppress(OSError):
            paths += sorted(path for path in store.iterdir() if path.name.startswith(f"{onnx.stem}."))
    found = []
    for path in paths:
        with suppress(OSError):
            about = path.stat()
            found.append((path.name, about.st_ino, about.st_size, about.st_mtime_ns))
    return tuple(found)


def assemble(config: Config, running: Assembled = NOTHING, tasks: Container[str] | None = None) -> Assembled:
    """Load every task's engine and build its parser; with `tasks`, those of these tasks only.

    One model that several tasks use in the same way is loaded once. A task's back ends are tried in its own order;
    where none is usable the task is blocked, which is no fault of the configuration. Engines of `running` whose
    origin is unchanged are taken over as they are.

    Raises:
        ConfigError: models, parsers or labels that do not fit each other, all of them, by file and line.
    """
    assembly = _Assembly(config, running)
    try:
        return _assembled(assembly, config, config.tasks if tasks is None else tasks)
    except BaseException:
        assembly.let_go()
        raise


def _assembled(assembly: _Assembly, config: Config, tasks: Container[str]) -> Assembled:
    for name, camera in config.cameras.items():
        for backend in camera.backend:
            try:
                check_backend(backend, camera.source.scheme)
            except ConfigError as exc:
                assembly.faults.append(config.fault("camera", name, "backend", str(exc)))
        unknown = [beyond(backend, camera) for backend in camera.backend]
        if unknown and all(unknown):
            text = "; ".join(f"{one} knows no {keys}" for one, keys in zip(camera.backend, unknown, strict=True))
            assembly.faults.append(config.fault("camera", name, "backend", text))
    for name, task in config.tasks.items():
        if name in tasks:
            assembly.add(name, task)
    if assembly.faults:
        raise config_error(assembly.faults)
    assembly.let_go(assembly.task_engine.values())
    assembly.prime_new()
    engines = dict(assembly.engines.values())
    origins = {origin: key for origin, (key, _) in assembly.engines.items()}
    return Assembled(engines, assembly.task_engine, assembly.parsers, assembly.blocked, assembly.chosen, origins)


def checked_guards(config: Config, secrets: Secrets) -> dict[str, Guarded]:
    """Return the endpoints behind CURVE, by `publish` and `control`, of those for which keys are configured.

    Raises:
        ConfigError: credentials are missing, or a CURVE key or folder, or the path of any endpoint, cannot be used;
            each with file and line.
    """
    if missing := config.missing_credentials(secrets):
        raise config_error(missing)
    sockets = {"publish": config.edged.publish, "control": config.edged.control}
    found = {
        name: Guarded(one.endpoints, secrets.expand(one.curve.server_secret), one.curve.allowed_clients)
        for name, one in sockets.items()
        if one.curve is not None
    }
    faults = [(f"{name}.curve.{fault[0]}", fault[1]) for name, one in found.items() if (fault := guard_fault(one))]
    for name, socket in sockets.items():
        for endpoint in socket.endpoints:
            try:
                check_ipc_path(endpoint)
            except UsageError as exc:
                faults.append((f"{name}.endpoints", str(exc)))
    if faults:
        raise config_error([config.fault("edged", "", key, text) for key, text in faults])
    return found


def plain_endpoints(own: str, config: PublishConfig | ControlConfig) -> list[str]:
    """Return the endpoints of one socket that are not behind CURVE."""
    check_ipc_path(own)  # the configuration's own are checked by `checked_guards`, with file and line
    return [own, *config.endpoints] if config.curve is None else [own]


def engine_request(config: Config, task: TaskConfig, parser: type[Parser]) -> EngineRequest:
    """Return what a task asks of an engine; its pictures are made as its parser expects them unless it says how."""
    return EngineRequest(
        onnx=task.model.onnx,
        input=task.model.input.over(parser.input),
        precision=task.engine.precision,
        device=task.engine.device,
        batch=task.engine.batch,
        store=config.edged.engines.store,
        gpu_fallback=task.engine.gpu_fallback,
        plugins=task.engine.plugins,
        urgency=_urgency(config, task),
    )


def _urgency(config: Config, task: TaskConfig) -> float:
    """Return the place, in 0..1, of the highest priority that a task's engine serves, among those of all tasks."""
    ranks = sorted({other.priority for other in config.tasks.values()})
    same = (other.priority for other in config.tasks.values()
            if (other.model.onnx, other.engine) == (task.model.onnx, task.engine))  # fmt: skip
    return ranks.index(max(same)) / max(1, len(ranks) - 1)
