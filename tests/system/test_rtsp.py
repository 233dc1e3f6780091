"""RTSP cameras as they are: a real server that is killed, frozen, mute, cut off, changed and locked."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import av
import far_end
import pytest
from far_end import FarEnd
from parts import until

from edged.camera.base import Opening
from edged.camera.packets import HAS_SIDE_DATA, PacketReader

SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"  # the system's: GStreamer's bindings are its packages, not wheels
PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
PACKAGES += "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-x"


def why_missing():
    """Return what this machine lacks for an RTSP server of its own, or nothing."""
    if not Path(PYTHON).exists():
        return f"no {PYTHON}"
    checked = subprocess.run([PYTHON, SERVER, "--check"], capture_output=True, text=True, timeout=30, check=False)
    return checked.stderr.strip().splitlines()[-1] if checked.returncode and checked.stderr.strip() else ""


@pytest.fixture(scope="session")
def gstreamer():
    if why := why_missing():
        pytest.skip(f"no RTSP server here ({why}); apt-get install {PACKAGES}")


class Camera:
    """One RTSP camera with its own process, on loopback or at the far end of a wire."""

    def __init__(self, port, *args, end=None):
        at = f"{end.address if end else '127.0.0.1'}:{port}"
        command = [PYTHON, str(SERVER), at, *args]
        self.process = subprocess.Popen(end.inside(*command) if end else command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.port, self.url = port, f"rtsp://{at}/cam"

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def camera(gstreamer):
    started = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def camera(size="320x240", fps="15", account="", end=None):
        started.append(Camera(port, size, fps, *([account] if account else []), end=end))
        return started[-1]

    yield camera
    for one in started:
        one.kill()


def seconds(what):
    """Return how long something takes."""
    begin_s = time.monotonic()
    what()
    return time.monotonic() - begin_s


def test_a_camera_is_open_long_before_ffmpeg_would_have_it_by_itself(camera):
    """By its defaults FFmpeg watches a stream for two seconds to learn what its description has said."""
    url = camera().url

    def ours():
        reader = PacketReader(Opening("front", "rtsp", url, str))
        reader.grab()
        reader.close()

    def bare():
        with av.open(url, options={"rtsp_transport": "tcp"}) as container:
            next(container.demux())

    assert min(seconds(ours) for _ in range(3)) < seconds(bare) / 2


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_is_read_and_comes_back_after_its_server_was_killed(daemon, site, task, camera, transport):
    """Killed: back-off with the reason. Back with another resolution: running again by itself, frame ids go on."""
    server = camera("320x240")
    source = {"source": server.url, "transport": transport, "stall_timeout_s": 1}
    running = daemon(site({"front": source}, {"t": task("front")}))
    with running.subscriber() as subscriber:
        result = subscriber.receive(20)
        assert (result.width, result.height) == (320, 240)
        time_of = result.message["t"]
        assert time_of["clock"] in ("arrival", "rtcp")
        assert 0 < time_of["publish_mono_ns"] - time_of["mono_ns"] < 2e9
        last = [result.frame_id for _ in range(20) if (result := subscriber.receive(10)) is not None][-1]
        assert running.camera("front")["stream"] == "h264 320x240 15 Hz"
        server.kill()
        until(lambda: "Connection refused" in running.camera("front")["reason"], 20, lambda: running.camera("front"))
        assert running.camera("front")["state"] in ("backoff", "connecting")
        until(lambda: running.task("t")["state"] == "degraded", 10)
        while subscriber.receive(0.1) is not None:
            pass
        camera("160x128")
        result = subscriber.receive(20)
        assert (result.width, result.height) == (160, 128)
        assert result.frame_id > last
        until(lambda: running.task("t")["state"] == "active", 10)
    assert running.camera("front")["opens"] >= 2


@pytest.mark.skipif(not HAS_SIDE_DATA, reason="this PyAV gives no sender's stamps: every picture is of its arrival")
@pytest.mark.parametrize(("synced", "age_s"), [(False, 0), (True, 2)])
def test_a_camera_whose_clock_is_two_seconds_behind_gives_pictures_of_now_unless_it_is_to_be_believed(
    camera, monkeypatch, synced, age_s
):
    server, wall_ns = camera(), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + 2_000_000_000)
    reader = PacketReader(Opening("front", "rtsp", server.url, str, clock_synced=synced, read_timeout_s=10))
    try:
        begin_ns, capture = 0, None
        while capture is None:  # until its first RTCP report
            begin_ns = time.monotonic_ns()
            capture = reader.grab().capture
        assert capture.clock == "rtcp"
        assert capture.mono_ns <= time.monotonic_ns() - age_s * 1e9
        assert synced or begin_ns <= capture.mono_ns
    finally:
        reader.close()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_frozen_camera_is_stalled_in_time_and_goes_on_when_it_thaws(daemon, site, task, camera, transport):
    server = camera()
    source = {"source": server.url, "transport": transport, "stall_timeout_s": 1}
    running = daemon(site({"front": source}, {"t": task("front")}))
    with running.subscriber() as subscriber:
        assert subscriber.receive(20) is not None
        server.signal(signal.SIGSTOP)
        stalled, closed = "task t: degraded: front stalled since ", f"front: backoff: cannot read {server.url}: "
        until(lambda: closed in running.log, 20, lambda: running.log)
        assert stalled in running.log.partition(closed)[0], "it is said before anything is done about it"
        assert f"{closed}nothing came for 3 s" in running.log
        server.signal(signal.SIGCONT)
        while subscriber.receive(0) is not None:
            pass
        assert subscriber.receive(20) is not None
        until(lambda: running.camera("front")["state"] == "running", 20)


def test_a_server_that_accepts_and_never_answers(daemon, site, task, clip):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam"
        cameras = {
            "mute": {"source": url, "open_timeout_s": 0.7},
            "good": {"source": f"file:{clip(frames=50)}", "loop": True},
        }
        running = daemon(site(cameras, {"t": task("mute", "good")}))
        reason = f"cannot open {url}: nothing came for 0.7 s"
        until(lambda: running.camera("mute")["reason"] == reason, 10, lambda: running.camera("mute"))
        with running.subscriber() as subscriber:
            assert subscriber.receive(10).camera == "good"


def test_a_server_that_is_mute_in_a_cameras_place_and_goes_without_a_word(daemon, site, task, camera):
    """The connection that it took stays open when the camera is back on its port: nothing tells us but the time."""
    server = camera()
    running = daemon(site({"front": {"source": server.url}}, {"t": task("front")}))
    until(lambda: running.task("t")["state"] == "active", 20)
    server.kill()
    with socket.create_server(("127.0.0.1", server.port)) as mute:
        taken, _ = mute.accept()
    with taken:
        camera()
        until(lambda: running.camera("front")["state"] == "running", 20, lambda: running.camera("front"))
    assert f"cannot open {server.url}: nothing came for 3 s" in running.log


@pytest.fixture
def end():
    if why := far_end.why_not():
        pytest.skip(why)
    end = FarEnd()
    yield end
    end.close()


def test_a_network_that_swallows_everything(daemon, site, task, camera, clip, end):
    """Both transports lose their cameras, the other one goes on; what heals is back by itself."""
    server = camera(end=end)
    cameras = {name: {"source": server.url, "transport": name} for name in ("tcp", "udp")}
    cameras["near"] = {"source": f"file:{clip(frames=50)}", "loop": True}
    running = daemon(site(cameras, {name: task(name) for name in cameras}))

    def states():
        return {name: running.task(name)["state"] for name in cameras}

    until(lambda: {running.camera(name)["state"] for name in cameras} == {"running"}, 20, states)
    until(lambda: set(states().values()) == {"active"}, 20, states)
    came = [running.log.count(f"task {name}: active") for name in ("tcp", "udp")]
    end.cut()
    until(lambda: states() == {"tcp": "degraded", "udp": "degraded", "near": "active"}, 20, states)
    read = [f"camera {name}: backoff: cannot read {server.url}: nothing came for 3 s" for name in ("tcp", "udp")]
    until(lambda: all(line in running.log for line in read), 20, lambda: running.log)
    assert came == [running.log.count(f"task {name}: active") for name in ("tcp", "udp")], "the dead came alive"
    end.heal()
    until(lambda: set(states().values()) == {"active"}, 20, states)
    assert {running.camera(name)["opens"] for name in cameras} == {1, 2}


def test_a_wrong_password_is_said_and_never_shown(daemon, site, task, camera):
    server = camera(account="driver:s3cret-and-right")
    guarded = server.url.replace("rtsp://", "rtsp://${cred:front}@")
    config = site(
        {"front": {"source": guarded}, "rear": {"source": guarded.replace("front", "rear")}},
        {"t": task("front", "rear")},
    )
    secrets = config / "secrets.yaml"
    secrets.touch(0o600)
    secrets.write_text('front: "driver:s3cret-and-wrong"\nrear: "driver:s3cret-and-right"\n')
    running = daemon(config)
    with running.subscriber() as subscriber:
        assert subscriber.receive(20).camera == "rear"
    refused = re.compile("401|nauthorized")
    told = until(lambda: refused.search(running.camera("front")["reason"]) and running.camera("front"), 20)
    reason = next(line for line in running.log.splitlines() if "camera front: backoff" in line)
    assert refused.search(reason)
    assert "***@127.0.0.1" in reason
    with running.subscriber("edged/1/") as subscriber:
        messages = [subscriber.receive_message(5) for _ in range(50)]
    for text in (str(told), str(messages), str(running.request("status")), running.log):
        assert not re.search("s3cret|driver:", text)
