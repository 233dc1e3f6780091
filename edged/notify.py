"""What systemd is told: ready, status, watchdog, stopping. A no-op where systemd does not listen.

The protocol itself (man sd_notify): datagrams of KEY=VALUE lines to $NOTIFY_SOCKET.
"""

from __future__ import annotations

import logging
import os
import socket

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
            sender.sendto("\n".join(lines).encode(), address)
    except OSError as exc:
        log.warning("cannot tell systemd %s: %s", lines[0], exc.strerror or exc)
        return False
    return True
