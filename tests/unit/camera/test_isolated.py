"""Sources in processes of their own: the same verbs, and what happens when one hangs, dies, talks or leaks."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from isolated_sources import IsolatedOdd
from parts import children_of, until

from edged.camera import isolated
from edged.camera.base import CameraStalled, Grab, Opening
from edged.camera.isolation import process as isolation_process
from edged.camera.isolation.process import Abandoned
from edged.errors import BackendUnavailable, CameraEnded, CameraError
from edged.frame import Capture, Color

SECRET = "user:hunter2@"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The child imports this folder's sources; hung ones are given up fast and counted from zero."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(isolated, "GRACE_S", 0.2)
    monkeypatch.setattr(isolated, "DECODE_S", 0.2)
    monkeypatch.setattr(isolation_process, "ABANDONED", Abandoned())


def opened(url="", camera="front", **more):
    opening = Opening(camera, "odd", url, lambda text: text.replace(SECRET, "***@"), rate_hz=25, **more)
    return IsolatedOdd(opening)


@pytest.fixture
def source():
    source = opened()
    yield source
    source.close()


def test_it_describes_what_its_child_opened(source):
    assert (source.description, source.raw) == ("odd 8x4 25 Hz", False)


def test_a_grab_comes_whole(source):
    grab = source.grab()
    expected = Grab(grab.data, 1, True, 0.5, Capture(1, 2, "driver", 3), disposable=True, size_bytes=77)
    assert grab == expected


def test_pictures_come_whole_and_lie_in_the_ring_until_they_are_released(source):
    kept = []
    for number in range(1, 30):
        (decoded,) = source.decode(source.grab())
        picture = decoded.picture
        assert (decoded.pts, picture.width, picture.height) == (number, 8, 8)
        assert (picture.color, picture.planes[1].shape) == (Color("bt2020", full=True), (4, 4))
        kept.append(decoded)
    assert [int(decoded.picture.planes[0][3, 3]) for decoded in kept] == list(range(1, 30))
    in_place = [decoded for decoded in kept if decoded.on_release is not None]
    assert len(in_place) == 5
    for decoded in in_place:
        decoded.on_release()
    assert source.decode(source.grab())[0].on_release is not None


def test_packets_may_be_held_and_decoded_later(source):
    grabs = [source.grab() for _ in range(5)]
    assert [source.decode(grab)[0].pts for grab in grabs] == [1, 2, 3, 4, 5]


def test_skip_and_rest_reach_the_child_in_order(source):
    source.skip(source.grab())
    assert source.grab().pts == 0
    source.rest()
    assert source.grab().pts == 1001


def test_a_drain_may_give_more_pictures_than_the_ring_has_places(source):
    assert [decoded.pts for decoded in source.drain()] == list(range(1, 24))
    source.rewind()
    assert source.grab().pts == 24  # each of the 23 was given back to the source in the child


def test_pictures_that_grow_move_to_a_larger_ring():
    source = opened("grow")
    kept = [source.decode(source.grab())[0] for _ in range(200)]
    source.close()
    assert [int(decoded.picture.planes[0][-1, -1]) for decoded in kept] == list(range(1, 201))
    assert kept[-1].picture.height == 1600


def test_a_picture_outlives_its_source_and_its_process(source):
    decoded = source.decode(source.grab())[0]
    source.close()
    assert int(decoded.picture.planes[0][0, 0]) == 1
    decoded.on_release()


def test_errors_keep_their_kind_and_lose_their_secrets():
    source = opened("grab=stall")
    with pytest.raises(CameraStalled, match=r"^nothing came for 3 s from rtsp://\*\*\*@host/$"):
        source.grab()
    source.close()
    source = opened("grab=end")
    for _ in range(2):
        with pytest.raises(CameraEnded, match="^end of it$"):
            source.grab()
    source.close()


def test_an_error_that_is_not_ours_is_a_camera_error_with_its_trace_in_the_log(caplog):
    source = opened("grab=bare")
    with pytest.raises(CameraError, match="^its process failed: Exception: jetson.utils -- videoSource failed"):
        source.grab()
    source.close()
    assert "camera front: Traceback" in caplog.text
    with pytest.raises(CameraError, match="its process failed: Exception: jetson"):
        opened("open=bare")


def test_what_is_missing_is_said_at_opening_and_is_a_camera_error_later():
    with pytest.raises(BackendUnavailable, match="^no decoder for video/x-h265 here$"):
        opened("open=lack")
    source = opened("decode=lack")
    with pytest.raises(CameraError, match="^no decoder for video/x-h265 here$"):
        source.decode(source.grab())
    source.close()


@pytest.mark.parametrize(
    ("how", "text"), [("crash", "was killed by signal 11"), ("exit", "ended with code 3")], ids=["crash", "exit"]
)
@pytest.mark.parametrize("verb", ["open", "grab", "decode"])
def test_a_child_that_dies_is_a_camera_error(verb, how, text):
    with pytest.raises(CameraError, match=f"^the process of its source {text}$"):
        source = opened(f"{verb}={how}")
        try:
            source.decode(source.grab())
        finally:
            source.close()


@pytest.mark.parametrize("verb", ["open", "grab", "decode"])
def test_a_source_that_hangs_is_abandoned_however_often(verb, monkeypatch):
    monkeypatch.setattr(isolated, "START_S", 1.0)
    texts = []
    for camera in ("front", "front", "rear", "front"):
        with pytest.raises(CameraStalled, match="its source did not return within .* s and was abandoned") as caught:
            source = opened(f"{verb}=hang", camera, open_timeout_s=0.1, read_timeout_s=0.1)
            try:
                source.decode(source.grab())
            finally:
                source.close()
        texts.append(str(caught.value).partition(" and was ")[2])
    assert texts == ["abandoned"] * 3 + ["abandoned, 3 times within 60 s"]


def test_a_camera_whose_process_hangs_in_the_kernel_is_opened_when_that_ends(monkeypatch):
    """A child in uninterruptible sleep survives SIGKILL; one that nobody has collected looks the same from here."""
    with subprocess.Popen(["sleep", "60"]) as undead:
        isolation_process.ABANDONED.keep("front", undead)
        with pytest.raises(CameraError, match=f"^the process of its last source, {undead.pid}, hangs in the kernel"):
            opened("", "front")
        opened("", "rear").close()
        undead.kill()
        undead.wait()
    opened("", "front").close()


def test_abandoned_sources_are_forgotten_after_a_minute():
    times_s = iter((0.0, 30.0, 59.0, 61.0, 130.0))
    abandoned = Abandoned(lambda: next(times_s))
    counts = [abandoned.note("front", 0.1) for _ in range(5)]
    assert counts == [1, 2, 3, 3, 1]


@pytest.mark.parametrize("limit_s", [0.1, 14.0, 19.0, 100.0, 310.0])
def test_three_hangs_of_one_camera_are_one_case_however_long_it_may_take(limit_s):
    now = [0.0]
    abandoned = Abandoned(lambda: now[0])
    for count in (1, 2, 3):
        now[0] += limit_s + 2.5
        assert abandoned.note("argus", limit_s) == count


def test_a_camera_with_a_short_limit_forgets_no_hang_of_one_with_a_long_limit():
    now = [0.0]
    abandoned = Abandoned(lambda: now[0])
    counts = []
    for at_s, limit_s in ((103, 100.0), (200, 5.0), (206, 100.0), (309, 100.0)):
        now[0] = at_s
        counts.append(abandoned.note("argus", limit_s))
    assert counts == [1, 2, 3, 3], "by the last one only the short one is forgotten"


def hang(camera, scheme="csi"):
    """Return what is said of an opening that hangs."""
    with pytest.raises(CameraError) as caught:
        isolation_process.SourceProcess(
            IsolatedOdd.target, Opening(camera, scheme, "open=hang", str, rate_hz=25), limit_s=0.3
        )
    return str(caught.value)


def test_cameras_that_hang_together_ask_for_one_restart_of_argus(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    asked = [hang(f"csi{number}").endswith("; a restart of Argus is asked for") for number in range(5)]
    assert asked == [False, False, True, False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["restart-argus"]


def test_a_process_that_does_not_end_counts_again_and_again_and_not_with_each_attempt(monkeypatch, tmp_path):
    now = [100.0]
    monkeypatch.setattr(isolation_process, "ABANDONED", Abandoned(lambda: now[0]))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    hang("front")
    with subprocess.Popen(["sleep", "60"]) as undead:
        isolation_process.ABANDONED.keep("front", undead)
        texts = []
        for _ in range(10):
            now[0] += 0.125
            texts.append(hang("front"))
        undead.kill()
    ends = "the process of its last source, {}, hangs in the kernel; it is opened when that ends"
    again = ", 3 times within 60 s; a restart of Argus is asked for"
    assert texts == [ends.format(undead.pid) + (again if number == 5 else "") for number in range(10)]


def test_a_source_that_hangs_in_close_is_ended():
    source = opened("close=hang")
    source.grab()
    pid = source.pid
    source.close()
    source.close()
    assert pid not in children_of(os.getpid())


def test_lines_of_the_child_reach_the_log_without_secrets(caplog):
    caplog.set_level(logging.INFO)
    source = opened("grab=print")
    source.grab()
    source.close()
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", "camera front: a library prints rtsp://***@host/") in lines
    assert ("WARNING", "camera front: a logger warns") in lines
    assert "too fine" not in caplog.text


def test_a_child_that_prints_without_end_neither_blocks_nor_floods(caplog):
    caplog.set_level(logging.INFO)
    source = opened("grab=chatter")
    for _ in range(3):
        source.grab()
    source.close()
    lines = [record for record in caplog.records if "camera front: line" in record.getMessage()]
    assert 20 <= len(lines) < 400
    assert all(len(record.getMessage()) < 600 for record in lines)


def test_no_secret_stands_on_the_command_line_or_in_the_environment():
    source = opened(f"rtsp://{SECRET}host/")
    for file in ("cmdline", "environ"):
        assert b"hunter2" not in Path(f"/proc/{source.pid}/{file}").read_bytes()
    source.close()


def test_when_memory_is_short_a_child_goes_before_the_daemon(source):
    assert Path(f"/proc/{source.pid}/oom_score_adj").read_text() == "500\n"


def test_signals_for_the_daemon_do_not_end_the_child(source):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(source.pid, number)
    assert source.grab().pts == 1


def test_a_child_dies_with_its_parent_even_when_it_hangs():
    code = (
        "import threading, time; from isolated_sources import IsolatedOdd; from edged.camera.base import Opening\n"
        "source = IsolatedOdd(Opening('c', 'odd', 'grab=hang', str, rate_hz=1))\n"
        "print(source.pid, flush=True); source.grab()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(0.2)
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not _lives(child), 5)


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_is_left_behind_after_restarts():
    def counts():
        mapped = Path("/proc/self/maps").read_text().count("/memfd:edged-camera")
        return len(list(Path("/proc/self/fd").iterdir())), mapped, threading.active_count()

    for _ in range(2):
        opened().close()
    before = counts()
    for _ in range(10):
        source = opened()
        for _ in range(3):
            for decoded in source.decode(source.grab()):
                decoded.on_release()
        assert counts()[1] > before[1]
        source.close()
        del source, decoded
    assert counts() == before


def test_a_machine_without_room_for_another_process_is_a_camera_error_that_leaves_nothing_open(monkeypatch):
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(sys, "executable", "/none/python")
    with pytest.raises(CameraError, match="^the process of its source cannot be started: No such file or directory$"):
        opened()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
