"""The publisher's thread on real sockets: numbers, drop-oldest, waiting, states, subscriptions."""

from __future__ import annotations

import threading
from itertools import chain, repeat

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from parts import until

from edged.client import Subscriber
from edged.errors import BackendUnavailable
from edged.publish.latencies import STAGES
from edged.publish.publisher import QUEUE_PER_CAMERA, REMEMBERED_MAX, Publisher, Sent
from edged.publish.wire import TOPIC_MAX, listened_task, pack, result_topic, task_topic, unpack
from edged.results import EngineUse, Latency, Result


def result(number, task="t", camera="c"):
    use, latency = EngineUse("m.onnx", "onnxruntime", "cpu", "fp32", 1), Latency(1, 1, 1, 1, 1, 5)
    return Result(task, camera, number, 64, 48, 1, 1, "arrival", latency, use)


class Gate:
    """Stands in for the daemon's ear; holds the publisher's thread up while it is shut."""

    def __init__(self):
        self.told, self.open = [], threading.Event()
        self.open.set()

    def __call__(self, tasks):
        self.told.append(tasks)
        self.open.wait(10)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def publisher(tmp_path, gate):
    publisher, stop = Publisher([f"ipc://{tmp_path}/pub.sock"], "boot", gate), threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop, lambda: None))
    thread.start()
    publisher.endpoint = f"ipc://{tmp_path}/pub.sock"
    yield publisher
    gate.open.set()
    stop.set()
    publisher.wake()
    thread.join(10)
    assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == [], "the socket's file is left"


def listen(publisher, gate, topic="edged/1/det/t/"):
    subscriber = Subscriber(publisher.endpoint, topic, 0)
    known = len(gate.told)
    until(lambda: len(gate.told) > known, what="the subscription")
    return subscriber


def reached(publisher, subscriber, task="t"):
    """Wait until a subscription is known to libzmq: results of a task arrive."""
    until(lambda: (publisher.post(result(0, task)), subscriber.receive(0.1))[1], what="a result")


def test_results_are_numbered_by_task_and_camera(publisher, gate):
    with listen(publisher, gate) as subscriber:
        for number in range(3):
            publisher.post(result(number, camera="a"))
            publisher.post(result(number, camera="b"))
        got = [subscriber.receive(5) for _ in range(6)]
    assert sorted((one.camera, one.seq, one.frame_id) for one in got) == [(c, n, n) for c in "ab" for n in range(3)]
    assert {one.topic for one in got} == {"edged/1/det/t/a/", "edged/1/det/t/b/"}
    assert publisher.sent() == {("t", "a"): Sent(3, 0), ("t", "b"): Sent(3, 0)}


def test_the_oldest_is_dropped_counted_and_seen_as_a_gap(publisher, gate):
    with listen(publisher, gate) as subscriber:
        publisher.post(result(0))
        assert subscriber.receive(5).seq == 0
        gate.open.clear()
        with listen(publisher, gate, "edged/1/det/other/"):  # its thread is held up from here on
            for number in range(1, 21):
                publisher.post(result(number))
            publisher.post(result(0, camera="quiet"))
            gate.open.set()
            got = [subscriber.receive(5) for _ in range(QUEUE_PER_CAMERA + 1)]
        lane = [one for one in got if one.camera == "c"]
        lost = 20 - QUEUE_PER_CAMERA
        assert [one.seq for one in lane] == list(range(lost + 1, 21))
        assert [one.frame_id for one in lane] == list(range(lost + 1, 21))
        assert {one.message["dropped"] for one in lane} == {lost}
        assert [one.gap for one in lane] == [lost] + [0] * (QUEUE_PER_CAMERA - 1)
        assert subscriber.gaps == {("t", "c"): lost, ("t", "quiet"): 0}
    assert publisher.sent()["t", "c"] == Sent(21, lost)
    assert publisher.sent()["t", "quiet"] == Sent(1, 0)


def test_how_long_they_took_is_known_of_those_that_were_sent(publisher, gate):
    with listen(publisher, gate) as subscriber:
        publisher.post(result(0))
        publisher.post(result(0, task="other"))
        _, message = subscriber.receive_message(5)
    until(lambda: set(publisher.latencies()) == {"t", "other"}, what="both")
    stages = publisher.latencies()["t"]
    assert {stage: sum(one.counts) for stage, one in stages.items()} == dict.fromkeys(STAGES, 1)
    assert (stages["decode"].sum_ms, stages["total"].sum_ms) == (1, 5)
    since_capture_ms = (message["t"]["publish_mono_ns"] - message["t"]["mono_ns"]) / 1e6
    assert stages["publish"].sum_ms == pytest.approx(since_capture_ms - 5)


def test_a_lossless_sender_waits_instead(publisher, gate):
    with listen(publisher, gate) as subscriber:
        gate.open.clear()
        with listen(publisher, gate, "edged/1/det/other/"):
            sender = threading.Thread(
                target=lambda: [publisher.post(result(number), wait=True) for number in range(40)]
            )
            sender.start()
            until(lambda: publisher.sent().get(("t", "c")) == Sent(QUEUE_PER_CAMERA, 0))
            gate.open.set()
            got = [subscriber.receive(5) for _ in range(40)]
            sender.join(5)
    assert [one.seq for one in got] == list(range(40))
    assert {one.message["dropped"] for one in got} == {0}


