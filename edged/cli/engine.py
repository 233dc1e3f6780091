"""`edged engine list|calibrate|build|inspect|verify`: the engine store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged.cli.engine_output import print_engines, print_figures, print_manifest, print_record, speedup
from edged.cli.engine_wanted import NO_BUILD, Wanted, builder_of, must_want, needs_none, request_of, wanted_engines
from edged.cli.output import print_json
from edged.errors import BackendUnavailable, CameraError, ConfigError, EdgedError, UsageError, did_you_mean, foreign

if TYPE_CHECKING:
    from edged.assembly import Arrangements
    from edged.config import Config
    from edged.engines.build.collect import Reader
    from edged.engines.build.compare import TaskCheck
    from edged.engines.build.gather import Pick
    from edged.engines.build.record import Record
    from edged.engines.store import EngineMissing, Manifest, Store
    from edged.engines.worker import Parse
    from edged.frame import Frame
    from edged.results import Found

FRAMES = 512
CANDIDATES, CANDIDATES_MAX = 8, 4096  # looked at for each frame wanted, and in all; always twice what is wanted
SECONDS_LIVE = 30.0
FASTER_MIN = 1.1  # an int8 engine that gains less is not worth its losses


def add(commands: Any) -> None:
    """Add the command group."""
    group = commands.add_parser("engine", help="the engine store: list, calibrate, build, inspect, verify")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = actions.add_parser(name, help=text)
        command.add_argument("--json", action="store_true", help="one JSON document")
        command.set_defaults(run=run)
        return command

    action("list", "every task's engine: what it wants, whether that is built and fits, else why not", list_engines)
    command = action("calibrate", "collect frames for a task's int8 engine", calibrate)
    command.add_argument("task", metavar="TASK")
    command.add_argument(
        "--frames", type=int, default=FRAMES, metavar="N", help="pictures in all (default: %(default)s)"
    )
    command.add_argument("--seconds", type=float, metavar="S", help="of a recording the first S (default: all); of a "
                         f"live camera S in all (default: {SECONDS_LIVE:g})")  # fmt: skip
    command.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help="pictures instead of cameras")
    command.add_argument("--verify-from", type=Path, metavar="FOLDER", help="pictures to compare on, and no others")
    command = action("build", "build the engines that tasks want and that need building", build)
    command.add_argument("tasks", nargs="*", metavar="NAME")
    command.add_argument(
        "--limit-s", type=float, default=1800.0, metavar="S", help="time for one (default: %(default)g)"
    )
    command.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    command.add_argument("--engine", default="", help=argparse.SUPPRESS)
    command.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    _backend(command)
    for name, text, run in (
        ("inspect", "show a built engine's manifest", inspect),
        ("verify", "compare an engine with fp32 once more", verify),
    ):
        command = action(name, text, run)
        command.add_argument("task", metavar="NAME")
        command.add_argument("--place", metavar="PLACE", help="gpu0, dla0, ...: where it runs (default: the first)")
        _backend(command)


def _backend(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--backend", metavar="NAME", help="one back end of the task's list (default: all, or the first)"
    )


def list_engines(args: argparse.Namespace) -> int:
    """Print one row for each task, and one more for each further engine that it wants built."""
    from edged.assembly import arrangements

    config = _config(args)
    arranged = arrangements(config)
    rows = [row for task in config.tasks for row in _rows(config, task, arranged)]
    if args.json:
        print_json({"store": str(config.edged.engines.store), "engines": rows})
        return 0
    print_engines(rows)
    return 0


def _rows(config: Config, task: str, arranged: Arrangements) -> list[dict[str, Any]]:
    wanted, missing = wanted_engines(config, task)
    if wanted:
        rows = [_row(config, one) for one in wanted]
        for row in rows:
            found = arranged.get((row["backend"][0], request_of(config, task)))
            if found and found.devices[:1] == (row["place"],) and row["state"] == "fits":
                row["chosen"] = len({one["place"] for one in rows if one["backend"] == row["backend"]}) > 1
                row["reason"] = "; ".join(filter(None, (found.reason, row["reason"])))
        return rows
    row = _empty_row(config, task)
    row["reason"] = "; ".join(missing)
    if missing and not needs_none(config, task):
        row["state"] = "unavailable"
    return [row]


def _empty_row(config: Config, task: str) -> dict[str, Any]:
    engine = config.tasks[task].engine
    return {
        "task": task, "model": config.tasks[task].model.onnx.name, "backend": list(engine.backend),
        "precision": engine.precision, "state": NO_BUILD, "reason": "", "engine": None, "drop": None, "by": None,
        "speedup": None, "place": "cpu", "batch": engine.batch, "twin": False, "chosen": False,
    }  # fmt: skip


def _row(config: Config, wanted: Wanted) -> dict[str, Any]:
    from edged.engines.store import EngineMissing, Store

    store = Store(config.edged.engines.store, looking=True)
    row = {**_empty_row(config, wanted.task), "backend": [wanted.key.backend], "engine": wanted.key.name}
    row.update(place=wanted.target.place, batch=wanted.request.batch, twin=wanted.target.twin)
    try:
        manifest = store.manifest(wanted.key)
        figures = manifest.verified.get(wanted.task) or next(iter(manifest.verified.values()), {})
        if figures:
            row.update(drop=figures["drop"], by=figures["by"], speedup=speedup(figures))
        store.find(wanted.key)
        unfit = manifest.unfit(wanted.task, config.tasks[wanted.task].engine.max_accuracy_drop)
        slow = wanted.key.precision == "int8" and (row["speedup"] or FASTER_MIN) < FASTER_MIN
        remarks = (
            _newer_frames(store.root, manifest),
            _not_as_asked(manifest),
            "hardly faster than fp32" if slow else "",
        )
        row.update(state="refused" if unfit else "fits", reason=unfit or next(filter(None, remarks), ""))
    except EngineMissing as exc:
        row.update(state="missing", reason=str(_with_next(exc, store.root, wanted)))
    except BackendUnavailable as exc:
        row.update(state="refused", reason=str(exc))
    return row


def _with_next(missing: EngineMissing, root: Path, wanted: Wanted) -> EngineMissing:
    """Return why an engine is missing, with the command that is next."""
    from edged.engines.build.record import next_of

    return next_of(missing, root, wanted.sharers) if wanted.key.precision == "int8" else missing


def _manifest(store: Store, wanted: Wanted) -> Manifest:
    from edged.engines.store import EngineMissing

    try:
        return store.manifest(wanted.key)
    except EngineMissing as exc:
        raise _with_next(exc, store.root, wanted) from exc


def _not_as_asked(manifest: Manifest) -> str:
    from edged.engines.tensorrt.layers import built_as

    key = manifest.key
    return built_as(key.precision, key.facts.get("device", ""), manifest.about.get("computed_in", {}))[1]


def _newer_frames(root: Path, manifest: Manifest) -> str:
    from edged.engines.build.record import read_record

    for task, digest in manifest.about.get("calibration", {}).get("tasks", {}).items():
        try:
            if read_record(root, task).sha256 != digest:
                return f"task {task} was calibrated again since; run: edged engine build {task}"
        except BackendUnavailable:
            continue
    return ""


def calibrate(args: argparse.Namespace) -> int:
    """Choose the frames that cover most of what a task's cameras or a folder show, and store them."""
    from edged.config import hide_passwords
    from edged.engines.build.collect import from_folder
    from edged.engines.build.gather import FRAMES_MAX, FRAMES_MIN, write_record
    from edged.engines.build.objects import count_objects
    from edged.engines.build.order import seen_by
    from edged.engines.store import Store, writes
    from edged.processes import lower_priority

    config = _logged(args)
    if not FRAMES_MIN <= args.frames <= FRAMES_MAX:
        raise UsageError(f"--frames must be {FRAMES_MIN} to {FRAMES_MAX}, got {args.frames}")
    if args.seconds is not None and not 0 < args.seconds <= 86_400:
        raise UsageError(f"--seconds must be above 0 and at most 86400, got {args.seconds:g}")
    lower_priority()
    request = request_of(config, args.task)
    seen, _ = seen_by(request)
    candidates = max(2 * args.frames, min(CANDIDATES * args.frames, CANDIDATES_MAX))
    if args.folder is not None:
        sources = {"folder": str(args.folder)}
        picks = from_folder(args.folder, candidates)
    else:
        decoders = {name: config.cameras[config.decoder_of(name)] for name in config.tasks[args.task].cameras}
        sources = {name: hide_passwords(str(camera.source)) for name, camera in decoders.items()}
        picks = _from_cameras(config, args, candidates)
    verify_picks = None
    if args.verify_from is not None:
        sources["verify"] = str(args.verify_from)
        verify_picks = from_folder(args.verify_from, candidates, "verify")

    def count(readers: Sequence[Callable[[], Frame]]) -> list[int]:
        _say(f"looking for objects in {len(readers)} candidates")
        return count_objects(request, _check(config, args.task), readers)

    store = Store(config.edged.engines.store)
    with store.writing(), writes(store.root):
        record = write_record(store.root, args.task, seen, sources, picks, args.frames, count, verify_picks)
    then = f"edged engine build {args.task}"
    if needs_none(config, args.task):
        then = "precision: int8 in its engine; as it is, the task needs no build"
    print_record(record, args.frames, then, as_json=args.json)
    return 0


