"""What a daemon tells systemd, on a socket that this test has bound: readiness, state in words, watchdog, reload."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time

import pytest
from parts import Running, until

WATCHDOG_S = 2.0


class Systemd:
    """The socket that systemd listens on, and the messages that came so far, each with the time of its arrival."""

    def __init__(self, path):
        self.address = os.fspath(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(self.address)
        self._listener.setblocking(False)
        self._messages = []

    def close(self):
        self._listener.close()

    @property
    def messages(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self._messages.append((time.monotonic(), self._listener.recv(4096).decode().splitlines()))
        return self._messages

    def count(self, line):
        return sum(lines.count(line) for _, lines in self.messages)

    @property
    def status(self):
        found = [line for _, lines in self.messages for line in lines if line.startswith("STATUS=")]
        return found[-1].removeprefix("STATUS=") if found else ""


@pytest.fixture
def systemd(tmp_path):
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


@pytest.fixture
def looped(clip):
    return {"source": f"file:{clip(frames=50, bframes=2)}", "loop": True}


@pytest.fixture
def gate(clip):
    """A network camera that takes a connection and says nothing until it is told to; then it sends a stream."""
    stream = clip(".ts", frames=50, fmt="mpegts").read_bytes()
    opened, over = threading.Event(), threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    opened.wait()
                    with contextlib.suppress(OSError):
                        while not over.is_set():
                            connection.sendall(stream)

    thread = threading.Thread(target=serve, name="gate")
    thread.start()
    yield f"tcp://127.0.0.1:{server.getsockname()[1]}", opened.set
    over.set()
    opened.set()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_ready_waits_for_the_first_result_of_a_required_task(daemon, site, task, looped, systemd, gate):
    url, open_gate = gate
    config = site(
        {"a": looped, "late": {"source": url, "open_timeout_s": 60}},
        {"here": task("a", required=True), "there": task("late", required=True), "off": task("a", active=False)},
    )
    running = daemon(config, NOTIFY_SOCKET=systemd.address)
    until(lambda: running.task("here")["rate_hz"] > 0, what="results")
    until(lambda: systemd.status.startswith("waiting for the first result of there; 1 of 2 cameras running"), 5,
          lambda: systemd.status)  # fmt: skip
    assert systemd.count("READY=1") == 0
    open_gate()
    until(lambda: systemd.count("READY=1"), 10, "READY")
    until(lambda: systemd.status == "2 of 2 cameras running", 5, lambda: systemd.status)
    running.process.terminate()
    running.process.wait(10)
    assert systemd.count("STOPPING=1") == systemd.count("READY=1") == 1


def test_cameras_in_a_declared_back_off_are_not_waited_for_and_the_status_says_so(
    daemon, site, task, looped, systemd, clip, tmp_path
):
    late = tmp_path / "late.mp4"
    config = site(
        {"a": looped, "late": {"source": f"file:{late}", "loop": True}},
        {"here": task("a", required=True), "there": task("late", required=True)},
    )
    daemon(config, NOTIFY_SOCKET=systemd.address)
    until(lambda: systemd.count("READY=1"), 10, "READY")
    pattern = r"1 of 2 cameras running; there degraded: late not reached since \d\d:\d\d:\d\d UTC"
    assert re.fullmatch(pattern, systemd.status)
    late.write_bytes(clip(frames=50).read_bytes())
    until(lambda: systemd.status == "2 of 2 cameras running", 10, lambda: systemd.status)
    late.unlink()


def test_a_daemon_without_required_tasks_is_ready_at_once(daemon, site, task, systemd):
    daemon(site({"a": {"source": "file:gone.mp4"}}, {"t": task("a")}), NOTIFY_SOCKET=systemd.address)
    until(lambda: systemd.count("READY=1"), 5, "READY")


def test_the_watchdog_is_fed_while_a_camera_hangs_and_a_task_is_off(daemon, site, task, looped, systemd, gate):
    """A pruned daemon with a mute camera has few heartbeats that are due, and all of them come."""
    cameras = {"a": looped, "mute": {"source": gate[0], "open_timeout_s": 60}}
    config = site(cameras, {"t": task("mute"), "off": task("a", active=False)})
    environment = {"WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    running = daemon(config, NOTIFY_SOCKET=systemd.address, **environment)
    until(lambda: systemd.count("WATCHDOG=1") > 4 * 2, 4 * WATCHDOG_S, "twice the watchdog's time")
    assert running.process.poll() is None
    assert running.camera("mute")["state"] == "connecting"


def test_a_watchdog_of_another_process_is_not_fed(daemon, site, task, systemd):
    config = site({"a": {"source": "file:gone.mp4"}}, {"t": task("a")})
    daemon(config, NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="400000", WATCHDOG_PID="1")
    until(lambda: systemd.status.count("not reached"), 5, lambda: systemd.status)
    assert systemd.count("WATCHDOG=1") == 0


def test_a_reload_is_told_with_its_time_and_its_end_taken_over_or_refused(daemon, site, task, looped, systemd):
    config = site({"a": looped}, {"t": task("a")})
    running: Running = daemon(config, NOTIFY_SOCKET=systemd.address)
    until(lambda: systemd.count("READY=1"), 10, "READY")
    for count, text in ((1, '{"log": {"level": "info"}}'), (2, "{")):
        (config / "edged.yaml").write_text(text)
        begin_us = time.monotonic_ns() // 1000
        running.process.send_signal(signal.SIGHUP)
        until(lambda count=count: systemd.count("READY=1") == 1 + count, 10, lambda: running.log)
        reloads = [lines for _, lines in systemd.messages if "RELOADING=1" in lines]
        assert len(reloads) == count
        (when,) = [int(line.partition("=")[2]) for line in reloads[-1] if line.startswith("MONOTONIC_USEC=")]
        assert begin_us <= when <= time.monotonic_ns() // 1000
        order = [line for _, lines in systemd.messages for line in lines if line in ("RELOADING=1", "READY=1")]
        assert order == ["READY=1", *["RELOADING=1", "READY=1"] * count]
    assert "nothing has changed" in running.log
