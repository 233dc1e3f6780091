"""How many findings the FP32 network has in pictures, as its task's parser says: what is worth showing to INT8."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

from edged.engines.base import EngineRequest
from edged.engines.build.compare import TaskCheck, infer
from edged.engines.ort import OrtEngine
from edged.errors import ConfigError
from edged.frame import Frame
from edged.results import Found

log = logging.getLogger(__name__)


def count_objects(request: EngineRequest, check: TaskCheck, readers: Sequence[Callable[[], Frame]]) -> list[int]:
    """Run FP32 of ONNX Runtime on all cores over pictures, and count what is found in each.

    Args:
        request: the task's; precision and device do not matter.
        check: how the task reads the outputs, and its threshold.
        readers: how to read each picture; done when it is its turn.
    """
    fp32 = replace(request, precision="fp32", device="cpu", batch=1)
    with closing(OrtEngine(fp32)) as engine, ThreadPoolExecutor(engine.workers, "count-objects") as pool:
        parse = check.parse(engine.model, check.score_min)

        def count(read: Callable[[], Frame]) -> int:
            fit, outputs = infer(engine, read())
            try:
                return findings(parse(outputs, 0, fit))
            except ConfigError as exc:  # a user's parser; the daemon would go on, too
                log.warning("%s; the picture counts as empty", exc)
                return 0

        return list(pool.map(count, readers))


def findings(found: Found) -> int:
    """Return how many boxes and lanes there are; of a task that has masks alone, the masks that are not empty."""
    if found.boxes or found.lanes is not None:
        return len(found.boxes) + len(found.lanes or ())
    return sum(any(mask.bits) for mask in found.masks)
