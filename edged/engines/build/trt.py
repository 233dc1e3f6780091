"""Builds one engine for TensorRT, for this GPU or a DLA core, and says what it is worth. Runs in a child process."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edged.device import gpu
from edged.device.base import DeviceError
from edged.engines.arranging import Target
from edged.engines.base import EngineError, EngineRequest
from edged.engines.build import trt8, trt10, trt11
from edged.engines.build.compare import Comparison, TaskCheck, compare, infer_ms
from edged.engines.build.order import (
    Order,
    calibration,
    check_records,
    circumstances,
    figures,
    install,
    refuse_blind,
    seen_by,
)
from edged.engines.build.record import CALIBRATE, CHOOSE, VERIFY, Frames, Record, Seen, as_frame, records_sha256
from edged.engines.build.trt_work import WORKSPACE_BYTES, Generation, Work, add_profile, inputs_of, parse, place_on_dla
from edged.engines.ort import OrtEngine
from edged.engines.store import EngineKey, Manifest, Store, model_sha256, writes
from edged.engines.tensorrt.arrange import devices_for, targets_of
from edged.engines.tensorrt.board import open_board
from edged.engines.tensorrt.engine import TrtEngine
from edged.engines.tensorrt.layers import Layers, built_as, read_layers
from edged.engines.tensorrt.library import Library, open_library
from edged.engines.tensorrt.place import check_dla, key_of, place_of
from edged.errors import BackendUnavailable, ConfigError
from edged.tensor import ModelSpec, TensorSpec

log = logging.getLogger(__name__)

MANY = 5  # names in a message


def check_installed() -> None:
    """Raise `BackendUnavailable` where TensorRT is missing; the model's own needs are found while building."""
    open_library()


def wanted_key(request: EngineRequest) -> EngineKey:
    """Return the key of the engine that a request would be served by here.

    Raises:
        BackendUnavailable: TensorRT or the GPU is not there.
    """
    place, library = place_of(request), open_library()
    with closing(gpu.open_device(place.gpu)) as device:
        return key_of(request, place, device, library.release)


def targets(request: EngineRequest) -> tuple[Target, ...]:
    """Return the engines to build for a request on this machine: one for each place and batch size, and twins.

    Raises:
        BackendUnavailable: TensorRT or the GPU is not there.
    """
    board = open_board()
    on_dla = any(name.startswith("dla") for name in devices_for(request, board))
    return targets_of(request, board, _seen(request, open_library())[1].shape[0] if on_dla else None)


@contextmanager
def _cuda_may_fail() -> Iterator[None]:
    """Translate an error of CUDA, which ends a daemon, into one of a command."""
    try:
        yield
    except (DeviceError, EngineError) as exc:
        raise BackendUnavailable(f"{exc}; free some of the device's memory, or stop the daemon meanwhile") from exc


