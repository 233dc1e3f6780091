"""Outputs whose first size is not the batch: TensorRT's are those of ONNX Runtime, whole and in the same shapes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from parts import painted
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.engines.base import EngineRequest
from edged.engines.ort import OrtEngine
from edged.engines.tensorrt.engine import TrtEngine
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.tasks.base import ParserSettings
from edged.tasks.suppressed import FasterRcnn
from edged.tensor import InputFormat

FOUND = 5


def write(path, batch, nodes, outputs, **constants):
    """Write a network of 64 x 48 pictures whose `mean` is (batch, 1), with these nodes behind it."""
    mean = helper.make_node("ReduceMean", ["images"], ["mean4"], axes=[1, 2, 3], keepdims=1)
    flat = helper.make_node("Flatten", ["mean4"], ["mean"])
    graph = helper.make_graph(
        [mean, flat, *nodes],
        "shapes",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch or "batch", 3, 48, 64])],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def write_unbatched(path, batch):
    """Write a network with boxes [5, 4], labels [5] and scores [5], and one number, without a batch."""
    boxes = np.tile(np.array([[1, 1, 20, 20]], np.float32), (FOUND, 1)) + np.arange(FOUND, dtype=np.float32)[:, None]
    nodes = [
        helper.make_node("ReduceMax", ["mean"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["b", "nothing"], ["boxes"]),
        helper.make_node("Add", ["s", "nothing"], ["scores"]),
        helper.make_node("Identity", ["l"], ["labels"]),
        helper.make_node("Identity", ["most"], ["number"]),
    ]
    float_, int_ = TensorProto.FLOAT, TensorProto.INT64
    outputs = [("boxes", float_, [FOUND, 4]), ("labels", int_, [FOUND]), ("scores", float_, [FOUND])]
    return write(
        path, batch, nodes, [*outputs, ("number", float_, [])],
        b=boxes, s=np.full(FOUND, 0.9, np.float32), l=np.ones(FOUND, np.int64), zero=np.float32(0),
    )  # fmt: skip


def write_merged(path):
    """Write a network with three rows of each picture, those of all pictures one after the other."""
    nodes = [
        helper.make_node("Add", ["mean", "steps"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["found"]),
    ]
    steps, shape = np.array([[0, 1, 2]], np.float32), np.array([-1, 1])
    return write(path, None, nodes, [("found", TensorProto.FLOAT, ["rows", 1])], steps=steps, shape=shape)


def inferred(engine, count):
    slot = engine.reserve(1)
    gray = np.full((24, 32), 128, np.uint8)
    for index in range(count):
        picture = Picture(64, 48, PixelFormat.YUV, Color(), (painted(index), gray, gray))
        slot.fill(index, Frame("c", index, picture, Capture(0, 0, "arrival"), 0, 0))
    slot.submit(count)
    outputs = {name: np.array(value) for name, value in slot.complete().items()}
    slot.release()
    return outputs


def assert_equal(mine, reference):
    assert mine.keys() == reference.keys()
    for name, value in reference.items():
        assert mine[name].shape == value.shape
        np.testing.assert_allclose(mine[name], value, rtol=1e-5)


@pytest.fixture
def both(board, tmp_path):  # noqa: F811
    """Return a maker of the engines of both back ends for one network."""
    board("10.3.0")

    def both(path, batch=3):
        request = EngineRequest(path, InputFormat(), batch=batch, store=tmp_path / "store")
        build_into(request)
        return closing(TrtEngine(request)), closing(OrtEngine(replace(request, device="cpu")))

    return both


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_outputs_without_a_batch_are_whole(both, tmp_path, batch):
    trt, ort = both(write_unbatched(tmp_path / "net.onnx", batch))
    with trt as trt, ort as ort:
        for count in range(1, trt.max_batch + 1):
            mine, reference = inferred(trt, count), inferred(ort, count)
            assert_equal(mine, reference)
        parser = FasterRcnn(trt.model, ParserSettings(("person",), (), 0.5))
        assert len(parser.parse(mine, 0, fit_frame((64, 48), (64, 48), "letterbox")).boxes) == FOUND


def test_outputs_that_merge_the_batch_have_all_rows_of_the_batch(both, tmp_path):
    trt, ort = both(write_merged(tmp_path / "net.onnx"))
    with trt as trt, ort as ort:
        for count in (3, 1, 2):
            assert_equal(inferred(trt, count), inferred(ort, count))
