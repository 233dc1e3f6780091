"""Log lines on stderr: with a time for people, with a priority for the journal."""

from __future__ import annotations

import logging
import os
import sys

PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class _Journal(logging.Formatter):
    """The journal adds the time itself and reads the priority from `<N>` (man sd-daemon)."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines() or [""]
        return "\n".join(f"<{PRIORITY.get(record.levelname, 6)}>{line}" for line in lines)


def start_logging(level: str) -> None:
    """Send everything of `level` (debug, info, warning, error) and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(_Journal("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname).1s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Log `level` (debug, info, warning, error) and above from now on."""
    logging.getLogger().setLevel(level.upper())
