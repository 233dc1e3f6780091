"""Live streams that the test serves itself: MJPEG over HTTP and MPEG-TS over TCP, cut off and back again."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from contextlib import suppress

import cv2
import pytest
from parts import BITS, number_in, painted, until, write_clip

RATE = 20


class Server(socketserver.ThreadingTCPServer):
    """Serves one stream to each client, until it is killed; then no client is left connected."""

    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True

    def __init__(self, port, stream):
        self.stream, self.gone = stream, threading.Event()
        self.numbers = iter(range(1 << BITS))
        super().__init__(("127.0.0.1", port), Handler)
        self.port = self.server_address[1]
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def kill(self):
        self.gone.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            for piece in self.server.stream(self):
                self.request.sendall(piece)
                if self.server.gone.wait(1 / RATE):
                    return
        except OSError:
            return


def mjpeg(handler):
    """Answer one GET with numbered JPEG pictures without end."""
    request = handler.request.recv(4096)
    assert request.startswith(b"GET /camera HTTP/1.1\r\n")
    yield b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
    for number in handler.server.numbers:
        jpeg = cv2.imencode(".jpg", painted(number))[1].tobytes()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        yield head.encode() + jpeg + b"\r\n"


@pytest.fixture(scope="module")
def transport_stream(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("ts") / "clip.ts", 400, rate=RATE, gop=5, fmt="mpegts").read_bytes()


@pytest.fixture
def serve():
    servers = []

    def serve(stream, port=0):
        servers.append(Server(port, stream))
        return servers[-1]

    yield serve
    for server in servers:
        server.kill()


def receive(subscriber, count):
    """Return frame id -> painted number of the next results."""
    results = [subscriber.receive(8) for _ in range(count)]
    assert None not in results
    return {result.frame_id: number_in(result.message["detections"]) for result in results}


def transport(whole):
    """Send an MPEG-TS file at about its own pace."""
    step = len(whole) // 400 // 188 * 188

    def pieces(_):
        return (whole[at : at + step] for at in range(0, len(whole), step))

    return pieces


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_live_stream_is_read_lost_and_found_again(daemon, site, task, clip, serve, transport_stream, kind):
    stream = mjpeg if kind == "http" else transport(transport_stream)
    server = serve(stream)
    url = f"http://127.0.0.1:{server.port}/camera" if kind == "http" else f"tcp://127.0.0.1:{server.port}"
    cameras = {"live": {"source": url}, "other": {"source": f"file:{clip(frames=100, rate=10)}", "loop": True}}
    running = daemon(site(cameras, {"t": task("live"), "u": task("other")}))
    with running.subscriber("edged/1/det/t/") as subscriber, running.subscriber("edged/1/det/u/") as other:
        seen = receive(subscriber, 20)
        shifts = {number - frame for frame, number in seen.items()}
        assert len(shifts) == 1, "a result is not of the frame it names"
        message = subscriber.receive(5).message
        assert message["t"]["clock"] == "arrival"
        assert (message["frame"]["width"], message["frame"]["height"]) == (64, 48)
        assert (message["t"]["publish_mono_ns"] - message["t"]["mono_ns"]) / 1e6 < 2000

        server.kill()
        until(lambda: running.camera("live")["state"] == "backoff", 5, "back-off")
        until(lambda: "Connection refused" in running.camera("live")["reason"], 5, "the reason")
        assert running.task("t")["state"] == "degraded"
        assert running.camera("other")["state"] == "running"
        while subscriber.receive(0.2) is not None:
            pass

        serve(stream, server.port)
        began_s = time.monotonic()
        again = receive(subscriber, 10)
        assert time.monotonic() - began_s < 15
        assert min(again) > max(seen), "frame ids start anew"
        assert len({number - frame for frame, number in again.items()}) == 1
        until(lambda: running.task("t")["state"] == "active", what="active again")
        ids = set()
        while (result := other.receive(0.05)) is not None:
            ids.add(result.frame_id)
    missing = max(ids) - min(ids) + 1 - len(ids)
    counts = running.task("u")["frames"]["other"]
    assert missing <= counts["superseded"] + counts["rate"] + counts["late"], "the other camera was disturbed"
    assert running.camera("other")["opens"] == 1
    assert running.camera("live")["opens"] == 2


def test_a_stream_that_falls_silent_is_stalled_and_then_opened_anew(daemon, site, task, serve, transport_stream):
    """The server goes on listening; its first connection stops sending after 3 s of pictures."""
    whole, quiet = transport(transport_stream), threading.Event()

    def stream(handler):
        if quiet.is_set():
            yield from whole(handler)
            return
        quiet.set()
        for number, piece in enumerate(whole(handler)):
            yield piece
            if number > 60:
                handler.server.gone.wait(30)
                return

    server = serve(stream)
    source = {"source": f"tcp://127.0.0.1:{server.port}", "stall_timeout_s": 0.6}
    running = daemon(site({"live": source}, {"t": task("live")}))
    until(lambda: running.camera("live")["state"] == "running", 10, "running")
    stalled = until(lambda: (one := running.camera("live"))["state"] == "stalled" and one, 10, "stalled")
    assert stalled["reason"] == "nothing came for more than 0.6 s"
    until(lambda: running.task("t")["reason"].startswith("live stalled since "))
    until(lambda: running.camera("live")["opens"] == 2 and running.camera("live")["state"] == "running", 10, "reopened")


def test_garbage_instead_of_a_stream(daemon, site, task):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        source = {"source": f"http://127.0.0.1:{port}/x", "open_timeout_s": 1}
        running = daemon(site({"live": source}, {"t": task("live")}))
        address = f"http://127.0.0.1:{port}/x"

        def refused():
            listener.settimeout(0.02)  # it comes again after each back-off
            with suppress(TimeoutError), listener.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return running.camera("live")["reason"] == f"cannot open {address}: Server returned 404 Not Found"

        until(refused, what=lambda: running.camera("live"))
        listener.settimeout(10)
        with listener.accept()[0] as client:
            client.recv(4096)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"no pictures " * 500)
        why = tuple(f"cannot open {address}: {text}" for text in ("Input/output error", "Invalid data found"))
        until(lambda: running.camera("live")["reason"].startswith(why), what=lambda: running.camera("live"))