@_cuda_may_fail()
def build(order: Order, store: Store) -> Manifest:
    """Build, look into, compare and install one engine. The caller holds the store.

    Raises:
        ConfigError: TensorRT cannot build it, layers are not where they must be, or it loses more than a task allows.
        BackendUnavailable: TensorRT, a GPU, a DLA core, frames or packages are missing, CUDA fails, or the store
            cannot be written.
    """
    begin_s = time.monotonic()
    request, place, library = order.request, place_of(order.request), open_library()
    seen, image = _seen(request, library)
    check_records(order, seen)
    if request.plugins and order.records:
        _must_be_known_to_the_cpu(order)
    if request.precision == "int8" and not order.records:
        raise BackendUnavailable(f"{request.onnx.name}: int8 needs frames; run: edged engine calibrate")
    for left_over in store.root.glob(".build-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with writes(store.root), tempfile.TemporaryDirectory(dir=store.root, prefix=".build-") as folder:
        with closing(gpu.open_device(place.gpu)) as device, device.active():
            key = key_of(request, place, device, library.release)
            work = Work(library, device, request, place, image, order.frames(CALIBRATE, CHOOSE), Path(folder))
            plan, layers = _plan(work, store, order)
        file = Path(folder) / "engine.plan"
        file.write_bytes(plan)
        verified, comparison = verify(request, file, order.checks, order.records) if order.records else ({}, None)
        with closing(TrtEngine(request, file)) as engine:
            ms = measure(engine)
        about = {
            **circumstances(begin_s, {"tensorrt": library.release, "cuda": key.facts["cuda"]}),
            "tasks": [check.task for check in order.checks],
            "builder": choose(library).name,
            "ms": ms,
            **layers.to_json(),
            "beside_dla": list(layers.beside_dla),
        }
        if comparison is not None:
            about |= {"calibration": calibration(order), "output_error": dict(comparison.output_error)}
        return install(store, file, Manifest(key, "", "", verified, about))


@_cuda_may_fail()
def verify(
    request: EngineRequest, file: Path, checks: Sequence[TaskCheck], records: Sequence[Record]
) -> tuple[dict[str, dict[str, Any]], Comparison]:
    """Compare an engine file with FP32 on the frames that building never looked at.

    FP32 is ONNX Runtime's on the CPU, which needs no engine; the time beside it is that of TensorRT's own FP32 engine
    where the store has it.

    Returns:
        The figures of each task as a manifest has them, and the comparison they come from.
    """
    frames = Frames(records, (VERIFY,))
    reference_request = replace(request, precision="fp32", device="cpu")
    with closing(OrtEngine(reference_request)) as reference, closing(TrtEngine(request, file)) as other:
        comparison = compare(reference, other, frames, checks)
        refuse_blind(checks, comparison)
        fp32 = _own_fp32(request)
        if fp32 is None:
            fp32_ms, (ms,) = None, infer_ms([other], frames.first())
        else:
            with closing(fp32):
                fp32_ms, ms = infer_ms((fp32, other), frames.first())
    return figures(checks, comparison, {"fp32_ms": fp32_ms, "ms": ms}), comparison


def measure(engine: TrtEngine) -> dict[str, float]:
    """Return the milliseconds of one inference by its number of pictures, nothing else running: grey host frames."""
    height, width = (size or 1 for size in engine.model.inputs[0].shape[2:])
    frame = as_frame("measure", 0, np.full((height, width, 3), 128, np.uint8))
    most = engine.max_batch
    sizes = [most] if engine.fixed_batch else sorted({most, *(1 << n for n in range(most.bit_length()))})
    return {str(size): infer_ms([engine], frame, size)[0] for size in sizes}


def choose(library: Library) -> Generation:
    """Return the builder of a release, by what the release can do.

    Raises:
        BackendUnavailable: none fits.
    """
    if trt11.fits(library.trt):
        return trt11.Generation11()
    if trt10.fits(library.trt):
        return trt10.Generation10()
    if trt8.fits(library.trt):
        return trt8.Generation8()
    raise BackendUnavailable(f"TensorRT {library.release} is of no generation that this version of edged can build for")


def _seen(request: EngineRequest, library: Library) -> tuple[Seen, TensorSpec]:
    """Return how a model sees pictures, and its input.

    ONNX Runtime knows no layers of plug-in libraries: a model that has them is read by TensorRT.
    """
    if not request.plugins:
        return seen_by(request)
    library.load_plugins(request.plugins)
    place, unknown = place_of(request), TensorSpec("", (), "")
    with closing(gpu.open_device(place.gpu)) as device, device.active():
        inputs = _inputs(Work(library, device, request, place, unknown, Frames((), ()), request.onnx.parent))
    return seen_by(request, ModelSpec(inputs, ()))


def _must_be_known_to_the_cpu(order: Order) -> None:
    """Raise `ConfigError`, before anything is built, where ONNX Runtime cannot run what frames are compared by."""
    try:
        seen_by(order.request)
    except ConfigError as exc:
        frames = " and ".join(f"calibration/{record.task}" for record in order.records)
        raise ConfigError(
            f"{exc}; so there is nothing to compare an engine with on the frames that there are: "
            f"remove {frames} from the store, and build fp32 or fp16"
        ) from exc


def _inputs(work: Work) -> tuple[TensorSpec, ...]:
    """Return a model's inputs as TensorRT reads them. What that takes is gone before the device is."""
    builder = work.library.builder()
    network = choose(work.library).network(work, builder)
    parse(work, network, work.request.onnx)
    return inputs_of(network)


def _plan(work: Work, store: Store, order: Order) -> tuple[bytes, Layers]:
    """Return a serialised engine and what is in it."""
    trt, generation = work.trt, choose(work.library)
    builder = work.library.builder()
    check_dla(work.place, builder.num_DLA_cores, work.library.release)
    ranges = _ranges_name(work, order)
    work = replace(work, calibration=store.read_aside(ranges))
    network = generation.network(work, builder)
    parse(work, network, generation.model(work))
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector tells names alone
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    add_profile(work, builder, config)
    place_on_dla(work, config)
    generation.configure(work, builder, config)
    timing = _timing_name(work)
    known = config.create_timing_cache(store.read_aside(timing)) or config.create_timing_cache(b"")
    config.set_timing_cache(known, False)  # one that TensorRT does not take is begun anew
    log.info("%s: TensorRT %s builds for %s", work.request.onnx.name, work.library.release, work.place)
    try:
        plan = builder.build_serialized_network(network, config)
        measured = generation.measured()
    finally:
        generation.free()
    if plan is None:
        raise work.failed(f"cannot build the {work.request.precision} engine for {work.place}")
    work.library.why()  # what it had against an old cache is no reason for anything later
    store.write_aside(timing, bytes(config.get_timing_cache().serialize()))
    if measured:
        store.write_aside(ranges, measured)
    return bytes(plan), _look(work, bytes(plan))


def _look(work: Work, plan: bytes) -> Layers:
    """Ask the inspector what was built, and refuse what the task does not allow."""
    runtime = work.library.runtime()
    if work.place.dla is not None:
        runtime.DLA_core = work.place.dla
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise work.failed("does not take the engine that it built")
    text = engine.create_engine_inspector().get_engine_information(work.trt.LayerInformationFormat.JSON)
    layers = read_layers(text, str(work.place))
    request = work.request
    if layers.beside_dla and request.gpu_fallback != "allow":
        names = ", ".join(layers.beside_dla[:MANY]) + (", ..." if len(layers.beside_dla) > MANY else "")
        what = f"{request.onnx.name}: {len(layers.beside_dla)} layer(s) run on the GPU instead of {work.place}: {names}"
        if request.gpu_fallback == "never":
            raise ConfigError(f"{what}; gpu_fallback is never")
        log.warning("%s", what)
    if remark := built_as(request.precision, work.place.kind, layers.precision)[1]:
        log.warning("%s: %s", request.onnx.name, remark)
    return layers


def _timing_name(work: Work) -> str:
    """Return the name of the timing cache: tactics are timed on one GPU model by one release."""
    parts = f"{work.library.release} {work.device.name} {work.device.capability} {work.device.driver}"
    return f"timing.{hashlib.sha256(parts.encode()).hexdigest()[:12]}.cache"


def _ranges_name(work: Work, order: Order) -> str:
    """Return the name of the calibration cache: ranges of one model seen in one way, on the same frames."""
    place = "gpu" if work.place.dla is None else "dla"  # all cores and batch sizes alike
    parts = f"{work.library.release} {place} {work.request.input} {records_sha256(order.records)}"
    digest = hashlib.sha256(f"{parts} {model_sha256(work.request.onnx)}".encode()).hexdigest()[:12]
    return f"ranges.{work.request.onnx.stem}.{digest}.cache"


def _own_fp32(request: EngineRequest) -> TrtEngine | None:
    if request.precision == "fp32" or request.device.startswith("dla"):
        return None
    try:
        return TrtEngine(replace(request, precision="fp32"))
    except BackendUnavailable:
        return None
