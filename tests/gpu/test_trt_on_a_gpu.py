"""TensorRT on this machine's GPU against ONNX Runtime on the CPU, with networks made by others."""

from __future__ import annotations

import importlib.util
import os
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trt_parts import build_into

from edged.engines.base import EngineRequest
from edged.engines.build.compare import infer
from edged.engines.ort import OrtEngine
from edged.errors import BackendUnavailable
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.tasks import PARSERS
from edged.tasks.base import ParserSettings
from edged.tensor import InputFormat

REAL = Path(os.environ.get("EDGED_REAL", "/nonexistent"))
NEEDED = ("tensorrt", "pycuda", "cuda")
ABSENT = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return the store of all tests here; `EDGED_GPU_STORE` names one that outlives them."""
    kept = os.environ.get("EDGED_GPU_STORE")
    return Path(kept) if kept else tmp_path_factory.mktemp("engines")


def request_of(store, name, parser, precision):
    onnx = REAL / name
    if not onnx.is_file():
        pytest.skip(f"EDGED_REAL has no {name}")
    request = EngineRequest(onnx, PARSERS.load(parser).input, precision, "gpu", store=store)
    build_into(request)
    return request


def street(number):
    """Return a frame with edges and colours like those of pictures."""
    random = np.random.default_rng(number)
    rgb = np.kron(random.integers(0, 255, (18, 32, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    rgb[120:240, 200:330] = random.integers(0, 255, 3)
    return Frame(
        "c", number, Picture(640, 360, PixelFormat.RGB, Color(full=True), (rgb,)), Capture(0, 0, "media"), 0, 0
    )


def relative(one, two):
    difference = np.asarray(one, np.float64) - np.asarray(two, np.float64)
    return float(np.sqrt((difference**2).sum() / (np.asarray(two, np.float64) ** 2).sum()))


def write_convolutions(path):
    """Write a small network that leaves the batch open, of layers for which every release has kernels."""
    import onnx
    from onnx import TensorProto as Type
    from onnx import helper as make

    random = np.random.default_rng(1)
    weights = {"first": random.normal(size=(16, 3, 3, 3)), "second": random.normal(size=(4, 16, 3, 3))}
    graph = make.make_graph(
        [
            make.make_node("Conv", ["images", "first"], ["broad"], strides=[2, 2], pads=[1, 1, 1, 1]),
            make.make_node("Relu", ["broad"], ["positive"]),
            make.make_node("Conv", ["positive", "second"], ["output"], strides=[2, 2], pads=[1, 1, 1, 1]),
        ],
        "convolutions",
        [make.make_tensor_value_info("images", Type.FLOAT, ["batch", 3, 48, 64])],
        [make.make_tensor_value_info("output", Type.FLOAT, ["batch", 4, 12, 16])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8), path)
    return path


def is_same(one, two):
    corners = ("x1", "y1", "x2", "y2")
    return (
        one.class_id == two.class_id
        and abs(one.score - two.score) < 0.02
        and max(abs(getattr(one, corner) - getattr(two, corner)) for corner in corners) < 1
    )


def infer_all(engine, frames):
    """Return a copy of the first output of one inference of several frames."""
    slot = engine.reserve(5)
    try:
        for index, frame in enumerate(frames):
            slot.fill(index, frame)
        slot.submit(len(frames))
        return np.array(next(iter(slot.complete().values())))
    finally:
        slot.release()


@pytest.mark.parametrize(("precision", "most"), [("fp32", 3e-3), ("fp16", 3e-2)])  # fp32 computes in TF32 where it can
@pytest.mark.parametrize(("name", "parser"), [("fastestdet.onnx", "fastestdet"), ("twinlitenet.onnx", "lane_mask")])
def test_outputs_are_those_of_the_cpu(store, name, parser, precision, most):
    from edged.engines.tensorrt.engine import TrtEngine

    request = request_of(store, name, parser, precision)
    cpu = replace(request, precision="fp32", device="cpu")
    with closing(TrtEngine(request)) as engine, closing(OrtEngine(cpu)) as reference:
        for number in range(8):
            _, found = infer(engine, street(number))
            _, wanted = infer(reference, street(number))
            assert max(relative(found[key], wanted[key]) for key in wanted) < most


def test_boxes_are_those_of_the_cpu(store):
    from edged.engines.tensorrt.engine import TrtEngine

    request = request_of(store, "fastestdet.onnx", "fastestdet", "fp32")
    parser = PARSERS.load("fastestdet")
    seen = 0
    with closing(TrtEngine(request)) as engine, closing(OrtEngine(replace(request, device="cpu"))) as reference:
        parse = parser(engine.model, ParserSettings(score_min=0.05)).parse
        for number in range(16):
            fit, found = infer(engine, street(number))
            _, wanted = infer(reference, street(number))
            ours, theirs = parse(found, 0, fit).boxes, list(parse(wanted, 0, fit).boxes)
            assert len(ours) == len(theirs)
            seen += len(ours)
            for one in ours:  # boxes of nearly equal scores may come in another order
                theirs.remove(next(two for two in theirs if is_same(one, two)))
    assert seen


def test_every_batch_size_in_every_slot_has_the_answers_of_the_cpu(store, tmp_path):
    from edged.engines.tensorrt.engine import TrtEngine

    onnx = write_convolutions(tmp_path / "convolutions.onnx")
    request = EngineRequest(onnx, InputFormat(), "fp32", "gpu", batch=4, store=store)
    build_into(request)
    frames = [street(number) for number in range(16)]
    with closing(TrtEngine(request)) as engine, closing(OrtEngine(replace(request, device="cpu"))) as reference:
        wanted = [infer_all(reference, [frame])[0] for frame in frames]
        for turn in range(4 * engine.workers):
            for count in range(1, 5):
                chosen = [(turn + count * index) % 16 for index in range(count)]
                found = infer_all(engine, [frames[number] for number in chosen])
                assert len(found) == count
                for answer, number in zip(found, chosen, strict=True):
                    assert relative(answer, wanted[number]) < 1e-3


def test_threads_do_not_mix_their_pictures_up(store):
    from edged.engines.tensorrt.engine import TrtEngine

    frames = [street(number) for number in range(12)]
    wrong = []
    with closing(TrtEngine(request_of(store, "fastestdet.onnx", "fastestdet", "fp32"))) as engine:
        wanted = [infer_all(engine, [frame])[0] for frame in frames]

        def work(first):
            for turn in range(300):
                number = (first + 5 * turn) % len(frames)
                difference = relative(infer_all(engine, [frames[number]])[0], wanted[number])
                if not difference < 1e-6:
                    wrong.append((number, difference))

        threads = [threading.Thread(target=work, args=(first,)) for first in range(engine.workers + 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_inferences_are_recorded_as_graphs(store):
    from edged.engines.tensorrt.engine import TrtEngine

    with closing(TrtEngine(request_of(store, "fastestdet.onnx", "fastestdet", "fp32"))) as engine:
        assert engine.note == "CUDA graphs"


def test_loading_and_closing_leaves_no_memory_behind(store):
    from edged.device.gpu import open_device
    from edged.engines.tensorrt.engine import TrtEngine

    pynvml = pytest.importorskip("pynvml")
    pynvml.nvmlInit()

    def held():
        """Return what this process holds; of other processes nothing is known but that they come and go."""
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))
        return sum(one.usedGpuMemory or 0 for one in processes if one.pid == os.getpid())

    request = request_of(store, "fastestdet.onnx", "fastestdet", "fp32")
    with closing(open_device(0)):  # holds the primary context, so that only the engine comes and goes
        for _ in range(3):
            TrtEngine(request).close()
        before = held()
        if not before:
            pytest.skip("NVML does not tell what a process holds here")
        for _ in range(20):
            TrtEngine(request).close()
        assert held() - before < 8 << 20


def test_a_dla_that_is_not_there_is_named(store):
    import tensorrt as trt

    if trt.Builder(trt.Logger(trt.Logger.ERROR)).num_DLA_cores:
        pytest.skip("this machine has a DLA")
    onnx = REAL / "fastestdet.onnx"
    if not onnx.is_file():
        pytest.skip("EDGED_REAL has no fastestdet.onnx")
    request = EngineRequest(onnx, PARSERS.load("fastestdet").input, "fp16", "dla0", store=store)
    with pytest.raises(BackendUnavailable, match="^dla0: TensorRT .* finds no DLA"):
        build_into(request)
