"""Builds one INT8 engine for ONNX Runtime: tries recipes, keeps the fastest good one, says what it is worth."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edged.engines.arranging import Target
from edged.engines.base import EngineRequest
from edged.engines.build.compare import Comparison, TaskCheck, compare, infer_ms
from edged.engines.build.order import (
    Order,
    calibration,
    check_records,
    circumstances,
    figures,
    install,
    refuse_blind,
    seen_by,
)
from edged.engines.build.quantize import Prepared, Ranges, check_installed, measure, prepare, quantise, versions
from edged.engines.build.record import CALIBRATE, CHOOSE, VERIFY, Frames, Record
from edged.engines.build.regions import BLOCKS, FIRST_RECIPES, Graph, RangesBy, Recipe
from edged.engines.ort import OrtEngine
from edged.engines.store import EngineKey, Manifest, Store, engine_key, writes

__all__ = ["build", "check_installed", "targets", "verify", "wanted_key"]

log = logging.getLogger(__name__)

BACKEND = "onnxruntime"
FASTER = 0.97  # a recipe counts as faster than another when its time is below this share
WORTHWHILE = 0.8  # of FP32's time: an engine that gains less is not worth a longer search


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


def wanted_key(request: EngineRequest) -> EngineKey:
    """Return the key of the engine that serves a request."""
    return engine_key(request, BACKEND)


def targets(request: EngineRequest) -> tuple[Target, ...]:
    """Return the engines to build for a request: one."""
    return (Target(request, wanted_key(request), "cpu"),)


def build(order: Order, store: Store) -> Manifest:
    """Build, compare and install one engine. The caller holds the store.

    Raises:
        ConfigError: it loses more than a task allows; an engine that was good stays in place.
        BackendUnavailable: frames or packages are missing, or the store cannot be written.
    """
    begin_s = time.monotonic()
    request = order.request
    seen, image = seen_by(request)
    check_records(order, seen)
    key = wanted_key(request)
    for left_over in store.root.glob(".build-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with writes(store.root), tempfile.TemporaryDirectory(dir=store.root, prefix=".build-") as folder:
        prepared = prepare(request.onnx, image, request.input, Path(folder))
        with closing(OrtEngine(replace(request, precision="fp32"))) as reference:
            search = _Search(order, prepared, Path(folder), reference)
            best = search.best()
        verified, comparison = verify(request, best.file, order.checks, order.records)
        about = {
            **circumstances(begin_s, versions()),
            "tasks": [check.task for check in order.checks],
            "calibration": calibration(order),
            **_described(best, search.tried),
            "output_error": dict(comparison.output_error),
        }
        return install(store, best.file, Manifest(key, "", "", verified, about))


def verify(
    request: EngineRequest, file: Path, checks: Sequence[TaskCheck], records: Sequence[Record]
) -> tuple[dict[str, dict[str, Any]], Comparison]:
    """Compare an engine file with FP32 on the frames that building never looked at.

    Returns:
        The figures of each task as a manifest has them, and the comparison they come from.
    """
    frames = Frames(records, (VERIFY,))
    plain = replace(request, precision="fp32")
    with closing(OrtEngine(plain)) as reference, closing(OrtEngine(replace(plain, onnx=file))) as other:
        comparison = compare(reference, other, frames, checks)
        fp32_ms, int8_ms = infer_ms((reference, other), frames.first())
    return figures(checks, comparison, {"fp32_ms": fp32_ms, "int8_ms": int8_ms}), comparison


class _Search:
    """Tries recipes on the frames kept for choosing among them; `reference` is the FP32 engine."""

    def __init__(self, order: Order, prepared: Prepared, folder: Path, reference: OrtEngine) -> None:
        self._order, self._prepared, self._folder, self._reference = order, prepared, folder, reference
        self._choice = order.frames(CHOOSE)
        self._ranges: dict[RangesBy, Ranges] = {}
        self.tried: list[_Tried] = []

    def best(self) -> _Tried:
        """Try the first recipes, the other way to take ranges on the best of them, and more float where that helps."""
        for recipe in FIRST_RECIPES:
            refuse_blind(self._order.checks, self._attempt(recipe).comparison)
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
        if recipe.ranges not in self._ranges:
            frames = order.frames(CALIBRATE)
            self._ranges[recipe.ranges] = measure(self._prepared, frames, recipe.ranges, self._folder)
        graph = quantise(self._prepared, recipe, self._ranges[recipe.ranges], file)
        request = replace(order.request, precision="fp32", onnx=file)
        with closing(OrtEngine(request)) as other:
            comparison = compare(self._reference, other, self._choice, order.checks)
            reference_ms, ms = infer_ms((self._reference, other), self._choice.first())
        one = _Tried(recipe, file, graph, comparison, comparison.excess(order.checks), ms, reference_ms)
        self.tried.append(one)
        log.info("%s: %s: %s", order.request.onnx.name, recipe, _figures(one))
        return one


def _best(tried: Sequence[_Tried]) -> _Tried:
    """Return, of the good ones, the most faithful among the fastest; where none is good, the most faithful."""
    good = [one for one in tried if one.excess <= 0]
    if not good:
        return min(tried, key=lambda one: one.excess)
    fastest = min(one.share for one in good)
    return min((one for one in good if one.share <= fastest / FASTER), key=lambda one: one.excess)


def _described(best: _Tried, tried: Sequence[_Tried]) -> dict[str, Any]:
    integer, floating = best.graph.operators()
    return {
        "recipe": str(best.recipe),
        "weights": "int8, symmetric, per channel",
        "activations": "uint8",
        "operators": {"int8": integer, "float": floating},
        "tried": [one.row() for one in tried],
    }


def _figures(one: _Tried) -> str:
    drops = ", ".join(f"{task} loses {'?' if agreement.drop is None else format(agreement.drop, '.4f')} {agreement.by}"
                      for task, agreement in one.comparison.agreements.items())  # fmt: skip
    return f"{drops}; {one.reference_ms:.2f} -> {one.ms:.2f} ms"
