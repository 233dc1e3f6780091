"""The TensorRT engine at run time, on a stand-in for the library and for CUDA."""

from __future__ import annotations

import logging
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parts import painted
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.engines.base import EngineError, EngineRequest
from edged.engines.store import EngineMissing, Store
from edged.engines.tensorrt.engine import TrtEngine
from edged.errors import BackendUnavailable, ConfigError
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.tensor import InputFormat

RELEASE = "10.3.0"
CONTEXTS = 4


@pytest.fixture
def wanted(model, tmp_path):
    """Return what a task with batches of up to three asks for."""
    return EngineRequest(model(), InputFormat(), batch=3, store=tmp_path / "store")


def frame(number):
    gray = np.full((24, 32), 128, np.uint8)
    picture = Picture(64, 48, PixelFormat.YUV, Color(), (painted(number), gray, gray))
    return Frame("c", number, picture, Capture(0, 0, "arrival"), 0, 0)


def infer(engine, numbers):
    slot = engine.reserve(1)
    for index, number in enumerate(numbers):
        slot.fill(index, frame(number))
    slot.submit(len(numbers))
    outputs = slot.complete()["output"]
    found = [round(x - 0.5) + 64 * round(y - 0.5) for x, y in outputs[:, :2, 0]]
    slot.release()
    return found


def test_every_batch_size_of_every_context_is_a_graph_and_is_used(board, wanted):  # noqa: F811
    machine = board(RELEASE)
    build_into(wanted)
    with closing(TrtEngine(wanted)) as engine:
        assert (engine.note, engine.device, engine.workers) == ("CUDA graphs", "gpu0", CONTEXTS)
        assert len(machine.device.graphs) == 2 * 3 * CONTEXTS  # host frames, and frames of the device
        for numbers in ([1], [2, 3], [4, 5, 6]) * CONTEXTS:
            assert infer(engine, numbers) == numbers
        assert {graph.launches for graph in machine.device.graphs} == {0, 1}
        assert sum(graph.launches for graph in machine.device.graphs) == 3 * CONTEXTS


@pytest.mark.parametrize("release", ["8.5.3.1", "11.4.0.106"])
def test_where_nothing_can_be_recorded_it_enqueues_and_says_so(board, wanted, release):  # noqa: F811
    machine = board(release, capture_fails=True)
    build_into(wanted)
    with closing(TrtEngine(wanted)) as engine:
        assert engine.note == "plain enqueue: the engine cannot be recorded as a CUDA graph"
        assert machine.device.graphs == []
        assert infer(engine, [7, 8]) == [7, 8]


def test_outputs_are_there_when_complete_returns_and_not_before(board, wanted):  # noqa: F811
    board(RELEASE)
    build_into(wanted)
    with closing(TrtEngine(wanted)) as engine:
        slot = engine.reserve(1)
        slot.fill(0, frame(5))
        host = slot._outputs._host["output"][1]
        host[:] = -1
        slot.submit(1)
        assert (host == -1).all()
        assert slot.complete()["output"].shape[0] == 1
        assert (host != -1).any()
        slot.release()


def test_a_cuda_error_ends_the_process(board, wanted):  # noqa: F811
    machine = board(RELEASE)
    build_into(wanted)
    with closing(TrtEngine(wanted)) as engine:
        slot = engine.reserve(1)
        slot.fill(0, frame(1))
        slot.submit(1)
        machine.device.broken = "CUDA_ERROR_ILLEGAL_ADDRESS"
        with pytest.raises(EngineError, match="^tensorrt: CUDA: CUDA_ERROR_ILLEGAL_ADDRESS$") as caught:
            slot.complete()
        assert caught.value.exit_code == 70
        machine.device.broken = ""


def test_an_output_whose_size_depends_on_the_picture_is_refused_and_nothing_stays(board, wanted, tmp_path):  # noqa: F811
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 3, 48, 64]
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["images"], ["output"])],
        "places",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.INT64, [4, None])],
    )
    path = tmp_path / "places.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    machine = board(RELEASE)
    request = replace(wanted, onnx=path, batch=1)
    with pytest.raises(BackendUnavailable, match=r"output 'output' has \(4, -1\): sizes that depend on the picture"):
        build_into(request)
    assert machine.left == []
    assert not list(request.store.glob("*.json"))


def test_closing_gives_everything_back_and_twice_is_harmless(board, wanted):  # noqa: F811
    machine = board(RELEASE)
    build_into(wanted)
    engine = TrtEngine(wanted)
    assert machine.left
    engine.close()
    assert machine.left == []
    engine.close()
    assert engine.reserve(0.01) is None


