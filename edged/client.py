"""What other programs import: `Subscriber` for results, `Control` for orders.

Importable without numpy, a GPU or a media library.

    from edged.client import Subscriber

    with Subscriber(topic="edged/1/det/pedestrian/") as results:
        for result in results:
            print(result.camera, [(d.label, d.box) for d in result.detections])
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import zmq

from edged.errors import BackendUnavailable, EdgedError, NoAnswer, UsageError
from edged.publish.keys import CurveKeys
from edged.publish.received import (
    Detection,
    FrameGroup,
    LaneLine,
    LostCamera,
    TaskResult,
    TaskState,
    task_result,
    task_state,
)
from edged.publish.wire import PREFIX, VERSION, pack, unpack
from edged.rundir import check_ipc_path, control_endpoint, publish_endpoint, somebody_listens

__all__ = [
    "CommandRefused",
    "Control",
    "CurveKeys",
    "Detection",
    "FrameGroup",
    "LaneLine",
    "LostCamera",
    "Subscriber",
    "TaskResult",
    "TaskState",
]

T = TypeVar("T")
CONNECT_S = 1.0  # a daemon that runs takes a connection sooner
LINGER_MS = 200  # what was sent last may take so long to leave


class CommandRefused(EdgedError):
    """The daemon answered a command with an error; `code` is for programs, the text for people.

    `faults` of a refused `reload` are maps of `file`, `line`, `key` and `text`.
    """

    exit_code = 2

    def __init__(self, code: str, message: str, faults: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.code, self.faults = code, faults


class Subscriber:
    """Receives messages. One thread's use.

    Iterating and `receive` give results; `receive_state` gives tasks' states; `receive_any` gives either, for a topic
    such as `edged/1/` that has both; `receive_message` gives everything as it comes.

    What is not two frames, a topic and msgpack, raises `ValueError` in whatever was to give it, and is gone: the next
    call goes on with the next message.

    Args:
        endpoint: where the daemon publishes; this user's own daemon by default.
        topic: prefix of the topics wanted, such as `edged/1/det/pedestrian/`.
        queue: messages that may wait here; when it is full the newest are lost, and counted as gaps. 0: no limit.
        curve: keys of an encrypted endpoint.

    Raises:
        UsageError: `endpoint` is none.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        topic: str = f"{PREFIX}det/",
        queue: int = 1000,
        curve: CurveKeys | None = None,
    ) -> None:
        self.endpoint = endpoint or publish_endpoint()
        self.gaps: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str, str], int] = {}
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, queue)
        _connect(self._socket, self.endpoint, curve, self.close)
        self._socket.subscribe(topic)

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[TaskResult]:
        while True:
            result = self.receive()
            if result is not None:
                yield result

    def receive(self, timeout_s: float | None = None) -> TaskResult | None:
        """Return the next result, or None when none came in `timeout_s`. States and status are passed over."""
        return self._next((TaskResult,), timeout_s)

    def receive_state(self, timeout_s: float | None = None) -> TaskState | None:
        """Return the next state of a task, or None when none came in `timeout_s`. Results and status are passed over.

        Results that are passed over are lost, so this is for a subscriber of its own, such as `edged/1/task/lane/`.
        """
        return self._next((TaskState,), timeout_s)

    def receive_any(self, timeout_s: float | None = None) -> TaskResult | TaskState | None:
        """Return the next result or task's state, or None when neither came in `timeout_s`. Status is passed over."""
        either: tuple[type[TaskResult | TaskState], ...] = (TaskResult, TaskState)
        return self._next(either, timeout_s)

    def receive_message(self, timeout_s: float | None = None) -> tuple[str, dict[str, Any]] | None:
        """Return the next (topic, message) of any kind, or None when none came in `timeout_s`."""
        wait_ms = None if timeout_s is None else int(timeout_s * 1000)
        if not self._socket.poll(wait_ms, zmq.POLLIN):
            return None
        topic, body = self._socket.recv_multipart()
        return topic.decode(), unpack(body)

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The SUB socket itself, for a poller or to take messages undecoded."""
        return self._socket

    def close(self) -> None:
        """Disconnect. Twice is harmless."""
        self._socket.close(linger=0)
        self._context.term()

    def _next(self, kinds: tuple[type[T], ...], timeout_s: float | None) -> T | None:
        """Return the next message that is one of these kinds once it is typed."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            received = self.receive_message(None if until_s is None else max(0.0, until_s - time.monotonic()))
            if received is None:
                return None
            typed = self._typed(*received)
            if isinstance(typed, kinds):
                return typed

    def _typed(self, topic: str, message: dict[str, Any]) -> TaskResult | TaskState | None:
        if topic.startswith(f"{PREFIX}det/"):
            return task_result(topic, message, self._gap(message))
        return task_state(topic, message) if topic.startswith(f"{PREFIX}task/") else None

    def _gap(self, message: Mapping[str, Any]) -> int:
        """Return how many results of this task and camera were lost since the last one that came."""
        key = (message["boot"], message["task"], message["camera"])
        last = self._last.get(key)
        self._last[key] = message["seq"]
        gap = 0 if last is None else max(0, message["seq"] - last - 1)
        place = key[1:]
        self.gaps[place] = self.gaps.get(place, 0) + gap
        return gap


