"""TensorRT 10: precision by flags; INT8 in the ONNX model on the GPU, by a calibrator on a DLA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edged.engines.build.trt_calibrate import make_calibrator
from edged.engines.build.trt_onnx import with_integers
from edged.engines.build.trt_work import Work, make_progress


def fits(trt: Any) -> bool:
    """Say whether a release is of this generation: strongly typed networks, and precision flags still."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and hasattr(trt.BuilderFlag, "FP16")


class Generation10:
    """See `Generation`."""

    name = "10.x"

    def __init__(self) -> None:
        self._calibrator: Any = None

    def network(self, work: Work, builder: Any) -> Any:
        """Return a weakly typed network: its types are chosen by speed within what the flags allow."""
        return builder.create_network(0)

    def model(self, work: Work) -> Path:
        """Return the model as it is, or for INT8 on the GPU with its ranges written into it."""
        if work.request.precision == "int8" and work.place.dla is None:
            return with_integers(work)
        return work.request.onnx

    def configure(self, work: Work, builder: Any, config: Any) -> None:
        """Set flags, and on a DLA the calibrator: up to 10.7 it takes no ranges from the model."""
        flag = work.trt.BuilderFlag
        if work.request.precision != "fp32" and (work.place.dla is not None or builder.platform_has_fast_fp16):
            config.set_flag(flag.FP16)
        if work.request.precision == "int8":
            config.set_flag(flag.INT8)
            if work.place.dla is not None:
                config.int8_calibrator = self._calibrator = make_calibrator(work)
        config.progress_monitor = make_progress(work)

    def measured(self) -> bytes:
        """Return the calibration cache."""
        return b"" if self._calibrator is None else self._calibrator.measured()

    def free(self) -> None:
        """Free the calibrator."""
        if self._calibrator is not None:
            self._calibrator.free()
