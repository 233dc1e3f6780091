"""A camera's worker and pool: states, modes, pace, numbering, reconnecting. The sources are scripted, or real files."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest
from parts import number_of, until

from edged.camera import worker as worker_module
from edged.camera.base import CameraStalled, Decoded, Grab, Opening
from edged.camera.pool import CameraPool
from edged.camera.pyav import PyAvSource
from edged.camera.worker import CameraWorker, Traits
from edged.errors import BackendUnavailable, CameraEnded, CameraError
from edged.frame import Color, Picture, PixelFormat
from edged.plan import CameraPlan, CameraState, Mode, Plan
from edged.supervisor import Supervisor

PICTURE = Picture(8, 6, PixelFormat.GRAY, Color(), ())


class Scripted:
    """A live source: gives a packet every 2 ms, a key frame every fifth; raises or blocks where its script says."""

    description = "scripted 8x6 500 Hz"

    def __init__(self, script=None):
        self.script = script or {}
        self.number, self.calls, self.closed, self.released = 0, [], 0, 0
        self.go = threading.Event()

    def grab(self):
        what = self.script.get(self.number)
        if isinstance(what, Exception):
            raise what
        if what == "block":
            self.go.wait(10)
        time.sleep(0.002)
        self.number += 1
        return Grab(self.number - 1, self.number - 1, key=(self.number - 1) % 5 == 0)

    def decode(self, grab):
        self.calls.append(("decode", grab.data))
        return [Decoded(PICTURE, grab.pts, self.release)]

    def release(self):
        self.released += 1

    def skip(self, grab):
        self.calls.append(("skip", grab.data))

    def rest(self):
        self.calls.append(("rest", None))

    def drain(self):
        return ()

    def rewind(self):
        raise CameraError("a scripted source does not rewind")

    def close(self):
        self.closed += 1


@pytest.fixture
def start(monkeypatch):
    """Start a worker on a source opener; return it with the frames it hands over."""
    monkeypatch.setattr(worker_module, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(worker_module, "BACKOFF_MAX_S", 0.05)
    supervisor, frames = Supervisor(), []

    def sink(frame, wait):
        frames.append((frame, wait))

    def start(opener, mode=Mode.HOT, **traits):
        worker = CameraWorker(Traits("front", **traits), "scripted", opener, sink)
        pool = CameraPool(supervisor, {"front": worker})
        pool.rest(plan(mode))
        pool.wake(plan(mode))
        return worker, frames

    yield start
    supervisor.close()


def plan(mode):
    return Plan(cameras={"front": CameraPlan(mode, 10, (), "a test")})


def test_it_opens_runs_and_numbers_frames_from_0(start):
    source = Scripted()
    worker, frames = start(lambda: source)
    until(lambda: len(frames) > 10)
    report = worker.report()
    assert [frame.id for frame, _ in frames] == list(range(len(frames)))
    assert (report.state, report.reason, report.backend) == (CameraState.RUNNING, "", "scripted")
    assert (report.stream, report.size, report.opens) == ("scripted 8x6 500 Hz", (8, 6), 1)
    assert report.age_ms < 1000
    assert 100 < report.rate_hz < 500
    frame, wait = frames[0]
    assert (frame.camera, wait, frame.capture.clock) == ("front", False, "arrival")
    frame.release()
    assert source.released == 1


def test_a_camera_that_is_not_needed_is_not_opened(start):
    opened = []
    worker, _ = start(lambda: opened.append(1), Mode.COLD)
    until(lambda: worker.report().reason == "not needed")
    assert (worker.report().state, opened) == (CameraState.CLOSED, [])


def test_parked_reads_and_discards_and_hot_begins_at_a_key_frame(start):
    source = Scripted()
    worker, frames = start(lambda: source, Mode.PARKED)
    until(lambda: source.number > 7)
    assert frames == []
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) > 8)
    worker.set_mode(Mode.PARKED)
    until(lambda: ("rest", None) in source.calls)
    calls = list(source.calls)
    first = next(index for index, (what, _) in enumerate(calls) if what == "decode")
    assert calls[first][1] % 5 == 0
    assert {what for what, _ in calls[:first]} == {"skip"}
    assert {what for what, _ in calls[calls.index(("rest", None)) + 1 :]} <= {"skip"}
    assert frames[0][0].id == calls[first][1], "a frame that is not decoded uses its number up"
    counts = worker.report().counts
    assert counts.undecoded >= 8
    assert counts.read == counts.decoded + counts.undecoded


def test_cold_closes_and_hot_opens_anew_and_ids_go_on(start):
    sources = [Scripted(), Scripted()]
    opened = iter(sources)
    worker, frames = start(lambda: next(opened))
    until(lambda: len(frames) > 3)
    worker.set_mode(Mode.COLD)
    until(lambda: worker.report().state is CameraState.CLOSED)
    assert sources[0].closed == 1
    count = len(frames)
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) > count + 3)
    ids = [frame.id for frame, _ in frames]
    assert ids == sorted(set(ids))
    assert ids[-1] + 1 - len(ids) <= worker.report().counts.undecoded <= 1  # the packet that came with the order
    assert worker.report().opens == 2


@pytest.mark.parametrize("error", [CameraError("no route"), CameraStalled("nothing"), BackendUnavailable("no av")])
def test_a_camera_that_cannot_be_opened_is_tried_again(start, error):
    source, tries = Scripted(), []

    def opener():
        tries.append(time.monotonic())
        if len(tries) < 5:
            raise error
        return source

    worker, frames = start(opener)
    until(lambda: worker.report().state is CameraState.BACKOFF)
    assert worker.report().reason == str(error)
    until(lambda: frames)
    assert len(tries) == 5
    waits = [later - sooner for sooner, later in pairwise(tries)]
    assert waits[0] < 0.03
    assert waits[3] > 0.03, "the back-off does not grow"


def test_a_stream_that_breaks_is_closed_and_opened_again(start):
    sources = [Scripted({7: CameraError("cable cut")}), Scripted()]
    opened = iter(list(sources))
    worker, frames = start(lambda: next(opened))
    until(lambda: len(frames) > 12)
    assert [frame.id for frame, _ in frames] == list(range(len(frames)))
    assert sources[0].closed == 1
    assert worker.report().opens == 2


def test_a_finite_stream_ends_and_stays_ended(start):
    source = Scripted({5: CameraEnded("end of the tape")})
    worker, frames = start(lambda: source)
    until(lambda: worker.report().state is CameraState.ENDED)
    assert worker.report().reason == "end of the tape"
    assert len(frames) == 5
    assert source.closed == 0 or source.closed == 1


def test_a_quiet_stream_is_stalled_and_runs_again(start):
    source = Scripted({5: "block"})
    worker, frames = start(lambda: source, stall_timeout_s=0.05)
    until(lambda: worker.report().state is CameraState.STALLED, 2)
    assert worker.report().reason.startswith("nothing came for 0.")
    source.go.set()
    until(lambda: worker.report().state is CameraState.RUNNING and len(frames) > 6, 2)


def test_a_picture_without_a_packet_goes_back_to_its_source(start):
    source = Scripted()
    source.decode = lambda grab: [Decoded(PICTURE, grab.pts), Decoded(PICTURE, 999, source.release)]
    _, frames = start(lambda: source)
    until(lambda: source.released > 3)
    assert [frame.id for frame, _ in frames] == list(range(len(frames)))


def test_a_worker_whose_source_fails_unexpectedly_is_restarted(start, caplog):
    sources = [Scripted({3: RuntimeError("a bug")}), Scripted()]
    opened = iter(sources)
    _, frames = start(lambda: next(opened))
    until(lambda: len(frames) > 8, 5)
    assert "camera:front: failed, restart 1 of 5" in caplog.text
    assert sources[0].closed == 1
    assert [frame.id for frame, _ in frames] == list(range(len(frames)))


# ---- real files ----------------------------------------------------------------------------------------------


@pytest.fixture
def play(start, clip):
    def play(mode=Mode.HOT, *, loop=False, fast=False, **how):
        path = clip(**how)
        return start(lambda: PyAvSource(Opening("front", "file", str(path), str)), mode, loop=loop, fast=fast)

    return play


@pytest.mark.parametrize("bframes", [0, 2])
def test_a_file_is_paced_by_its_own_clock(play, bframes):
    """50 frames at 50 Hz take 0.98 s within 5 %, every frame at its time."""
    worker, frames = play(frames=50, rate=50, bframes=bframes)
    until(lambda: worker.report().state is CameraState.ENDED, 5)
    stamps = [frame.capture.mono_ns / 1e9 for frame, _ in frames]
    assert stamps[-1] - stamps[0] == pytest.approx(49 / 50, rel=0.05)
    assert stamps == sorted(stamps)
    assert {frame.capture.clock for frame, _ in frames} == {"media"}
    late = [abs(stamp - stamps[0] - n / 50) for n, stamp in enumerate(stamps)]
    assert sorted(late)[45] < 0.02


@pytest.mark.parametrize("bframes", [0, 2])
def test_a_looped_file_keeps_its_pace_over_the_seam(play, bframes):
    _, frames = play(frames=10, rate=50, gop=5, bframes=bframes, loop=True)
    until(lambda: len(frames) >= 61, 5)
    stamps = [frame.capture.mono_ns / 1e9 for frame, _ in frames[:61]]
    assert stamps[60] - stamps[0] == pytest.approx(60 / 50, rel=0.05)
    assert [frame.id for frame, _ in frames[:61]] == list(range(61))
    assert [number_of(frame.picture.planes[0]) for frame, _ in frames[:61]] == [n % 10 for n in range(61)]


def test_a_fast_file_waits_for_its_taker_and_stands_still_when_not_needed(play):
    worker, frames = play(frames=200, fast=True, bframes=2)
    until(lambda: worker.report().state is CameraState.ENDED, 10)
    assert [number_of(frame.picture.planes[0]) for frame, _ in frames] == list(range(200))
    assert {wait for _, wait in frames} == {True}
    media_s = [frame.capture.media_ns / 1e9 for frame, _ in frames]
    assert media_s[199] - media_s[0] == pytest.approx(199 / 25, rel=0.01)


def test_a_fast_file_that_nobody_needs_is_not_read(play):
    worker, frames = play(Mode.PARKED, frames=50, fast=True)
    until(lambda: worker.report().reason == "the reader waits: no task needs it")
    assert worker.report().counts.read == 0
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) == 50)
    assert frames[0][0].id == 0
