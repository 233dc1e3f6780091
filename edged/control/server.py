"""The ROUTER socket's thread: reads requests, hands them to the daemon or serves them at once, and sends the answers.

Nothing that arrives here, however malformed, stops the daemon; and no flood slows it, for only so many messages
are looked at in a second. What a request is: `edged.control.protocol`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import zmq

from edged.control.protocol import Address, Fault, Faults, Request, answer, read, refusal
from edged.errors import EdgedError
from edged.publish.curve import Guarded
from edged.publish.sockets import Doors, has_message
from edged.publish.wire import pack

__all__ = ["ControlServer", "Request"]

REQUEST_MAX_BYTES = 256 * 1024
BURST, PAUSE_S = 64, 0.008  # messages looked at in a row, and the rest after them: at most 8,000 a second
LULL_S = 0.05  # rest after a stream's message: the next ones are taken together, a wake-up costs more than they do
FRAMES_MAX = 5  # of a message: who sent it, a proxy on the way, an empty one, the request; and one to spare
IDLE_MS = 1000
OPTIONS = {
    zmq.LINGER: 200,
    # Clients that vanish are TCP's to find: libzmq 4.3.5 aborts the process when a heartbeat's timer meets a full
    # queue whose peer is gone, and any client can fill its queue.
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
NONE: Mapping[str, Callable[[Mapping[str, Any]], Any]] = MappingProxyType({})


class ControlServer:
    """Owns the control socket. `reply`, `refuse` and `admit` may be called from any thread.

    Args:
        endpoints: ZeroMQ endpoints to bind.
        commands: names of the commands that `submit` takes.
        submit: takes a request; returns False when the daemon is too busy for one more.
        guarded: endpoints behind CURVE, on a socket of their own: the ones above stay plain.
        request_max_bytes: a larger frame ends its sender's connection; more than a few frames are no request.
        immediate: commands that this thread serves itself, with the request's `args`: what they return, a value that
            can be packed, is the result, and an `EdgedError` the refusal. They must be quick, and safe beside the other
            threads. Any other error is a bug and ends this worker, as the supervisor's rules say.

    Raises:
        BackendUnavailable: an endpoint cannot be had.
        ConfigError: a CURVE key or folder is no good.
    """

    name = "control"

    def __init__(
        self,
        endpoints: Sequence[str],
        commands: Collection[str],
        submit: Callable[[Request], bool],
        guarded: Guarded | None = None,
        request_max_bytes: int = REQUEST_MAX_BYTES,
        immediate: Mapping[str, Callable[[Mapping[str, Any]], Any]] = NONE,
    ) -> None:
        self._commands = frozenset((*commands, *immediate))
        self._submit, self._immediate = submit, immediate
        self._answers: deque[tuple[Address, bytes]] = deque()
        self._streaming = False
        self._doors = Doors(zmq.ROUTER, {**OPTIONS, zmq.MAXMSGSIZE: request_max_bytes}, endpoints, guarded)

    def reply(self, request: Request, result: Any) -> None:
        """Answer a request."""
        self._put(request.reply_to, answer(request.id, result))
        self.wake()

    def refuse(self, request: Request, code: str, message: str, faults: Faults = ()) -> None:
        """Answer a request with an error; `faults` are those of a configuration."""
        self._put(request.reply_to, refusal(request.id, code, message, faults))
        self.wake()

    def admit(self, clients: frozenset[bytes]) -> None:
        """Let in clients with these public keys and no others from now on; see `Guard`."""
        self._doors.admit(clients)

    def wake(self) -> None:
        """End the wait in `run`."""
        self._doors.wake()

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Serve until `stop` is set, then send what is left, and close the sockets."""
        try:
            while not stop.is_set():
                beat()
                busy = [self._look(door) for door in self._doors.wait(IDLE_MS) or ()]
                self._send()
                if any(busy):
                    stop.wait(PAUSE_S)
                elif self._streaming:
                    self._doors.rest(LULL_S)
                self._streaming = False
            self._send()
        finally:
            self.close()

    def close(self) -> None:
        """Close the sockets. After `run`, or instead of it."""
        self._doors.close()

    def _look(self, door: int) -> bool:
        """Take up to a burst of messages from one socket. Return whether there may be more."""
        socket = self._doors.sockets[door]
        for _ in range(BURST):
            if not has_message(socket):
                return False
            *frames, body = _received(socket)
            if len(frames) < FRAMES_MAX:  # an answer would have to repeat them all
                self._take(read(Address(door, tuple(frames)), body, self._commands))
        return True

    def _take(self, request: Request | Fault) -> None:
        """Serve a request, hand it on, or answer what is none."""
        if isinstance(request, Fault):
            self._put(request.reply_to, refusal(request.id, request.code, request.message))
        elif request.command in self._immediate:
            self._serve(request)
        elif not self._submit(request):
            text = "too many requests are waiting; try again"
            self._put(request.reply_to, refusal(request.id, "busy", text))

    def _serve(self, request: Request) -> None:
        try:
            result = self._immediate[request.command](request.args)
        except EdgedError as exc:
            self._put(request.reply_to, refusal(request.id, "refused", str(exc)))
            return
        if request.silent:
            self._streaming = True
        else:
            self._put(request.reply_to, answer(request.id, result))

    def _put(self, reply_to: Address, message: Mapping[str, Any]) -> None:
        self._answers.append((reply_to, pack(message)))

    def _send(self) -> None:
        while self._answers:
            address, body = self._answers.popleft()
            try:
                self._doors.sockets[address.door].send_multipart((*address.frames, body), zmq.NOBLOCK)
            except zmq.ZMQError:  # the client does not read its replies, or is gone: its loss
                continue


def _received(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Return the frames of one message; of one that has too many, the first and no more than show it."""
    frames = [socket.recv()]
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv()
        if len(frames) <= FRAMES_MAX:
            frames.append(frame)
    return frames
