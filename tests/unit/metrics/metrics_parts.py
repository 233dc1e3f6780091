"""A status as the daemon gives it, and a metrics server in a thread."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from edged.config import Address, SocketPath
from edged.metrics.exposition import Snapshot
from edged.metrics.server import MetricsServer
from edged.publish.latencies import Latencies
from edged.results import Latency
from edged.status import _telemetry
from edged.telemetry.sensors import Sensors

sys.path.insert(0, str(Path(__file__).parents[1] / "telemetry"))
import boards  # noqa: E402

FRAMES = {"offered": 90, "served": 51, "rate": 30, "superseded": 4, "late": 3, "stopped": 2, "failed": 0, "unsynced": 0}
STAGE_MS = Latency(decode=2.0, convert=0.4, wait=30.0, infer=70.0, parse=0.5, total=103.0)


@cache
def telemetry() -> dict[str, Any]:
    """Return what the sensors of an Orin say, as the status has it."""
    with tempfile.TemporaryDirectory() as root:
        return _telemetry(Sensors(boards.make(Path(root), boards.ORIN)).read())


def status(tasks: tuple[str, ...] = ("lane",), cameras: tuple[str, ...] = ("front",)) -> dict[str, Any]:
    """Return the status of a daemon on an Orin."""
    return {
        "version": "1.2.3",
        "cpu_s": {"decode": 1.5, "convert": 0.5, "infer": 9.0, "parse": 0.25, "total": 12.0},
        "threads": [{"name": "control", "restarts": 0, "lost": False}, {"name": "camera:a", "restarts": 2, "lost": 1}],
        "tasks": [
            {
                "task": task, "state": "degraded", "wanted_hz": 10.0, "granted_hz": 5.0, "rate_hz": 4.9,
                "frames": {camera: {**FRAMES, "published": 50, "dropped": 1} for camera in cameras},
            }
            for task in tasks
        ],
        "cameras": [
            {
                "id": camera, "mode": "hot", "state": "running", "opens": 1, "cpu_s": 1.5,
                "rate_hz": 14.9, "stream_hz": 15.0, "age_ms": 40.0, "kept": {"packets": 0, "seconds": 0.0},
                "frames": {"read": 100, "decoded": 90, "undecoded": 8, "damaged": 2, "caught_up": 0},
            }
            for camera in cameras
        ],
        "devices": [
            {"device": "cpu", "capacity": 1.8, "planned": 0.7, "done": 0.65, "workers": 2, "busy_s": 60.5},
            {"device": "gpu0", "capacity": None, "planned": 0.1, "done": 0.0, "workers": 1, "busy_s": 0.0},
        ],
        "engines": [
            {
                "engine": "lanes/onnxruntime/cpu/fp32/0", "model": "lanes.onnx", "backend": "onnxruntime",
                "device": "cpu", "precision": "fp32", "batch": 4, "batches": {"1": 5, "3": 15}, "busy_s": 9.5,
            }
        ],
        "signals": [{"signal": "speed_mps", "age_ms": 20.0}, {"signal": "gear", "age_ms": None}],
        "telemetry": telemetry(),
    }  # fmt: skip


def snapshot(**what: Any) -> Snapshot:
    """Return a snapshot with one result of each task."""
    found = status(**what)
    latencies = Latencies()
    for task in found["tasks"]:
        latencies.add(task["task"], STAGE_MS, 0.75)
    latencies.add("removed", STAGE_MS, 0.75)
    return Snapshot(1_700_000_000.25, found, latencies.snapshot())


@contextmanager
def serving(listen: Address | SocketPath) -> Iterator[MetricsServer]:
    """Run a server in a thread."""
    server, stop = MetricsServer(listen), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop, lambda: None))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        server.wake()
        thread.join(5)
        assert not thread.is_alive()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def connect(listen: Address | SocketPath, timeout_s: float = 10) -> socket.socket:
    """Connect to a server."""
    if isinstance(listen, Address):
        return socket.create_connection((listen.host, listen.port), timeout_s)
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(timeout_s)
    caller.connect(str(listen.path))
    return caller


def said(caller: socket.socket) -> bytes:
    """Return all that a server says until it closes the connection."""
    pieces = []
    try:
        while piece := caller.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def ask(
    listen: Address | SocketPath, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
) -> tuple[str, bytes]:
    """Send a request; return the head of the answer and its body."""
    with connect(listen) as caller:
        caller.sendall(request)
        head, _, body = said(caller).partition(b"\r\n\r\n")
    return head.decode(), body