def test_a_sender_that_waits_is_let_go_at_the_end(tmp_path):
    publisher = Publisher([f"ipc://{tmp_path}/pub.sock"], "boot")
    sender = threading.Thread(target=lambda: [publisher.post(result(number), wait=True) for number in range(20)])
    sender.start()
    until(lambda: publisher.sent().get(("t", "c")) == Sent(QUEUE_PER_CAMERA, 0))
    publisher.close()
    sender.join(5)
    assert not sender.is_alive()


def test_states_are_kept_for_those_who_come_later(publisher, gate):
    publisher.post_state(task_topic("t"), {"state": "active"})
    publisher.post_state(task_topic("t"), {"state": "inactive"})
    publisher.post_state(task_topic("u"), {"state": "active"})
    until(lambda: not publisher._outgoing)
    with Subscriber(publisher.endpoint, "edged/1/task/t/") as late:
        assert late.receive_message(0.9) == ("edged/1/task/t/", {"state": "inactive"})
        assert late.receive_message(1.5) == ("edged/1/task/t/", {"state": "inactive"})


def test_listeners_are_counted_by_whole_topics(publisher, gate):
    with listen(publisher, gate), Subscriber(publisher.endpoint, "edged/1/det/"):
        assert gate.told[-1] == {"t"}
        with listen(publisher, gate, "edged/1/det/u/front/"):
            assert gate.told[-1] == {"t", "u"}
        until(lambda: gate.told[-1] == {"t"}, what="the end of a subscription")
    until(lambda: gate.told[-1] == frozenset(), what="the end of the last one")


def test_a_program_that_subscribes_twice_has_left_when_it_leaves(publisher, gate):
    with listen(publisher, gate) as subscriber:
        subscriber._socket.subscribe("edged/1/det/t/")
        with listen(publisher, gate, "edged/1/det/u/"):
            assert gate.told[-1] == {"t", "u"}
        until(lambda: gate.told[-1] == {"t"}, what="the end of the other's subscription")
        with Subscriber(publisher.endpoint, "edged/1/det/t/") as second:
            reached(publisher, second)
        reached(publisher, subscriber)
        assert gate.told[-1] == {"t"}, "one of two has left"
    until(lambda: gate.told[-1] == frozenset(), what="the end of all subscriptions")


class Flood:
    """Sends a publisher what a subscriber may send, as fast as it can, from a thread of its own."""

    def __init__(self, endpoint, prefixes):
        self.prefixes, self.over, self.sent = prefixes, threading.Event(), 0
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XSUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.connect(endpoint)
        self.thread = threading.Thread(target=self.run)

    def run(self):
        for prefix in self.prefixes:
            if self.over.is_set():
                return
            self.socket.send(b"\x01" + prefix)
            self.sent += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(10)
        self.socket.close()
        self.context.term()


def test_a_flood_of_subscriptions_holds_up_no_results(publisher, gate):
    publisher.post_state(task_topic("t"), {"state": "active"})
    with listen(publisher, gate) as subscriber, Flood(publisher.endpoint, repeat(b"edged/1/task/")) as flood:
        until(lambda: flood.sent > 5000, what="the flood")
        for number in range(20):
            publisher.post(result(number))
            assert subscriber.receive(5).frame_id == number
        assert flood.thread.is_alive()


def test_only_so_many_subscriptions_are_remembered_and_none_that_no_topic_begins_with(publisher, gate):
    long = (b"edged/1/det/t/" + b"%090d" % number for number in range(100))
    many = (b"edged/1/det/t%d/" % number for number in range(REMEMBERED_MAX + 100))
    with Flood(publisher.endpoint, chain(long, many)) as flood:
        flood.thread.join(10)
        until(lambda: len(publisher._subscriptions[0]) == REMEMBERED_MAX, what="all that are remembered")
        until(lambda: gate.told, what="that somebody listens")  # their end is told only to who was told of them
        assert max(map(len, publisher._subscriptions[0])) < TOPIC_MAX
        with Subscriber(publisher.endpoint, "edged/1/det/other/") as late:
            reached(publisher, late, "other")
        assert len(publisher._subscriptions[0]) == REMEMBERED_MAX
    until(lambda: gate.told[-1] == frozenset(), what="the end of all subscriptions")
    assert len(gate.told) < REMEMBERED_MAX / 4, "they are told together"


@pytest.mark.parametrize("endpoint", ["tcp://192.0.2.1:5599", "ipc:///none/x.sock", "nonsense://x"])
def test_an_endpoint_that_cannot_be_bound_is_named(endpoint):
    with pytest.raises(BackendUnavailable, match=f"^cannot bind {endpoint}: [A-Z]"):
        Publisher([endpoint], "boot")


@pytest.mark.parametrize(
    ("subscription", "task"),
    [
        (b"", None), (b"edged/1/", None), (b"edged/1/det/", None), (b"edged/1/det/lane", None),
        (b"edged/1/det/lane/", "lane"), (b"edged/1/det/lane/front/", "lane"), (b"edged/1/task/lane/", None),
        (b"edged/2/det/lane/", None), (b"\xff\xfe/det/x/", None),
    ],
)  # fmt: skip
def test_which_task_a_subscription_names(subscription, task):
    assert listened_task(subscription) == task


def test_topics_end_in_a_slash():
    assert result_topic("lane", "front") == "edged/1/det/lane/front/"
    assert task_topic("lane") == "edged/1/task/lane/"


@given(st.binary(max_size=200))
def test_unpack_refuses_what_is_no_message(data):
    try:
        value = unpack(data)
    except ValueError as exc:
        assert str(exc).startswith("not a msgpack message: ")
    else:
        assert isinstance(pack({"x": value}), bytes)
