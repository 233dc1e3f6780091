"""What is brought from the device: what parsers read, and of large outputs only the entries that they look at."""

from __future__ import annotations

from contextlib import closing

import cuda_double
import numpy as np
import pytest
from cuda_double import HostDevice
from parts import painted
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.device.base import DeviceError
from edged.engines.base import EngineError, EngineRequest
from edged.engines.tensorrt import entries as device_entries
from edged.engines.tensorrt import outputs as of_slots
from edged.engines.tensorrt.engine import TrtEngine
from edged.engines.tensorrt.entries import Entries
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.tasks.base import ParserSettings
from edged.tasks.yolo import Yolov8
from edged.tensor import InputFormat

pytestmark = pytest.mark.skipif(cuda_double.COMPILER is None, reason=cuda_double.NO_COMPILER)


def test_only_large_outputs_are_worth_it():
    assert Entries.pay((1, 84, 8400), "float32")
    assert not Entries.pay((16, 85, 22, 22), "float32")
    assert not Entries.pay((1, 84, 8400), "int32")


@pytest.fixture
def machine(board):  # noqa: F811
    return board("10.3.0")


@pytest.fixture
def wanted(machine, model, tmp_path):
    request = EngineRequest(model(), InputFormat(), batch=2, store=tmp_path)
    build_into(request)
    return request


@pytest.fixture
def engine(wanted):
    with closing(TrtEngine(wanted)) as engine:
        yield engine


class Copies:
    """Counts what is copied from the device, in bytes, and what kernels pick."""

    def __init__(self, machine, monkeypatch):
        self.bytes = 0
        copy_out = HostDevice.copy_out

        def counted(device, array, memory, stream):
            stream.do(lambda: self.count(array.nbytes))
            copy_out(device, array, memory, stream)

        monkeypatch.setattr(HostDevice, "copy_out", counted)

    def count(self, nbytes):
        self.bytes += nbytes

    def taken(self):
        taken, self.bytes = self.bytes, 0
        return taken


def frame(number):
    picture = Picture(64, 48, PixelFormat.NV12, Color(), (painted(number), np.full((24, 32, 2), 128, np.uint8)))
    return Frame("c", 0, picture, Capture(0, 0, "arrival"), 0, 0)


def infer(engine, numbers, read):
    """Run one batch on one slot after the other, so that each comes twice, and return what `read` makes of it."""
    slot = engine.reserve(1)
    fits = [slot.fill(index, frame(number)) for index, number in enumerate(numbers)]
    slot.submit(len(numbers))
    outputs = slot.complete()
    found = [read(outputs, index, fit) for index, fit in enumerate(fits)]
    slot.release()
    return found


def test_outputs_that_nobody_reads_stay_where_they_are(engine, machine, monkeypatch):
    copies = Copies(machine, monkeypatch)
    for _ in range(2 * engine.workers):
        infer(engine, [5], lambda *_: None)
    assert copies.taken() == 0


def test_what_was_read_once_comes_with_every_inference_in_its_graph(engine, machine, monkeypatch):
    copies = Copies(machine, monkeypatch)

    def read(outputs, index, _):
        x, y = outputs["output"][index, :2, 0]
        return round(x - 0.5) + 64 * round(y - 0.5)

    for number in range(3 * engine.workers):
        assert infer(engine, [number, number + 1], read) == [number, number + 1]
        assert copies.taken() == 2 * 6 * 8 * 4
    assert {name: value.shape for name, value in slot_outputs(engine).items()} == {"output": (1, 6, 8)}
    with pytest.raises(KeyError):
        slot_outputs(engine)["other"]


def slot_outputs(engine):
    slot = engine.reserve(1)
    slot.fill(0, frame(1))
    slot.submit(1)
    outputs = slot.complete()
    found = {name: np.array(value) for name, value in outputs.items()}
    slot.release()
    return found


def test_a_parser_of_a_large_output_gets_only_the_entries_it_looks_at(engine, wanted, machine, monkeypatch):
    """With the same result as from the whole output, and 4 bytes an image copied instead of it."""
    parser = Yolov8(engine.model, ParserSettings(("a", "b"), score_min=0.5))
    numbers = [[n, 4 * n + 1] for n in range(3 * engine.workers)]
    whole = [infer(engine, pair, parser.parse) for pair in numbers]
    monkeypatch.setattr(device_entries, "PAYS_BYTES", 0)
    copies = Copies(machine, monkeypatch)
    with closing(TrtEngine(wanted)) as other:
        assert [infer(other, pair, parser.parse) for pair in numbers] == whole
        launches = sum(graph.launches for graph in machine.device.graphs)
        assert launches == len(numbers), "each inference is one graph, before and after the first one of its slot"
    assert copies.taken() == len(numbers) * 2 * 4


