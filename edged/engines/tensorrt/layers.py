"""What an engine was really built as, read from its inspector: where each layer runs, and in which precision.

The inspector's JSON is not the same in all releases: tensors have `Format/Datatype` ("Row major linear FP32") up to
10.x, and `Format` and `DataType` apart from 11 on; layers are names alone where an engine was built without details.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

PRECISION = re.compile(r"\b(FP32|FP16|BF16|FP8|FP4|INT8|INT4|INT32|INT64|BOOL|UINT8|FLOAT|HALF)\b", re.IGNORECASE)
NAMES = {"float": "fp32", "half": "fp16"}
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
    """Return the precision of a layer's first output, where it is known."""
    outputs = row.get("Outputs") or []
    first = outputs[0] if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict) else {}
    text = " ".join(str(first.get(name, "")) for name in ("DataType", "Datatype", "Format/Datatype"))
    found = PRECISION.search(text)
    return [NAMES.get(found[1].lower(), found[1].lower())] if found else []
