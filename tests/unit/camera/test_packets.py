"""What FFmpeg's streams say of time."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from edged.camera.base import CameraStalled, Opening, Undecodable
from edged.camera.packets import PacketReader
from edged.errors import CameraError


@pytest.mark.parametrize("read", [0, 1])
def test_a_stream_that_is_closed_leaves_no_demuxer_half_way(clip, read):
    """A demuxer that is only forgotten keeps its memory: 0.2 KB for each reconnection, and the heap around it."""
    opened = PacketReader(Opening("c", "file", str(clip()), str))
    for _ in range(read):
        opened.grab()
    opened.close()
    assert next(opened._packets, None) is None
    opened.close()


def test_a_stream_that_ffmpeg_has_no_decoder_for_is_for_another_back_end_and_leaves_nothing_open(tmp_path, clip):
    path = tmp_path / "odd.avi"
    path.write_bytes(clip(".avi", frames=5, codec="mjpeg", pix_fmt="yuvj420p").read_bytes().replace(b"MJPG", b"XYZ9"))
    with pytest.raises(Undecodable, match=f"^FFmpeg has no decoder for the video in {path}$") as caught:
        PacketReader(Opening("c", "file", str(path), str))
    assert caught.value.__traceback__ is not None  # it keeps the reader, and its container would be open with it
    assert path not in [fd.resolve() for fd in Path("/proc/self/fd").iterdir()]


def with_sound(path, pictures_s, sound_s):
    """Write an MPEG-TS stream whose pictures end while its sound goes on."""
    with av.open(str(path), "w", format="mpegts") as target:
        video, audio = target.add_stream("libx264", rate=25), target.add_stream("mp2", rate=48_000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio.layout = "mono"
        for number in range(int(25 * pictures_s)):
            picture = av.VideoFrame.from_ndarray(np.full((72, 64), number, np.uint8), "yuv420p")
            picture.pts = number
            target.mux(video.encode(picture))
        target.mux(video.encode(None))
        for number in range(int(sound_s * 48_000 / 1152)):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), "s16", "mono")
            sound.sample_rate, sound.pts = 48_000, 1152 * number
            target.mux(audio.encode(sound))
        target.mux(audio.encode(None))
    return path.read_bytes()


def test_sound_that_goes_on_without_pictures_is_silence(tmp_path):
    """A frozen encoder beside a microphone: each of its packets begins FFmpeg's own time limit anew."""
    stream, over = with_sound(tmp_path / "sound.ts", 2, 60), threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection, suppress(OSError):
            for at in range(0, len(stream), 1316):
                connection.sendall(stream[at : at + 1316])
                over.wait(0.02 if at > 100_000 else 0)

    thread = threading.Thread(target=serve)
    thread.start()
    opening = Opening("c", "tcp", f"tcp://127.0.0.1:{server.getsockname()[1]}", str, read_timeout_s=0.5)
    opened, count = PacketReader(opening), 0
    try:
        with pytest.raises(CameraStalled, match=r"nothing came for 0\.5 s"):
            while True:
                begin_s = time.monotonic()
                opened.grab()
                count += 1
        assert 40 <= count <= 50
        assert time.monotonic() - begin_s < 1.5
    finally:
        opened.close()
        over.set()
        server.close()
        thread.join()


def test_a_refusal_that_comes_late_is_told_as_one():
    """A server that takes its time over each answer and then says no."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with suppress(OSError), server.accept()[0] as connection:
            while request := connection.recv(4096).decode():
                number = request.partition("CSeq: ")[2].partition("\r\n")[0]
                time.sleep(0.4)
                words = "200 OK" if request.startswith("OPTIONS") else "404 Not Found"
                connection.sendall(f"RTSP/1.0 {words}\r\nCSeq: {number}\r\n\r\n".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam"
    try:
        with pytest.raises(CameraError, match="404|[Nn]ot [Ff]ound"):
            PacketReader(Opening("c", "rtsp", url, str, open_timeout_s=1.0, read_timeout_s=0.6))
    finally:
        server.close()
        thread.join()
