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
from numpy.typing import NDArray

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

    ONNX Runtime's own calibrator makes the network that tells ranges, but keeps what it told of every frame until the
    end; here the frames are gone through once, and nothing is kept of them.

    Args:
        prepared: the network.
        frames: what it is shown.
        how: see `Recipe`.
        folder: takes a file that nobody needs later.
        symmetric: see `quantise`.
    """
    from onnxruntime import quantization as ort_quantization
    from onnxruntime.quantization.calibrate import TensorsData

    method = ort_quantization.CalibrationMethod.MinMax
    with _quiet(prepared.path):
        operators = list(SYMMETRIC if symmetric else QUANTISED)
        calibrator = ort_quantization.create_calibrator(
            str(prepared.path), operators, str(folder / "augmented.onnx"), method
        )
        session = calibrator.infer_session
        outputs = [one.name for one in session.get_outputs() if one.name not in calibrator.model_original_outputs]
        names = [name.rpartition("_")[0] for name in outputs[::2]]  # ReduceMin and ReduceMax of each tensor in turn
        found = _Extent(len(names))
        for inputs in _inputs(prepared, frames):
            values = np.array([value.item() for value in session.run(outputs, inputs)], np.float32)
            found.add(values[::2], values[1::2])
        low, high = found.average() if how == "average" else (found.low, found.high)
        return TensorsData(method, {name: (low[n : n + 1], high[n : n + 1]) for n, name in enumerate(names)})


class _Extent:
    """The least and greatest value of each tensor over all frames, and the sums of each frame's. NaN is left out."""

    def __init__(self, tensors: int) -> None:
        self.low = np.full(tensors, np.nan, np.float32)
        self.high = self.low.copy()
        self._sums = np.zeros((2, tensors))
        self._counts = np.zeros((2, tensors))

    def add(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        """Take in one frame."""
        self.low, self.high = np.fmin(self.low, low), np.fmax(self.high, high)
        both = np.stack([low, high])
        self._sums += np.nan_to_num(both, nan=0.0)
        self._counts += ~np.isnan(both)

    def average(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the means of the frames' least and greatest values."""
        low, high = (self._sums / np.maximum(self._counts, 1)).astype(np.float32)
        return low, high


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


def halve(onnx_file: Path, to: Path, *, ends_too: bool = False) -> Path:
    """Write a network with all of its arithmetic in FP16, inputs and outputs as they were or too; return the file."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet(onnx_file):
        model = onnx.load(onnx_file)
        if _opset(model) < OPSET_MIN:
            model = onnx.version_converter.convert_version(model, OPSET)
        onnx.save(convert_float_to_float16(model, keep_io_types=not ends_too), to)
    return to


def versions() -> dict[str, str]:
    """Return the versions of the libraries that build."""
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def _inputs(prepared: Prepared, frames: Iterable[Frame]) -> Iterator[dict[str, Any]]:
    """Yield the frames as the network's input, one whole input after another; a fixed batch is filled with copies."""
    batch, channels, height, width = (size or 1 for size in prepared.image.shape)
    preprocessor = Preprocessor((width, height), prepared.input)
    tensor = np.zeros((batch, channels, height, width), prepared.image.dtype)
    for frame in frames:
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
