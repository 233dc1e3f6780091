"""Builds one INT8 engine for ONNX Runtime: tries recipes, keeps the fastest good one, says what it is worth."""

from __future__ import annotations

import datetime
import getpass
import logging
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edged import __version__
from edged.engines.base import EngineRequest
from edged.engines.build.compare import Comparison, TaskCheck, compare, infer_ms
from edged.engines.build.quantize import Prepared, prepare, quantise, versions
from edged.engines.build.record import CALIBRATE, CHOOSE, VERIFY, Record, Seen, records_sha256
from edged.engines.build.regions import BLOCKS, FIRST_RECIPES, Graph, Recipe
from edged.engines.ort import OrtEngine, model_spec, open_session, picture_input
from edged.engines.store import EngineKey, Manifest, Store, engine_key, writes
from edged.errors import BackendUnavailable, ConfigError
from edged.frame import Frame
from edged.tensor import TensorSpec

log = logging.getLogger(__name__)

BACKEND = "onnxruntime"
FASTER = 0.97  # a recipe counts as faster than another when its time is below this share
WORTHWHILE = 0.8  # of FP32's time: an engine that gains less is not worth a longer search


@dataclass(frozen=True)
class Order:
    """One engine to build: for all tasks that share it, from the frames of all their records."""

    request: EngineRequest
    checks: tuple[TaskCheck, ...]
    records: tuple[Record, ...]

    def frames(self, part: str) -> list[Frame]:
        """Return the pictures of one part of all records."""
        return [frame for record in self.records for frame in record.frames(part)]


@dataclass(frozen=True)
class _Tried:
    recipe: Recipe
    file: Path
    graph: Graph
    comparison: Comparison
    excess: float
    ms: float
    reference_ms: float

    @property
    def share(self) -> float:
        """Return the share of FP32's time that it takes."""
        return self.ms / max(self.reference_ms, 1e-9)

    def row(self) -> dict[str, Any]:
        """Return the figures as the manifest lists them."""
        drops = {task: agreement.drop for task, agreement in self.comparison.agreements.items()}
        return {"recipe": str(self.recipe), "int8_ms": self.ms, "fp32_ms": self.reference_ms, "drop": drops}


def seen_by(request: EngineRequest) -> tuple[Seen, TensorSpec]:
    """Return how a model sees pictures, and its input. Raise `ConfigError` for a model that takes none."""
    model = model_spec(open_session(request.onnx))
    _, height, width = picture_input(model, request.onnx)
    return Seen(width, height, request.input.fit, request.input.pad), model.inputs[0]


