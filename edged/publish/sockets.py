"""Bound ZeroMQ sockets of one kind, plain and behind CURVE, and a way to wake the thread that owns them."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping, Sequence
from pathlib import Path

import zmq

from edged.errors import BackendUnavailable
from edged.publish.curve import Guard, Guarded
from edged.rundir import somebody_listens
from edged.waiting import BriefLock

POLLIN = int(zmq.POLLIN)  # as an enum, `&` takes longer than the question itself


class Doors:
    """One socket for the plain endpoints and one for those behind CURVE: keys are a socket's, not an endpoint's.

    All of it is bound in the constructor, so that a taken or unwritable endpoint is known before anything starts.

    Threads: one thread owns the sockets; `sockets`, `wait`, `rest` and `close` are its own (`close` is anyone's as long
    as no thread owns them: before its start, after its end). `wake` and `admit` may be called from any thread at any
    time, after `close` as well; not from a signal handler.

    Args:
        kind: zmq.XPUB, zmq.ROUTER…
        options: socket options, set before anything is bound.
        endpoints: ZeroMQ endpoints to bind; an ipc endpoint's file gets mode 0660 and is removed by `close`.
        guarded: endpoints behind CURVE, on a socket of their own.

    Raises:
        BackendUnavailable: an endpoint cannot be had.
        ConfigError: a CURVE key or folder is no good.
    """

    def __init__(
        self,
        kind: int,
        options: Mapping[zmq.SocketOption, int],
        endpoints: Sequence[str],
        guarded: Guarded | None = None,
    ) -> None:
        self.sockets: list[zmq.Socket[bytes]] = []
        self._lock = BriefLock()
        self._awake = False
        self._guard: Guard | None = None
        self._paths: list[Path] = []
        self._context = zmq.Context()
        self._wakeup: int | None = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._wakeup, zmq.POLLIN)
        self._woken = select.poll()
        self._woken.register(self._wakeup, select.POLLIN)
        try:
            self._open(kind, options, endpoints)
            if guarded is not None:
                self._open(kind, options, guarded.endpoints, guarded)
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        kind: int,
        options: Mapping[zmq.SocketOption, int],
        endpoints: Sequence[str],
        guarded: Guarded | None = None,
    ) -> None:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        self.sockets.append(socket)
        for option, value in options.items():
            socket.setsockopt(option, value)
        if guarded is not None:
            self._guard = Guard(socket, guarded)
        for endpoint in endpoints:
            self._paths += _bind(socket, endpoint)
        self._poller.register(socket, zmq.POLLIN)

    def wake(self) -> None:
        """End the wait, now or the next one; many calls before that are one. What was put down before it is seen."""
        if self._awake:
            return
        with self._lock:  # `close` gives the descriptor's number away: nothing may be written to it after that
            if self._wakeup is not None:
                self._awake = True
                os.eventfd_write(self._wakeup, 1)

    def admit(self, clients: frozenset[bytes]) -> None:
        """Let in the clients with these public keys and no others from now on, where there is a socket behind CURVE."""
        if self._guard is not None:
            self._guard.admit(clients)

    def wait(self, timeout_ms: int) -> list[int] | None:
        """Wait for a message or `wake`.

        Returns:
            The numbers of the sockets that have messages, none after a mere `wake`; None when the time was over.
        """
        events = dict(self._poller.poll(timeout_ms))
        if self._wakeup is not None and self._wakeup in events:
            os.eventfd_read(self._wakeup)
            self._awake = False  # before its caller looks: what is put down from here on wakes again
        return [door for door, socket in enumerate(self.sockets) if socket in events] if events else None

    def rest(self, seconds: float) -> None:
        """Wait for `wake` alone, which `wait` then sees too; what arrives on the sockets gathers there meanwhile."""
        self._woken.poll(seconds * 1000)

    def close(self) -> None:
        """Close the sockets, having sent what their linger allows, and remove their files. Twice is harmless."""
        with self._lock:
            wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            os.close(wakeup)
        for socket in self.sockets:
            socket.close()
        if self._guard is not None:
            self._guard.stop()
        self._context.term()
        while self._paths:
            self._paths.pop().unlink(missing_ok=True)


def has_message(socket: zmq.Socket[bytes]) -> bool:
    """Tell whether a message can be received now; for the socket's owner. Cheaper than a poll, or an `Again` raised."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & POLLIN)


def _bind(socket: zmq.Socket[bytes], endpoint: str) -> list[Path]:
    """Bind one endpoint; an ipc file is made for user and group only. Return that file: ZeroMQ does not remove it."""
    scheme, _, path = endpoint.partition("://")
    if scheme == "ipc" and somebody_listens(endpoint):  # ZeroMQ would take it away from that program
        raise BackendUnavailable(f"cannot bind {endpoint}: another program listens there")
    mask = os.umask(0o117)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as exc:
        raise BackendUnavailable(f"cannot bind {endpoint}: {zmq.strerror(exc.errno or 0)}") from exc
    finally:
        os.umask(mask)
    return [Path(path)] if scheme == "ipc" else []
