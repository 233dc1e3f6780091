"""JSON Schema of the configuration files, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from edged.config.models import CamerasConfig, EdgedConfig
from edged.config.task import TaskConfig
from edged.config.validate import FILLED_IN

FILES: dict[str, type[BaseModel]] = {
    "edged.yaml": EdgedConfig,
    "cameras.yaml": CamerasConfig,
    "tasks/<task>.yaml": TaskConfig,
}


def json_schema() -> dict[str, Any]:
    """Return one document with a complete schema for each kind of file, keyed by its name."""
    return {
        file: {"$schema": GenerateJsonSchema.schema_dialect, **_cleaned(model.model_json_schema())}
        for file, model in FILES.items()
    }


def _cleaned(node: Any) -> Any:
    """Drop what a file cannot say (null, and fields that are filled in) and choices of one."""
    if isinstance(node, list):
        return [_cleaned(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _cleaned(value) for key, value in node.items() if not (key == "default" and value is None)}
    for kind in ("anyOf", "allOf"):
        kept = [choice for choice in node.get(kind, ()) if choice != {"type": "null"}]
        if len(kept) == 1:
            del node[kind]
            node = {**kept[0], **node}
    if node.get("additionalProperties") is False:
        for name in FILLED_IN & set(node["properties"]):
            del node["properties"][name]
            node["required"] = [key for key in node["required"] if key != name]
    return node
