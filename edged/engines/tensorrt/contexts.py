"""Execution contexts: one for each batch size, because a CUDA graph holds the state of the context it was recorded in.

The contexts of one slot never run at the same time, so they work in the same device memory. Names for that changed with
the releases; each is asked for before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edged.device.base import Device, Memory, Stream
from edged.engines.base import EngineError
from edged.engines.tensorrt.library import Library


def make_contexts(
    engines: Iterator[Any], sizes: Sequence[int], library: Library, device: Device
) -> tuple[dict[int, Any], Memory | None]:
    """Return a context for each batch size, and the memory that they share where there are several.

    Args:
        engines: the engine for one context after another.
        sizes: the batch sizes.
        library: TensorRT.
        device: where the memory is taken.
    """
    if len(sizes) == 1:
        return {sizes[0]: _must(next(engines).create_execution_context(), library)}, None
    contexts: dict[int, Any] = {}
    arena: Memory | None = None
    try:
        for size in sizes:
            engine = next(engines)
            if arena is None:
                arena = device.allocate(max(_needed(engine), 1))
            contexts[size] = _must(_without_memory(engine, library.trt), library)
            _give(contexts[size], arena)
    except BaseException:
        if arena is not None:
            arena.free()
        raise
    return contexts, arena


def static_contexts(engines: Mapping[int, Any], library: Library) -> dict[int, Any]:
    """Return a context of each engine that has one batch size only; each has memory of its own."""
    return {size: _must(engine.create_execution_context(), library) for size, engine in engines.items()}


def choose_profile(context: Any, stream: Stream, library: Library) -> None:
    """Give a context the engine's one profile where it has none: with 8.6 only the first of an engine has it by itself.

    Releases after that give it to all; with 8.5 a profile is of one context, which then has the engine alone.
    """
    if context.active_optimization_profile >= 0:
        return
    if not context.set_optimization_profile_async(0, stream.handle):
        raise EngineError(f"tensorrt: no optimization profile: {library.why()}")
    stream.synchronize()


def _needed(engine: Any) -> int:
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)


def _without_memory(engine: Any, trt: Any) -> Any:
    if hasattr(trt, "ExecutionContextAllocationStrategy"):
        return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    return engine.create_execution_context_without_device_memory()


def _give(context: Any, arena: Memory) -> None:
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(arena.pointer, arena.nbytes)
    else:
        context.device_memory = arena.pointer


def _must(context: Any, library: Library) -> Any:
    if context is None:
        raise EngineError(f"tensorrt: no execution context: {library.why()}")
    return context
