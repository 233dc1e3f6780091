"""TensorRT 8.5 and 8.6: precision by flags, INT8 by a calibrator, explicit batch to be asked for."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.engines.build.trt_calibrate import make_calibrator
from edged.engines.build.trt_work import Work
from edged.engines.tensorrt.library import SHARING

TACTIC_LIBRARIES = {
    "CUBLAS": ("libcublas.so.11", "libcublas.so.12", "cublasGetProperty"),
    "CUBLAS_LT": ("libcublasLt.so.11", "libcublasLt.so.12", "cublasLtGetProperty"),
    "CUDNN": ("libcudnn.so.8", "cudnnGetProperty"),
}
"""Tactic source -> the libraries that have it, any of them, and a function that they must have."""

WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "FULLY_CONNECTED", "MATRIX_MULTIPLY")
UNTYPED = ("CONSTANT", "SHAPE")
"""Layers that take no precision of their own."""


def fits(trt: Any) -> bool:
    """Say whether a release is of this generation: it knows nothing of strongly typed networks."""
    return not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


class Generation8:
    """See `Generation`."""

    name = "8.x"

    def __init__(self) -> None:
        self._calibrator: Any = None

    def network(self, work: Work, builder: Any) -> Any:
        """Return a network with explicit batch: ONNX needs it."""
        return builder.create_network(1 << int(work.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))

    def model(self, work: Work) -> Path:
        """Return the model as it is."""
        return work.request.onnx

    def configure(self, work: Work, builder: Any, network: Any, config: Any) -> None:
        """Set flags and calibrator, and leave out tactics whose libraries are not there: asking for them fails."""
        flag = work.trt.BuilderFlag
        if work.request.precision != "fp32" and (work.place.dla is not None or builder.platform_has_fast_fp16):
            config.set_flag(flag.FP16)  # for int8 too: layers that gain nothing from int8 then take fp16
        if work.request.precision == "int8":
            config.set_flag(flag.INT8)
            config.int8_calibrator = self._calibrator = make_calibrator(work)
            if work.place.dla is None:
                config.set_flag(flag.PREFER_PRECISION_CONSTRAINTS)
                _keep_float(work.trt, network)
        sources = config.get_tactic_sources()
        for name, candidates in TACTIC_LIBRARIES.items():
            if not _loads(*candidates):
                sources &= ~(1 << int(getattr(work.trt.TacticSource, name)))
        config.set_tactic_sources(sources)
        if hasattr(work.trt.PreviewFeature, SHARING):  # 8.6; with 8.5 each context has an engine of its own
            config.set_preview_feature(getattr(work.trt.PreviewFeature, SHARING), True)

    def measured(self) -> bytes:
        """Return the calibration cache."""
        return b"" if self._calibrator is None else self._calibrator.measured()

    def free(self) -> None:
        """Free the calibrator."""
        if self._calibrator is not None:
            self._calibrator.free()


def _keep_float(trt: Any, network: Any) -> None:
    """Ask for float results of each output's last weighted layers, and for float in what follows them.

    Box decoding, scores and mask resizing put values of very different size into one tensor, and cost little: the same
    rule as for ranges that are written into the model (`regions.py`).
    """
    fp32 = trt.DataType.FLOAT
    for layer, weighted in _before_outputs(network):
        floats = [n for n in range(layer.num_outputs) if layer.get_output(n).dtype in (fp32, trt.DataType.HALF)]
        if weighted:
            for number in floats:
                layer.set_output_type(number, fp32)
        elif floats and layer.type.name not in UNTYPED:
            layer.precision = fp32


def _before_outputs(network: Any) -> Iterator[tuple[Any, bool]]:
    """Walk from the outputs back to the first weighted layers; yield each layer once, and whether it is one of them."""
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    maker = {layer.get_output(n).name: layer for layer in layers for n in range(layer.num_outputs)}
    todo, seen = [network.get_output(number).name for number in range(network.num_outputs)], set()
    while todo:
        layer = maker.get(todo.pop())
        if layer is None or layer.name in seen:
            continue
        seen.add(layer.name)
        weighted = layer.type.name in WEIGHTED
        yield layer, weighted
        if not weighted:
            sources = (layer.get_input(number) for number in range(layer.num_inputs))
            todo += [tensor.name for tensor in sources if tensor is not None]


def _loads(*candidates: str) -> bool:
    *files, function = candidates
    for file in files:
        try:
            if hasattr(ctypes.CDLL(file), function):
                return True
        except OSError:
            continue
    return False
