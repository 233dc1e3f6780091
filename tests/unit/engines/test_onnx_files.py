"""Models whose weights lie beside them: other weights are another model, for keys, ranges and running engines."""

from __future__ import annotations

import os
from contextlib import closing

import numpy as np
import onnx
import pytest
from engine_parts import write_blobs
from onnx import TensorProto, helper, numpy_helper
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.assembly import assemble
from edged.config import load_config
from edged.engines.base import EngineRequest
from edged.engines.onnx_files import model_files
from edged.engines.store import EngineMissing, engine_key
from edged.engines.tensorrt.engine import TrtEngine
from edged.errors import ConfigError
from edged.tensor import InputFormat

WEIGHTS = "net.onnx.data"


def write_apart(path, *, seed=1):
    """Write the network of `write_blobs` with its weights in a file of their own."""
    model = onnx.load(write_blobs(path, seed=seed))
    (path.parent / WEIGHTS).unlink(missing_ok=True)
    onnx.save_model(model, path, save_as_external_data=True, location=WEIGHTS, size_threshold=100)
    return path


def test_a_models_files_are_its_own_and_those_that_its_tensors_name(tmp_path):
    path = tmp_path / "net.onnx"
    assert model_files(write_blobs(path)) == (path,)
    assert model_files(write_apart(path)) == (path, tmp_path / WEIGHTS)


def test_weights_in_branches_constants_and_functions_are_found(tmp_path):
    def apart(name):
        tensor = numpy_helper.from_array(np.ones(3, np.float32), name)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="offset", value="0")
        tensor.external_data.add(key="location", value=f"{name}.bin")
        return tensor

    def constant(name):
        return helper.make_node("Constant", [], [name], value=apart(name))

    branch = helper.make_graph([constant("branch")], "then", [], [])
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch), constant("node")]
    graph = helper.make_graph(nodes, "g", [], [], [apart("weight"), apart("weight")])
    function = helper.make_function("mine", "f", [], ["function"], [constant("function")], [])
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph, functions=[function]).SerializeToString())
    names = [found.name for found in model_files(path)]
    assert names == ["net.onnx", "branch.bin", "function.bin", "node.bin", "weight.bin"]


@pytest.mark.parametrize("content", [b"", b"a network", b"\x3a\xff", b"\xff" * 40, b"\x3a\x05\x2a\x03\x6a\x01\x12"])
def test_what_is_no_model_has_no_further_files(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert model_files(path) == (path,)


def test_other_weights_are_another_key_and_missing_ones_are_named(tmp_path):
    request = EngineRequest(write_apart(tmp_path / "net.onnx"), InputFormat())
    before, graph = engine_key(request, "onnxruntime"), request.onnx.read_bytes()
    write_apart(request.onnx, seed=2)
    assert request.onnx.read_bytes() == graph
    assert engine_key(request, "onnxruntime") != before
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ConfigError, match=r"net.onnx.data: cannot be read: No such file"):
        engine_key(request, "onnxruntime")


@pytest.mark.parametrize("release", ["8.5.3.1", "10.3.0", "11.4.0.106"])
def test_tensorrt_finds_the_weights_and_does_not_serve_the_old_ones(board, tmp_path, release):  # noqa: F811
    board(release)
    request = EngineRequest(write_apart(tmp_path / "net.onnx"), InputFormat(), store=tmp_path / "store")
    build_into(request)
    with closing(TrtEngine(request)) as engine:
        assert engine.workers
    write_apart(request.onnx, seed=2)
    with pytest.raises(EngineMissing, match="the model has changed since it was built"):
        TrtEngine(request)


def test_a_reload_takes_other_weights(site, task, clip, tmp_path):
    onnx_file = write_apart(tmp_path / "net.onnx")
    tasks = {"t": task("a", onnx=onnx_file, net={"score_min": 0.5})}
    config = load_config(site({"a": {"source": f"file:{clip(frames=20)}"}}, tasks))
    first = assemble(config)
    assert assemble(config, first).engines == first.engines
    about = (tmp_path / WEIGHTS).stat()
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes())
    os.utime(tmp_path / WEIGHTS, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    assert assemble(config, first).engines.keys() != first.engines.keys()
