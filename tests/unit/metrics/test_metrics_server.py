"""The socket that metrics are read from: what it answers, and who cannot hold it up."""

from __future__ import annotations

import gzip
import os
import socket
import stat
import threading
import time

import pytest
from metrics_parts import ask, connect, free_port, said, serving, snapshot
from parts import until
from prometheus_client.parser import text_string_to_metric_families

from edged.config import Address, SocketPath
from edged.errors import BackendUnavailable
from edged.metrics import server as module
from edged.metrics.server import CALLERS_MAX, MetricsServer


@pytest.fixture(params=["tcp", "unix"])
def listen(request, tmp_path):
    return Address("127.0.0.1", free_port()) if request.param == "tcp" else SocketPath(tmp_path / "metrics.sock")


@pytest.fixture
def tcp():
    return Address("127.0.0.1", free_port())


def test_a_scraper_gets_the_page(listen):
    with serving(listen) as server:
        assert ask(listen)[0].startswith("HTTP/1.1 503 ")
        server.show(snapshot())
        head, body = ask(listen)
        assert head.splitlines() == [
            "HTTP/1.1 200 OK",
            "Content-Type: text/plain; version=0.0.4; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        assert any(family.name == "edged_build_info" for family in text_string_to_metric_families(body.decode()))


@pytest.mark.parametrize(
    ("coding", "packed"),
    [("gzip", True), ("deflate, gzip;q=1.0, *;q=0.5", True), ("identity", False), ("gzip;q=0", False)],
)
def test_a_page_is_packed_for_who_takes_it(tcp, coding, packed):
    with serving(tcp) as server:
        server.show(snapshot())
        head, body = ask(tcp, f"GET /metrics?x=1 HTTP/1.1\r\naccept-encoding: {coding}\r\n\r\n".encode())
        assert ("Content-Encoding: gzip" in head) is packed
        assert b"edged_build_info" in (gzip.decompress(body) if packed else body)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../etc HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\n", 405),
        (b"\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics SPDY/3\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\xff" * 100 + b"\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 2000, 431),
        (b"A" * 9000, 431),
    ],
)
def test_whatever_comes_is_answered_and_serving_goes_on(tcp, request_, code):
    with serving(tcp) as server:
        server.show(snapshot())
        head, body = ask(tcp, request_)
        if code != 431 or head:  # what such a caller still sends may reset the connection under the answer
            assert head.startswith(f"HTTP/1.1 {code} ")
        assert bool(body) == (code != 200) or not head
        server.show(snapshot())
        assert f'edged_scrapes_total{{code="{code}"}} 1.0\n' in ask(tcp)[1].decode()


def test_a_request_in_pieces_is_one(tcp):
    with serving(tcp) as server, connect(tcp) as caller:
        server.show(snapshot())
        for byte in b"GET /metrics HTTP/1.1\r\n\r":
            caller.send(bytes([byte]))
        assert ask(tcp)[0].startswith("HTTP/1.1 200 "), "others are served meanwhile"
        caller.send(b"\n")
        assert said(caller).startswith(b"HTTP/1.1 200 ")


def test_a_caller_that_says_nothing_is_sent_away(tcp, monkeypatch):
    monkeypatch.setattr(module, "CALL_S", 0.1)
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    with serving(tcp), connect(tcp) as mute, connect(tcp) as slow:
        slow.send(b"GET /metr")
        assert said(mute) == b""
        assert said(slow) == b""


def test_a_caller_that_does_not_read_is_sent_away(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CALL_S", 1.0)
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    listen, tasks = SocketPath(tmp_path / "metrics.sock"), tuple(f"task{n}" for n in range(20))
    with serving(listen) as server:
        server.show(snapshot(tasks=tasks, cameras=tuple(f"camera{n}" for n in range(40))))
        size = len(ask(listen)[1])
        with connect(listen) as deaf:
            deaf.send(b"GET /metrics HTTP/1.1\r\n\r\n")
            until(lambda: server._page.answers[200] == 2, 5, "an answer")
            until(lambda: not server._callers, 5, "nobody left")
            assert 0 < len(said(deaf)) < size, "what the socket held"
        assert len(ask(listen)[1]) == size


def test_a_crowd_keeps_nobody_out(tcp):
    """A hundred that connect and say nothing, or garbage; the one that asks is served at once."""
    with serving(tcp) as server:
        server.show(snapshot())
        crowd = [connect(tcp) for _ in range(100)]
        try:
            for number, caller in enumerate(crowd):
                if number % 2:
                    caller.send(b"GET /metrics HTTP/1.1\r\nx-slow: ")
            begin_s = time.monotonic()
            assert ask(tcp)[0].startswith("HTTP/1.1 200 ")
            assert time.monotonic() - begin_s < 4, "not only when the others' time was over"
            until(lambda: len(server._callers) == CALLERS_MAX - 1, 5, "the newest ones")
        finally:
            for caller in crowd:
                caller.close()


def test_callers_as_fast_as_they_can_take_little_time(tcp):
    """What the thread spends on a flood is bounded by its pauses, whatever the callers do."""
    with serving(tcp) as server:
        server.show(snapshot())
        stop = threading.Event()

        def flood():
            while not stop.is_set():
                ask(tcp)

        callers = [threading.Thread(target=flood) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:
            until(lambda: server._page.answers[200] > 20, 10, "a flood")
            before, begin_s = server._page.answers[200], time.monotonic()
            time.sleep(0.5)
            served, seconds = server._page.answers[200] - before, time.monotonic() - begin_s
        finally:
            stop.set()
            for caller in callers:
                caller.join()
    assert served / seconds < 1.5 * module.ACCEPTS / module.PAUSE_S


def test_a_unix_socket_is_for_user_and_group_and_goes_with_its_server(tmp_path):
    listen = SocketPath(tmp_path / "metrics.sock")
    with serving(listen):
        assert stat.S_IMODE(listen.path.stat().st_mode) == 0o660
        with pytest.raises(BackendUnavailable, match=f"unix:{listen.path}: another program listens there"):
            MetricsServer(listen)
    assert not listen.path.exists()


def test_the_socket_that_a_killed_daemon_left_is_replaced(tmp_path):
    listen = SocketPath(tmp_path / "metrics.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(listen.path))
    with serving(listen):
        assert ask(listen)[0].startswith("HTTP/1.1 503 ")


def test_an_address_that_cannot_be_had_is_named(tmp_path, tcp):
    with (
        serving(tcp),
        pytest.raises(BackendUnavailable, match=f"cannot serve metrics on {tcp}: Address already in use"),
    ):
        MetricsServer(tcp)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BackendUnavailable, match="Address already in use"):
        MetricsServer(SocketPath(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(BackendUnavailable, match="No such file or directory"):
        MetricsServer(SocketPath(tmp_path / "none/metrics.sock"))


def test_close_twice_and_a_wake_after_it_are_harmless(tcp):
    server = MetricsServer(tcp)
    server.close()
    server.close()
    server.wake()


def test_it_goes_on_serving_after_a_failure(tcp, monkeypatch):
    """The supervisor runs it again: the socket is still there."""
    server, stop = MetricsServer(tcp), threading.Event()
    monkeypatch.setattr(server, "_look", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        server.run(stop, lambda: None)
    monkeypatch.undo()
    server.show(snapshot())
    thread = threading.Thread(target=server.run, args=(stop, lambda: None))
    thread.start()
    assert ask(tcp)[0].startswith("HTTP/1.1 200 ")
    stop.set()
    server.wake()
    thread.join(5)
    server.close()
