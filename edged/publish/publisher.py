"""The thread that owns the PUB socket: sequence numbers, drop-oldest, last task states, subscriptions."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import zmq

from edged.publish.curve import Guarded
from edged.publish.latencies import Histogram, Latencies
from edged.publish.sockets import Doors, has_message
from edged.publish.wire import TOPIC_MAX, listened_task, pack, result_message, result_topic
from edged.results import Result
from edged.trace import stage
from edged.waiting import BriefLock

QUEUE_PER_CAMERA = 8  # results of one task and camera that may wait for this thread
SEND_HWM = 1000  # messages that may wait in the library for one slow subscriber
IDLE_MS = 1000
RELAXED_MS = 20  # results of lossless cameras may wait this long to be sent together
RESEND_S = 1.0
BURST = 500  # subscriptions heard in a row, some milliseconds; results are sent before the next ones are
ANSWER_S = 0.05  # least time between two answers to subscriptions: those that come meanwhile are answered together
ASKED_MAX = 100  # prefixes that are answered each on its own; where there are more, all states are sent
REMEMBERED_MAX = 4096  # subscriptions to results, of one socket
OPTIONS = {
    zmq.XPUB_VERBOSE: 1,  # a state goes to who subscribes second as well; only the last one's end is told
    zmq.RCVHWM: 0,  # libzmq 4.3.5 aborts when a heartbeat's timer meets a full queue whose peer is gone
    zmq.LINGER: 200,
    zmq.MAXMSGSIZE: 4096,
    zmq.HEARTBEAT_IVL: 1000,  # milliseconds, as are the next two
    zmq.HEARTBEAT_TIMEOUT: 3000,
    zmq.HEARTBEAT_TTL: 3000,
}


@dataclass(frozen=True)
class Sent:
    """One task and camera's results: numbered so far, and of those dropped before the socket."""

    seq: int = 0
    dropped: int = 0


@dataclass
class _Lane:
    """The results of one task and camera on their way to the socket."""

    topic: bytes
    waiting: deque[tuple[int, Result]]
    sent: Sent = Sent()  # noqa: RUF009 - frozen