def build(order: Order, store: Store) -> Manifest:
    """Build, compare and install one engine. The caller holds the store.

    Raises:
        ConfigError: it loses more than a task allows; an engine that was good stays in place.
        BackendUnavailable: frames or packages are missing, or the store cannot be written.
    """
    begin_s = time.monotonic()
    request = order.request
    seen, image = seen_by(request)
    for record in order.records:
        if record.seen != seen:
            raise BackendUnavailable(
                f"task {record.task}: its calibration frames are for {record.seen}, the model takes {seen}; "
                f"run: edged engine calibrate {record.task}"
            )
    key = engine_key(request, BACKEND)
    for left_over in store.root.glob(".build-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with writes(store.root), tempfile.TemporaryDirectory(dir=store.root, prefix=".build-") as folder:
        prepared = prepare(request.onnx, image, request.input, Path(folder))
        with closing(OrtEngine(replace(request, precision="fp32"))) as reference:
            search = _Search(order, prepared, Path(folder), reference)
            best = search.best()
        verified, comparison = verify(request, best.file, order.checks, order.records)
        about = {
            **_circumstances(begin_s),
            "tasks": [check.task for check in order.checks],
            "calibration": _calibration(order),
            **_described(best, search.tried),
            "output_error": dict(comparison.output_error),
        }
        return _install(store, best.file, Manifest(key, "", "", verified, about))


def verify(
    request: EngineRequest, file: Path, checks: Sequence[TaskCheck], records: Sequence[Record]
) -> tuple[dict[str, dict[str, Any]], Comparison]:
    """Compare an engine file with FP32 on the frames that building never looked at.

    Returns:
        The figures of each task as a manifest has them, and the comparison they come from.
    """
    frames = [frame for record in records for frame in record.frames(VERIFY)]
    plain = replace(request, precision="fp32")
    with closing(OrtEngine(plain)) as reference, closing(OrtEngine(replace(plain, onnx=file))) as other:
        comparison = compare(reference, other, frames, checks)
        fp32_ms, int8_ms = infer_ms((reference, other), frames[0])
    at = _now()
    verified = {}
    for check in checks:
        agreement = comparison.agreements[check.task]
        verified[check.task] = {
            **asdict(agreement), "by": agreement.by, "drop": agreement.drop, "limit": check.limit,
            "fp32_ms": fp32_ms, "int8_ms": int8_ms, "at": at,
        }  # fmt: skip
    return verified, comparison


class _Search:
    """Tries recipes on the frames kept for choosing among them; `reference` is the FP32 engine."""

    def __init__(self, order: Order, prepared: Prepared, folder: Path, reference: OrtEngine) -> None:
        self._order, self._prepared, self._folder, self._reference = order, prepared, folder, reference
        self._calibration, self._choice = order.frames(CALIBRATE), order.frames(CHOOSE)
        self.tried: list[_Tried] = []

    def best(self) -> _Tried:
        """Try the first recipes, the other way to take ranges on the best of them, and more float where that helps."""
        for recipe in FIRST_RECIPES:
            _refuse_blind(self._order.checks, self._attempt(recipe).comparison)
        fastest = min(self.tried, key=lambda one: one.share)
        for recipe in dict.fromkeys((fastest.recipe, _best(self.tried).recipe)):
            self._attempt(replace(recipe, ranges="average"))
        best = _best(self.tried)
        if best.excess > 0 and fastest.share < WORTHWHILE:
            log.info("%s: not good enough yet; looking for the layers that cost most", self._order.request.onnx.name)
            self._more_float(best.recipe)
        return _best(self.tried)

    def _more_float(self, base: Recipe) -> None:
        """Keep each block of layers float alone, then the best two, three, ... of them, until it is good enough."""
        alone = [(self._attempt(replace(base, blocks_float=(block,))).excess, block) for block in range(BLOCKS)]
        order = [block for _, block in sorted(alone)]
        for count in range(2, BLOCKS // 2 + 1):
            if any(one.excess <= 0 for one in self.tried):
                return
            self._attempt(replace(base, blocks_float=tuple(sorted(order[:count]))))

    def _attempt(self, recipe: Recipe) -> _Tried:
        order = self._order
        file = self._folder / f"{len(self.tried)}.onnx"
        graph = quantise(self._prepared, recipe, self._calibration, file)
        request = replace(order.request, precision="fp32", onnx=file)
        with closing(OrtEngine(request)) as other:
            comparison = compare(self._reference, other, self._choice, order.checks)
            reference_ms, ms = infer_ms((self._reference, other), self._choice[0])
        one = _Tried(recipe, file, graph, comparison, comparison.excess(order.checks), ms, reference_ms)
        self.tried.append(one)
        log.info("%s: %s: %s", order.request.onnx.name, recipe, _figures(one))
        return one


def _refuse_blind(checks: Sequence[TaskCheck], comparison: Comparison) -> None:
    for check in checks:
        agreement = comparison.agreements[check.task]
        if agreement.drop is None:
            raise ConfigError(
                f"task {check.task}: fp32 finds nothing in the {agreement.frames} frames kept for comparison; "
                f"calibrate with frames that show something: edged engine calibrate {check.task}"
            )


def _best(tried: Sequence[_Tried]) -> _Tried:
    """Return, of the good ones, the most faithful among the fastest; where none is good, the most faithful."""
    good = [one for one in tried if one.excess <= 0]
    if not good:
        return min(tried, key=lambda one: one.excess)
    fastest = min(one.share for one in good)
    return min((one for one in good if one.share <= fastest / FASTER), key=lambda one: one.excess)


def _install(store: Store, file: Path, manifest: Manifest) -> Manifest:
    why = manifest.refusal()
    if why and _has_good(store, manifest.key):
        raise ConfigError(f"{manifest.key}: not taken: {why}; the engine that was there stays in use")
    installed = store.install(file, manifest)
    if why:
        remedy = "calibrate with more frames, raise max_accuracy_drop, or use fp32"
        raise ConfigError(f"{manifest.key}: built, but refused: {why}; {remedy}")
    return installed


def _has_good(store: Store, key: EngineKey) -> bool:
    try:
        store.find(key)
    except BackendUnavailable:
        return False
    return True


def _calibration(order: Order) -> dict[str, Any]:
    parts = [note.part for record in order.records for note in record.notes]
    return {
        "sha256": records_sha256(order.records),
        "tasks": {record.task: record.sha256 for record in order.records},
        **{part: parts.count(part) for part in (CALIBRATE, CHOOSE, VERIFY)},
    }


def _described(best: _Tried, tried: Sequence[_Tried]) -> dict[str, Any]:
    integer, floating = best.graph.operators()
    return {
        "recipe": str(best.recipe),
        "weights": "int8, symmetric, per channel",
        "activations": "uint8",
        "operators": {"int8": integer, "float": floating},
        "tried": [one.row() for one in tried],
    }


def _circumstances(begin_s: float) -> dict[str, Any]:
    return {
        "by": f"{_user()}@{socket.gethostname()}",
        "at": _now(),
        "took_s": round(time.monotonic() - begin_s, 1),
        "machine": f"{platform.machine()}, {_processor()}",
        "versions": {"edged": __version__, **versions()},
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as containers have
        return f"uid {os.getuid()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _figures(one: _Tried) -> str:
    drops = ", ".join(f"{task} loses {'?' if agreement.drop is None else format(agreement.drop, '.4f')} {agreement.by}"
                      for task, agreement in one.comparison.agreements.items())  # fmt: skip
    return f"{drops}; {one.reference_ms:.2f} -> {one.ms:.2f} ms"


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
