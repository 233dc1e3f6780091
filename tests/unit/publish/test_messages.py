"""Messages against their schema, and read back as typed values."""

from __future__ import annotations

import pytest
import zmq
from parts import schema_faults

from edged.client import FrameGroup, LostCamera, Subscriber, TaskResult, TaskState
from edged.plan import CameraState
from edged.plan import TaskState as State
from edged.publish.publisher import Publisher
from edged.publish.received import task_result, task_state
from edged.publish.schema import SCHEMA
from edged.publish.wire import (
    pack,
    result_message,
    result_topic,
    status_message,
    task_message,
    task_topic,
)
from edged.results import EngineUse, Group, Latency, Result

USE, LATENCY = EngineUse("m.onnx", "onnxruntime", "cpu", "fp32", 1), Latency(1, 1, 1, 1, 1, 5)


def message_of(group=None):
    result = Result("t", "a", 3, 64, 48, 1, 1, "arrival", LATENCY, USE, group=group)
    return result_message(result, 0, 0, "boot", 2, 2)


def lost():
    cameras = {"a": CameraState.RUNNING, "b": CameraState.BACKOFF}
    return task_message("t", "boot", State.DEGRADED, cameras, "b backoff", 4.2, 10.0, {"b": 17})


def test_a_result_carries_its_group_only_where_it_has_one():
    alone, grouped = message_of(), message_of(Group(7, ("a", "b"), ("a", "b", "c")))
    assert "group" not in alone
    assert grouped["group"] == {"id": 7, "cameras": ["a", "b"], "wanted": ["a", "b", "c"]}
    assert schema_faults(SCHEMA["result"], alone) == schema_faults(SCHEMA["result"], grouped) == []
    assert task_result("x", alone, 0).group is None
    assert task_result("x", grouped, 0).group == FrameGroup(7, ("a", "b"), ("a", "b", "c"))


def test_a_task_tells_its_rates_and_since_when_a_camera_is_lost():
    message = lost()
    assert schema_faults(SCHEMA["task"], message) == []
    assert message["lost"] == {"b": {"state": "backoff", "since_ns": 17}}
    state = task_state(task_topic("t"), message)
    assert (state.state, state.rate_hz, state.wanted_hz) == ("degraded", 4.2, 10.0)
    assert state.lost == {"b": LostCamera("backoff", 17)}


def test_a_state_without_the_newer_keys_is_valid_and_read():
    old = {key: value for key, value in lost().items() if key not in ("rate_hz", "wanted_hz", "lost")}
    assert schema_faults(SCHEMA["task"], old) == []
    state = task_state("x", old)
    assert (state.rate_hz, state.wanted_hz, state.lost) == (None, None, {})


def test_a_status_message_is_the_status_with_its_version():
    assert status_message({"boot": "b", "tasks": []}) == {"v": 1, "boot": "b", "tasks": []}


def test_a_subscriber_gets_states_and_results_by_kind(tmp_path):
    endpoint = f"ipc://{tmp_path}/pub.sock"
    publisher = Publisher([endpoint], "boot")
    with Subscriber(endpoint, "edged/1/") as both, Subscriber(endpoint, "edged/1/task/") as states:
        try:
            while not (both.socket.poll(10) and states.socket.poll(10)):  # a subscription takes a moment to arrive
                publisher.post_state(task_topic("t"), lost(), keep=False)
                publisher._turn()
            publisher.post(Result("t", "a", 3, 64, 48, 1, 1, "arrival", LATENCY, USE))
            publisher._turn()
            assert isinstance(both.receive_any(5), TaskState)
            result = both.receive(5)
            assert isinstance(result, TaskResult)
            assert result.frame_id == 3
            state = states.receive_state(5)
            assert state is not None
            assert state.reason == "b backoff"
        finally:
            publisher.close()


def test_what_is_no_message_is_refused_and_gone(tmp_path):
    endpoint, topic = f"ipc://{tmp_path}/pub.sock", result_topic("t", "a").encode()
    context = zmq.Context()
    try:
        with context.socket(zmq.XPUB) as publisher, Subscriber(endpoint, "edged/1/") as results:
            publisher.bind(endpoint)
            assert publisher.poll(5000)
            for garbage in ([topic, b"\xc1"], [topic], [b"edged/1/det/\xff", pack({})]):
                publisher.send_multipart(garbage)
                publisher.send_multipart([topic, pack(message_of())])
                with pytest.raises(ValueError, match=r"msgpack|unpack|utf-8"):
                    results.receive(5)
                result = results.receive(5)
                assert result is not None
                assert result.frame_id == 3
    finally:
        context.term()
