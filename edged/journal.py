"""The journal's own protocol: entries of named fields, without libsystemd.

A datagram has a line FIELD=value for each field, or, where the value holds a line break, FIELD, a line break, the
value's length as 64 bits little-endian, the value, and a line break
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). libsystemd would wait for a journal that hangs; this does not.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from typing import IO

SOCKET = "/run/systemd/journal/socket"
VALUE_MAX = 64_000  # characters; a datagram holds some 200 kB


def is_the_journal(stream: IO[str]) -> bool:
    """Tell whether a stream leads to the journal, as systemd says with $JOURNAL_STREAM (device:inode)."""
    try:
        about = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


class Journal:
    """Sends entries, from any thread, and never waits: a journal that is too busy loses entries and is told how many.

    Args:
        address: the journal's socket.
    """

    def __init__(self, address: str = SOCKET) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._address = address
        self._lost = 0

    def send(self, fields: Mapping[str, str]) -> bool:
        """Send one entry. Returns False where there is no journal to take it."""
        try:
            if self._lost:
                self._put({"MESSAGE": f"the journal did not take {self._lost} entries of edged", "PRIORITY": "4"})
                self._lost = 0
            self._put(fields)
        except BlockingIOError:
            self._lost += 1
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _put(self, fields: Mapping[str, str]) -> None:
        self._socket.sendto(entry(fields), self._address)


def entry(fields: Mapping[str, str]) -> bytes:
    """Return fields as one datagram; values longer than `VALUE_MAX` are cut."""
    return b"".join(_encoded(name, value[:VALUE_MAX].encode("utf-8", "replace")) for name, value in fields.items())


def _encoded(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)
    return b"%s=%s\n" % (name.encode(), value)
