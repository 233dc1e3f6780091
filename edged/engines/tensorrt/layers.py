"""What an engine was really built as, read from its inspector: where each layer runs, and in which precision.

The inspector's JSON is not the same in all releases: tensors have `Format/Datatype` ("Row major linear FP32") up to
10.x, and `Format` and `DataType` apart from 11 on; of an engine with an open batch 8.5 tells no tensor's, but still the
type of a layer's weights; layers are names alone where an engine was built without details.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PRECISION = re.compile(r"\b(FP32|FP16|BF16|FP8|FP4|INT8|INT4|INT32|INT64|BOOL|UINT8|FLOAT|HALF)\b", re.IGNORECASE)
NAMES = {"float": "fp32", "half": "fp16"}
FLOATS = ("fp32", "fp16", "bf16")
FUSED = "ForeignNode"  # in the name of one made of many by TensorRT's own compiler
NO_WORK = ("reformat", "noop", "shape", "constant")  # layer types that only move what others compute


@dataclass(frozen=True)
class Layers:
    """How many layers run where, in which precision their results are, and the names of those beside the DLA."""

    on: dict[str, int]
    precision: dict[str, int]
    beside_dla: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {"layers": dict(self.on), "computed_in": dict(self.precision)}


def built_as(asked: str, device: str, computed_in: Mapping[str, int]) -> tuple[str, str]:
    """Return the precision that an engine is really in, and in words where that is not the one that was asked for.

    Args:
        asked: fp32, fp16 or int8: a permission to TensorRT, which takes what is fastest there.
        device: gpu, or a DLA core, of whose layers the inspector says too little.
        computed_in: layers by precision, as the manifest has them; empty where they are not known. Inside one that is
            fused of many, precisions are anybody's guess.
    """
    counts = {name: count for name, count in computed_in.items() if name in FLOATS or name == "int8"}
    if not counts or asked in counts or "fused" in computed_in or device.startswith("dla"):
        return asked, ""
    most = max(counts, key=counts.__getitem__)
    return most, f"no layer is computed in {asked}: {', '.join(f'{count} {name}' for name, count in counts.items())}"


def read_layers(text: str, place: str) -> Layers:
    """Read an inspector's JSON.

    Args:
        text: what `get_engine_information` returned; text that is no JSON counts as an engine without layers.
        place: what a layer that is not on the GPU runs on.
    """
    try:
        rows = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        rows = []
    on: Counter[str] = Counter()
    precision: Counter[str] = Counter()
    beside = []
    for row in rows:
        name, kind = (row, "") if isinstance(row, str) else (str(row.get("Name", "")), str(row.get("LayerType", "")))
        if place.startswith("dla") and _on_dla(kind):
            on[place] += 1
        else:
            on["gpu"] += 1
            if place.startswith("dla") and not _moves(kind):
                beside.append(name)
        if isinstance(row, dict) and not _moves(kind):
            precision.update(_precision(row))
    return Layers(dict(on), dict(sorted(precision.items())), tuple(beside))


def _on_dla(kind: str) -> bool:
    return "dla" in kind.lower()


def _moves(kind: str) -> bool:
    return kind.lower() in NO_WORK


def _precision(row: dict[str, Any]) -> list[str]:
    """Return the precision of a layer's first output, else of its weights: of many layers in one, that says nothing."""
    if FUSED in str(row.get("Name", "")) and not _on_dla(str(row.get("LayerType", ""))):
        return ["fused"]
    outputs = row.get("Outputs") or []
    first = outputs[0] if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict) else {}
    text = " ".join(str(first.get(name, "")) for name in ("DataType", "Datatype", "Format/Datatype"))
    weights = row.get("Weights")
    if isinstance(weights, dict):
        text += f" {weights.get('Type', '')}"
    found = PRECISION.search(text)
    return [NAMES.get(found[1].lower(), found[1].lower())] if found else []
