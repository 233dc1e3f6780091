"""What every engine must do. A new back end is covered the moment it has a row in ENGINES.

TensorRT runs here twice: on the machine's own GPU where there is one, and on a stand-in for each generation.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from parts import painted
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.engines import ENGINES
from edged.engines.base import EngineRequest
from edged.errors import BackendUnavailable, ConfigError
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.tensor import InputFormat


def frame_of(number, on_release=None):
    gray = np.full((24, 32), 128, np.uint8)
    picture = Picture(64, 48, PixelFormat.YUV, Color(), (painted(number), gray, gray))
    return Frame("c", number, picture, Capture(0, 0, "arrival"), 0, 0, on_release)


def found(outputs, index):
    """Return the number that the network read in image `index`."""
    x, y = outputs["output"][index, :2, 0]
    return round(x - 0.5) + 64 * round(y - 0.5)


STAND_INS = ("8.5.3.1", "10.3.0", "11.4.0.106")


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory):
    """Return a store for all tests: a real GPU builds each engine once, which takes long."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(params=[*(name for name in ENGINES.names() if ENGINES._specs[name].target), *STAND_INS])
def load(request, shared_store):
    """Load a network with one back end; skipped by name where its library or device is not there.

    What a back end builds beforehand is built first.
    """
    name = request.param
    if name in STAND_INS:
        request.getfixturevalue("board")(name)
        name = "tensorrt"
    elif name == "tensorrt":
        real_tensorrt()
    engine_class = ENGINES.load(name)
    loaded = []

    def load(onnx, **how):
        wanted = EngineRequest(onnx, InputFormat(), **how)
        if name == "tensorrt":
            wanted = replace(wanted, store=shared_store)
            build_into(wanted)
        loaded.append(engine_class(wanted))
        return loaded[-1]

    yield load
    for engine in loaded:
        engine.close()


def real_tensorrt():
    """Skip the test where TensorRT or the GPU is not there."""
    from edged.device.gpu import open_device
    from edged.engines.tensorrt.library import open_library

    try:
        open_library()
        open_device(0).close()
    except BackendUnavailable as why:
        pytest.skip(str(why))


def infer(engine, numbers):
    slot = engine.reserve(1)
    for index, number in enumerate(numbers):
        slot.fill(index, frame_of(number))
    slot.submit(len(numbers))
    outputs = slot.complete()
    values = [found(outputs, index) for index in range(len(numbers))]
    slot.release()
    return values


def test_it_says_what_it_is(load, model):
    engine = load(model(), batch=4)
    assert [str(spec) for spec in engine.model.inputs] == ["images [?, 3, 48, 64] float32"]
    assert [spec.name for spec in engine.model.outputs] == ["output"]
    assert (engine.max_batch, engine.fixed_batch) == (4, False)
    assert engine.precision == "fp32"
    assert engine.workers >= 1
    assert engine.backend in ENGINES.names()
    assert engine.device


@pytest.mark.parametrize("count", [1, 3, 4])
def test_each_image_of_a_batch_has_its_own_answer(load, model, count):
    assert infer(load(model(), batch=4), list(range(7, 7 + count))) == list(range(7, 7 + count))


def test_a_fixed_batch_is_kept_and_may_be_filled_in_part(load, model):
    engine = load(model(batch=3), batch=8)
    assert (engine.max_batch, engine.fixed_batch) == (3, True)
    assert infer(engine, [5, 6, 7]) == [5, 6, 7]
    assert infer(engine, [9]) == [9]


def test_fill_says_where_the_frame_went(load, model):
    slot = load(model()).reserve(1)
    fit = slot.fill(0, frame_of(1))
    assert (fit.source_width, fit.source_height, fit.width, fit.height) == (64, 48, 64, 48)
    assert slot.capacity == 1
    slot.release()


def test_slots_run_out_and_come_back(load, model):
    engine = load(model())
    slots = []
    while (slot := engine.reserve(0.01)) is not None:
        slots.append(slot)
        assert len(slots) <= 64
    assert len(slots) >= engine.workers
    slots.pop().release()
    slots.append(engine.reserve(0.01))
    assert slots[-1] is not None
    for slot in slots:
        slot.release()


def test_a_frame_is_given_back_once_the_inference_is_over(load, model):
    released = []
    slot = load(model()).reserve(1)
    frame = frame_of(3, lambda: released.append(3))
    slot.fill(0, frame)
    frame.release()
    slot.submit(1)
    slot.complete()
    slot.release()
    assert released == [3]


def test_outputs_outlive_the_next_slots_inference_until_release(load, model):
    engine = load(model())
    if engine.workers < 2:
        pytest.skip("one slot at a time")
    first = engine.reserve(1)
    first.fill(0, frame_of(1))
    first.submit(1)
    outputs = first.complete()
    assert infer(engine, [2]) == [2]
    assert found(outputs, 0) == 1
    first.release()


def test_threads_do_not_mix_their_images_up(load, model):
    engine, wrong = load(model(), batch=2), []

    def work(start):
        for number in range(start, start + 200, 2):
            if infer(engine, [number, number + 1]) != [number, number + 1]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 500, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_close_twice_is_harmless(load, model):
    engine = load(model())
    engine.close()
    engine.close()


def test_a_file_that_is_no_model_is_named(load, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=f"^{path}: "):
        load(path)


def test_what_onnx_runtime_cannot_do_is_unavailable(model):
    load = ENGINES.load("onnxruntime")
    for how, text in (
        ({"precision": "fp16"}, "engine back end 'onnxruntime' has no fp16 on the cpu"),
        ({"device": "gpu0"}, "engine back end 'onnxruntime' runs on the cpu, not on 'gpu0'"),
    ):
        with pytest.raises(BackendUnavailable) as caught:
            load(EngineRequest(model(), InputFormat(), **how))
        assert str(caught.value).startswith(text)
