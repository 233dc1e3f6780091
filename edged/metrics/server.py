"""The thread that serves metrics over HTTP, on loopback or a Unix socket.

One thread serves all callers with sockets that never block it. Each has a few seconds; of too many the oldest goes; and
only so much is looked at in a second: a scraper that hangs, or a thousand of them, cost the daemon next to nothing.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from edged.config import Address, SocketPath
from edged.errors import BackendUnavailable
from edged.metrics import http
from edged.metrics.exposition import Snapshot
from edged.metrics.page import Page
from edged.rundir import somebody_listens

CALLERS_MAX = 16
BACKLOG = 128
CALL_S = 5.0  # from the connection to the last byte
ACCEPTS, PAUSE_S = 4, 0.01  # connections taken in a row, and the rest after each look: at most 400 a second
IDLE_S = 1.0
RECEIVE_BYTES = 4096


@dataclass(eq=False)
class _Caller:
    """A connection: what it has said so far, and what is still to be sent to it."""

    socket: socket.socket
    until_s: float
    said: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class MetricsServer:
    """Owns the socket. `show` and `wake` may be called from any thread.

    Raises:
        BackendUnavailable: the address or path cannot be had.
    """

    name = "metrics"

    def __init__(self, listen: Address | SocketPath) -> None:
        self._page = Page()
        self._path = listen.path if isinstance(listen, SocketPath) else None
        self._listener = _open(listen)
        self._callers: dict[int, _Caller] = {}
        self._lock = threading.Lock()
        self._wakeup: int | None = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._rest = select.poll()
        self._rest.register(self._wakeup, select.POLLIN)

    def show(self, snapshot: Snapshot) -> None:
        """Serve this from now on."""
        self._page.show(snapshot)

    def wake(self) -> None:
        """End the wait in `run`."""
        with self._lock:  # `close` gives the descriptor's number away: nothing may be written to it after that
            if self._wakeup is not None:
                os.eventfd_write(self._wakeup, 1)

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Serve until `stop` is set, then close the socket. After a failure it may be run again."""
        try:
            while not stop.is_set():
                beat()
                self._look()
                self._rest.poll(PAUSE_S * 1000)
        finally:
            for caller in list(self._callers.values()):
                self._drop(caller)
            if stop.is_set():
                self.close()

    def close(self) -> None:
        """Close the socket and remove its file. After `run`, or instead of it; twice is harmless."""
        with self._lock:
            wakeup, self._wakeup = self._wakeup, None
        if wakeup is None:
            return
        os.close(wakeup)
        self._selector.close()
        self._listener.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _look(self) -> None:
        """Wait for callers, and do for each what can be done at once."""
        for key, _ in self._selector.select(IDLE_S):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fd == self._wakeup:
                os.eventfd_read(key.fd)
            elif (caller := self._callers.get(key.fd)) is not None:
                self._hear(caller) if caller.answer is None else self._speak(caller, caller.answer)
        now_s = time.monotonic()
        for caller in [one for one in self._callers.values() if now_s > one.until_s]:
            self._drop(caller)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # no more, gone already, or no descriptor left
                return
            connection.setblocking(False)
            while len(self._callers) >= CALLERS_MAX:
                self._drop(next(iter(self._callers.values())))
            caller = _Caller(connection, time.monotonic() + CALL_S)
            self._callers[connection.fileno()] = caller
            self._selector.register(connection, selectors.EVENT_READ)
            self._hear(caller)  # a scraper's request comes with its connection

    def _hear(self, caller: _Caller) -> None:
        try:
            piece = caller.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._drop(caller)
            return
        caller.said += piece
        head, end, _ = caller.said.partition(http.END)
        if end:
            self._answer(caller, http.answer(bytes(head), self._page))
        elif len(caller.said) > http.HEAD_MAX_BYTES:
            self._answer(caller, http.refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, self._page))

    def _answer(self, caller: _Caller, answer: bytes) -> None:
        caller.answer = memoryview(answer)
        self._selector.modify(caller.socket, selectors.EVENT_WRITE)
        self._speak(caller, caller.answer)

    def _speak(self, caller: _Caller, answer: memoryview) -> None:
        """Send what the socket takes; the rest when it takes more."""
        try:
            sent = caller.socket.send(answer)
        except BlockingIOError:
            return
        except OSError:
            self._drop(caller)
            return
        caller.answer = answer[sent:]
        if not caller.answer:
            self._drop(caller)

    def _drop(self, caller: _Caller) -> None:
        del self._callers[caller.socket.fileno()]
        self._selector.unregister(caller.socket)
        caller.socket.close()


def _open(listen: Address | SocketPath) -> socket.socket:
    try:
        listener = _bind_path(listen.path) if isinstance(listen, SocketPath) else _bind(listen)
    except OSError as exc:
        why = os.strerror(exc.errno) if exc.errno else exc
        raise BackendUnavailable(f"cannot serve metrics on {listen}: {why}") from exc
    listener.setblocking(False)
    return listener


def _bind(listen: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    return socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG)


def _bind_path(path: Path) -> socket.socket:
    """Bind a Unix socket for user and group, in the place of one that a daemon left that was killed."""
    if path.is_socket():
        if somebody_listens(f"ipc://{path}"):
            raise BackendUnavailable(f"cannot serve metrics on unix:{path}: another program listens there")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117)
    try:
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener
