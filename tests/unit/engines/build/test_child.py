"""Builds in a child process: it ends with its parent, and its errors are its parent's."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from engine_parts import write_blobs
from parts import until

from edged.engines.build.child import run_child
from edged.errors import BackendUnavailable, ConfigError, EdgedError, UsageError

WAIT_S = 20.0  # of a loaded machine; it takes none


@pytest.fixture
def place(site, task, clip, tmp_path):
    """Return a configuration that wants an engine of TensorRT."""
    tasks = {"t": task("a", engine={"backend": "tensorrt"}, onnx=write_blobs(tmp_path / "net.onnx"))}
    return site({"a": {"source": f"file:{clip(frames=20)}"}}, tasks, {"engines": {"store": "engines"}})


def start(place, tmp_path, tensorrt):
    """Start a process that waits for a build, in which TensorRT is this text."""
    (tmp_path / "tensorrt.py").write_text(tensorrt)
    arguments = ["--config", str(place), "engine", "build", "--here", "--backend", "tensorrt", "t"]
    program = f"from edged.engines.build.child import run_child\nrun_child({arguments!r}, 'engine')"
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    return subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, stderr=-1)


def test_a_build_ends_with_whoever_waits_for_it(place, tmp_path):
    started = tmp_path / "started"
    text = f"import os, pathlib, signal\npathlib.Path({str(started)!r}).write_text(f'{{os.getpid()}}.')\nsignal.pause()"
    with start(place, tmp_path, text) as parent:
        try:
            until(lambda: started.is_file() and started.read_text().endswith("."), WAIT_S)
            child = os.pidfd_open(int(started.read_text().rstrip(".")))
            try:
                assert not select.select([child], [], [], 0)[0]
                parent.kill()
                assert select.select([child], [], [], WAIT_S)[0]
            finally:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(child, signal.SIGKILL)
                os.close(child)
        finally:
            parent.kill()


@pytest.mark.parametrize(
    ("code", "becomes"), [(2, UsageError), (69, BackendUnavailable), (70, BackendUnavailable), (78, ConfigError)]
)
def test_a_childs_error_is_ours_and_a_device_that_fails_is_one_that_is_not_there(tmp_path, monkeypatch, code, becomes):
    child = tmp_path / "python"
    child.write_text(f"""#!/bin/sh\necho '{{"error": {{"code": {code}, "text": "why"}}}}'\n""")
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    with pytest.raises(becomes, match="^why$"):
        run_child(["engine", "build"], "engine")


@pytest.mark.parametrize(
    ("end", "becomes", "text"),
    [
        ("kill -KILL $$", BackendUnavailable, "was killed by signal 9; the kernel does that where memory runs out"),
        ("kill -SEGV $$", BackendUnavailable, "was killed by signal 11"),
        ("exit 3", EdgedError, "ended with code 3"),
    ],
)
def test_a_child_that_died_is_no_bug_of_the_command_unless_it_ended_by_itself(
    tmp_path, monkeypatch, end, becomes, text
):
    child = tmp_path / "python"
    child.write_text(f"#!/bin/sh\n{end}\n")
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    with pytest.raises(becomes, match=f"^building the engine failed: the process {text}$") as caught:
        run_child(["engine", "build"], "engine")
    assert type(caught.value) is becomes
