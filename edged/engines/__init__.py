"""Engine back ends. Add one here."""

from __future__ import annotations

import os

from edged.engines.arranging import Arranger
from edged.engines.base import Engine
from edged.registry import Registry, Spec

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.32 on it reports its use to its maker: not from here

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
