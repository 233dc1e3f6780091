"""What TensorRT and CUDA fail with while engines are loaded: the next back end of a task serves, and says why."""

from __future__ import annotations

import logging
import weakref
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest
from cuda_double import HostDevice
from engine_parts import write_blobs
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.assembly import assemble, engine_request
from edged.config import load_config
from edged.device import gpu
from edged.device.base import DeviceError
from edged.engines.base import EngineError, EngineRequest
from edged.engines.build.gather import Pick, write_record
from edged.engines.build.record import Seen
from edged.engines.store import Store
from edged.engines.tensorrt.engine import TrtEngine
from edged.engines.tensorrt.library import open_library
from edged.errors import BackendUnavailable
from edged.frame import Color, Picture, PixelFormat
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


def out_of_memory_after(monkeypatch, count):
    """Let device memory end after so many pieces of it."""
    allocate, left = HostDevice.allocate, [count]

    def full(self, nbytes):
        left[0] -= 1
        if left[0] < 0:
            raise DeviceError("CUDA: cuMemAlloc failed: out of memory")
        return allocate(self, nbytes)

    monkeypatch.setattr(HostDevice, "allocate", full)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_an_engine_that_finds_no_memory_gives_way_and_says_what_helps(board, config, monkeypatch, count):  # noqa: F811
    machine = board(RELEASE)
    build_into(request_of(config))
    out_of_memory_after(monkeypatch, count)
    with assembled(config) as found:
        assert found.chosen["t"] == (
            "onnxruntime on cpu, fp32 (tensorrt: net.onnx on gpu0: CUDA: cuMemAlloc failed: out of memory; "
            "free some of the device's memory, then run: edged reload)"
        )
    assert machine.left == []


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_build_that_finds_no_memory_is_no_bug_and_says_what_helps(board, config, monkeypatch, count):  # noqa: F811
    machine = board("8.5.3.1")
    request = replace(request_of(config), precision="int8")
    store = Store(request.store)
    with store.writing():
        random = np.random.default_rng(0)
        pictures = (random.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(16))
        picks = (
            Pick("a", str(number), Picture(64, 48, PixelFormat.RGB, Color(full=True), (pixels,)))
            for number, pixels in enumerate(pictures)
        )
        record = write_record(store.root, "t", Seen(64, 48, "letterbox", 114), {}, picks)
    out_of_memory_after(monkeypatch, count)
    with pytest.raises(BackendUnavailable, match="out of memory; free some of the device's memory") as caught:
        build_into(request, (), (record,))
    assert caught.value.exit_code == 69
    assert machine.left == []


def test_nothing_of_an_engine_that_could_not_be_loaded_is_held_by_the_error(board, config, monkeypatch):  # noqa: F811
    machine = board(RELEASE)
    build_into(request_of(config))
    made = []
    deserialize = machine.trt.Runtime.deserialize_cuda_engine

    def watched(self, data):
        engine = deserialize(self, data)
        made.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(machine.trt.Runtime, "deserialize_cuda_engine", watched)
    out_of_memory_after(monkeypatch, 3)
    with pytest.raises(BackendUnavailable, match="out of memory") as caught:
        TrtEngine(request_of(config))
    assert [one() for one in made] == [None]
    assert caught.value.__cause__ is not None


def test_an_engine_that_finds_no_memory_to_be_recorded_again_is_enqueued(board, config, monkeypatch, caplog):  # noqa: F811
    board(RELEASE)
    build_into(request_of(config))
    with closing(TrtEngine(request_of(config))) as engine:

        def full(self, stream, enqueue):
            raise DeviceError("CUDA: CUDA_ERROR_OUT_OF_MEMORY")

        monkeypatch.setattr(HostDevice, "capture", full)
        engine.prime([lambda outputs: outputs["output"]])
        assert "a batch of 1 is enqueued from now on: CUDA: CUDA_ERROR_OUT_OF_MEMORY" in caplog.text
        assert engine.note == "plain enqueue: the engine cannot be recorded as a CUDA graph"
        slot = engine.reserve(1)
        slot.submit(1)
        assert slot.complete()["output"].shape[0] == 1
        slot.release()


def test_an_error_that_breaks_the_context_ends_the_daemon(board, config, monkeypatch):  # noqa: F811
    machine = board(RELEASE)
    build_into(request_of(config))
    open_device = machine.open

    def broken(number):
        device = open_device(number)
        device.broken = "CUDA_ERROR_ILLEGAL_ADDRESS"
        return device

    monkeypatch.setattr(gpu, "open_device", broken)
    with pytest.raises(EngineError, match=r"^tensorrt: net.onnx on gpu0: CUDA: CUDA_ERROR_ILLEGAL_ADDRESS$") as caught:
        TrtEngine(request_of(config))
    assert caught.value.exit_code == 70
    machine.device.alive.clear()  # what a broken context has goes with the process


def test_no_memory_to_read_an_engine_into_is_no_reason_to_build_it_again(board, config, caplog):  # noqa: F811
    machine = board(RELEASE)
    build_into(request_of(config))

    def full(self, data):
        self._logger.log(machine.trt.ILogger.ERROR, "Error Code 2: OutOfMemory (no further information)")

    machine.trt.Runtime.deserialize_cuda_engine = full
    with (
        caplog.at_level(logging.CRITICAL, "edged.tensorrt"),
        pytest.raises(BackendUnavailable, match=r"OutOfMemory \(no further information\); free some of the device's"),
    ):
        TrtEngine(request_of(config))
