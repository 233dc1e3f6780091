"""The small parts around the process: log lines, systemd, the runtime directory, and what imports load."""

from __future__ import annotations

import logging
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edged
from edged.errors import BackendUnavailable, UsageError
from edged.log import start_logging
from edged.notify import notify
from edged.rundir import RuntimeLock, ask_for, check_ipc_path, runtime_directory, somebody_listens


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("edged.cli", "tensorrt pycuda cuda gi av cv2 onnxruntime onnx numpy pydantic zmq"),
        ("edged.doctor", "tensorrt pycuda cuda gi av cv2 onnxruntime onnx numpy pydantic zmq yaml"),
        ("edged.client", "tensorrt pycuda cuda gi av cv2 onnxruntime onnx numpy pydantic yaml"),
        ("edged.config", "tensorrt pycuda cuda gi av cv2 onnxruntime onnx zmq"),
        ("edged.scheduler.planner", "tensorrt pycuda cuda gi av cv2 onnxruntime onnx numpy zmq"),
    ],
)
def test_imports_load_no_more_than_they_need(module, forbidden):
    program = f"import sys, {module}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.split())
    assert "edged" in loaded
    assert loaded.isdisjoint(forbidden.split()), loaded & set(forbidden.split())


def test_building_the_command_line_loads_nothing_heavy():
    program = "import sys\nfrom edged.cli import parser\nparser()\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"tensorrt", "pycuda", "gi", "av", "cv2", "onnxruntime", "onnx", "numpy"}
    assert heavy.isdisjoint(ended.stdout.split())


def test_no_library_reports_its_use_or_keeps_notes_for_that(tmp_path, model):
    """ONNX Runtime from 1.32 on keeps a device id and a queue for its maker, unless it is told not to."""
    program = f"import edged.engines.ort as ort\nort.ort.InferenceSession({str(model())!r})"
    own = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | own
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=tmp_path)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("how", ["isolated", "a script", "from the folder"])
def test_children_take_no_module_from_the_folder_they_start_in_unless_their_parent_does(tmp_path, how):
    """As `sudo edged doctor` in a folder that others write."""
    here, script = tmp_path / "here", tmp_path / "script.py"
    here.mkdir()
    (here / "json.py").write_text("import pathlib\npathlib.Path('taken').touch()\n")
    program = """
import subprocess, edged.processes
ended = subprocess.run(edged.processes.python("edged.doctor.probe", "zmq", "."), capture_output=True, text=True)
print(ended.stdout, ended.stderr)
"""
    script.write_text(program)
    options = {"isolated": ["-I", "-c", program], "a script": [str(script)], "from the folder": ["-c", program]}
    ended = subprocess.run([sys.executable, *options[how]], cwd=here, capture_output=True, text=True, check=True)
    assert (here / "taken").exists() is (how == "from the folder")
    if how != "from the folder":
        assert '"version"' in ended.stdout, ended.stdout + ended.stderr


def test_every_python_that_is_started_is_started_so():
    sources = Path(edged.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if '"-m"' in path.read_text("utf-8")] == ["processes.py"]


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_log_lines_for_people_have_a_time(root_logger, capsys, monkeypatch):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    start_logging("warning")
    logging.getLogger("x").info("not shown")
    logging.getLogger("x").warning("camera %s", "front")
    out, stderr = capsys.readouterr()
    assert out == ""
    when, rest = stderr.split(" ", 1)
    assert rest == "W camera front\n"
    assert len(when) == len("12:34:56.789")


def test_log_lines_for_the_journal_have_a_priority_each(root_logger, capsys, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "8:123")
    start_logging("debug")
    logging.getLogger("x").error("two\nlines")
    logging.getLogger("x").debug("")
    assert capsys.readouterr().err == "<3>two\n<3>lines\n<7>\n"


def test_without_systemd_notify_tells_nobody(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1") is False


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_sends_lines(tmp_path, monkeypatch, abstract):
    address = f"@edged-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert notify("READY=1", "STATUS=fine") is True
        assert systemd.recv(100) == b"READY=1\nSTATUS=fine"


def test_a_systemd_that_does_not_listen_holds_nobody_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify("WATCHDOG=1") is False
    assert "cannot tell systemd WATCHDOG=1: No such file or directory" in caplog.text
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy:
        busy.bind(str(tmp_path / "busy"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "busy"))
        begin_s = time.monotonic()
        while notify("WATCHDOG=1"):
            assert time.monotonic() - begin_s < 10
        assert time.monotonic() - begin_s < 3
        assert "cannot tell systemd WATCHDOG=1: timed out" in caplog.text


def test_where_the_runtime_directory_is(monkeypatch):
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert runtime_directory().name == f"edged-{os.getuid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert str(runtime_directory()) == "/run/user/1/edged"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/edged:/run/other")
    assert str(runtime_directory()) == "/run/edged"


def test_a_runtime_directory_is_held_by_one(tmp_path):
    lock = RuntimeLock(tmp_path / "run")
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    with pytest.raises(BackendUnavailable) as caught:
        RuntimeLock(tmp_path / "run")
    assert str(caught.value) == f"{tmp_path}/run is held by a running edged (pid {os.getpid()})"
    lock.close()
    assert list((tmp_path / "run").iterdir()) == []
    RuntimeLock(tmp_path / "run").close()


def test_a_runtime_directory_that_takes_no_byte_is_one_that_cannot_be_used(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as a full disk does, but for the words
    try:
        with pytest.raises(
            BackendUnavailable, match=f"^cannot use the runtime directory {tmp_path}/run: File too large$"
        ):
            RuntimeLock(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    RuntimeLock(tmp_path / "run").close()


def test_a_restart_that_was_asked_for_is_forgotten_with_the_daemon(tmp_path):
    assert not ask_for("argus", tmp_path / "run")
    lock = RuntimeLock(tmp_path / "run")
    assert ask_for("argus", tmp_path / "run")
    assert (tmp_path / "run/restart-argus").exists()
    lock.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_runtime_directory_of_somebody_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    if tmp_path.stat().st_uid == 0:
        os.chown(tmp_path / "run", 12345, 12345)
    with pytest.raises(BackendUnavailable, match=r"belongs to uid \d+, not to us$"):
        RuntimeLock(tmp_path / "run")


def test_an_ipc_path_has_a_length_and_is_a_socket(tmp_path):
    check_ipc_path(f"ipc://{'x' * 107}")
    check_ipc_path(f"tcp://{'x' * 200}")
    with pytest.raises(UsageError, match="108 bytes, a socket path has at most 107$"):
        check_ipc_path(f"ipc://{'x' * 108}")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="the path is taken by something that is no socket$"):
        check_ipc_path(f"ipc://{tmp_path}/file")


def test_somebody_listens(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert not somebody_listens(f"ipc://{tmp_path}/s")
        server.listen()
        assert somebody_listens(f"ipc://{tmp_path}/s")
    assert not somebody_listens(f"ipc://{tmp_path}/s")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert somebody_listens(f"tcp://127.0.0.1:{port}")
    assert not somebody_listens(f"tcp://127.0.0.1:{port}")
    assert not somebody_listens("inproc://x")
