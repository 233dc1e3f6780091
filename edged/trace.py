"""Ranges for NVIDIA Nsight: which stage works on which camera and task. Nothing at all unless EDGED_NVTX=1.

EDGED_NVTX=1 nsys profile --trace=nvtx,cuda,osrt edged --config DIR run
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def stage(name: str, of: Callable[..., str]) -> Callable[[F], F]:
    """Mark each call of a function as a range `name: of(arguments)`. Where tracing is off the function stays itself."""
    if _nvtx is None:
        return lambda function: function
    push, pop = _nvtx.push_range, _nvtx.pop_range

    def mark(function: F) -> F:
        @functools.wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            push(f"{name}: {of(*args)}", domain="edged")
            try:
                return function(*args, **kwargs)
            finally:
                pop(domain="edged")

        return marked  # type: ignore[return-value]

    return mark


def _load() -> Any:
    if os.environ.get("EDGED_NVTX", "0") in ("", "0"):
        return None
    import nvtx

    return nvtx


_nvtx = _load()
