"""Frames that lie on the device, through TensorRT's slots: read in place, waited for, kept as long as it takes."""

from __future__ import annotations

from contextlib import closing

import cuda_double
import numpy as np
import pytest
from parts import painted
from pictures import Uploaded
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.engines.base import EngineRequest
from edged.engines.tensorrt.engine import TrtEngine
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.tensor import InputFormat

pytestmark = pytest.mark.skipif(cuda_double.COMPILER is None, reason=cuda_double.NO_COMPILER)


def host_picture(number):
    return Picture(64, 48, PixelFormat.NV12, Color(), (painted(number), np.full((24, 32, 2), 128, np.uint8)))


def frame_of(picture, released=None):
    return Frame("c", 0, picture, Capture(0, 0, "arrival"), 0, 0, released)


def number_in(outputs, index):
    x, y = outputs["output"][index, :2, 0]
    return round(x - 0.5) + 64 * round(y - 0.5)


@pytest.fixture
def machine(board):  # noqa: F811
    return board("10.3.0")


@pytest.fixture
def engine(machine, model, tmp_path):
    request = EngineRequest(model(), InputFormat(), batch=4, store=tmp_path, urgency=0.5)
    build_into(request)
    with closing(TrtEngine(request)) as engine:
        yield engine


@pytest.fixture
def upload(engine, machine):
    """Return a maker of pictures on the device."""
    made = []

    def upload(number):
        with machine.device.active():
            made.append(Uploaded(machine.device, host_picture(number)))
        return made[-1]

    yield upload
    with machine.device.active():
        for one in made:
            one.free()


def launches(machine):
    return sum(graph.launches for graph in machine.device.graphs)


def test_a_batch_of_them_is_one_graph(engine, machine, upload):
    slot = engine.reserve(1)
    for index, number in enumerate((5, 6, 7)):
        slot.fill(index, frame_of(upload(number).picture))
    before = launches(machine)
    slot.submit(3)
    outputs = slot.complete()
    assert [number_in(outputs, index) for index in range(3)] == [5, 6, 7]
    assert launches(machine) == before + 1
    slot.release()


def test_frames_of_host_and_device_share_a_batch(engine, upload):
    slot = engine.reserve(1)
    for index, number in enumerate((5, 6, 7, 8)):
        slot.fill(index, frame_of(upload(number).picture if number % 2 else host_picture(number)))
    slot.submit(4)
    outputs = slot.complete()
    assert [number_in(outputs, index) for index in range(4)] == [5, 6, 7, 8]
    slot.release()
    slot = engine.reserve(1)
    slot.fill(0, frame_of(host_picture(9)))
    slot.submit(1)
    assert number_in(slot.complete(), 0) == 9
    slot.release()


def test_a_frame_is_kept_until_the_inference_has_read_it(engine, upload):
    """Its source writes to the surface as soon as it has it back: too early, and the result is of another picture."""
    uploaded, poisoned = upload(5), []

    def poison():
        for memory in uploaded.memory:
            memory.array[:] = 255
        poisoned.append(True)

    slot = engine.reserve(1)
    frame = frame_of(uploaded.picture, poison)
    slot.fill(0, frame)
    frame.release()
    slot.submit(1)
    assert not poisoned
    assert number_in(slot.complete(), 0) == 5
    assert poisoned
    slot.release()


def test_the_kernel_waits_for_the_decoder(engine, machine, upload):
    """The picture is still being decoded, on a stream of its own, when the inference is submitted."""
    target, source = upload(0), upload(6)
    with machine.device.active():
        stream, event = machine.device.stream(), machine.device.event()
        for to, fro in zip(target.memory, source.memory, strict=True):
            machine.device.copy(to.pointer, fro.pointer, fro.nbytes, stream)
        event.record(stream)
        picture = target.picture
        ready = Picture(
            picture.width, picture.height, picture.format, picture.color, picture.planes, picture.device, event.handle
        )
        slot = engine.reserve(1)
        slot.fill(0, frame_of(ready))
        slot.submit(1)
        assert number_in(slot.complete(), 0) == 6
        slot.release()
        event.free()
        stream.free()


def test_a_slot_that_is_given_back_unused_lets_its_frames_go(engine, upload):
    released = []
    slot = engine.reserve(1)
    frame = frame_of(upload(5).picture, lambda: released.append(True))
    slot.fill(0, frame)
    frame.release()
    slot.release()
    assert released
    slot = engine.reserve(1)
    slot.fill(0, frame_of(host_picture(3)))
    slot.submit(1)
    assert number_in(slot.complete(), 0) == 3
    slot.release()


def test_what_is_left_of_a_fixed_batch_is_padding(machine, model, tmp_path):
    """A place that an earlier batch filled is not read again: its surface may be gone."""
    request = EngineRequest(model(batch=3), InputFormat(), batch=3, store=tmp_path)
    build_into(request)
    with closing(TrtEngine(request)) as engine:
        device = machine.device
        with device.active():
            gone, kept = (Uploaded(device, host_picture(number)) for number in (5, 6))
        for uploaded, number, count in ((gone, 5, 3), (kept, 6, 1)):
            for _ in range(engine.workers):
                slot = engine.reserve(1)
                for index in range(count):
                    slot.fill(index, frame_of(uploaded.picture))
                slot.submit(count)
                outputs = slot.complete()
                assert [number_in(outputs, index) for index in range(count)] == [number] * count
                slot.release()
            if uploaded is gone:
                with device.active():
                    gone.free()  # reading its memory would crash
        with device.active():
            kept.free()
