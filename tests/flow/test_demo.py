"""The show as a process of its own: on a terminal, interrupted, and with a daemon that dies."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edged.cli import main
from edged.demo import bundle
from edged.demo.interrupt import Interrupt
from edged.demo.screen import HIDE_CURSOR, SHOW_CURSOR
from edged.demo.show import play
from edged.errors import BackendUnavailable, NoAnswer

pytestmark = pytest.mark.side_by_side

COMMAND = (sys.executable, "-m", "edged", "demo")
ON_ITS_TERMINAL = (  # a session of its own whose controlling terminal is its stdin: there ^C becomes SIGINT
    sys.executable,
    "-c",
    "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.executable, sys.argv[1:])",
)


class Recorder:
    """A screen that keeps what it was told."""

    period_s = 1.0

    def __init__(self) -> None:
        self.events: list[str] = []

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, lines: object) -> None: ...

    def event(self, text: str) -> None:
        self.events.append(text)


@pytest.fixture
def shows() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Shows that the test started; none outlives it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for show in started:
        if show.poll() is None:
            show.terminate()
        show.wait(30)
        if show.stdout:
            show.stdout.close()


def daemon_of(show: subprocess.Popen[bytes]) -> int:
    """Wait for the show's child and return its process id."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        children = Path(f"/proc/{show.pid}/task/{show.pid}/children").read_text("ascii").split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    raise AssertionError("the show started no daemon")