def _from_cameras(config: Config, args: argparse.Namespace, candidates: int) -> Iterator[Pick]:
    from edged.cameras import source_opener
    from edged.config import Secrets, config_error
    from edged.config.sources import FINITE
    from edged.engines.build.collect import from_live, from_recording, shares

    secrets = Secrets.from_environment(args.config)
    if missing := config.missing_credentials(secrets):
        raise config_error(missing)
    cameras = config.tasks[args.task].cameras
    for name, share in zip(cameras, shares(candidates, len(cameras)), strict=True):
        decoder, view = config.decoder_of(name), config.view(name)
        camera = config.cameras[decoder]
        opener = source_opener(decoder, camera, secrets)
        _say(f"camera {name}: up to {share} candidates of {config.where('camera', name)}")
        readers: Callable[[], Reader] = opener
        try:
            if camera.source.scheme in FINITE:
                picks = from_recording(name, readers, share, args.seconds)
            else:
                picks = from_live(name, readers, share, (args.seconds or SECONDS_LIVE) / len(cameras))
            for pick in picks:
                yield pick if view is None else replace(pick, picture=pick.picture.through(view))
        except (CameraError, BackendUnavailable) as exc:
            _say(f"camera {name}: {exc}; going on without it")


def build(args: argparse.Namespace) -> int:
    """Build what is wanted, each engine in a child process; report all, then fail if one did."""
    if args.here:
        return _build_here(args)
    config = _logged(args)
    chosen = _chosen(config, args)
    reports: list[dict[str, Any]] = []
    failed: list[EdgedError] = []
    for wanted in chosen:
        _say(f"building the {wanted} for {', '.join(wanted.sharers)}")
        try:
            manifest = _build_apart(args, wanted)
        except EdgedError as exc:
            if wanted.target.needed:
                failed.append(exc)
            else:
                _say(f"{exc}; the task goes without that place")
            reports.append({"tasks": wanted.sharers, "engine": wanted.key.name, "error": str(exc)})
            continue
        reports.append({"tasks": wanted.sharers, "engine": wanted.key.name, "manifest": manifest})
        if not args.json:
            print_manifest(manifest)
    if args.json:
        print_json({"built": reports})
    elif not chosen:
        print("no task wants an engine that needs building")
    if failed:
        raise type(failed[0])("\n".join(map(str, failed)))
    return 0


