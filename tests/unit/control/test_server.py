"""The control socket's thread: every message is answered or ignored, and a busy daemon says so."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import msgpack
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from parts import until

from edged.client import CommandRefused, Control
from edged.control.protocol import Address, Fault, Request, read, refusal
from edged.control.server import ControlServer
from edged.errors import UsageError

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=5), one, max_size=4),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {}, optional={"v": st.just(1) | ANY, "id": ANY, "cmd": st.just("status") | ANY, "args": st.just({}) | ANY}
)


@contextmanager
def connected(kind, endpoint):
    """Yield a bare socket of a client."""
    with zmq.Context() as context, context.socket(kind) as raw:
        raw.setsockopt(zmq.LINGER, 0)
        raw.setsockopt(zmq.RCVTIMEO, 5000)
        raw.connect(endpoint)
        yield raw


@pytest.fixture
def serve(tmp_path):
    """Start a server whose daemon is a function; return its endpoint."""
    stop, running = threading.Event(), []
    endpoint = f"ipc://{tmp_path}/control.sock"

    def serve(submit):
        server = ControlServer([endpoint], ("status", "task.list"), lambda request: submit(server, request))
        thread = threading.Thread(target=server.run, args=(stop, lambda: None))
        thread.start()
        running.append((server, thread))
        return endpoint

    yield serve
    stop.set()
    for server, thread in running:
        server.wake()
        thread.join(5)
        assert not thread.is_alive()


def echo(server, request):
    server.reply(request, {"cmd": request.command, "args": dict(request.args)})
    return True


def test_a_request_is_answered(serve):
    with Control(serve(echo)) as control:
        assert control.request("status", a=1, b=[2]) == {"cmd": "status", "args": {"a": 1, "b": [2]}}
        assert control.request("task.list") == {"cmd": "task.list", "args": {}}


def test_a_refusal_carries_its_code(serve):
    def refuse(server, request):
        server.refuse(request, "refused", "not today")
        return True

    with Control(serve(refuse)) as control, pytest.raises(CommandRefused, match="^not today$") as caught:
        control.request("status")
    assert (caught.value.code, caught.value.exit_code) == ("refused", 2)


def test_a_busy_daemon_says_so(serve):
    with Control(serve(lambda *_: False)) as control, pytest.raises(CommandRefused) as caught:
        control.request("status")
    assert (caught.value.code, str(caught.value)) == ("busy", "too many requests are waiting; try again")


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (5, "malformed", "a request is a map with v, id, cmd and args, got int"),
        ({"cmd": "status"}, "version", "v must be 1, got None"),
        ({"v": 1, "cmd": "stop"}, "unknown_command", "no command 'stop'; there are status, task.list"),
        ({"v": 1, "cmd": 7}, "unknown_command", "no command 7; there are status, task.list"),
        ({"v": 1, "cmd": "status", "args": [3]}, "malformed", "args must be a map, got [3]"),
        ({"v": 1, "cmd": "x" * 300}, "unknown_command", f"no command '{'x' * 119}…; there are status, task.list"),
    ],
)
def test_what_is_no_request_is_answered_with_what_is_wrong(serve, message, code, text):
    with connected(zmq.REQ, serve(echo)) as raw:
        raw.send(msgpack.packb({**message, "id": 9} if isinstance(message, dict) else message))
        answer = msgpack.unpackb(raw.recv())
    wanted_id = 9 if isinstance(message, dict) else None
    assert answer == {"v": 1, "id": wanted_id, "ok": False, "error": {"code": code, "message": text}}


@pytest.mark.parametrize(("before", "answered"), [(0, True), (3, True), (4, False), (200, False)])
def test_a_request_behind_more_frames_than_a_way_has_is_dropped(serve, before, answered):
    with connected(zmq.DEALER, serve(echo)) as raw:
        for number, frames in ((1, before), (2, 0)):
            request = msgpack.packb({"v": 1, "id": number, "cmd": "status"})
            raw.send_multipart([b"%d" % n for n in range(frames)] + [request])
        answers = [raw.recv_multipart()]
        if answered:
            answers.append(raw.recv_multipart())
    ids = [msgpack.unpackb(answer[-1])["id"] for answer in answers]
    assert ids == [1, 2] if answered else [2]
    assert len(answers[0]) == 1 + (before if answered else 0)


# ---- commands that are served at once ----------------------------------------------------------------------------


@pytest.fixture
def immediate(tmp_path):
    """Start a server whose `signal.set` appends to a list and refuses bad values; return its endpoint and the list."""
    taken, stop, endpoint = [], threading.Event(), f"ipc://{tmp_path}/control.sock"

    def take(args):
        if args.get("value") == "bad":
            raise UsageError("value must be good, got 'bad'")
        taken.append((args, threading.current_thread().name))
        return {"count": len(taken)}

    def submit(request):
        threading.Timer(0.02, server.reply, (request, "later")).start()  # as the daemon's own thread does
        return True

    server = ControlServer([endpoint], ("status",), submit, immediate={"signal.set": take})
    thread = threading.Thread(target=server.run, args=(stop, lambda: None), name="control")
    thread.start()
    yield endpoint, taken
    stop.set()
    server.wake()
    thread.join(5)
    assert not thread.is_alive()


def test_an_immediate_command_is_served_by_the_sockets_own_thread(immediate):
    endpoint, taken = immediate
    with Control(endpoint) as control:
        assert [control.request("signal.set", value=n) for n in range(3)] == [{"count": n} for n in (1, 2, 3)]
    assert taken == [({"value": n}, "control") for n in range(3)]


def test_a_stream_without_ids_is_taken_in_order_and_only_refusals_are_answered(immediate):
    endpoint, taken = immediate
    with Control(endpoint) as control:
        for number in range(200):
            control.send("signal.set", value=number)
        assert control.request("signal.set", value="last") == {"count": 201}
        assert not control._socket.poll(50)
        # past `send`, which would tell of the refusal itself where the answer is quick
        control._socket.send(msgpack.packb({"v": 1, "cmd": "signal.set", "args": {"value": "bad"}}))
        assert control._socket.poll(5000)
        with pytest.raises(CommandRefused, match=r"^value must be good, got 'bad'$") as caught:
            control.send("signal.set", value="after")
        assert caught.value.code == "refused"
        assert control.request("signal.set", value="end") == {"count": 203}
    assert [args["value"] for args, _ in taken] == [*range(200), "last", "after", "end"]


def test_what_a_stream_sends_last_arrives(immediate):
    endpoint, taken = immediate
    with Control(endpoint) as control:
        for number in range(50):
            control.send("signal.set", value=number)
    until(lambda: len(taken) == 50, what="the end of the stream")


def test_others_are_answered_while_a_stream_runs(immediate):
    endpoint, _ = immediate
    with Control(endpoint) as stream, Control(endpoint) as other:
        for number in range(30):
            stream.send("signal.set", value=number)
            assert other.request("status") == "later"


def test_a_bug_in_an_immediate_command_ends_the_worker_and_frees_its_socket(tmp_path):
    def broken(_):
        raise ZeroDivisionError

    endpoint, ended = f"ipc://{tmp_path}/control.sock", []
    server = ControlServer([endpoint], (), lambda _: True, immediate={"signal.set": broken})

    def run():
        try:
            server.run(threading.Event(), lambda: None)
        except ZeroDivisionError as exc:
            ended.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    with Control(endpoint) as control:
        control.send("signal.set")
        thread.join(5)
    assert len(ended) == 1
    assert not (tmp_path / "control.sock").exists()


@pytest.mark.parametrize("depth", [17, 300, 995, 1000, 1010, 1020, 5000])
@pytest.mark.parametrize("key", ["v", "id", "cmd", "args"])
def test_a_request_that_is_nested_deep_is_answered(key, depth):
    nested = b"\x91" * depth + b"\x01"
    pairs = {"v": b"\x01", "id": b"\x05", "cmd": msgpack.packb("status"), "args": b"\x80", key: nested}
    body = b"\x84" + b"".join(msgpack.packb(name) + value for name, value in pairs.items())
    fault = read(Address(0, ()), body, ("status",))
    assert isinstance(fault, Fault)
    assert (fault.id, fault.code) == (None, "malformed")


def test_a_request_may_be_sixteen_deep():
    args = 1
    for _ in range(15):
        args = {"a": args}
    request = read(Address(0, ()), msgpack.packb({"v": 1, "id": 1, "cmd": "status", "args": args}), ("status",))
    assert isinstance(request, Request)
    assert request.args == args


@given(st.binary(max_size=300) | REQUESTS.map(msgpack.packb))
def test_any_bytes_are_a_request_or_a_fault_that_can_be_sent(body):
    told = read(Address(0, ()), body, ("status",))
    if isinstance(told, Fault):
        assert msgpack.unpackb(msgpack.packb(refusal(told.id, told.code, told.message)))["ok"] is False
    else:
        assert told.command == "status"
