"""TensorRT 11: every type is in the ONNX model, and there is nothing else to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edged.engines.build.trt_onnx import with_halves, with_integers
from edged.engines.build.trt_work import Work, make_progress


def fits(trt: Any) -> bool:
    """Say whether a release is of this generation: it has no precision flags."""
    return not hasattr(trt.BuilderFlag, "FP16")


class Generation11:
    """See `Generation`."""

    name = "11.x"

    def network(self, work: Work, builder: Any) -> Any:
        """Return a network; all are strongly typed."""
        return builder.create_network(0)

    def model(self, work: Work) -> Path:
        """Return the model with its types changed to the precision that is wanted."""
        if work.request.precision == "fp16":
            return with_halves(work)
        return with_integers(work) if work.request.precision == "int8" else work.request.onnx

    def configure(self, work: Work, builder: Any, config: Any) -> None:
        """Ask for progress; the model says the rest."""
        config.progress_monitor = make_progress(work)

    def measured(self) -> bytes:
        """Return nothing: ranges are in the model."""
        return b""

    def free(self) -> None:
        """There is nothing to give back."""
