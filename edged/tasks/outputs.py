"""Finds the outputs a parser reads among those a model has, and says what is wrong where they do not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edged.errors import ConfigError
from edged.tensor import ModelSpec, TensorSpec


def misfit(parser: str, needs: str, model: ModelSpec, why: str = "") -> ConfigError:
    """Return the error for a model that is not this parser's: what is needed, what there is, and why not."""
    has = "; ".join(str(output) for output in model.outputs) or "no output"
    return ConfigError(f"parser {parser!r} needs {needs}, model has {has}" + (f", {why}" if why else ""))


def only_output(parser: str, model: ModelSpec, needs: str, rank: int) -> TensorSpec:
    """Return the model's only output, which has to be floating point and of this rank."""
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != rank or not is_float(model.outputs[0]):
        raise misfit(parser, needs, model)
    return model.outputs[0]


def one_output(
    parser: str, model: ModelSpec, needs: str, fits: Callable[[TensorSpec], bool], hints: Sequence[str] = ()
) -> TensorSpec:
    """Return the one output that fits; where several do, the one whose name contains one of the hints."""
    found = [output for output in model.outputs if fits(output)]
    if len(found) > 1:
        found = [output for output in found if any(hint in output.name.lower() for hint in hints)]
    if len(found) != 1:
        raise misfit(parser, needs, model)
    return found[0]


def named_output(parser: str, model: ModelSpec, option: str, name: object) -> TensorSpec:
    """Return the output with the name that an option gives."""
    for output in model.outputs:
        if output.name == name:
            return output
    names = ", ".join(output.name for output in model.outputs)
    raise ConfigError(f"option {option!r} of parser {parser!r} is the name of an output ({names}), got {name!r}")


def is_float(output: TensorSpec) -> bool:
    """Tell whether an output holds floating point numbers."""
    return output.dtype.startswith("float")


def is_int(output: TensorSpec) -> bool:
    """Tell whether an output holds whole numbers."""
    return output.dtype.startswith(("int", "uint"))


def may_be(dim: int | None, wanted: int) -> bool:
    """Tell whether a dimension is the wanted one; a dimension the model leaves open may be any."""
    return dim is None or dim == wanted


def input_size(model: ModelSpec) -> tuple[int, int] | None:
    """Return (width, height) of the network's picture, None where the model leaves it open."""
    shape = model.inputs[0].shape if model.inputs else ()
    if len(shape) < 2 or shape[-1] is None or shape[-2] is None:
        return None
    return shape[-1], shape[-2]
