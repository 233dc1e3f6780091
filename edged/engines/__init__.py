"""Engine back ends. Add one here."""

from __future__ import annotations

from edged.engines.arranging import Arranger
from edged.engines.base import Engine
from edged.registry import Registry, Spec

ENGINES: Registry[Engine] = Registry(
    "engine back end",
    {
        "tensorrt": Spec("edged.engines.tensorrt.engine:TrtEngine", "NVIDIA's tensorrt package"),
        "onnxruntime": Spec("edged.engines.ort:OrtEngine", "the onnxruntime wheel"),
    },
)

ARRANGERS: Registry[Arranger] = Registry(
    "arrangement of engines",
    {"tensorrt": Spec("edged.engines.tensorrt.arrange:TrtArranger", "NVIDIA's tensorrt package")},
)
"""Back ends whose engines have several places to run at."""
