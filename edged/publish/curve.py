"""CURVE: endpoints that other machines may reach, and the public keys that may connect to them.

Always with a ZAP handler: a CURVE server without one lets in any client that knows the server's public key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import zmq
from zmq.auth.certs import load_certificates
from zmq.auth.thread import ThreadAuthenticator

from edged.errors import ConfigError
from edged.publish.keys import is_key


@dataclass(frozen=True)
class Guarded:
    """Endpoints behind CURVE.

    `secret_key` is the server's, 40 characters of Z85; `allowed_clients` is a folder of `*.key` files with the
    clients' public keys, as `zmq.auth.create_certificates` writes them.
    """

    endpoints: tuple[str, ...]
    secret_key: str = field(repr=False)
    allowed_clients: Path

    @cached_property
    def clients(self) -> frozenset[bytes]:
        """The public keys in the folder, read once and then kept.

        Raises:
            OSError: the folder, or a file in it, cannot be read.
            ValueError: one of its files has no public key.
        """
        return frozenset(load_certificates(self.allowed_clients))


def guard_fault(guarded: Guarded) -> tuple[str, str] | None:
    """Return (configuration key, what is wrong with it), or None. The text shows no key."""
    if not _public_key(guarded.secret_key):
        return "server_secret", "is no CURVE secret key, which is 40 characters of Z85"
    try:
        clients = guarded.clients
    except OSError as exc:
        return "allowed_clients", f"{guarded.allowed_clients}: {exc.strerror or exc}"
    except ValueError as exc:  # a file that names no public key
        return "allowed_clients", str(exc)
    if not clients:
        return "allowed_clients", f"{guarded.allowed_clients} has no *.key file: nobody could connect"
    return None


class Guard:
    """Makes a socket, not bound yet, a CURVE server, and owns the thread that answers for its context.

    `stop` it before the context is terminated. `admit` may be called from any thread.

    Raises:
        ConfigError: the key is none, or the folder has no keys.
    """

    def __init__(self, socket: zmq.Socket[bytes], guarded: Guarded) -> None:
        fault = guard_fault(guarded)
        if fault is not None:
            raise ConfigError(f"curve.{fault[0]}: {fault[1]}")
        self._clients = guarded.clients
        self._authenticator = ThreadAuthenticator(socket.context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback("*", self)
        socket.curve_secretkey, socket.curve_publickey = guarded.secret_key.encode(), _public_key(guarded.secret_key)
        socket.curve_server = True

    def admit(self, clients: frozenset[bytes]) -> None:
        """Let in these clients and no others from now on. Connections that are open stay: libzmq asks once for each."""
        self._clients = clients

    def callback(self, _domain: str, key: bytes) -> bool:
        """Tell the ZAP handler whether a client's public key is one of them."""
        return key in self._clients

    def stop(self) -> None:
        """End the thread."""
        self._authenticator.stop()


def _public_key(secret_key: str) -> bytes:
    """Return the public half of a secret key, empty when it is none."""
    if not is_key(secret_key):
        return b""
    try:
        return zmq.curve_public(secret_key.encode())
    except zmq.ZMQError:
        return b""
