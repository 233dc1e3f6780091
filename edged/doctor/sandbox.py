"""From inside the unit's confinement: what the daemon needs and cannot reach, and that it is confined at all."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edged.doctor.cameras import ARGUS, video_nodes
from edged.doctor.devices import gpu_nodes, needed_mode
from edged.doctor.line import Line, line
from edged.doctor.probing import Answers
from edged.doctor.service import daemon_runs
from edged.journal import SOCKET
from edged.rundir import runtime_directory

GROUP = "sandbox"
UNIT = "look at edged.service and its drop-ins"
FAMILIES = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK")
OUTSIDE = ("/etc", "/usr", "/home", "/root", "/boot", "/var/log")


def lines(answers: Answers) -> Iterator[Line]:
    """Try what the daemon does, one line each."""
    yield _confinement()
    for name, folder in _folders().items():
        yield line(GROUP, name, f"{folder} can be written", _unwritable(folder), UNIT)
    closed = [folder for folder in OUTSIDE if Path(folder).is_dir() and not _unwritable(Path(folder))]
    wrong = f"can write {', '.join(closed)}" if closed else ""
    yield line(GROUP, "everything else", "cannot be written", wrong, f"{UNIT}: ProtectSystem=strict", needed=False)
    for family in FAMILIES:
        yield line(GROUP, family, "sockets can be made", _unmakeable(family), f"{UNIT}: RestrictAddressFamilies=")
    wrong = "" if os.access(SOCKET, os.W_OK) else f"{SOCKET} cannot be reached: log lines lose their fields"
    yield line(GROUP, "journal", SOCKET, wrong, UNIT, needed=False)
    yield line(GROUP, "code made at run time", "works", answers["callback"].error, f"{UNIT}: MemoryDenyWriteExecute=no")
    yield from _nodes()
    if ARGUS.exists():
        wrong = "" if os.access(ARGUS, os.W_OK) else f"{ARGUS} may not be used"
        yield line(GROUP, "argus", str(ARGUS), wrong, f"{UNIT}: PrivateTmp=no")


def _nodes() -> Iterator[Line]:
    """Open every node: a closed device list shows itself only there. Cameras only while no daemon has them."""
    for path in gpu_nodes():
        if mode := needed_mode(path):
            writes = bool(mode & os.W_OK)
            yield line(GROUP, str(path), "can be opened", _unopenable(path, writes), "20-devices.conf: DeviceAllow=")
    held = daemon_runs()
    for path in video_nodes():
        if held:
            yield line(GROUP, str(path), "not tried: a daemon runs")
        else:
            yield line(GROUP, str(path), "can be opened", _unopenable(path), "20-devices.conf: DeviceAllow=")


def _confinement() -> Line:
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text("utf-8").splitlines() if ":" in row)
    facts = {name: status.get(name, "").strip() for name in ("NoNewPrivs", "Seccomp", "CapBnd")}
    confined = facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2" and not int(facts["CapBnd"] or "0", 16)
    wrong = "" if confined else "this is no confinement: the answers below are about this shell"
    found = "no new privileges, system calls filtered, no capabilities"
    return line(GROUP, "confinement", found, wrong, "systemctl start edged-doctor", needed=False)


def _folders() -> dict[str, Path]:
    named = {"state": "STATE_DIRECTORY", "cache": "CACHE_DIRECTORY"}
    given = {name: Path(os.environ[key].partition(":")[0]) for name, key in named.items() if os.environ.get(key)}
    runtime = runtime_directory()
    return {**given, "runtime": runtime} if runtime.is_dir() else given


def _unwritable(folder: Path) -> str:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            return ""
    except OSError as exc:
        return f"{folder}: {exc.strerror}"


def _unmakeable(family: str) -> str:
    kind = socket.SOCK_RAW if family == "AF_NETLINK" else socket.SOCK_DGRAM
    try:
        socket.socket(getattr(socket, family), kind).close()
    except OSError as exc:
        return f"{exc.strerror}"
    return ""


def _unopenable(path: Path, writes: bool = True) -> str:
    try:
        os.close(os.open(path, (os.O_RDWR if writes else os.O_RDONLY) | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        return f"{exc.strerror}"
    return ""
