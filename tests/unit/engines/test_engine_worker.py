"""The engine workers: a real network on real frames, between a real dispatcher and a list of results."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest
from parts import painted, until

from edged.engines.base import EngineRequest
from edged.engines.ort import OrtEngine, OrtSlot
from edged.engines.worker import EngineHolder, EngineTable, EngineWorker, LoadedEngine
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.results import Box, Found
from edged.scheduler.dispatch import Dispatcher, EngineLimits, Route
from edged.scheduler.groups import Sync
from edged.tensor import InputFormat


def number(outputs, index, fit):
    """Parse the number that the network read in one image."""
    x, y = outputs["output"][index, :2, 0]
    return Found((Box(str(round(x - 0.5) + 64 * round(y - 0.5)), 0, 1.0, 0, 0, 1, 1),))


class Bench:
    """A dispatcher, an engine and one worker."""

    def __init__(self, onnx, batch=1, parse=number):
        self.back, self.results, self.measured = Counter(), [], []
        self.loaded = LoadedEngine(OrtEngine(EngineRequest(onnx, InputFormat(), batch=batch)), "numbers.onnx")
        self.dispatcher = Dispatcher({"e": EngineLimits(batch, 1)})
        self.holder = EngineHolder(EngineTable({"e": self.loaded}, {("t", "e"): parse, ("u", "e"): number}))
        self.worker = self.another("engine:0")

    def another(self, name, **where):
        measure = lambda *what: self.measured.append(what)  # noqa: E731
        return EngineWorker(name, self.dispatcher, self.holder, self.emit, measure, **where)

    def emit(self, result, wait):
        self.results.append((result, wait))

    def routes(self, *tasks, cameras="c", deadline_ms=None, sync=None):
        claims = tuple(Route(task, "e", 1e6, 0, deadline_ms, sync) for task in tasks)
        self.dispatcher.set_routes(dict.fromkeys(cameras, claims))

    def offer(self, frame_id, camera="c", at_ns=None, media_ns=None, planes=None):
        gray = np.full((24, 32), 128, np.uint8)
        picture = Picture(64, 48, PixelFormat.YUV, Color(), planes or (painted(frame_id), gray, gray))
        capture = Capture(0, time.monotonic_ns() if at_ns is None else at_ns, "arrival", media_ns)
        frame = Frame(camera, frame_id, picture, capture, 0, time.monotonic_ns(), lambda: self.back.update([frame_id]))
        self.dispatcher.offer(frame, wait=media_ns is not None)

    def serve(self):
        batch = self.dispatcher.take(1)
        assert batch is not None
        self.worker._serve(batch)

    def numbers(self):
        return [(result.task, result.frame_id, result.found.boxes[0].label) for result, _ in self.results]

    def losses(self, task="t", camera="c"):
        return {cause: count for cause, count in vars(self.dispatcher.counts()[task, camera]).items() if count}


@pytest.fixture
def bench(model):
    return Bench(model())


def test_every_task_of_a_frame_gets_what_its_parser_found(bench):
    bench.routes("t", "u")
    bench.offer(42)
    bench.serve()
    assert bench.numbers() == [("t", 42, "42"), ("u", 42, "42")]
    assert [wait for _, wait in bench.results] == [False, False]
    (result, _), _ = bench.results
    assert (result.engine.model, result.engine.batch, result.group) == ("numbers.onnx", 1, None)
    assert bench.back == {42: 1}
    assert bench.losses() == {"offered": 1, "served": 1}


def test_a_batch_is_measured_in_cpu_seconds_on_the_cpu_and_the_worker_is_free_after(model):
    bench = Bench(model(work=200), batch=4)
    bench.routes("t", cameras="abc")
    for number_of, camera in enumerate("abc"):
        bench.offer(number_of, camera)
    before_s = time.thread_time()
    bench.serve()
    ((engine, pictures, seconds),) = bench.measured
    assert (engine, pictures) == ("e", 3)
    assert 0 < seconds <= time.thread_time() - before_s
    assert bench.dispatcher.in_flight("e") == 0
    assert {result.camera: result.found.boxes[0].label for result, _ in bench.results} == {"a": "0", "b": "1", "c": "2"}


def test_elsewhere_a_batch_is_measured_on_the_clock(bench, monkeypatch):
    bench.loaded.engine.device = "gpu0"
    bench.routes("t")
    complete = OrtSlot.complete

    def asleep(slot):
        time.sleep(0.05)  # as a thread that waits for its device: no CPU time
        return complete(slot)

    monkeypatch.setattr(OrtSlot, "complete", asleep)
    bench.offer(1)
    bench.serve()
    assert bench.measured[0][2] >= 0.05


def test_a_result_that_is_too_old_for_its_task_is_not_handed_on(bench):
    bench.dispatcher.set_routes({"c": (Route("t", "e", 1e6, 0, 10), Route("u", "e", 1e6, 0, None))})
    bench.offer(7, at_ns=time.monotonic_ns() - 50_000_000)
    bench.serve()
    assert bench.numbers() == [("u", 7, "7")]
    assert bench.losses("t") == {"offered": 1, "late": 1}
    assert bench.losses("u") == {"offered": 1, "served": 1}


def test_results_of_a_group_carry_it(model):
    bench = Bench(model(), batch=2)
    bench.routes("t", cameras="cd", sync=Sync(20, 1000, ("c", "d", "x")))
    bench.offer(0, "d", at_ns=time.monotonic_ns() - 500_000_000)
    bench.serve()
    at_ns = time.monotonic_ns()
    bench.offer(1, "c", at_ns=at_ns)
    bench.offer(2, "d", at_ns=at_ns + 1)
    bench.serve()
    groups = [result.group for result, _ in bench.results]
    assert [(one.id, one.cameras, one.wanted) for one in groups] == [
        (0, ("d",), ("c", "d", "x")),
        (1, ("c", "d"), ("c", "d", "x")),
        (1, ("c", "d"), ("c", "d", "x")),
    ]


def test_a_lossless_camera_lets_the_sender_wait_when_the_slot_is_free_again(bench):
    bench.routes("t")
    bench.offer(3, media_ns=0)
    slots = bench.loaded.engine.workers

    def emit(result, wait):
        taken = [bench.loaded.engine.reserve(1) for _ in range(slots)]
        bench.results.append((result, wait and all(taken)))
        for slot in taken:
            slot.release()

    bench.emit, bench.worker._emit = emit, emit
    bench.serve()
    assert [(result.frame_id, wait) for result, wait in bench.results] == [(3, True)]


def test_a_parser_that_fails_costs_its_own_task_only(model, caplog):
    def broken(outputs, index, fit):
        raise KeyError("boxes")

    bench = Bench(model(), parse=broken)
    bench.routes("t", "u")
    bench.offer(5)
    bench.serve()
    assert bench.numbers() == [("u", 5, "5")]
    assert bench.losses("t") == {"offered": 1, "failed": 1}
    assert "task t: its parser failed" in caplog.text


@pytest.mark.parametrize("where", ["slot", "fill", "submit", "complete"])
def test_an_error_inside_leaves_no_lease_no_slot_and_no_busy_worker_behind(model, where, monkeypatch):
    bench = Bench(model(), batch=3)
    bench.routes("t", cameras="abc")
    slots = [bench.loaded.engine.reserve(1) for _ in range(bench.loaded.engine.workers)]
    if where == "slot":
        monkeypatch.setattr("edged.engines.worker.SLOT_S", 0.01)
    for slot in slots:
        if where != "slot":
            slot.release()
        if where == "submit":
            monkeypatch.setattr(slot, "submit", lambda count: 1 / 0)
        if where == "complete":
            monkeypatch.setattr(slot, "_session", None)
    flat = np.zeros((24, 32), np.uint8)
    for frame_id, camera in enumerate("abc"):  # the second one's planes are no picture
        bench.offer(frame_id, camera, planes=(flat,) if where == "fill" and frame_id == 1 else None)
    batch = bench.dispatcher.take(1)
    assert len(batch.jobs) == 3
    with pytest.raises(Exception):  # noqa: B017, PT011 - each place has its own; the supervisor takes them all
        bench.worker._serve(batch)
    assert bench.back == {0: 1, 1: 1, 2: 1}
    assert bench.dispatcher.in_flight("e") == 0
    assert not bench.results
    assert not bench.measured
    for camera in "abc":
        assert bench.losses("t", camera) == {"offered": 1, "failed": 1}
    if where != "slot":
        again = [bench.loaded.engine.reserve(0.01) for _ in slots]
        assert all(again)


def test_a_batch_in_flight_goes_on_with_its_table_and_the_next_has_the_new_one(model):
    entered, go_on = threading.Event(), threading.Event()

    def slow(outputs, index, fit):
        entered.set()
        assert go_on.wait(10)
        return number(outputs, index, fit)

    bench = Bench(model(), parse=slow)
    bench.routes("t")
    new = LoadedEngine(OrtEngine(EngineRequest(model(work=1), InputFormat())), "new.onnx")
    stop = threading.Event()
    thread = threading.Thread(target=bench.worker.run, args=(stop, lambda: None))
    thread.start()
    bench.offer(1)
    assert entered.wait(10)
    old = bench.holder.table
    bench.dispatcher.set_limits({"e": EngineLimits(1, 1), "n": EngineLimits(1, 1)})
    bench.holder.table = EngineTable({**old.engines, "n": new}, {**old.parsers, ("t", "n"): number})
    bench.dispatcher.set_routes({"c": (Route("t", "n", 1e6, 0, None),)})
    assert bench.dispatcher.in_flight("e") == 1
    bench.offer(2)
    go_on.set()
    until(lambda: bench.dispatcher.in_flight("e") == 0)
    bench.holder.table = EngineTable({"n": new}, {("t", "n"): number})
    bench.dispatcher.set_limits({"n": EngineLimits(1, 1)})
    bench.loaded.engine.close()
    until(lambda: len(bench.results) == 2)
    bench.offer(3)
    until(lambda: len(bench.results) == 3)
    stop.set()
    bench.worker.wake()
    thread.join(5)
    assert not thread.is_alive()
    assert [(result.frame_id, result.engine.model) for result, _ in bench.results] == [
        (1, "numbers.onnx"),
        (2, "new.onnx"),
        (3, "new.onnx"),
    ]
    assert bench.losses() == {"offered": 3, "served": 3}


def test_a_worker_serves_its_own_device_only(bench):
    stop = threading.Event()
    other = bench.another("engine:1", device="gpu0")
    thread = threading.Thread(target=other.run, args=(stop, lambda: None))
    thread.start()
    bench.routes("t")
    bench.offer(1)
    stop.set()
    other.wake()
    thread.join(5)
    assert not thread.is_alive()
    assert not bench.results
    bench.serve()
    assert bench.numbers() == [("t", 1, "1")]
