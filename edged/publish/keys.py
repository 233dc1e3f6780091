"""CURVE keys: what is one, and the three that a client needs."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from zmq.auth.certs import load_certificate
from zmq.utils import z85

from edged.errors import UsageError

CHARACTERS, BYTES = 40, 32


@dataclass(frozen=True)
class CurveKeys:
    """Keys for an encrypted endpoint: the daemon's public key, and this client's pair, Z85 text of 40 characters."""

    server_public: str
    public: str
    secret: str = field(repr=False)

    @staticmethod
    def read(server: str | os.PathLike[str], client: str | os.PathLike[str]) -> CurveKeys:
        """Return keys from files, as `zmq.auth.create_certificates` writes them.

        Args:
            server: the daemon's public key itself, or a file that has it.
            client: a file with both of the client's keys, `NAME.key_secret`.

        Raises:
            UsageError: a file cannot be read, or has not the keys that it should have.
        """
        if not (isinstance(server, str) and is_key(server)):
            server = _keys_in(Path(server))[0]
        public, secret = _keys_in(Path(client))
        if not secret:
            raise UsageError(f"{client}: has no secret key; the file that has it ends in .key_secret")
        return CurveKeys(server, public, secret)


def is_key(text: str) -> bool:
    """Say whether a text is a key: 40 characters of Z85 (ZeroMQ RFC 32), which stand for 32 bytes."""
    try:
        return len(text) == CHARACTERS and len(z85.decode(text.encode())) == BYTES
    except (ValueError, KeyError, IndexError, struct.error):  # of its own it has no error
        return False


def _keys_in(file: Path) -> tuple[str, str]:
    """Return a file's public and secret key, the latter empty where it has none."""
    try:
        file.stat()  # for a reason: the library says only that the file is invalid
        public, secret = ((key or b"").decode() for key in load_certificate(file))
    except OSError as exc:
        raise UsageError(f"{file}: {exc.strerror or exc}") from exc
    except (ValueError, IndexError) as exc:
        raise UsageError(f"{file}: has no CURVE keys as zmq.auth.create_certificates writes them") from exc
    if not is_key(public) or (secret and not is_key(secret)):
        raise UsageError(f"{file}: has a key that is not {CHARACTERS} characters of Z85")
    return public, secret
