"""The log lines of another process, passed on under the name of its camera."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable

from edged.log import about

log = logging.getLogger(__name__)

LEVELS = {"3": logging.ERROR, "4": logging.WARNING, "6": logging.INFO, "7": logging.DEBUG}
LINES_PER_S = 20
LINE_MAX = 500

_MARKED = re.compile(r"<([0-7])>(.*)")


class Lines:
    """Reads what a process prints, without waiting. Libraries print too: what has no level is `info`.

    Args:
        fd: the read end of its pipe; it is owned from here on.
        camera: for the start of each line.
        redact: takes secrets out of a line.
    """

    def __init__(self, fd: int, camera: str, redact: Callable[[str], str]) -> None:
        self.fd, self._camera, self._redact = fd, camera, redact
        self._about = about(camera=camera, event="source_output")
        os.set_blocking(fd, False)
        self._rest = b""
        self._second = 0
        self._count = 0

    def read(self) -> bool:
        """Pass on what is there. False when the process has closed its end."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return True
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[: 4 * LINE_MAX]
        if not data and self._rest:
            lines, self._rest = [self._rest], b""
        for line in lines:
            self._pass_on(line.decode("utf-8", "replace"))
        return bool(data)

    def _pass_on(self, line: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            if self._count > LINES_PER_S:
                left_out = self._count - LINES_PER_S
                log.warning("camera %s: left out %d lines of its process", self._camera, left_out, extra=self._about)
            self._second, self._count = second, 0
        self._count += 1
        if self._count > LINES_PER_S or not line.strip():
            return
        marked = _MARKED.match(line)
        level, text = (LEVELS.get(marked[1], logging.INFO), marked[2]) if marked else (logging.INFO, line)
        log.log(level, "camera %s: %s", self._camera, self._redact(text)[:LINE_MAX], extra=self._about)

    def close(self) -> None:
        """Pass on the rest, and close the pipe."""
        for _ in range(16):
            if not self.read():
                break
        os.close(self.fd)
