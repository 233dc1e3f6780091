"""ONNX Runtime's static quantisation: an ONNX network to one with QuantizeLinear and DequantizeLinear in it.

The only file that imports `onnx` and `onnxruntime.quantization`, which print and warn a lot: all of it goes to stderr.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edged.engines.build.regions import QUANTISED, Graph, RangesBy, Recipe
from edged.engines.preprocess import Preprocessor
from edged.errors import BackendUnavailable, ConfigError
from edged.frame import Frame
from edged.tensor import InputFormat, TensorSpec

OPSET_MIN, OPSET = 13, 17  # weights quantised per channel need 13
SYMMETRIC = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add")
FOR_TENSORRT = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,
    "DedicatedQDQPair": True,
    "QuantizeBias": False,
}

Ranges = Any
"""Of each activation, as ONNX Runtime's calibrators return them."""


@dataclass(frozen=True)
class Prepared:
    """A float network ready to be quantised, and what its input is."""

    path: Path
    graph: Graph
    image: TensorSpec
    input: InputFormat


def check_installed() -> None:
    """Raise `BackendUnavailable` where the packages that building needs are missing."""
    try:
        import onnx  # noqa: F401 - asked whether it is there
        import onnxruntime.quantization  # noqa: F401 - likewise
    except ImportError as exc:
        raise BackendUnavailable(
            f"building int8 engines needs the onnx package: pip install 'edged[build]' ({exc})"
        ) from exc


def prepare(onnx_file: Path, image: TensorSpec, fmt: InputFormat, folder: Path) -> Prepared:
    """Bring a network to a form that can be quantised: opset, shapes, names, batch norms folded into convolutions.

    Raises:
        ConfigError: it cannot be brought to that form.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    upgraded, prepared = folder / "upgraded.onnx", folder / "prepared.onnx"
    with _quiet(onnx_file):
        model = onnx.load(onnx_file)
        if _opset(model) < OPSET_MIN:
            model = onnx.version_converter.convert_version(model, OPSET)
        onnx.save(model, upgraded)
        quant_pre_process(str(upgraded), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            raise ConfigError(f"{onnx_file}: is quantised already; give the float network")
        for number, node in enumerate(model.graph.node):
            node.name = f"{number}_{node.op_type}"
        onnx.save(model, prepared)
    return Prepared(prepared, Graph(model), image, fmt)


def measure(
    prepared: Prepared, frames: Iterable[Frame], how: RangesBy, folder: Path, *, symmetric: bool = False
) -> Ranges:
    """Return the range of each activation in the frames. Which operators are quantised later does not change them.

    The frames are gone through once; of each the calibrator keeps two numbers for each tensor.

    Args:
        prepared: the network.
        frames: what it is shown.
        how: see `Recipe`.
        folder: takes a file that nobody needs later.
        symmetric: see `quantise`.
    """
    from onnxruntime import quantization as ort_quantization

    with _quiet(prepared.path):
        calibrator = ort_quantization.create_calibrator(
            str(prepared.path),
            list(SYMMETRIC if symmetric else QUANTISED),
            str(folder / "augmented.onnx"),
            ort_quantization.CalibrationMethod.MinMax,
            extra_options={"moving_average": how == "average"},
        )
        calibrator.collect_data(_reader(prepared, frames))
        return calibrator.compute_data()


def quantise(prepared: Prepared, recipe: Recipe, ranges: Ranges, to: Path, *, symmetric: bool = False) -> Graph:
    """Write the network quantised by a recipe, with these ranges of activations, and return its graph.

    Weights are int8, symmetric and per channel; activations uint8. On x86 this is the pair with the fast kernels, and
    a ReLU then costs nothing: with its zero point at 0 the quantisation itself cuts at 0.

    `symmetric` is for TensorRT: activations int8 with zero point 0, weighted layers and sums only (what is between
    follows them), weights in float before their own QuantizeLinear, biases in float.
    """
    import onnx
    from onnxruntime import quantization as ort_quantization

    with _quiet(prepared.path):
        quantizer = ort_quantization.QDQQuantizer(
            onnx.load(prepared.path),
            per_channel=True,
            reduce_range=False,
            weight_qType=ort_quantization.QuantType.QInt8,
            activation_qType=ort_quantization.QuantType.QInt8 if symmetric else ort_quantization.QuantType.QUInt8,
            tensors_range=copy.deepcopy(ranges),  # it changes them
            nodes_to_quantize=[],
            nodes_to_exclude=prepared.graph.kept_float(recipe),
            op_types_to_quantize=list(SYMMETRIC if symmetric else QUANTISED),
            extra_options=dict(FOR_TENSORRT) if symmetric else {},
        )
        quantizer.quantize_model()
        onnx.save(quantizer.model.model, to)
        return Graph(onnx.load(to))


def halve(onnx_file: Path, to: Path) -> Path:
    """Write a network with all of its arithmetic in FP16 between inputs and outputs as they were; return the file."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet(onnx_file):
        model = onnx.load(onnx_file)
        if _opset(model) < OPSET_MIN:
            model = onnx.version_converter.convert_version(model, OPSET)
        onnx.save(convert_float_to_float16(model, keep_io_types=True), to)
    return to


def versions() -> dict[str, str]:
    """Return the versions of the libraries that build."""
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def _reader(prepared: Prepared, frames: Iterable[Frame]) -> Any:
    """Return the frames as ONNX Runtime's calibrators take them: one whole input after another."""
    from onnxruntime.quantization import CalibrationDataReader

    batch, channels, height, width = prepared.image.shape

    class Frames(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._inputs = _inputs(prepared, frames, (batch or 1, channels or 3, height or 1, width or 1))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._inputs, None)

    return Frames()


def _inputs(prepared: Prepared, frames: Iterable[Frame], shape: tuple[int, int, int, int]) -> Iterator[dict[str, Any]]:
    preprocessor = Preprocessor((shape[3], shape[2]), prepared.input)
    for frame in frames:
        tensor = np.zeros(shape, prepared.image.dtype)
        preprocessor.write(frame, tensor[0], 0)
        tensor[1:] = tensor[0]
        yield {prepared.image.name: tensor}


def _opset(model: Any) -> int:
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


@contextlib.contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Keep stdout clean and translate what the libraries raise: they have no base class of their own."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (ConfigError, OSError, MemoryError):
        raise
    except Exception as exc:  # noqa: BLE001 - errors of two libraries and of their C extensions
        raise ConfigError(f"{path}: ONNX Runtime's quantisation refuses it: {exc}") from exc
    finally:
        root.setLevel(level)