def test_an_engine_that_the_library_does_not_take_is_refused_in_its_words(board, wanted, tmp_path, caplog):  # noqa: F811
    machine = board(RELEASE)
    plan = tmp_path / "x.plan"
    plan.write_bytes(b"nothing of TensorRT's")
    with (
        caplog.at_level(logging.CRITICAL, "edged.tensorrt"),
        pytest.raises(BackendUnavailable, match=r"does not take the engine: Serialization .* run: edged engine build"),
    ):
        TrtEngine(wanted, plan)
    assert machine.device.closed


def test_another_release_gpu_or_batch_needs_another_engine_and_the_reason_is_told(board, wanted):  # noqa: F811
    board("8.5.3.1")
    build_into(wanted)
    with pytest.raises(EngineMissing, match="it was built for other batch sizes; run: edged engine build"):
        TrtEngine(replace(wanted, batch=4))
    machine = board("10.3.0")
    with pytest.raises(EngineMissing, match="it was built with TensorRT 8.5.3.1, here is 10.3.0"):
        TrtEngine(wanted)
    machine = board("8.5.3.1")
    machine.name, machine.capability = "NVIDIA Other", "9.0"
    with pytest.raises(EngineMissing, match=r"capability 8.7, this GPU has 9.0; it was built on NVIDIA Stand-In, here"):
        TrtEngine(wanted)


def test_a_corrupted_and_a_world_writable_engine_are_refused_with_the_remedy(board, wanted):  # noqa: F811
    board(RELEASE)
    store = Store(wanted.store)
    file = store.file_of(build_into(wanted))
    file.chmod(0o666)
    with pytest.raises(BackendUnavailable, match=r"can be written by others .* run: chmod go-w"):
        TrtEngine(wanted)
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BackendUnavailable, match="is not the file its manifest describes; run: edged engine build"):
        TrtEngine(wanted)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"device": "cpu"}, "engine back end 'tensorrt' runs on a GPU or a DLA, not on 'cpu'"),
        ({"store": None}, "engine back end 'tensorrt' needs an engine store; set engines.store in edged.yaml"),
    ],
)
def test_what_it_cannot_do_is_unavailable(board, wanted, how, text):  # noqa: F811
    board(RELEASE)
    with pytest.raises(BackendUnavailable) as caught:
        TrtEngine(replace(wanted, **how))
    assert str(caught.value) == text


def test_fp32_on_a_dla_is_refused(board, wanted):  # noqa: F811
    board(RELEASE, dla_cores=2)
    with pytest.raises(ConfigError, match="dla1 computes in fp16 or int8 only, precision is fp32"):
        TrtEngine(replace(wanted, device="dla1"))


def test_a_plugin_library_that_cannot_be_loaded_is_named(board, wanted, tmp_path):  # noqa: F811
    board(RELEASE)
    broken = tmp_path / "libmine.so"
    broken.write_bytes(b"no library")
    with pytest.raises(BackendUnavailable, match=r"^TensorRT plug-in library .*libmine.so: "):
        build_into(replace(wanted, plugins=(broken,)))


def test_changed_plugin_libraries_need_another_engine(board, wanted, tmp_path):  # noqa: F811
    import _ctypes

    board(RELEASE)
    library = tmp_path / "libmine.so"
    library.symlink_to(_ctypes.__file__)
    build_into(wanted)
    with pytest.raises(EngineMissing, match="the plug-in libraries have changed since it was built"):
        TrtEngine(replace(wanted, plugins=(library,)))
    build_into(replace(wanted, plugins=(library,)))
    with closing(TrtEngine(replace(wanted, plugins=(library,)))) as engine:
        assert infer(engine, [9]) == [9]


def test_a_plugin_library_that_changes_under_a_running_process_needs_another_process(board, wanted, tmp_path):  # noqa: F811
    import _ctypes

    board(RELEASE)
    library = tmp_path / "libmine.so"
    shutil.copy(_ctypes.__file__, library)
    with_plugin = replace(wanted, plugins=(library,))
    build_into(with_plugin)
    TrtEngine(with_plugin).close()
    library.unlink()  # what is mapped is not written to: a new file takes its name
    library.write_bytes(Path(_ctypes.__file__).read_bytes() + b"another")
    with pytest.raises(BackendUnavailable, match=r"libmine.so has changed since .* loaded it; restart edged$"):
        build_into(with_plugin)
    with pytest.raises(EngineMissing, match="the plug-in libraries have changed since it was built"):
        TrtEngine(with_plugin)
    shutil.copy(library, tmp_path / "libother.so")  # another process builds with it
    build_into(replace(wanted, plugins=(tmp_path / "libother.so",)))
    with pytest.raises(BackendUnavailable, match=r"libmine.so has changed since .* loaded it; restart edged$"):
        TrtEngine(with_plugin)
