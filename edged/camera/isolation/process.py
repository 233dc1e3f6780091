"""The worker's end of a camera source's process: start, ask, give up, end."""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from edged.camera.base import CameraStalled, Opening
from edged.camera.isolation import wire
from edged.camera.isolation.lines import Lines
from edged.errors import CameraError
from edged.processes import environment, python
from edged.rundir import ask_for

CHILD = "edged.camera.isolation.child"
ABANDONED_MAX = 3
ABANDONED_WINDOW_S = 60.0
AGAIN_S = 3.0  # at most, until a source that was abandoned is opened again
END_S = 1.0  # for a process to end by itself, or after SIGKILL


class Abandoned:
    """The sources that did not return in time, by driver; and those whose process even SIGKILL does not end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hung: dict[str, list[tuple[float, float]]] = {}  # by driver: when, and for how long it counts
        self._undead: dict[str, subprocess.Popen[bytes]] = {}
        self._counted_s: dict[str, float] = {}

    def note(self, driver: str, limit_s: float) -> int:
        """Count one more of a driver's sources, and return how many there were, each within the window of its limit."""
        with self._lock:
            now_s = self._clock()
            recent = [one for one in self._hung.get(driver, []) if now_s - one[0] < one[1]]
            self._hung[driver] = [*recent, (now_s, window_of(limit_s))]
            return len(recent) + 1

    def forgive(self, driver: str) -> None:
        """Count anew: its daemon is restarted, and those that hung together are one case."""
        with self._lock:
            self._hung.pop(driver, None)

    def keep(self, camera: str, process: subprocess.Popen[bytes]) -> None:
        """Remember a process that hangs in a system call, to be collected once it ends."""
        with self._lock:
            self._undead[camera] = process
            self._counted_s[camera] = self._clock()

    def undead(self, camera: str) -> int | None:
        """Return the id of a camera's process that hangs in a system call, None where there is none."""
        with self._lock:
            process = self._undead.get(camera)
            if process is None or process.poll() is None:
                return None if process is None else process.pid
            del self._undead[camera]
            return None

    def hangs_on(self, camera: str, limit_s: float) -> bool:
        """Tell, once in each `limit_s`, that a process which does not end stands for one more source that hangs."""
        with self._lock:
            now_s = self._clock()
            if now_s - self._counted_s[camera] < limit_s:
                return False
            self._counted_s[camera] = now_s
            return True


def window_of(limit_s: float) -> float:
    """Return the time within which sources that hang are one case: at least what one camera needs for so many."""
    return max(ABANDONED_WINDOW_S, ABANDONED_MAX * (limit_s + AGAIN_S))


ABANDONED = Abandoned()


class SourceProcess:
    """One source in a process of its own. Used by one thread, its camera's worker; that thread's end is its end too.

    Args:
        target: `module:Class` of the source.
        opening: what it opens; its URL goes through the channel, never onto a command line.
        limit_s: time to start and open.

    Raises:
        CameraError: it could not be opened, or the process before it hangs in the kernel and cannot be ended; with no
            secret in the text.
    """

    def __init__(self, target: str, opening: Opening, limit_s: float) -> None:
        self._opening, self._limit_s = opening, limit_s
        self._closed = False
        if (pid := ABANDONED.undead(opening.camera)) is not None:
            words = self._count() if ABANDONED.hangs_on(opening.camera, limit_s) else ""
            raise CameraError(
                f"the process of its last source, {pid}, hangs in the kernel; it is opened when that ends{words}"
            )
        try:
            self._start()
        except OSError as exc:
            raise CameraError(f"the process of its source cannot be started: {exc.strerror}") from exc
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        self._poll.register(self._lines.fd, select.POLLIN)
        level = logging.getLogger().getEffectiveLevel()
        start = wire.pack(target=target, opening=wire.opening_fields(opening), level=level)
        try:
            self.opened, _ = self._answer(start, limit_s)
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        with ExitStack() as undo, ExitStack() as theirs:
            self._channel, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._channel.close)
            theirs.callback(channel.close)
            self._channel.settimeout(END_S)
            output, their_output = os.pipe()
            theirs.callback(os.close, their_output)
            self._lines = Lines(output, self._opening.camera, self._opening.redact)
            undo.callback(os.close, output)
            self._process = subprocess.Popen(
                python(CHILD, str(channel.fileno()), str(os.getpid())),
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                pass_fds=(channel.fileno(),),
                start_new_session=True,
                env=environment(),
            )
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Process id, for status texts and tests."""
        return self._process.pid

    def ask(self, verb: str, *args: int, limit_s: float) -> tuple[dict[str, Any], int | None]:
        """Return the answer, and a descriptor that came with it.

        Raises:
            CameraError: the source's own error, of the same kind; its process died; or it did not answer within
                `limit_s` and was abandoned (`CameraStalled`).
        """
        return self._answer(wire.pack(verb=verb, args=args), limit_s)

    def tell(self, verb: str, *args: int) -> None:
        """Say something that has no answer."""
        try:
            self._channel.send(wire.pack(verb=verb, args=args))
        except OSError as exc:
            raise self._died() from exc

    def close(self) -> None:
        """End the process, by force if need be, within `END_S` twice. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._channel.close()
        talk = select.poll()
        talk.register(self._lines.fd, select.POLLIN)
        until_s = time.monotonic() + END_S
        while self._process.poll() is None and time.monotonic() < until_s:
            if talk.poll(10) and not self._lines.read():
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(max(0.0, until_s - time.monotonic()))
        self._kill()
        self._lines.close()

    def _kill(self) -> None:
        self._process.kill()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            ABANDONED.keep(self._opening.camera, self._process)

    def _answer(self, packet: bytes, limit_s: float) -> tuple[dict[str, Any], int | None]:
        until_s = time.monotonic() + limit_s
        try:
            self._channel.send(packet)
        except OSError as exc:
            raise self._died() from exc
        while (left_s := until_s - time.monotonic()) > 0:
            ready = [fd for fd, _ in self._poll.poll(left_s * 1000)]
            if self._lines.fd in ready and not self._lines.read():
                self._poll.unregister(self._lines.fd)
            if self._channel.fileno() in ready:
                return self._received()
        raise self._abandon(limit_s)

    def _received(self) -> tuple[dict[str, Any], int | None]:
        try:
            data, fds, _, _ = socket.recv_fds(self._channel, wire.PACKET_MAX, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as exc:
            raise self._died() from exc
        if not data:
            raise self._died()
        answer = wire.unpack(data)
        if "error" in answer:
            raise wire.KINDS[answer["error"]](self._opening.redact(answer["text"]))
        return answer, (fds[0] if fds else None)

    def _died(self) -> CameraError:
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return CameraError("the process of its source hung up")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return CameraError(f"the process of its source {how}")

    def _abandon(self, limit_s: float) -> CameraError:
        """End a source that hangs."""
        self._kill()
        return CameraStalled(f"its source did not return within {limit_s:g} s and was abandoned{self._count()}")

    def _count(self) -> str:
        """Count a source that hangs. After too many of Argus, a daemon of its own, that is asked to be restarted."""
        argus = self._opening.scheme == "csi"
        driver = "argus" if argus else self._opening.camera
        count = ABANDONED.note(driver, self._limit_s)
        if count < ABANDONED_MAX:
            return ""
        text = f", {count} times within {window_of(self._limit_s):g} s"
        if argus and ask_for("argus"):
            ABANDONED.forgive(driver)
            text += "; a restart of Argus is asked for"
        return text
