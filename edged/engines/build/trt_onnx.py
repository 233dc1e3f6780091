"""The ONNX model in the types that a strongly typed TensorRT network is to have."""

from __future__ import annotations

from pathlib import Path

from edged.engines.build.quantize import check_installed, halve, measure, prepare, quantise
from edged.engines.build.regions import Recipe
from edged.engines.build.trt_work import Work

RECIPE = Recipe("average", heads_float=1)
"""What loses least where activations have the same range on both sides of zero (docs/engines.md has the comparison)."""


def with_integers(work: Work) -> Path:
    """Write the model with ranges from the calibration frames, and return the file.

    In the one form that TensorRT takes: int8 on both sides of weighted layers, with zero points of 0. The last weighted
    layers before each output stay in float.
    """
    check_installed()
    prepared = prepare(work.request.onnx, work.image, work.request.input, work.folder)
    to = work.folder / "integers.onnx"
    ranges = measure(prepared, work.frames, RECIPE.ranges, work.folder, symmetric=True)
    quantise(prepared, RECIPE, ranges, to, symmetric=True)
    return to


def with_halves(work: Work) -> Path:
    """Write the model in FP16 and return the file. Inputs and outputs stay as they were, but a DLA has no FP32."""
    check_installed()
    return halve(work.request.onnx, work.folder / "halves.onnx", ends_too=work.place.dla is not None)