class Control:
    """Sends commands to a running daemon. One thread's use.

    Args:
        endpoint: the daemon's control socket; this user's own daemon by default.
        timeout_s: how long an answer may take.
        curve: keys of an encrypted endpoint.
    """

    def __init__(self, endpoint: str | None = None, timeout_s: float = 5.0, curve: CurveKeys | None = None) -> None:
        self.endpoint = endpoint or control_endpoint()
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        _connect(self._socket, self.endpoint, curve, self.close)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, command: str, **args: Any) -> Any:
        """Send one command and return its result.

        Raises:
            BackendUnavailable: nobody listens there.
            NoAnswer: somebody listens, but did not answer in time.
            CommandRefused: the daemon answered with an error.
        """
        request_id = next(self._ids)
        until_s = time.monotonic() + self._timeout_s
        self._send({"v": VERSION, "id": request_id, "cmd": command, "args": args}, until_s)
        while (left_s := until_s - time.monotonic()) > 0:
            if not self._socket.poll(int(left_s * 1000), zmq.POLLIN):
                break
            answer = unpack(self._socket.recv())
            if answer.get("id") != request_id:
                continue  # the late answer of a request that was given up
            if answer["ok"]:
                return answer["result"]
            raise _refused(answer["error"])
        raise NoAnswer(f"{command}: no answer from {self.endpoint} in {self._timeout_s:g} s")

    def send(self, command: str, **args: Any) -> None:
        """Send one of a stream of commands that are served at once (`signal.set`), and do not wait for its answer.

        Raises:
            BackendUnavailable: nobody listens there.
            NoAnswer: somebody listens, but takes nothing.
            CommandRefused: this one or one before it was refused. In any case this one was sent.
        """
        self._send({"v": VERSION, "cmd": command, "args": args}, time.monotonic() + self._timeout_s)
        while self._socket.poll(0, zmq.POLLIN):
            answer = unpack(self._socket.recv())
            if not answer["ok"]:
                raise _refused(answer["error"])

    def close(self) -> None:
        """Disconnect. Twice is harmless."""
        self._socket.close(linger=LINGER_MS)
        self._context.term()

    def _send(self, message: Mapping[str, Any], until_s: float) -> None:
        connect_s = min(self._timeout_s, CONNECT_S)
        if not self._socket.poll(int(connect_s * 1000), zmq.POLLOUT):
            if not somebody_listens(self.endpoint):
                raise BackendUnavailable(f"no edged answers at {self.endpoint}; is it running (edged run)?")
            if not self._socket.poll(int(max(0.0, until_s - time.monotonic()) * 1000), zmq.POLLOUT):
                text = f"{message['cmd']}: no answer from {self.endpoint} in {self._timeout_s:g} s"
                raise NoAnswer(text)
        self._socket.send(pack(message))


def _refused(error: Mapping[str, Any]) -> CommandRefused:
    return CommandRefused(error["code"], error["message"], error.get("faults", ()))


def _connect(socket: zmq.Socket[bytes], endpoint: str, curve: CurveKeys | None, close: Any) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    # No heartbeats of our own: libzmq 4.3.5 aborts the process when their timer meets a full queue whose peer is gone.
    # The daemon's carry a time to live, after which a connection to a daemon that vanished is given up.
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    try:
        check_ipc_path(endpoint)
        if curve is not None:
            socket.curve_serverkey = curve.server_public.encode()
            socket.curve_publickey = curve.public.encode()
            socket.curve_secretkey = curve.secret.encode()
        socket.connect(endpoint)
    except zmq.ZMQError as exc:
        close()
        raise UsageError(f"{endpoint}: not an endpoint that can be connected to: {exc.strerror}") from exc
    except UsageError:
        close()
        raise
