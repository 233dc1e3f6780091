"""What systemd is told: ready, status, watchdog, reloading, stopping. A no-op where systemd does not listen.

Through libsystemd where systemd-python is installed, else by the protocol itself (man sd_notify): datagrams of
KEY=VALUE lines to $NOTIFY_SOCKET.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Callable
from functools import lru_cache

log = logging.getLogger(__name__)

PATIENCE_S = 0.2


def notify(*lines: str) -> bool:
    """Send `KEY=VALUE` lines. Return whether somebody was there to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(PATIENCE_S)  # a busy systemd must not stop the daemon
            sender.connect(address)
            _send(sender, "\n".join(lines))
    except OSError as exc:
        log.warning("cannot tell systemd %s: %s", lines[0], exc.strerror or exc)
        return False
    return True


def watchdog_s() -> float | None:
    """Return the seconds within which systemd wants to hear WATCHDOG=1 from this process, None where it does not."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID") not in (None, "", str(os.getpid())):
        return None
    return int(usec) / 1e6 if usec.isdigit() and int(usec) else None


def _send(sender: socket.socket, text: str) -> None:
    through_libsystemd = _libsystemd()
    if through_libsystemd is None:
        sender.send(text.encode())
        return
    room = select.poll()
    room.register(sender, select.POLLOUT)
    if not room.poll(PATIENCE_S * 1000):  # libsystemd would wait for as long as that takes
        raise TimeoutError("timed out")
    through_libsystemd(text)


@lru_cache(maxsize=1)
def _libsystemd() -> Callable[[str], bool] | None:
    try:
        from systemd.daemon import notify
    except ImportError:
        return None
    found: Callable[[str], bool] = notify
    return found
