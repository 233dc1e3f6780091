"""TensorRT 8.5 and 8.6: precision by flags, INT8 by a calibrator, explicit batch to be asked for."""

from __future__ import annotations

import ctypes
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

    def configure(self, work: Work, builder: Any, config: Any) -> None:
        """Set flags and calibrator, and leave out tactics whose libraries are not there: asking for them fails."""
        flag = work.trt.BuilderFlag
        if work.request.precision != "fp32" and (work.place.dla is not None or builder.platform_has_fast_fp16):
            config.set_flag(flag.FP16)  # for int8 too: layers that gain nothing from int8 then take fp16
        if work.request.precision == "int8":
            config.set_flag(flag.INT8)
            config.int8_calibrator = self._calibrator = make_calibrator(work)
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


def _loads(*candidates: str) -> bool:
    *files, function = candidates
    for file in files:
        try:
            if hasattr(ctypes.CDLL(file), function):
                return True
        except OSError:
            continue
    return False
