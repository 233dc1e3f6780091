"""What TensorRT and CUDA fail with while engines are loaded: the next back end of a task serves, and says why."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
from engine_parts import write_blobs
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.assembly import assemble, engine_request
from edged.config import load_config
from edged.engines.base import EngineRequest
from edged.engines.tensorrt.library import open_library
from edged.errors import BackendUnavailable
from edged.tasks import PARSERS
from edged.tensor import InputFormat

RELEASE = "10.3.0"


@pytest.fixture
def config(site, task, clip, tmp_path):
    """Return a configuration of one task for TensorRT, else ONNX Runtime; its engine is built by `build_into`."""
    engine = {"backend": ["tensorrt", "onnxruntime"], "batch": 2}
    tasks = {"t": task("a", engine=engine, onnx=write_blobs(tmp_path / "net.onnx"), net={"score_min": 0.5})}
    return load_config(site({"a": {"source": f"file:{clip(frames=20)}"}}, tasks, {"engines": {"store": "engines"}}))


def request_of(config) -> EngineRequest:
    task = config.tasks["t"]
    return engine_request(config, task, PARSERS.load(task.model.parser))


@contextmanager
def assembled(config):
    found = assemble(config)
    try:
        yield found
    finally:
        for loaded in found.engines.values():
            loaded.engine.close()


def refuse_to_start(machine, name):
    """Be a release of another CUDA than the driver's: its bindings make nothing, and their error says as little."""

    def start(self, *_):
        machine.logger.log(machine.trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    machine.logger = open_library().logger
    getattr(machine.trt, name).__init__ = start


def test_a_tensorrt_that_cannot_start_gives_way_to_the_next_back_end(board, config, caplog):  # noqa: F811
    machine = board(RELEASE)
    build_into(request_of(config))
    refuse_to_start(machine, "Runtime")
    with caplog.at_level(logging.CRITICAL, "edged.tensorrt"), assembled(config) as found:
        assert found.chosen["t"] == (
            "onnxruntime on cpu, fp32 (TensorRT 10.3.0 does not start: CUDA initialization failure with error: 35)"
        )


@pytest.mark.parametrize("name", ["Builder", "OnnxParser", "Runtime"])
def test_a_build_by_a_tensorrt_that_cannot_start_is_refused(board, tmp_path, caplog, name):  # noqa: F811
    machine = board(RELEASE)
    request = EngineRequest(write_blobs(tmp_path / "net.onnx"), InputFormat(), store=tmp_path / "store")
    refuse_to_start(machine, name)
    with (
        caplog.at_level(logging.CRITICAL, "edged.tensorrt"),
        pytest.raises(BackendUnavailable, match=r"TensorRT 10.3.0 does not start: CUDA initialization failure"),
    ):
        build_into(request)
    assert machine.left == []
