"""Log lines: with a time for people, with fields for the journal.

A record may say which camera or task it is about, and what happened, through `extra=about(...)`. What repeats itself
about one of them is held back and counted.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from edged.journal import Journal, is_the_journal

PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
BURST, WINDOW_S = 10, 60.0  # lines about one event of one camera or task
FIELDS = ("camera", "task", "event")


def about(*, camera: str | None = None, task: str | None = None, event: str | None = None) -> dict[str, str]:
    """Return the `extra` of a log call: the journal has it as EDGED_CAMERA, EDGED_TASK and EDGED_EVENT."""
    given = zip(FIELDS, (camera, task, event), strict=True)
    return {f"edged_{name}": value for name, value in given if value is not None}


class _Prefixed(logging.Formatter):
    """The journal adds the time itself and reads the priority from `<N>` (man sd-daemon)."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines() or [""]
        return "\n".join(f"<{_priority(record)}>{line}" for line in lines)


class _JournalHandler(logging.Handler):
    """Sends records with their fields. What the journal does not take goes to stderr, which it reads too."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self._stderr = _stderr(_Prefixed("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(_priority(record)),
            "SYSLOG_IDENTIFIER": "edged",
            "LOGGER": record.name,
            "THREAD": record.threadName or "",
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName,
        }
        fields |= {f"EDGED_{name.upper()}": value for name in FIELDS if (value := _field(record, name))}
        if not self._journal.send(fields):
            self._stderr.emit(record)

    def close(self) -> None:
        self._journal.close()
        super().close()


class RateLimit(logging.Filter):
    """Lets through so many records about one event of a camera or task in a while, and says how many it held back.

    A record that names neither always passes. The count comes with the first record after the while.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str | None, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is to be logged."""
        key = (*(_field(record, name) for name in FIELDS), str(record.msg))
        if key[0] is None and key[1] is None:
            return True
        with self._lock:
            now_s = self._clock()
            begin_s, count = self._windows.get(key, (now_s, 0))
            held, over = count - BURST, now_s - begin_s >= WINDOW_S
            self._windows[key] = (now_s, 1) if over else (begin_s, count + 1)
        if over and held > 0:
            record.msg = f"{record.getMessage()} ({held} lines like this one were held back)"
            record.args = None
        return over or count < BURST


def start_logging(level: str) -> None:
    """Send everything of `level` (debug, info, warning, error) and above to the journal, or to stderr."""
    if is_the_journal(sys.stderr):
        handler: logging.Handler = _JournalHandler(Journal())
    elif os.environ.get("JOURNAL_STREAM") and not sys.stderr.isatty():
        handler = _stderr(_Prefixed("%(message)s"))
    else:
        handler = _stderr(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname).1s %(message)s", "%H:%M:%S"))
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Log `level` (debug, info, warning, error) and above from now on."""
    logging.getLogger().setLevel(level.upper())


def _stderr(formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler


def _priority(record: logging.LogRecord) -> int:
    return PRIORITY.get(record.levelname, 6)


def _field(record: logging.LogRecord, name: str) -> str | None:
    value: str | None = getattr(record, f"edged_{name}", None)
    return value
