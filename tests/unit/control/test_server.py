"""The control socket's thread: every message is answered or ignored, and a busy daemon says so."""

from __future__ import annotations

import threading

import msgpack
import pytest
import zmq

from edged.client import CommandRefused, Control
from edged.control.server import ControlServer


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
    context = zmq.Context()
    try:
        with context.socket(zmq.REQ) as raw:
            raw.setsockopt(zmq.LINGER, 0)
            raw.setsockopt(zmq.RCVTIMEO, 5000)
            raw.connect(serve(echo))
            raw.send(msgpack.packb({**message, "id": 9} if isinstance(message, dict) else message))
            answer = msgpack.unpackb(raw.recv())
    finally:
        context.term()
    wanted_id = 9 if isinstance(message, dict) else None
    assert answer == {"v": 1, "id": wanted_id, "ok": False, "error": {"code": code, "message": text}}
