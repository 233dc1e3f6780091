"""The ROUTER socket's thread: decodes requests, hands them to the daemon, sends its replies.

Nothing that arrives here, however malformed, stops the daemon; and no flood slows it, for only so many messages
are looked at in a second.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from edged.errors import BackendUnavailable, ConfigError
from edged.publish.curve import Guarded, start_guard
from edged.publish.publisher import bind
from edged.publish.wire import VERSION, pack, unpack

REQUEST_MAX_BYTES = 256 * 1024
TEXT_MAX = 120
BURST, PAUSE_S = 64, 0.008  # messages looked at in a row, and the rest after them: at most 8,000 a second
IDLE_MS = 1000


@dataclass(frozen=True)
class Address:
    """Where an answer goes: the socket, by its number, and the client's routing frames."""

    door: int
    frames: tuple[bytes, ...]


@dataclass(frozen=True)
class Request:
    """One well-formed request."""

    reply_to: Address
    id: Any
    command: str
    args: Mapping[str, Any] = field(default_factory=dict)


class ControlServer:
    """Owns the control socket. `reply` and `refuse` may be called from any thread.

    Args:
        endpoints: ZeroMQ endpoints to bind.
        commands: names of the commands there are.
        submit: takes a request; returns False when the daemon is too busy for one more.
        guarded: endpoints behind CURVE, on a socket of their own: the ones above stay plain.
        request_max_bytes: a larger message ends its sender's connection.
    """

    name = "control"

    def __init__(
        self,
        endpoints: Sequence[str],
        commands: Collection[str],
        submit: Callable[[Request], bool],
        guarded: Guarded | None = None,
        request_max_bytes: int = REQUEST_MAX_BYTES,
    ) -> None:
        self._commands, self._submit = frozenset(commands), submit
        self._replies: deque[tuple[Address, bytes]] = deque()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._context = zmq.Context()
        self._guard: ThreadAuthenticator | None = None
        self._sockets: list[zmq.Socket[bytes]] = []
        self._paths: list[Path] = []
        try:
            self._open(endpoints, request_max_bytes)
            if guarded is not None:
                self._open(guarded.endpoints, request_max_bytes, guarded)
        except (BackendUnavailable, ConfigError):
            self.close()
            raise

    def _open(self, endpoints: Sequence[str], request_max_bytes: int, guarded: Guarded | None = None) -> None:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._sockets.append(socket)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.MAXMSGSIZE, request_max_bytes)
        # Clients that vanish are TCP's to find: libzmq 4.3.5 aborts the process when a heartbeat's timer meets a full
        # queue whose peer is gone, and any client can fill its queue.
        for option, value in (
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 10),
            (zmq.TCP_KEEPALIVE_INTVL, 5),
            (zmq.TCP_KEEPALIVE_CNT, 3),
        ):
            socket.setsockopt(option, value)
        if guarded is not None:
            self._guard = start_guard(socket, guarded)
        for endpoint in endpoints:
            self._paths += bind(socket, endpoint)

    def reply(self, request: Request, result: Any) -> None:
        """Answer a request."""
        self._answer(request.reply_to, {"v": VERSION, "id": request.id, "ok": True, "result": result})

    def refuse(self, request: Request, code: str, message: str) -> None:
        """Answer a request with an error."""
        self._answer(request.reply_to, _error(request.id, code, message))

    def wake(self) -> None:
        """End the wait in `run`."""
        os.eventfd_write(self._wakeup, 1)

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Serve until `stop` is set, then send what is left, and close the socket."""
        poller = zmq.Poller()
        for socket in self._sockets:
            poller.register(socket, zmq.POLLIN)
        poller.register(self._wakeup, zmq.POLLIN)
        while not stop.is_set():
            beat()
            events = dict(poller.poll(IDLE_MS))
            if self._wakeup in events:
                os.eventfd_read(self._wakeup)
            busy = [self._look(door) for door, socket in enumerate(self._sockets) if socket in events]
            self._send()
            if any(busy):
                stop.wait(PAUSE_S)
        self._send()
        self.close()

    def close(self) -> None:
        """Close the socket. After `run`, or instead of it."""
        for socket in self._sockets:
            socket.close()
        if self._guard is not None:
            self._guard.stop()
        self._context.term()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _look(self, door: int) -> bool:
        """Take up to a burst of messages from one socket. Return whether there may be more."""
        socket = self._sockets[door]
        for _ in range(BURST):
            if not socket.poll(0, zmq.POLLIN):
                return False
            self._take(door, socket.recv_multipart())
        return True

    def _take(self, door: int, frames: list[bytes]) -> None:
        """Turn one message into a request; answer what is none."""
        *reply_to, body = frames
        address = Address(door, tuple(reply_to))
        try:
            message = unpack(body)
        except ValueError as exc:
            self._answer(address, _error(None, "malformed", str(exc)))
            return
        fault = _fault(message, self._commands)
        if fault is not None:
            request_id = message.get("id") if isinstance(message, dict) else None
            self._answer(address, _error(_plain(request_id), *fault))
            return
        request = Request(address, _plain(message.get("id")), message["cmd"], message.get("args") or {})
        if not self._submit(request):
            self.refuse(request, "busy", "too many requests are waiting; try again")

    def _answer(self, reply_to: Address, message: Mapping[str, Any]) -> None:
        self._replies.append((reply_to, pack(message)))
        os.eventfd_write(self._wakeup, 1)

    def _send(self) -> None:
        while self._replies:
            address, body = self._replies.popleft()
            try:
                self._sockets[address.door].send_multipart((*address.frames, body), zmq.NOBLOCK)
            except zmq.ZMQError:  # the client does not read its replies, or is gone: its loss
                continue


def _fault(message: Any, commands: frozenset[str]) -> tuple[str, str] | None:
    """Return (code, text) for a message that is no request."""
    if not isinstance(message, dict):
        return "malformed", f"a request is a map with v, id, cmd and args, got {type(message).__name__}"
    if message.get("v") != VERSION:
        return "version", f"v must be {VERSION}, got {_short(message.get('v'))}"
    command = message.get("cmd")
    if not isinstance(command, str) or command not in commands:
        return "unknown_command", f"no command {_short(command)}; there are {', '.join(sorted(commands))}"
    if not isinstance(message.get("args") or {}, dict):
        return "malformed", f"args must be a map, got {_short(message['args'])}"
    return None


def _error(request_id: Any, code: str, message: str) -> dict[str, Any]:
    return {"v": VERSION, "id": request_id, "ok": False, "error": {"code": code, "message": message}}


def _plain(request_id: Any) -> Any:
    """An id is given back only if it is a number or a short text: nothing else can be relied on to be packed."""
    usable = isinstance(request_id, int) or (isinstance(request_id, str) and len(request_id) <= TEXT_MAX)
    return request_id if usable else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