class Publisher:
    """Sends results and states. `post`, `post_state`, `sent`, `latencies` and `admit` may be called from any thread.

    The sockets are bound in the constructor, so that a taken or unwritable endpoint is known before anything starts;
    they are used by the thread of `run` alone.

    Args:
        endpoints: ZeroMQ endpoints to bind; an ipc endpoint's file gets mode 0660.
        boot: random id of this run.
        guarded: endpoints behind CURVE, on a socket of their own: the ones above stay plain.
        queue: messages that may wait in the library for one slow subscriber.
        listeners: told the tasks that someone subscribes to, whenever they change; from the publisher's thread.
    """

    name = "publisher"

    def __init__(
        self,
        endpoints: Sequence[str],
        boot: str,
        listeners: Callable[[frozenset[str]], None] = lambda _: None,
        guarded: Guarded | None = None,
        queue: int = SEND_HWM,
    ) -> None:
        self._boot, self._listeners = boot, listeners
        self._lock = BriefLock()
        self._room = self._lock.condition()
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._outgoing: deque[tuple[bytes, bytes, bool | None]] = deque()
        self._states: dict[bytes, bytes] = {}
        self._asked: set[bytes] = set()
        self._listened: frozenset[str] = frozenset()
        self._closed = False
        self._answer_s, self._resend_s = 0.0, time.monotonic() + RESEND_S
        self._relaxed = False
        self._latencies = Latencies()
        self._doors = Doors(zmq.XPUB, {**OPTIONS, zmq.SNDHWM: queue}, endpoints, guarded)
        self._subscriptions: list[set[bytes]] = [set() for _ in self._doors.sockets]
        self._news = False

    def post(self, result: Result, wait: bool = False) -> None:
        """Hand over one result. When the queue of its camera is full the oldest goes, unless the caller may `wait`."""
        key = (result.task, result.camera)
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(result_topic(*key).encode(), deque())
            while wait and len(lane.waiting) >= QUEUE_PER_CAMERA and not self._closed:
                self._room.wait(1.0)
            sent = lane.sent
            lane.waiting.append((sent.seq, result))
            dropped = len(lane.waiting) > QUEUE_PER_CAMERA
            if dropped:
                lane.waiting.popleft()
            else:
                self._ready.append(lane)
            lane.sent = Sent(sent.seq + 1, sent.dropped + dropped)
            relaxed = wait and self._relaxed and len(self._ready) < QUEUE_PER_CAMERA // 2
            self._relaxed = wait
        if not relaxed:
            self.wake()

    def post_state(self, topic: str, message: Mapping[str, Any], keep: bool = True) -> None:
        """Send a state now; with `keep` again each second, and at once when somebody subscribes to it."""
        self._outgoing.append((topic.encode(), pack(message), keep))
        self.wake()

    def forget_state(self, topic: str, last: Mapping[str, Any]) -> None:
        """Send a kept state's last message, and from then on none."""
        self._outgoing.append((topic.encode(), pack(last), None))
        self.wake()

    def sent(self) -> dict[tuple[str, str], Sent]:
        """Return what was numbered and dropped so far, by (task, camera)."""
        with self._lock:
            return {key: replace(lane.sent) for key, lane in self._lanes.items()}

    def latencies(self) -> Mapping[str, Mapping[str, Histogram]]:
        """Return how long the results that were sent took, by task and stage."""
        return self._latencies.snapshot()

    def admit(self, clients: frozenset[bytes]) -> None:
        """Let in subscribers with these public keys and no others from now on; see `Guard`."""
        self._doors.admit(clients)

    def wake(self) -> None:
        """End the wait in `run`, unless that is under way."""
        self._doors.wake()

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Send until `stop` is set, then what is left, and close the sockets."""
        try:
            while not stop.is_set():
                beat()
                self._turn()
            self._send_results()
            self._send_states()
        finally:
            self.close()

    def close(self) -> None:
        """Close the sockets and let every waiting sender go. After `run`, or instead of it."""
        with self._lock:
            self._closed = True
            self._room.notify_all()
        self._doors.close()

    def _turn(self) -> None:
        """Wait for something to do, and do it."""
        heard = self._doors.wait(self._wait_ms())
        if heard is None:
            self._relaxed = False
        for door in heard or ():
            self._hear(door)
        self._send_results()
        self._send_states()
        now_s = time.monotonic()
        if now_s >= self._resend_s:
            self._resend_s = now_s + RESEND_S
            self._asked.add(b"")
        if (self._asked or self._news) and now_s >= self._answer_s:
            self._answer_s = now_s + ANSWER_S
            self._answer()

    def _wait_ms(self) -> int:
        wait_ms = RELAXED_MS if self._relaxed else IDLE_MS
        if self._asked or self._news:
            wait_ms = min(wait_ms, 1 + int(1000 * max(0.0, self._answer_s - time.monotonic())))
        return wait_ms

    def _send_results(self) -> None:
        while True:
            with self._lock:
                if not self._ready:
                    return
                lane = self._ready.popleft()
                seq, result = lane.waiting.popleft()
                dropped = lane.sent.dropped
                self._room.notify()
            self._send_result(lane.topic, result, seq, dropped)

    @stage("publish", lambda _, __, result, *___: f"{result.task} {result.camera}")
    def _send_result(self, topic: bytes, result: Result, seq: int, dropped: int) -> None:
        mono_ns = time.monotonic_ns()
        message = result_message(result, seq, dropped, self._boot, time.time_ns(), mono_ns)
        self._latencies.add(result.task, result.latency, (mono_ns - result.mono_ns) / 1e6 - result.latency.total)
        self._send(topic, pack(message))

    def _send_states(self) -> None:
        while self._outgoing:
            topic, body, keep = self._outgoing.popleft()
            if keep:
                self._states[topic] = body
            elif keep is None:
                self._states.pop(topic, None)
            self._send(topic, body)

    def _send(self, topic: bytes, body: bytes) -> None:
        for socket in self._doors.sockets:
            socket.send(topic, zmq.SNDMORE)
            socket.send(body)

    def _hear(self, door: int) -> None:
        """Take in subscriptions, not more than a burst: who sends them without end must not hold up the results.

        Remembered are those that name a task, and that a topic can begin with. Of equal ones libzmq tells the first and
        each further one, but only the end of the last: a set is all there is to keep.
        """
        socket, known = self._doors.sockets[door], self._subscriptions[door]
        for _ in range(BURST):
            if not has_message(socket):
                return
            event = socket.recv()
            prefix = event[1:]
            if event[:1] == b"\x01":
                self._asked.add(prefix if len(self._asked) < ASKED_MAX else b"")
                if len(known) < REMEMBERED_MAX and len(prefix) <= TOPIC_MAX and listened_task(prefix) is not None:
                    known.add(prefix)
                    self._news = True
            elif event[:1] == b"\x00" and prefix in known:
                known.remove(prefix)
                self._news = True

    def _answer(self) -> None:
        """Send new subscribers the last states they ask for, and tell whose results are asked for where that is new."""
        asked, self._asked = tuple(self._asked), set()
        for topic, body in self._states.items():
            if topic.startswith(asked):
                self._send(topic, body)
        if self._news:
            self._news = False
            listened = frozenset(filter(None, (listened_task(one) for known in self._subscriptions for one in known)))
            if listened != self._listened:
                self._listened = listened
                self._listeners(listened)
