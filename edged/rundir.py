"""The runtime directory: where the sockets are, and the lock that keeps a second daemon out."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import IO

from edged.errors import BackendUnavailable, UsageError

PROBE_S = 0.5
ASKED = "restart-{}"
SOCKET_PATH_MAX = 107  # sockaddr_un holds 108 bytes with the closing zero


def runtime_directory() -> Path:
    """Return RUNDIR: $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/edged, else a folder of the user's own."""
    if named := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(named.partition(":")[0])
    if session := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(session) / "edged"
    return Path(tempfile.gettempdir()) / f"edged-{os.getuid()}"


def publish_endpoint(directory: Path | None = None) -> str:
    """Return the endpoint that results are published on."""
    return f"ipc://{(directory or runtime_directory()) / 'pub.sock'}"


def control_endpoint(directory: Path | None = None) -> str:
    """Return the endpoint that takes orders."""
    return f"ipc://{(directory or runtime_directory()) / 'control.sock'}"


def ask_for(service: str, directory: Path | None = None) -> bool:
    """Ask for a restart of another service, by a file in RUNDIR: the daemon may do no such thing itself.

    Returns False where there is no such folder. Whoever restarts the service removes the file.
    """
    try:
        ((directory or runtime_directory()) / ASKED.format(service)).touch()
    except OSError:
        return False
    return True


class RuntimeLock:
    """Holds RUNDIR for one daemon: binding an ipc path would take it from a running one without a word.

    Raises:
        BackendUnavailable: another daemon holds it, or it cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_foreign(directory)
            self._file = _locked(directory / "lock")
            while not _is_at(directory / "lock", self._file):  # its holder ended and removed it meanwhile
                self._file.close()
                self._file = _locked(directory / "lock")
            _say_who(self._file)
        except OSError as exc:
            raise BackendUnavailable(f"cannot use the runtime directory {directory}: {exc.strerror}") from exc

    def close(self) -> None:
        """Give the directory up."""
        for left in ("lock", *(path.name for path in self.directory.glob(ASKED.format("*")))):
            (self.directory / left).unlink(missing_ok=True)
        self._file.close()


def check_ipc_path(endpoint: str) -> None:
    """Raise `UsageError` for an ipc endpoint whose path is too long or is taken by something that is no socket."""
    scheme, _, rest = endpoint.partition("://")
    if scheme != "ipc":
        return
    path = Path(rest)
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise UsageError(f"{endpoint}: {len(os.fsencode(path))} bytes, a socket path has at most {SOCKET_PATH_MAX}")
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise UsageError(f"{endpoint}: the path is taken by something that is no socket")


def somebody_listens(endpoint: str) -> bool:
    """Tell whether a program has an ipc or tcp endpoint open, be it ever so busy."""
    scheme, _, rest = endpoint.partition("://")
    host, _, port = rest.rpartition(":")
    try:
        if scheme == "ipc":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(PROBE_S)
                probe.connect(rest)
        else:
            socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
    except (OSError, ValueError):
        return False
    return True


def _locked(path: Path) -> IO[str]:
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise BackendUnavailable(f"{path.parent} is held by a running edged (pid {holder})") from exc
    return file


def _say_who(file: IO[str]) -> None:
    """Write our process id, past the file's buffer: what a full disk does not take must not come again at its close."""
    try:
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())
    except OSError:
        file.close()
        raise


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _refuse_foreign(directory: Path) -> None:
    """A folder in a shared place that somebody else made first is not ours to talk through."""
    status = directory.stat()
    if status.st_uid not in (os.getuid(), 0):
        raise BackendUnavailable(f"the runtime directory {directory} belongs to uid {status.st_uid}, not to us")
