"""The process of one camera source: `python -m edged.camera.isolation.child CHANNEL PARENT`."""

from __future__ import annotations

import array
import fcntl
import importlib
import logging
import os
import socket
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from edged.camera.base import CameraSource, Decoded, Grab, Opening
from edged.camera.isolation import wire
from edged.camera.shm import layout
from edged.camera.shm.layout import PictureHead, RingHead, State
from edged.camera.shm.writer import Writer
from edged.errors import BackendUnavailable, CameraError, EdgedError
from edged.frame import HostPlanes, Picture
from edged.processes import die_with, leave_signals_to_parent

log = logging.getLogger(__name__)

SLOTS = 8
REPLY_PICTURES = 2  # a worker that keeps all it may leaves three slots, and the newest is one of them
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
OOM_SCORE = "500"  # of -1000 to 1000; a service's is 0 or less


class Server:
    """Does what the worker asks, one request at a time."""

    def __init__(self, channel: socket.socket, source: CameraSource) -> None:
        self._channel, self._source = channel, source
        self._grabs: dict[int, Grab] = {}
        self._token = 0
        self._pictures: deque[Decoded] = deque()
        self._writer: Writer | None = None
        self._new_ring = False

    def run(self) -> None:
        """Serve until the worker closes its end."""
        while packet := self._channel.recv(wire.PACKET_MAX):
            request = wire.unpack(packet)
            try:
                reply = getattr(self, f"_{request['verb']}")(*request["args"])
            except BackendUnavailable as exc:  # a decoder, say: the stream is open, and of no use
                reply = wire.error_fields(CameraError(str(exc)))
            except Exception as exc:  # a foreign library's bug costs this camera one call, and is told to the parent
                if not isinstance(exc, CameraError):
                    log.exception("its source failed")
                reply = wire.error_fields(exc)
            if reply is not None:
                self._reply(reply)

    def _grab(self) -> dict[str, Any]:
        grab = self._source.grab()
        self._token += 1
        self._grabs[self._token] = grab
        return {"token": self._token, "grab": wire.grab_fields(grab)}

    def _decode(self, token: int) -> dict[str, Any]:
        self._pictures.extend(self._source.decode(self._grabs.pop(token)))
        return self._more()

    def _skip(self, token: int) -> None:
        self._source.skip(self._grabs.pop(token))

    def _rest(self) -> None:
        self._source.rest()

    def _drain(self) -> dict[str, Any]:
        self._pictures.extend(self._source.drain())
        return self._more()

    def _more(self) -> dict[str, Any]:
        sent: list[tuple[int, int, int | None]] = []
        while self._pictures and len(sent) < REPLY_PICTURES:
            decoded = self._pictures.popleft()
            try:
                sent.append((*self._write(decoded.picture), decoded.pts))
            finally:
                decoded.give_back()
        return {"pictures": sent, "more": bool(self._pictures)}

    def _rewind(self) -> dict[str, Any]:
        self._source.rewind()
        return {}

    def _write(self, picture: Picture) -> tuple[int, int]:
        """Copy a picture into the ring; return its slot and sequence."""
        if picture.device is not None:
            raise CameraError("pictures on a device cannot leave their process")
        planes = cast("HostPlanes", picture.planes)
        places, slot_bytes = layout.lay_out(picture.format, [(plane.shape[0], plane.shape[1]) for plane in planes])
        head = PictureHead(0, picture.width, picture.height, picture.format, picture.color, None, places)
        if self._writer is None or slot_bytes > self._writer.head.slot_bytes:
            self._writer = self._ring(slot_bytes, self._writer)
            self._new_ring = True
        slot = self._writer.reserve()
        if slot is None:
            raise CameraError("its worker holds every slot of the ring")
        for plane, place in zip(planes, self._writer.planes(slot, head), strict=True):
            np.copyto(np.frombuffer(place, np.uint8).reshape(plane.shape), plane)
        return slot, self._writer.commit(slot, head)

    def _ring(self, slot_bytes: int, old: Writer | None) -> Writer:
        """Make a ring that has no name, so that nothing is left of it, and that nobody can shrink."""
        fd = os.memfd_create("edged-camera", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        writer = Writer(fd, RingHead(SLOTS, slot_bytes, 0, os.getpid(), State.LIVE, 0.0), old.sequence if old else 0)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        if old is not None:
            old.close()
        return writer

    def _reply(self, reply: dict[str, Any]) -> None:
        extra = []
        if self._new_ring and self._writer is not None:
            self._new_ring = False
            extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self._writer.fd]))]
        self._channel.sendmsg([wire.pack(**reply)], extra)


def _go_first() -> None:
    """Be what the kernel ends when memory is short: this costs one camera, the daemon would cost all."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, "ascii")


def _open(start: dict[str, Any]) -> CameraSource:
    module, _, name = start["target"].partition(":")
    source_class: type[CameraSource] = getattr(importlib.import_module(module), name)
    return source_class(Opening(**start["opening"], redact=str))


def main(channel: socket.socket) -> None:
    """Open the source that the worker names, and serve it."""
    start = wire.unpack(channel.recv(wire.PACKET_MAX))
    logging.getLogger().setLevel(start["level"])
    try:
        source = _open(start)
    except Exception as exc:  # whatever it is, the parent must be told rather than wait
        if not isinstance(exc, EdgedError):
            log.exception("its source cannot be opened")
        channel.send(wire.pack(**wire.error_fields(exc)))
        return
    channel.send(wire.pack(description=source.description, raw=source.raw))
    Server(channel, source).run()
    source.close()


class _Marked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = {"DEBUG": 7, "INFO": 6, "WARNING": 4}.get(record.levelname, 3)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())


def entry() -> NoReturn:
    """Run, and end at once: a native library's threads and destructors must not keep the process."""
    number, parent = (int(text) for text in sys.argv[1:3])
    die_with(parent)
    _go_first()
    leave_signals_to_parent()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Marked("%(message)s"))
    logging.getLogger().handlers[:] = [handler]
    try:
        main(socket.socket(fileno=number))
    except OSError:
        pass  # the worker is gone
    except Exception:  # the last line of the process: its log goes to the parent
        logging.getLogger(__name__).exception("its process failed")
    finally:
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    entry()
