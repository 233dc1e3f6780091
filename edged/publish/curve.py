"""CURVE: endpoints that other machines may reach, and the public keys that may connect to them.

Always with a ZAP handler: a CURVE server without one lets in any client that knows the server's public key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth.certs import load_certificates
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from edged.errors import ConfigError


@dataclass(frozen=True)
class Guarded:
    """Endpoints behind CURVE.

    `secret_key` is the server's, 40 characters of Z85; `allowed_clients` is a folder of `*.key` files with the
    clients' public keys, as `zmq.auth.create_certificates` writes them.
    """

    endpoints: tuple[str, ...]
    secret_key: str = field(repr=False)
    allowed_clients: Path


def start_guard(socket: zmq.Socket[bytes], guarded: Guarded) -> ThreadAuthenticator:
    """Make a socket, not bound yet, a CURVE server, and start the thread that answers for its context.

    Returns:
        The authenticator, to be stopped before the context is terminated.

    Raises:
        ConfigError: the key is none, or the folder has no keys; the text shows no key.
    """
    key, folder = guarded.secret_key.encode(), guarded.allowed_clients
    try:
        usable = len(key) == 40 and len(z85.decode(key)) == 32
        public_key = zmq.curve_public(key) if usable else b""
    except (ValueError, KeyError, IndexError, zmq.ZMQError):
        usable = False
    if not usable:
        raise ConfigError("curve.server_secret is no CURVE secret key, which is 40 characters of Z85")
    try:
        clients = load_certificates(folder)
    except OSError as exc:
        raise ConfigError(f"curve.allowed_clients: {folder}: {exc.strerror or exc}") from exc
    if not clients:
        raise ConfigError(f"curve.allowed_clients: {folder} has no *.key file: nobody could connect")
    authenticator = ThreadAuthenticator(socket.context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=folder)
    socket.curve_secretkey, socket.curve_publickey = key, public_key
    socket.curve_server = True
    return authenticator
