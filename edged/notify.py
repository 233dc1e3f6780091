"""What systemd is told: ready, status, watchdog, reloading, stopping. A no-op where systemd does not listen.

Through libsystemd where systemd-python is installed, else by the protocol itself (man sd_notify): datagrams of
KEY=VALUE lines to $NOTIFY_SOCKET.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from functools import lru_cache

log = logging.getLogger(__name__)

PATIENCE_S = 0.2


def notify(*lines: str) -> bool:
    """Send `KEY=VALUE` lines. Return whether somebody was there to be told."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return False
    try:
        return _sender()("\n".join(lines))
    except OSError as exc:
        log.warning("cannot tell systemd %s: %s", lines[0], exc.strerror or exc)
        return False


def watchdog_s() -> float | None:
    """Return the seconds within which systemd wants to hear WATCHDOG=1 from this process, None where it does not."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID") not in (None, "", str(os.getpid())):
        return None
    return int(usec) / 1e6 if usec.isdigit() and int(usec) else None


@lru_cache(maxsize=1)
def _sender() -> Callable[[str], bool]:
    try:
        from systemd.daemon import notify as through_libsystemd
    except ImportError:
        return _send
    sender: Callable[[str], bool] = through_libsystemd
    return sender


def _send(text: str) -> bool:
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(PATIENCE_S)  # a busy systemd must not stop the daemon
        sender.sendto(text.encode(), address)
    return True