def test_a_crowded_picture_is_read_as_a_whole_and_the_next_one_is_picked_again(engine, machine, monkeypatch):
    monkeypatch.setattr(device_entries, "PAYS_BYTES", 0)
    parser = Yolov8(engine.model, ParserSettings(("a", "b"), score_min=0.5))
    copies = Copies(machine, monkeypatch)
    real = Entries.of
    for _ in range(engine.workers):
        (first,) = infer(engine, [9], parser.parse)
    copies.taken()
    for _ in range(engine.workers):
        monkeypatch.setattr(Entries, "of", lambda *_: None)
        assert infer(engine, [9], parser.parse) == [first]
        assert copies.taken() == 2 * 4 + 6 * 8 * 4
    monkeypatch.setattr(Entries, "of", real)
    for _ in range(engine.workers):
        assert infer(engine, [9], parser.parse) == [first]
        assert copies.taken() == 2 * 4


def test_an_engine_that_was_primed_records_once_what_parsers_read(engine, machine, monkeypatch):
    parser = Yolov8(engine.model, ParserSettings(("a", "b"), score_min=0.5))
    fit, copies = fit_frame((64, 48), (64, 48), "stretch"), Copies(machine, monkeypatch)
    engine.prime([lambda outputs: parser.parse(outputs, 0, fit), lambda _: 1 / 0])
    recorded = len(machine.device.graphs)
    copies.taken()
    for number in range(2 * engine.workers):
        assert infer(engine, [number], parser.parse) == infer(engine, [number], parser.parse)
    assert len(machine.device.graphs) == recorded
    assert copies.taken() == 4 * engine.workers * 6 * 8 * 4


def test_what_nobody_reads_any_more_is_left_and_its_memory_given_back(engine, machine, monkeypatch):
    """A reload may change a threshold again and again while the engine stays."""
    monkeypatch.setattr(device_entries, "PAYS_BYTES", 0)
    monkeypatch.setattr(of_slots, "LEFT_AFTER", 5)
    copies = Copies(machine, monkeypatch)
    parsers = [Yolov8(engine.model, ParserSettings(("a", "b"), score_min=0.1 + n / 100)) for n in range(10)]
    for parser in parsers:
        for _ in range(7 * engine.workers):
            infer(engine, [9], parser.parse)
    alive = len(machine.device.alive)
    for parser in parsers:
        for _ in range(7 * engine.workers):
            infer(engine, [9], parser.parse)
    assert len(machine.device.alive) == alive
    copies.taken()
    infer(engine, [9], parsers[-1].parse)
    assert copies.taken() == 2 * 4


def test_an_output_that_is_always_crowded_comes_as_a_whole(engine, machine, monkeypatch):
    monkeypatch.setattr(device_entries, "PAYS_BYTES", 0)
    monkeypatch.setattr(Entries, "of", lambda *_: None)
    parser, copies = Yolov8(engine.model, ParserSettings(("a", "b"), score_min=0.5)), Copies(machine, monkeypatch)
    for _ in range((of_slots.CROWDED_MAX + 3) * engine.workers):
        infer(engine, [9], parser.parse)
    copies.taken()
    launches = sum(graph.launches for graph in machine.device.graphs)
    infer(engine, [9], parser.parse)
    assert copies.taken() == 6 * 8 * 4
    assert sum(graph.launches for graph in machine.device.graphs) == launches + 1


def test_a_batch_that_cannot_be_recorded_any_more_is_enqueued_and_the_note_says_so(engine, machine, monkeypatch):
    assert engine.note == "CUDA graphs"
    monkeypatch.setattr(HostDevice, "capture", lambda *_: None)
    parser = Yolov8(engine.model, ParserSettings(("a", "b"), score_min=0.5))
    found = [infer(engine, [5], parser.parse) for _ in range(3 * engine.workers)]
    assert all(one == found[0] for one in found)
    assert engine.note.startswith("plain enqueue")


def test_outputs_cannot_be_read_once_their_slot_is_another_ones(engine):
    slot = engine.reserve(1)
    slot.fill(0, frame(1))
    slot.submit(1)
    outputs = slot.complete()
    slot.release()
    with pytest.raises(EngineError, match="after their slot was released"):
        outputs["output"]


def test_where_there_is_no_memory_for_entries_the_output_comes_as_a_whole(engine, machine, monkeypatch, caplog):
    monkeypatch.setattr(device_entries, "PAYS_BYTES", 0)
    monkeypatch.setattr(HostDevice, "pinned", lambda *_: (_ for _ in ()).throw(DeviceError("CUDA: out of memory")))
    parser = Yolov8(engine.model, ParserSettings(("a", "b"), score_min=0.5))
    alive = len(machine.device.alive)
    for _ in range(3 * engine.workers):
        (found,) = infer(engine, [9], parser.parse)
        assert found.boxes
    assert len(machine.device.alive) == alive
    assert len([one for one in caplog.records if "comes as a whole" in one.message]) == engine.workers
