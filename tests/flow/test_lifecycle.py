"""Starting, being ready, being in the way of another one, and ending: exit codes, texts, and what is left behind."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq
from parts import Running, edged, until

from edged.child import DaemonProcess

RANDOM_STOPS = int(os.environ.get("EDGED_TEST_STOPS", "10"))
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)


@pytest.fixture
def looped(clip):
    return {"source": f"file:{clip(frames=50, bframes=2)}", "loop": True}


def takes_signals(pid):
    """Tell whether a process is past the moment in which SIGTERM just ends it, as it ends any process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if line.startswith(("SigBlk", "SigCgt")))
    return any(int(mask, 16) & SIGTERM_BIT for mask in fields.values())


@pytest.mark.timeout(30 * RANDOM_STOPS)
def test_sigterm_at_any_moment_ends_it_with_0_and_leaves_nothing(site, task, looped, tmp_path):
    config = site(
        {"a": looped, "b": looped, "gone": {"source": "file:gone.mp4"}, "fast": {**looped, "pace": "fast"}},
        {"t": task("a", "b", "fast", rate_hz=1000), "u": task("gone")},
    )
    rng = random.Random(5)
    for number in range(RANDOM_STOPS):
        log = tmp_path / f"{number}.log"
        delay_s = rng.uniform(0, 1.0)
        with log.open("wb") as file:
            child = DaemonProcess(config, file)
        until(lambda pid=child.process.pid: takes_signals(pid), 10, "a process that takes signals", every_s=0.001)
        time.sleep(delay_s)
        begin_s = time.monotonic()
        child.process.terminate()
        child.process.wait(10)
        took_s = time.monotonic() - begin_s
        left = sorted(file.name for file in child.rundir.iterdir()) if child.rundir.exists() else []
        assert (child.stop(), left) == (0, []), f"after {delay_s:.3f} s: {log.read_text()}"
        assert took_s < 5, f"after {delay_s:.3f} s it took {took_s:.1f} s"
        assert "Traceback" not in log.read_text()


@pytest.fixture
def slow(plug_in, tmp_path):
    """The environment with a plug-in parser `slow`, whose constructor makes the file `begun` and takes its time."""
    code = f"""
        import time
        from pathlib import Path

        from edged.tasks.yolo import Yolov8

        class Slow(Yolov8):
            def __init__(self, model, settings):
                Path({str(tmp_path / "begun")!r}).touch()
                time.sleep(60)
    """
    return plug_in("slow", code)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_end_is_not_put_off_until_all_is_loaded(daemon, site, task, looped, tmp_path, slow, processes):
    tasks = {"t": task("a"), "u": task("b", net={"parser": "slow"})}
    config = site({"a": looped, "b": looped}, tasks, {"scheduler": {"processes": processes}})
    running = daemon(config, wait=False, **slow)
    until((tmp_path / "begun").exists, what="the slow parser")
    for number in (signal.SIGHUP, signal.SIGINT):
        running.process.send_signal(number)
    running.stop()
    assert "stopping: SIG" in running.log
    assert "is killed" not in running.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_that_never_answers_does_not_hold_the_end_up(daemon, site, task, looped, number):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        config = site({"a": looped, "mute": {"source": f"tcp://127.0.0.1:{port}"}}, {"t": task("a", "mute")})
        running = daemon(config)
        until(lambda: running.camera("mute")["state"] == "connecting" and running.task("t")["rate_hz"] > 0)
        begin_s = time.monotonic()
        running.process.send_signal(number)
        assert running.process.wait(10) == 0
        assert time.monotonic() - begin_s < 5


def test_a_second_daemon_on_the_same_directory_ends_with_69(daemon, site, task, looped):
    config = site({"a": looped}, {"t": task("a")})
    first = daemon(config)
    second = edged("--config", str(config), "run", rundir=first.rundir)
    held = f"{first.rundir} is held by a running edged (pid {first.process.pid})"
    assert (second.returncode, second.stderr) == (69, f"edged: {held}\n")
    with first.subscriber() as subscriber:
        assert subscriber.receive(5) is not None, "the second one took the first one's socket"


def test_it_starts_again_on_what_a_killed_one_left(site, task, looped, tmp_path):
    config, rundir = site({"a": looped}, {"t": task("a")}), tmp_path / "run"
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(rundir)}
    command = [sys.executable, "-m", "edged", "--config", str(config), "run"]
    for end in (signal.SIGKILL, signal.SIGTERM):
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stderr=log)
        until(lambda: edged("task", "list", rundir=rundir).returncode == 0, what="an answer")
        process.send_signal(end)
        process.wait(10)
    assert process.returncode == 0
    assert list(rundir.iterdir()) == []