def _chosen(config: Config, args: argparse.Namespace) -> list[Wanted]:
    """Return each wanted engine once."""
    every: dict[str, Wanted] = {}
    for name in args.tasks or config.tasks:
        wanted, missing = wanted_engines(config, name, args.backend)
        if args.tasks and not wanted:
            engine = config.tasks[name].engine
            why = "; ".join(missing) or f"{engine.precision} on {', '.join(engine.backend)} {NO_BUILD}"
            if missing and not needs_none(config, name):
                raise BackendUnavailable(f"task {name}: {why}")
            _say(f"task {name}: {why}")
        for one in wanted:
            every.setdefault(one.key.name, one)
    return list(every.values())


def _build_apart(args: argparse.Namespace, wanted: Wanted) -> Mapping[str, Any]:
    from edged.engines.build.child import run_child

    which = ["--backend", wanted.key.backend, "--engine", wanted.key.name, wanted.task]
    command = ["--config", str(args.config), "engine", "build", "--here", *which]
    report: Mapping[str, Any] = run_child(command, str(wanted), args.limit_s)
    return report


def _build_here(args: argparse.Namespace) -> int:
    from edged.engines.build.child import error_report
    from edged.processes import die_with, lower_priority

    if args.parent is not None:
        die_with(args.parent)
    lower_priority()
    try:
        config = _logged(args)
        (task,) = args.tasks
        print_json(_build_one(config, must_want(config, task, args.backend, name=args.engine)).to_json())
    except EdgedError as exc:
        print_json(error_report(exc))
    return 0


