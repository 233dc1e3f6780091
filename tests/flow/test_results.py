"""One daemon process on looped clips: what arrives at subscribers, and what commands change while it runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict

import msgpack
import numpy as np
import pytest
import zmq
from parts import number_in, schema_faults, until

from edged.publish.schema import SCHEMA

FRAMES, RATE = 100, 20


@pytest.fixture(scope="module")
def running(shared_daemon, site, task, clip):
    """`wide` and `narrow` share rear and its network; `spare` is off; `asked` wants to be asked for."""
    clips = {"front": clip(frames=FRAMES, rate=RATE, bframes=2)}  # its pictures come in another order than its packets
    clips |= dict.fromkeys(("rear", "side", "back"), clip(frames=FRAMES, rate=RATE))
    config = site(
        {name: {"source": f"file:{path}", "loop": True} for name, path in clips.items()},
        {
            "wide": task("front", "rear"),
            "narrow": task("rear", net={"keep": ["a"]}),
            "spare": task("side", active=False),
            "asked": task("back", active="on_subscribe", unneeded="cold"),
        },
    )
    running = shared_daemon(config)
    until(lambda: running.task("wide")["rate_hz"] > 15, what="results of wide")
    return running


def collect(subscriber, seconds):
    """Return (topic, message) of everything that comes in some seconds."""
    end_s, found = time.monotonic() + seconds, []
    while (left_s := end_s - time.monotonic()) > 0:
        received = subscriber.receive_message(left_s)
        if received is not None:
            found.append(received)
    return found


@pytest.fixture(scope="module")
def recorded(running):
    """Everything that was published in 1.5 s in which nobody ordered anything."""
    with running.subscriber("edged/1/") as subscriber:
        return collect(subscriber, 1.5)


def by_lane(messages):
    lanes = defaultdict(list)
    for topic, message in messages:
        if "/det/" in topic:
            lanes[message["task"], message["camera"]].append(message)
    return lanes


def missing(messages):
    """Return how many frame ids lack between the first and the last; two at each end may have been overtaken."""
    ids = sorted(message["frame"]["id"] for message in messages)[2:-2]
    return ids[-1] - ids[0] + 1 - len(ids)


def let_go(running, task, camera):
    """Return how many frames came to nothing, as some do where the machine is busy."""
    counts = running.task(task)["frames"][camera]
    return sum(counts[cause] for cause in ("superseded", "rate", "late"))


def test_every_message_has_every_key_of_its_schema(recorded):
    kinds = defaultdict(list)
    for topic, message in recorded:
        assert topic.startswith("edged/1/")
        assert topic.endswith("/")
        kinds[topic.split("/")[2]].append(message)
        kind = {"det": "result", "task": "task", "status": "status"}[topic.split("/")[2]]
        assert schema_faults(SCHEMA[kind], message) == [], topic
    assert len(kinds["det"]) > 20
    assert {message["task"] for message in kinds["task"]} == {"wide", "narrow", "spare", "asked"}
    assert len(kinds["status"]) >= 1


def test_the_schema_check_of_these_tests_can_fail(running):
    with running.subscriber("edged/1/det/") as subscriber:
        _, message = subscriber.receive_message(5)
    del message["t"]["clock"]
    message["seq"] = -1
    message["detections"][0]["box"] = [1, 2, 3]
    message["engine"]["batch"] = "4"
    assert sorted(schema_faults(SCHEMA["result"], message)) == [
        "message.detections[0].box: 3 items",
        "message.engine.batch: '4' is no integer",
        "message.seq: -1 is out of range",
        "message.t: no clock",
    ]


def test_a_result_is_of_the_frame_it_names(recorded):
    """The network reads the number that is painted into the frame: ids are presentation order, B-frames or not."""
    lanes = by_lane(recorded)
    assert set(lanes) == {("wide", "front"), ("wide", "rear"), ("narrow", "rear")}
    for messages in lanes.values():
        assert len(messages) > 5
        for message in messages:
            assert message["frame"]["id"] % FRAMES == number_in(message["detections"])
            assert (message["frame"]["width"], message["frame"]["height"]) == (64, 48)


def test_results_are_numbered_timed_and_explained(recorded):
    boots = set()
    for messages in by_lane(recorded).values():
        first = messages[0]["seq"]
        assert [message["seq"] for message in messages] == list(range(first, first + len(messages)))
        captured = {message["frame"]["id"]: message["t"]["mono_ns"] for message in messages}
        assert len(set(captured.values())) == len(captured) == len(messages)
        assert sorted(captured, key=captured.__getitem__) == sorted(captured)  # a result may overtake another
        for message in messages:
            times, latency = message["t"], message["latency_ms"]
            assert times["clock"] == "media"
            assert abs(times["capture_ns"] - time.time_ns()) < 20e9
            assert times["mono_ns"] < times["publish_mono_ns"] <= time.monotonic_ns()
            delay_ns = times["publish_ns"] - times["capture_ns"]
            assert abs(delay_ns - (times["publish_mono_ns"] - times["mono_ns"])) < 100e6
            assert all(value >= 0 for value in latency.values())
            stages = sum(latency[stage] for stage in ("convert", "infer", "parse"))
            assert stages <= latency["total"] <= delay_ns / 1e6 + 1
            engine = message["engine"]
            assert (engine["backend"], engine["device"], engine["precision"]) == ("onnxruntime", "cpu", "fp32")
            boots.add(message["boot"])
    assert len(boots) == 1


def test_two_tasks_on_one_camera_and_network_share_the_inference(running, recorded):
    lanes = by_lane(recorded)
    wide = {message["frame"]["id"]: message for message in lanes["wide", "rear"]}
    narrow = {message["frame"]["id"]: message for message in lanes["narrow", "rear"]}
    both = wide.keys() & narrow.keys()
    assert len(both) > 5
    for frame in both:
        for stage in ("decode", "convert", "wait", "infer"):
            assert wide[frame]["latency_ms"][stage] == narrow[frame]["latency_ms"][stage]
    engines = running.request("status")["engines"]
    assert [sorted(engine["tasks"]) for engine in engines] == [["asked", "narrow", "spare", "wide"]]


def test_a_task_that_joins_and_leaves_disturbs_no_running_camera(running):
    assert running.camera("side")["mode"] == "parked"
    lanes = (("wide", "front"), ("wide", "rear"), ("narrow", "rear"))
    before = {lane: let_go(running, *lane) for lane in lanes}
    cameras = {name: running.camera(name) for name in ("front", "rear")}
    with running.subscriber("edged/1/det/") as subscriber:
        messages = collect(subscriber, 0.3)
        listed = running.request("task.activate", tasks=["spare"])["tasks"]
        assert {one["task"]: one["active"] for one in listed}["spare"]
        messages += collect(subscriber, 1.2)
        assert running.camera("side")["mode"] == "hot"
        assert running.camera("side")["reason"] == "needed by spare 100 Hz"
        running.request("task.deactivate", tasks=["spare"])
        messages += collect(subscriber, 0.6)
    found = by_lane(messages)
    for lane in lanes:
        assert missing(found[lane]) <= let_go(running, *lane) - before[lane], lane
    for name, camera in cameras.items():
        after = running.camera(name)
        assert after["opens"] == camera["opens"]
        assert after["frames"]["undecoded"] == camera["frames"]["undecoded"]
    assert len(found["spare", "side"]) > 3
    spare = running.task("spare")
    assert (spare["state"], spare["reason"]) == ("inactive", "deactivated by command")


def test_a_camera_that_nobody_needs_stops_decoding_and_keeps_counting(running):
    running.request("task.activate", tasks=["spare"])
    until(lambda: running.camera("side")["frames"]["decoded"] > 0 and running.camera("side")["rate_hz"] > 0)
    running.request("task.deactivate", tasks=["spare"])

    def read_without_decoding():
        before = running.camera("side")["frames"]
        until(lambda: running.camera("side")["frames"]["read"] > before["read"] + 5, what="frames read")
        after = running.camera("side")
        return after["frames"]["decoded"] == before["decoded"] and after

    after = until(read_without_decoding, 5, "an end of decoding")
    assert after["frames"]["undecoded"] > 0
    assert (after["mode"], after["state"]) == ("parked", "running")
    assert after["reason"] == "only spare needs it and spare is inactive"


def test_ids_go_on_over_the_frames_that_were_not_decoded(running):
    before = running.camera("side")["frames"]["read"]
    running.request("task.activate", tasks=["spare"])
    with running.subscriber("edged/1/det/spare/") as subscriber:
        result = subscriber.receive(5)
    running.request("task.deactivate", tasks=["spare"])
    assert result.frame_id >= before
    assert result.frame_id % FRAMES == number_in(result.message["detections"])


def test_a_task_on_subscribe_runs_while_somebody_subscribes_to_it(running):
    assert running.task("asked")["reason"] == "nobody subscribes"
    assert running.camera("back")["state"] == "closed"
    with running.subscriber("edged/1/det/"), running.subscriber("edged/1/det/aske"):
        time.sleep(0.3)
        assert running.task("asked")["state"] == "inactive", "a prefix shorter than the task's topic counted"
    with running.subscriber("edged/1/det/asked/") as one:
        with running.subscriber("edged/1/det/asked/back/") as other:
            assert one.receive(5).task == other.receive(5).task == "asked"
            until(lambda: running.task("asked")["reason"] == "somebody subscribes", 2, "the reason of asked")
        time.sleep(0.3)
        assert running.task("asked")["active"], "one subscriber is left"
    until(lambda: not running.task("asked")["active"], 2, "inactive again")
    until(lambda: running.camera("back")["state"] == "closed", 2, "camera closed again")


def test_states_come_at_once_on_subscription_and_each_second(running):
    begin_s = time.monotonic()
    for _ in range(8):
        with running.subscriber("edged/1/task/wide/") as subscriber:
            topic, first = subscriber.receive_message(5)
            assert topic == "edged/1/task/wide/"
            assert first["state"] == "active"
            assert first["cameras"] == {"front": "running", "rear": "running"}
            assert first["reason"] == "configured"
    assert time.monotonic() - begin_s < 4, "eight came with the second, not with the subscription"
    with running.subscriber("edged/1/task/wide/") as subscriber:
        begin_s = time.monotonic()
        assert all(subscriber.receive_message(5) for _ in range(4))
        assert 1.5 < time.monotonic() - begin_s < 10


def test_a_state_change_is_told_at_once(running):
    with running.subscriber("edged/1/task/spare/") as subscriber:
        begin_s = time.monotonic()
        for command, reason in 4 * [("activate", "activated by command"), ("deactivate", "deactivated by command")]:
            running.request(f"task.{command}", tasks=["spare"])
            while (state := subscriber.receive_message(5)) and state[1]["reason"] != reason:
                pass
            assert state, reason
        assert time.monotonic() - begin_s < 4, "eight changes were told with the second"


def test_a_stopped_subscriber_costs_the_others_nothing_and_is_dropped(running):
    """Its heartbeats are not answered: it counts as one that is gone, though its socket is open."""
    program = (
        "import sys, edged.client as c\n"
        "results = c.Subscriber(sys.argv[1], queue=1)\n"
        "results.socket.subscribe('edged/1/det/asked/')\n"
        "for r in results: print(r.seq, flush=True)"
    )
    stopped = subprocess.Popen([sys.executable, "-c", program, running.child.publish], stdout=subprocess.PIPE)
    try:
        assert stopped.stdout.readline()
        until(lambda: running.task("asked")["active"], what="asked for")
        stopped.send_signal(signal.SIGSTOP)
        with running.subscriber(queue=1000) as other:
            lanes = by_lane(collect(other, 2.0))
            until(lambda: running.task("asked")["reason"] == "nobody subscribes", 20, "the subscriber dropped")
            until(lambda: not running.task("asked")["active"], what="no longer asked for")
        assert lanes.keys() >= {("wide", "front"), ("wide", "rear"), ("narrow", "rear")}
        for messages in lanes.values():
            seqs = [message["seq"] for message in messages]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            assert np.median([message["latency_ms"]["total"] for message in messages]) < 500
    finally:
        stopped.kill()
        stopped.wait()
        stopped.stdout.close()


def test_garbage_on_the_control_socket_is_answered_or_ignored(running):
    """100,000 random messages at full speed; results keep flowing, and real requests are answered."""
    rng = np.random.default_rng(7)
    noise = rng.bytes(4096)
    maps = [
        {"v": 1}, {"v": 1, "id": 2, "cmd": "no"}, {"v": 2, "cmd": "status"}, {"v": 1, "cmd": ["status"], "id": {}},
        {"v": 1, "id": 1, "cmd": "task.activate", "args": {"tasks": ["\u202ewide"]}},
        {"v": 1, "id": 1, "cmd": "task.activate", "args": {"tasks": {"a": 1}}},
        {"v": 1, "id": 1, "cmd": "task.deactivate", "args": [1]}, {"v": 1, "id": b"\xff", "cmd": "task.activate"},
        {"v": float("nan")}, 5, None, [], {"cmd": "x" * 5000}, {"v": 1, "id": 2**64 - 1, "cmd": None},
        {"v": 1, "id": 3, "cmd": "task.activate", "args": {"tasks": [None, 3]}}, msgpack.ExtType(5, b"x"),
    ]  # fmt: skip
    packed = [msgpack.packb(one) for one in maps] + [b"", b"\xc1", b"\x91" * 3000, b"\xdd\xff\xff\xff\xff", b"\xc7"]
    context = zmq.Context()
    sockets = [context.socket(zmq.DEALER) for _ in range(3)]
    try:
        for one in sockets:
            one.setsockopt(zmq.LINGER, 0)
            one.setsockopt(zmq.SNDTIMEO, 10_000)
            one.connect(running.child.control)
        with running.subscriber(queue=100_000) as subscriber:
            calm = len(by_lane(collect(subscriber, 1.5))["wide", "rear"]) / 1.5
            begin_s, answers = time.monotonic(), []
            for number, kind in enumerate(rng.integers(0, 4, 100_000)):
                one = sockets[number % 3]
                start = int(rng.integers(0, 4000))
                body = noise[start : start + int(rng.integers(0, 96))] if kind < 2 else packed[number % len(packed)]
                one.send_multipart([b"", body, b"more"] if kind == 3 and number % 7 == 0 else [body])
                while number % 50 == 0 and one.poll(0):
                    answers.append(one.recv_multipart()[-1])
            took_s = time.monotonic() - begin_s
            assert "tasks" in running.request("task.list")
            flood = by_lane(collect(subscriber, 0.05))["wide", "rear"]
            seconds = time.monotonic() - begin_s
        assert took_s < 60
        # the flood's own sender takes most of a core: on two cores that others use too, a fifth is still a flow
        assert len(flood) / seconds > 0.2 * calm, f"{len(flood) / seconds:.1f} Hz during the flood, {calm:.1f} before"
        first, last = flood[0], flood[-1]
        assert last["seq"] - first["seq"] + 1 - len(flood) <= last["dropped"] - first["dropped"]
        replies = [msgpack.unpackb(answer) for answer in answers]
        assert len(replies) > 1000
        assert {reply["ok"] for reply in replies} == {False}
        codes = {reply["error"]["code"] for reply in replies}
        assert codes >= {"malformed", "version", "unknown_command", "refused"}
        assert all(isinstance(reply["error"]["message"], str) for reply in replies)
    finally:
        for one in sockets:
            one.close()
        context.term()
    time.sleep(1.2)  # longer than any heartbeat: clients that are gone with their queues full have ended daemons
    assert running.task("wide")["active"]
    assert "Traceback" not in running.log


def test_bytes_that_are_no_zeromq_are_ignored(running):
    for path in ("pub.sock", "control.sock"):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(os.fspath(running.rundir / path))
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + os.urandom(256))
    with running.subscriber() as subscriber:
        assert subscriber.receive(5) is not None
    assert running.process.poll() is None


def test_sockets_are_for_user_and_group_only(running):
    modes = {name: (running.rundir / name).stat().st_mode & 0o777 for name in ("pub.sock", "control.sock")}
    assert modes == {"pub.sock": 0o660, "control.sock": 0o660}
    assert running.rundir.stat().st_mode & 0o777 == 0o700