def read_until(descriptor: int, wanted: bytes, timeout_s: float = 30.0) -> bytes:
    """Read until `wanted` came, or to the end where it is empty."""
    data, until_s = b"", time.monotonic() + timeout_s
    while not (wanted and wanted in data) and time.monotonic() < until_s:
        if not select.select([descriptor], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # a terminal whose other side is gone
            return data
        if not piece:
            return data
        data += piece
    assert not wanted or wanted in data, data[-2000:].decode()
    return data


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_on_a_terminal_ctrl_c_ends_it_with_picture_and_cursor(
    tmp_path: Path, shows: list[subprocess.Popen[bytes]]
) -> None:
    ours, theirs = pty.openpty()
    show = subprocess.Popen(
        [*ON_ITS_TERMINAL, *COMMAND, "--seconds", "60", "--picture", str(tmp_path / "early.png")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shows.append(show)
    try:
        data = read_until(ours, b"first result")
        child = daemon_of(show)
        data += read_until(ours, b"\x1b[33mpedestrian 0.")
        os.write(ours, b"\x03")
        data += read_until(ours, b"")
    finally:
        os.close(ours)
    assert show.wait(20) == 0
    text = data.decode()
    assert text.count(HIDE_CURSOR) == text.count(SHOW_CURSOR) == 1
    assert text.index(HIDE_CURSOR) < text.index(SHOW_CURSOR)
    assert "ended by SIGINT" in text
    assert (tmp_path / "early.png").exists()
    assert gone(child)


def test_sigterm_takes_the_daemon_along(tmp_path: Path, shows: list[subprocess.Popen[bytes]]) -> None:
    show = subprocess.Popen([*COMMAND, "--seconds", "60"], cwd=tmp_path, stdout=subprocess.PIPE)
    shows.append(show)
    child = daemon_of(show)
    assert show.stdout
    read_until(show.stdout.fileno(), b"first result")
    show.send_signal(signal.SIGTERM)
    assert show.wait(20) == 0
    assert gone(child)
    assert (tmp_path / "demo-mosaic.png").exists()


def test_a_signal_before_the_first_result_ends_it_too(tmp_path: Path, shows: list[subprocess.Popen[bytes]]) -> None:
    show = subprocess.Popen([*COMMAND, "--seconds", "60"], cwd=tmp_path, stdout=subprocess.PIPE)
    shows.append(show)
    child = daemon_of(show)
    show.send_signal(signal.SIGTERM)
    assert show.wait(20) == 0
    assert gone(child)


def test_a_daemon_that_dies_is_reported_with_its_log(tmp_path: Path, shows: list[subprocess.Popen[bytes]]) -> None:
    show = subprocess.Popen(
        [*COMMAND, "--seconds", "60"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    shows.append(show)
    child = daemon_of(show)
    assert show.stdout
    read_until(show.stdout.fileno(), b"first result")
    os.kill(child, signal.SIGKILL)
    text = read_until(show.stdout.fileno(), b"").decode()
    assert show.wait(20) == 69
    assert "edged: the daemon ended with exit code -9" in text
    assert "camera front_wide: running" in text.partition("log, ")[2]
    log = Path(re.findall(r"the daemon's log, (.+), ends with", text)[0])
    assert log.exists()
    log.unlink()
    log.parent.rmdir()


def test_a_reader_that_has_had_enough_leaves_no_daemon(tmp_path: Path, shows: list[subprocess.Popen[bytes]]) -> None:
    show = subprocess.Popen([*COMMAND, "--seconds", "60"], cwd=tmp_path, stdout=subprocess.PIPE)
    shows.append(show)
    child = daemon_of(show)
    assert show.stdout
    show.stdout.close()
    assert show.wait(30) == 0
    assert gone(child)


def test_a_configuration_at_fault_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # the log is kept
    (tmp_path / "tasks").mkdir()
    (tmp_path / "none.mp4").write_bytes(b"")
    (tmp_path / "none.onnx").write_bytes(b"no network")
    (tmp_path / "cameras.yaml").write_text('cameras: {front: {source: "file:none.mp4"}}\n')
    task = "cameras: [front]\nrate_hz: 5\nmodel: {onnx: ../none.onnx, parser: yolov8, labels: [a]}\n"
    (tmp_path / "tasks" / "lane.yaml").write_text(task)
    with pytest.raises(BackendUnavailable, match=r"(?s)ended with exit code 78.*none\.onnx"):
        play(tmp_path, 5.0, Recorder(), Interrupt())


def test_cameras_that_give_nothing_end_it_in_time(
    site: Callable[..., Path], task: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("edged.demo.show.SILENCE_S", 2.0)
    (tmp_path / "empty.mp4").write_bytes(b"")
    tasks = {name: task("front") for name in ("pedestrian", "lane", "vehicle")}
    folder = site({"front": {"source": f"file:{tmp_path / 'empty.mp4'}"}}, tasks)
    with pytest.raises(NoAnswer, match=r"(?s)no result came for 2 s.*camera front: backoff"):
        play(folder, 5.0, Recorder(), Interrupt())


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "cameras.yaml").write_text('cameras: {front: {source: "file:none.mp4"}}\n')
    (tmp_path / "none.onnx").write_bytes(b"")
    task = "cameras: [front]\nrate_hz: 5\nmodel: {onnx: ../none.onnx, parser: yolov8, labels: [a]}\n"
    (tmp_path / "tasks" / "lane.yaml").write_text(task)
    with pytest.raises(BackendUnavailable, match=r"the bundled clip .*none\.mp4 is missing"):
        play(tmp_path, 5.0, Recorder(), Interrupt())


def test_a_bundle_that_is_not_installed_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="the bundled scene is not here"):
        bundle.demo_config([tmp_path])


def test_the_bundle_is_found() -> None:
    assert (bundle.demo_config() / "tasks").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "4"], "4 is not from 5 s to a week"),
        (["--seconds", "nan"], "nan is not from 5 s to a week"),
        (["--seconds", "soon"], "invalid"),
    ],
)
def test_a_length_that_shows_nothing_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.gif", "must end in .png"), ("nowhere/a.png", "there is no folder"), ("folder.png", "cannot be written here")],
)
def test_a_picture_that_cannot_be_written_is_refused_at_once(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.png").mkdir()
    assert main(["demo", "--picture", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err


def test_the_command_line_loads_no_media_library() -> None:
    code = "import sys, edged.cli; edged.cli.parser(); print([n for n in ('cv2', 'av', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