@pytest.mark.parametrize("where", ["below_a_file", "too_long", "a_folder_in_the_way"])
def test_a_socket_path_that_cannot_be_had(site, task, looped, tmp_path, where):
    config = site({"a": looped}, {"t": task("a")})
    if where == "below_a_file":
        (tmp_path / "file").touch()
        rundir = tmp_path / "file" / "run"
        wanted = 69, f"edged: cannot use the runtime directory {rundir}: Not a directory\n"
    elif where == "too_long":
        rundir = tmp_path / ("x" * 100)
        endpoint = f"ipc://{rundir}/pub.sock"
        wanted = 2, f"edged: {endpoint}: {len(endpoint) - 6} bytes, a socket path has at most 107\n"
    else:
        rundir = tmp_path / "run"
        (rundir / "pub.sock").mkdir(parents=True)
        wanted = 2, f"edged: ipc://{rundir}/pub.sock: the path is taken by something that is no socket\n"
    ended = edged("--config", str(config), "run", rundir=rundir)
    assert (ended.returncode, ended.stderr.splitlines(keepends=True)[-1]) == wanted
    assert not (rundir / "lock").exists()


def test_an_endpoint_of_the_configuration_that_is_taken(site, task, looped, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        config = site({"a": looped}, {"t": task("a")}, {"publish": {"endpoints": [endpoint]}})
        ended = edged("--config", str(config), "run", rundir=tmp_path / "run")
    wanted = f"edged: cannot bind {endpoint}: Address already in use"
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (69, wanted)
    assert list((tmp_path / "run").iterdir()) == []


def test_an_ipc_endpoint_that_another_program_listens_on_is_not_stolen(site, task, looped, tmp_path):
    path = tmp_path / "other.sock"
    context = zmq.Context()
    try:
        with context.socket(zmq.PUB) as other:
            other.bind(f"ipc://{path}")
            config = site({"a": looped}, {"t": task("a")}, {"publish": {"endpoints": [f"ipc://{path}"]}})
            ended = edged("--config", str(config), "run", rundir=tmp_path / "run")
            wanted = f"edged: cannot bind ipc://{path}: another program listens there"
            assert (ended.returncode, ended.stderr.splitlines()[-1]) == (69, wanted)
            assert path.exists()
    finally:
        context.term()


def test_clients_that_fill_their_queues_and_vanish_end_nothing(daemon, site, task, looped):
    """Requests and subscriptions faster than they are read, then the socket is closed: libzmq has aborted on that."""
    running = daemon(site({"a": looped}, {"t": task("a")}))
    context = zmq.Context()
    try:
        clients = [context.socket(zmq.DEALER) for _ in range(10)] + [context.socket(zmq.SUB)]
        for client in clients:
            client.setsockopt(zmq.LINGER, 0)
            client.connect(running.child.publish if client.type == zmq.SUB else running.child.control)
        for number in range(20_000):
            clients[-1].subscribe(b"edged/1/det/%d/" % number)
        for client in clients[:-1] * 2:  # twice: what was taken meanwhile is made up for
            while client.poll(20, zmq.POLLOUT):
                client.send(b"x" * 2000)
        for client in clients:
            client.close()
        time.sleep(1.5)  # longer than the interval of any heartbeat
    finally:
        context.term()
    with running.subscriber() as subscriber:
        assert subscriber.receive(5) is not None
    assert running.process.poll() is None


def test_a_subscriber_with_a_full_queue_outlives_its_daemon(daemon, site, task, looped):
    program = (
        "import sys, edged.client as c\n"
        "with c.Subscriber(sys.argv[1], queue=2) as s:\n"
        "    print(s.receive(5).seq, flush=True)\n"
        "    sys.stdin.readline()\n"
        "    print(s.receive(5).seq, flush=True)\n"
    )
    running = daemon(site({"a": looped}, {"t": task("a")}))
    command = [sys.executable, "-c", program, running.child.publish]
    slow = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with slow:
        first = int(slow.stdout.readline())
        until(lambda: running.task("t")["frames"]["a"]["published"] > first + 20, what="a full queue")
        running.process.terminate()
        running.process.wait(10)
        time.sleep(1.5)  # longer than the interval of any heartbeat
        assert slow.poll() is None
        assert slow.communicate("\n", timeout=10)[0] == f"{first + 1}\n"
    assert slow.returncode == 0


def test_more_endpoints_serve_the_same_results(daemon, site, task, looped, tmp_path):
    from edged.client import Control, Subscriber

    ipc = f"ipc://{tmp_path}/more.sock"
    with socket.create_server(("127.0.0.1", 0)) as free:
        tcp = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    edged_yaml = {"publish": {"endpoints": [ipc]}, "control": {"endpoints": [tcp]}}
    running: Running = daemon(site({"a": looped}, {"t": task("a")}, edged_yaml))
    with Subscriber(ipc) as subscriber:
        assert subscriber.receive(5).task == "t"
    with Control(tcp) as control:
        assert [one["task"] for one in control.request("task.list")["tasks"]] == ["t"]
    assert running.request("task.list")["tasks"][0]["task"] == "t"
    running.process.terminate()
    running.process.wait(10)
    assert not (tmp_path / "more.sock").exists()
