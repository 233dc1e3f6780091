"""Turns the values of one file into its model, and pydantic's errors into faults with a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edged.config.document import Document
from edged.config.faults import Fault, Place
from edged.config.text import nearest, show

M = TypeVar("M", bound=BaseModel)

FILLED_IN = frozenset({"name", "id"})
"""Fields that come from a file's name or from a key, and are no keys themselves."""


def validated(
    model: type[M], values: dict[str, Any], document: Document, faults: list[Fault], above: Place = ()
) -> M | None:
    """Return the model for the values at one place of a document, or None and its faults.

    Args:
        model: what the values must be.
        values: as read, with the model's `name` or `id` filled in.
        document: where they were read; relative paths start at its folder.
        faults: is appended to.
        above: the keys above `values`.
    """
    try:
        return model.model_validate(values, context={"directory": Path(document.file).absolute().parent})
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
    for error in errors:
        place = (*above, *error["loc"])
        if not document.is_bad(place):
            faults.append(document.fault(place, _say(error, model)))
    return None


def _say(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "missing":
        return "required, but absent"
    if kind == "extra_forbidden":
        return unknown_key(str(error["loc"][-1]), _model_at(model, error["loc"][:-1]))
    if kind in ("model_type", "model_attributes_type", "dict_type", "mapping_type"):
        return f"must be a map of keys to values, got {show(error['input'])}"
    if kind == "tuple_type":
        return f"must be a list, got {show(error['input'])}"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {show(error['input'])}"


def unknown_key(key: str, model: type[BaseModel]) -> str:
    """Return the message about a key that a model does not have."""
    return f"unknown key{nearest(key, keys_of(model))}"


def keys_of(model: type[BaseModel]) -> list[str]:
    """Return the keys that a file may give a model."""
    return [field.alias or name for name, field in model.model_fields.items() if name not in FILLED_IN]


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel]:
    """Return the model that is `loc` below another one."""
    for step in loc:
        for name, field in model.model_fields.items():
            if step == (field.alias or name):
                model = model_in(field.annotation) or model
    return model


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds: itself, in a map, or optional; the first one of several."""
    return next(models_in(annotation), None)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield every model that a field may hold."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)