def _build_one(config: Config, wanted: Wanted) -> Manifest:
    from edged.engines.build.order import Order
    from edged.engines.store import Store

    builder = builder_of(wanted.key.backend)
    builder.check_installed()
    store = Store(config.edged.engines.store)
    checks = tuple(_check(config, task) for task in wanted.sharers)
    with store.writing():
        manifest: Manifest = builder.build(Order(wanted.request, checks, _records(store.root, wanted)), store)
    return manifest


def _records(root: Path, wanted: Wanted) -> tuple[Record, ...]:
    """Return the calibration records of the tasks that share an engine; one is enough, and only int8 needs it."""
    from edged.engines.build.record import read_record

    records, missing = [], []
    for task in wanted.sharers:
        try:
            records.append(read_record(root, task))
        except BackendUnavailable as exc:
            missing.append(exc)
    if not records and wanted.key.precision == "int8":
        raise missing[0]
    return tuple(records)


def inspect(args: argparse.Namespace) -> int:
    """Print the manifest of a task's engine, whether or not its figures are good enough."""
    from edged.engines.store import Store

    config = _config(args)
    wanted = must_want(config, args.task, args.backend, args.place)
    store = Store(config.edged.engines.store, looking=True)
    manifest = _manifest(store, wanted)
    store.file_of(manifest)
    if args.json:
        print_json(manifest.to_json())
    else:
        print_manifest(manifest.to_json())
    return 0


def verify(args: argparse.Namespace) -> int:
    """Compare a task's engine with FP32 on the frames kept for that; the figures go into the manifest."""
    from edged.engines.store import Store

    config = _logged(args)
    wanted = must_want(config, args.task, args.backend, args.place)
    store = Store(config.edged.engines.store)
    with store.writing():
        manifest = _manifest(store, wanted)
        file = store.file_of(manifest)
        if why := _newer_frames(store.root, manifest):
            raise BackendUnavailable(f"{wanted.key}: the frames kept for comparison are gone: {why}")
        records = _records(store.root, wanted)
        if not records:
            raise BackendUnavailable(f"{wanted.key}: no frames to compare on; run: edged engine calibrate {args.task}")
        if calibrated := manifest.about.get("calibration", {}).get("tasks"):
            records = tuple(record for record in records if record.task in calibrated)
        figures = builder_of(wanted.key.backend).verify(wanted.request, file, [_check(config, args.task)], records)[0]
        manifest = replace(manifest, verified={**manifest.verified, **figures})
        store.write_manifest(manifest)
    if args.json:
        print_json({"engine": wanted.key.name, "tasks": figures})
    else:
        print_figures(figures)
    if why := manifest.refusal():
        raise ConfigError(f"{wanted.key}: refused: {why}")
    return 0


def _config(args: argparse.Namespace) -> Config:
    from edged.config import load_config

    config = load_config(args.config)
    for name in [getattr(args, "task", None), *getattr(args, "tasks", ())]:
        if name is not None and name not in config.tasks:
            hint = did_you_mean(name, config.tasks) or f"there are {', '.join(config.tasks)}"
            raise UsageError(f"no task {name!r}; {hint}")
    return config


def _logged(args: argparse.Namespace) -> Config:
    from edged.log import start_logging

    config = _config(args)
    start_logging(config.edged.log.level)
    return config


def _check(config: Config, task: str) -> TaskCheck:
    from edged.engines.build.compare import TaskCheck
    from edged.tasks import PARSERS
    from edged.tasks.base import ParserSettings
    from edged.tensor import ModelSpec

    model = config.tasks[task].model
    options = dict(model.options)
    judge_masks = model.parser != "lane_mask" or bool(options.get("masks") or options.get("area"))
    if model.parser == "lane_mask":  # a polyline hides what happens to single cells
        options["masks"] = True

    def parse(spec: ModelSpec, score_min: float) -> Parse:
        settings = ParserSettings(model.labels, model.keep, score_min, model.iou_max, options)
        return _told(task, model.parser, PARSERS.load(model.parser)(spec, settings).parse)

    return TaskCheck(task, parse, model.score_min, config.tasks[task].engine.max_accuracy_drop, judge_masks)


def _told(task: str, name: str, parse: Parse) -> Parse:
    """Return a parse whose failure names the task: a user's parser is foreign code."""

    def told(*args: Any) -> Found:
        try:
            return parse(*args)
        except EdgedError:
            raise
        except Exception as exc:
            raise ConfigError(f"task {task}: parser {name!r} fails on a frame: {foreign(exc)}") from exc

    return told


def _say(text: str) -> None:
    print(f"edged: {text}", file=sys.stderr, flush=True)
