"""A camera's worker and pool: states, modes, pace, numbering, reconnecting. The sources are scripted, or real files."""

from __future__ import annotations

import re
import threading
import time
from itertools import pairwise

import pytest
from parts import number_of, until

from edged.camera import pool as pool_module
from edged.camera import worker as worker_module
from edged.camera.base import CameraStalled, Decoded, Grab, Opening, Undecodable
from edged.camera.opener import Opener
from edged.camera.pool import CameraPool
from edged.camera.pyav import PyAvSource
from edged.camera.worker import CameraWorker, Traits
from edged.errors import BackendUnavailable, CameraEnded, CameraError, WorkerFailed
from edged.frame import Color, Picture, PixelFormat
from edged.plan import CameraPlan, CameraState, Mode, Plan
from edged.supervisor import Supervisor

PICTURE = Picture(8, 6, PixelFormat.GRAY, Color(), ())


class Scripted:
    """A live source: gives a packet every 2 ms, a key frame every fifth; raises or blocks where its script says."""

    description = "scripted 8x6 500 Hz"
    raw = False

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

    def rest(self, warm=False):
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

    def start(opener, mode=Mode.HOT, rate_hz=0.0, **traits):
        opener = opener if isinstance(opener, Opener) else Opener("front", [("scripted", opener)])
        worker = CameraWorker(Traits("front", **traits), opener, sink)
        pool = CameraPool(supervisor, {"front": worker})
        pool.rest(plan(mode, rate_hz))
        pool.wake(plan(mode, rate_hz))
        return worker, frames

    yield start
    supervisor.close()


def plan(mode, rate_hz=0.0):
    return Plan(cameras={"front": CameraPlan(mode, rate_hz, (), "a test")})


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


def test_an_attempt_that_took_long_was_its_own_back_off(start):
    begun, ended = [], []

    def opener():
        begun.append(time.monotonic())
        time.sleep(0.1)
        ended.append(time.monotonic())
        raise CameraStalled("nothing")

    start(opener)
    until(lambda: len(begun) > 6)
    waits = [begin - end for begin, end in zip(begun[1:], ended, strict=False)]
    assert min(waits[3:]) < 0.03, "the longest back-off is 0.05 s"


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
    assert source.closed == 0
    worker.set_mode(Mode.COLD)
    until(lambda: source.closed == 1, what="closed, once nobody needs it")


def test_a_quiet_stream_is_stalled_and_runs_again(start):
    source = Scripted({5: "block"})
    worker, frames = start(lambda: source, stall_timeout_s=0.05)
    until(lambda: worker.report().state is CameraState.STALLED, 2)
    first = worker.report()
    assert first.reason == "nothing came for more than 0.05 s"
    assert 50e6 < time.monotonic_ns() - first.since_mono_ns < 5e9
    time.sleep(0.02)
    again = worker.report()
    assert (again.reason, again.since_unix_ns) == (first.reason, first.since_unix_ns), "a stall has one beginning"
    source.go.set()
    until(lambda: worker.report().state is CameraState.RUNNING and len(frames) > 6, 2)


def test_a_camera_is_lost_since_it_last_ran_and_says_why_while_it_is_tried_again(start):
    source, tries, seen = Scripted({7: CameraError("feeder gone")}), [], []

    def opener():
        tries.append(worker.report() if worker else None)
        if len(tries) == 1:
            return source
        if len(tries) < 5:
            raise CameraError("no feeder")
        return Scripted()

    worker = None
    worker, frames = start(opener, Mode.COLD)
    until(lambda: worker.report().reason == "not needed")
    closed = worker.report()
    worker.set_mode(Mode.HOT)
    until(lambda: seen.append(worker.report()) or len(tries) == 5)
    first, *again = tries
    assert (first.state, first.reason, first.tried) == (CameraState.CONNECTING, "opening", False)
    assert first.since_unix_ns > closed.since_unix_ns, "it was not wanted before"
    assert [one.reason for one in again] == ["opening again: feeder gone"] + 3 * ["opening again: no feeder"]
    lost = [*again, *(one for one in seen if re.search("feeder", one.reason))]
    assert {one.state for one in lost} == {CameraState.CONNECTING, CameraState.BACKOFF}
    assert all(one.tried for one in lost)
    assert len({(one.since_mono_ns, one.since_unix_ns) for one in lost}) == 1, "each attempt was told as a new loss"
    until(lambda: len(frames) > 10)
    assert worker.report().since_unix_ns > lost[0].since_unix_ns
    assert not worker.report().tried


def test_a_stall_that_becomes_a_back_off_began_when_the_stream_went_quiet(start):
    class Silent(Scripted):
        def grab(self):
            if self.number < 5:
                return super().grab()
            self.go.wait(10)
            raise CameraStalled("nothing came for 3 s")

    source = Silent()
    worker, _ = start(lambda: source, stall_timeout_s=0.05)
    until(lambda: worker.report().state is CameraState.STALLED, 2)
    stalled = worker.report()
    source.go.set()
    until(lambda: worker.report().state is CameraState.BACKOFF, 2)
    assert worker.report().since_unix_ns == stalled.since_unix_ns


def test_a_picture_without_a_packet_goes_back_to_its_source(start):
    source = Scripted()
    source.decode = lambda grab: [Decoded(PICTURE, grab.pts), Decoded(PICTURE, 999, source.release)]
    _, frames = start(lambda: source)
    until(lambda: source.released > 3)
    assert [frame.id for frame, _ in frames] == list(range(len(frames)))


def test_a_source_that_fails_unexpectedly_is_opened_again_however_often(start, caplog):
    """More often than a worker is started anew: a bug of one library must not cost the camera."""
    sources = [Scripted({3: RuntimeError("driver:s3cret")}) for _ in range(8)] + [Scripted()]
    tries = iter([*sources[:4], RuntimeError("no decoder"), *sources[4:]])
    reasons = set()

    def opener():
        reasons.add(worker.report().reason if len(opened) else "")
        opened.append(next(tries))
        if isinstance(opened[-1], Exception):
            raise opened[-1]
        return opened[-1]

    opened, worker = [], None
    worker, frames = start(opener, Mode.COLD, redact=lambda text: text.replace("s3cret", "***"))
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) > 8 * 3 + 5, 5)
    assert [source.closed for source in sources] == [1] * 8 + [0]
    assert [frame.id for frame, _ in frames] == list(range(len(frames)))
    assert (worker.report().state, worker.report().opens) == (CameraState.RUNNING, 9)
    backoffs = [one.getMessage() for one in caplog.records if one.getMessage().startswith("camera front: backoff")]
    assert backoffs == ["camera front: backoff: it failed unexpectedly: RuntimeError"] * 9
    assert "RuntimeError: no decoder" in caplog.text, "a bug is shown with its traceback"
    assert "RuntimeError: driver:***" in caplog.text
    assert "s3cret" not in caplog.text
    shown = [one for one in caplog.records if "Traceback" in one.getMessage()]
    assert {one.edged_camera for one in shown} == {"front"}, "their number is limited for each camera"


def test_a_worker_that_cannot_go_on_does_not_say_that_it_runs(start):
    def opener():
        raise WorkerFailed("CUDA is broken")

    worker, _ = start(opener)
    until(lambda: worker.report().reason == "failed")
    assert worker.report().state is CameraState.CLOSED


def test_a_decoder_that_died_without_a_word_is_found_out(start, caplog):
    dead, alive = Scripted(), Scripted()
    dead.decode = lambda grab: [] if grab.pts > 3 else [Decoded(PICTURE, grab.pts)]
    opened = iter((dead, alive))
    worker, frames = start(lambda: next(opened), blind_max_s=0.05)
    until(lambda: len(frames) > 8, 5)
    assert (dead.closed, worker.report().opens) == (1, 2)
    assert re.search(r"front: backoff: cannot decode: no picture came of \d+ packets in \d+\.\d s", caplog.text)
    assert worker.report().counts.damaged > 30


# ---- real files ----------------------------------------------------------------------------------------------


@pytest.fixture
def play(start, clip):
    def play(mode=Mode.HOT, rate_hz=0.0, *, loop=False, fast=False, suffix=".mp4", traits=None, **how):
        path = clip(suffix, **how)

        def opener():
            return PyAvSource(Opening("front", "file", str(path), str))

        return start(opener, mode, rate_hz, loop=loop, fast=fast, **(traits or {}))

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


def numbers(frames):
    return [number_of(frame.picture.planes[0]) for frame, _ in frames]


def check_ids(frames, bframes):
    """A picture's id is its place in the stream; where B-frames meet kept packets, up to `bframes` more."""
    ids = [frame.id for frame, _ in frames]
    assert ids == sorted(set(ids))
    assert all(0 <= number - place <= bframes for number, place in zip(ids, numbers(frames), strict=True))


@pytest.mark.parametrize("bframes", [0, 2])
def test_warm_comes_back_at_once_with_what_was_kept(play, bframes):
    """One long group: parked would have to wait for ever; every picture handed over is right, and is a live one."""
    worker, frames = play(Mode.WARM, frames=250, rate=50, gop=250, bframes=bframes)
    until(lambda: worker.report().kept_packets > 20)
    assert frames == []
    assert worker.report().kept_s == pytest.approx(worker.report().kept_packets / 50, abs=1.0)
    read = worker.report().counts.read
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) > 20)
    report = worker.report()
    assert report.counts.caught_up >= (read if bframes == 0 else 1)
    assert report.kept_packets == 0
    assert numbers(frames)[0] >= read - 3
    check_ids(frames, bframes)
    stamps = [frame.capture.mono_ns for frame, _ in frames]
    assert stamps == sorted(set(stamps))
    counts = report.counts
    assert 0 <= counts.read - counts.decoded - counts.undecoded <= bframes + 1
    assert counts.damaged == 0


def test_a_hot_camera_that_turns_warm_is_ready_from_then_on(play):
    """What comes after the decoder's last packet is kept: the key frame long ago is not needed."""
    worker, frames = play(frames=400, rate=50, gop=400)
    until(lambda: len(frames) > 10)
    worker.set_mode(Mode.WARM)
    count = until(lambda: worker.report().kept_packets > 5 and len(frames))
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) > count + 10)
    assert [frame.id for frame, _ in frames] == numbers(frames)
    counts = worker.report().counts
    assert counts.damaged == 0
    assert 5 < counts.caught_up <= counts.undecoded


def test_one_that_turns_warm_and_hot_again_and_again_shows_only_right_pictures(play):
    worker, frames = play(frames=3000, rate=100, gop=30, bframes=2)
    for turn in range(20):
        worker.set_mode((Mode.WARM, Mode.PARKED)[turn % 3 == 2])
        time.sleep(0.013 * (turn % 5))
        worker.set_mode(Mode.HOT)
        wanted = len(frames) + turn % 4
        until(lambda: len(frames) > wanted)  # noqa: B023 - it is called at once
    check_ids(frames, 2)
    assert worker.report().counts.damaged == 0


@pytest.mark.parametrize("cap", [{"warm_max_s": 0.3}, {"warm_max_bytes": 700}])
def test_warm_beyond_its_cap_is_parked_and_says_so(play, cap):
    worker, frames = play(Mode.WARM, frames=300, rate=50, gop=100, traits=cap)
    full = until(lambda: worker.report() if worker.report().reason.startswith("parked") else None)
    seconds, megabytes = cap.get("warm_max_s", 4), cap.get("warm_max_bytes", 16_000_000) / 1e6
    assert full.reason == f"parked: warm keeps at most {seconds:g} s (or {megabytes:g} MB)"
    assert (full.state, full.kept_packets) == (CameraState.RUNNING, 0)
    worker.set_mode(Mode.HOT)
    until(lambda: frames)
    assert numbers(frames)[0] == 100, "back at the next key frame"
    assert worker.report().counts.caught_up == 0
    assert worker.report().reason == ""


def test_parked_comes_back_at_the_next_key_frame(play):
    worker, frames = play(Mode.PARKED, frames=200, rate=50, gop=25)
    until(lambda: worker.report().counts.read > 30)
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) > 5)
    assert numbers(frames)[0] % 25 == 0
    assert [frame.id for frame, _ in frames] == numbers(frames)
    assert worker.report().counts.caught_up <= 25


def test_raw_pictures_are_never_kept(play):
    worker, frames = play(Mode.WARM, suffix=".nut", frames=100, rate=50, codec="rawvideo", pix_fmt="gray")
    until(lambda: worker.report().counts.read > 5)
    assert (worker.report().kept_packets, frames) == (0, [])
    worker.set_mode(Mode.HOT)
    until(lambda: len(frames) > 5)
    assert worker.report().counts.caught_up == 0
    assert [frame.id for frame, _ in frames] == numbers(frames)


@pytest.mark.parametrize("fast", [False, True])
def test_frames_that_no_rate_wants_are_not_decoded_where_nothing_refers_to_them(play, fast):
    worker, frames = play(
        Mode.HOT, 12.5, suffix=".avi", frames=100, rate=100, codec="mjpeg", pix_fmt="yuvj420p", fast=fast
    )
    until(lambda: worker.report().state is CameraState.ENDED)
    counts = worker.report().counts
    assert counts.read == counts.decoded + counts.undecoded == 100
    assert [frame.id for frame, _ in frames] == numbers(frames)
    if fast:
        assert counts.undecoded == 0, "a lossless camera decodes everything"
        return
    assert {later - sooner for sooner, later in pairwise(numbers(frames)[12:])} == {8}


def test_of_a_stream_with_b_frames_only_these_are_left_out(play):
    worker, frames = play(Mode.HOT, 5, frames=100, rate=100, gop=50, bframes=2)
    until(lambda: worker.report().state is CameraState.ENDED)
    counts = worker.report().counts
    assert counts.read == counts.decoded + counts.undecoded == 100
    assert 15 < counts.undecoded < 70
    assert [frame.id for frame, _ in frames] == numbers(frames)


def test_a_step_of_the_wall_clock_changes_only_the_wall_clock(play, monkeypatch):
    step_ns, real = [0], time.time_ns
    monkeypatch.setattr(worker_module.time, "time_ns", lambda: real() + step_ns[0])
    worker, frames = play(frames=120, rate=100)
    until(lambda: len(frames) > 30)
    step_ns[0] = 3_600_000_000_000
    until(lambda: len(frames) > 60)
    step_ns[0] = -3_600_000_000_000
    until(lambda: worker.report().state is CameraState.ENDED)
    stamps = [frame.capture.mono_ns / 1e9 for frame, _ in frames]
    assert stamps == pytest.approx([stamps[0] + number / 100 for number in range(120)], abs=1e-6), "its due times"
    assert max(frame.capture.unix_ns for frame, _ in frames) > real() + 3e12
    assert min(frame.capture.unix_ns for frame, _ in frames) < real() - 3e12


# ---- the pool ------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(clip):
    """Return a pool of two cameras on looped files, how to make more, and the frames by camera."""
    supervisor, frames = Supervisor(), {"front": [], "rear": []}
    path = clip(frames=100, rate=50)

    def sink(frame, wait):
        frames[frame.camera].append(frame)

    def make(camera, counter=None, opener=lambda: PyAvSource(Opening("c", "file", str(path), str))):
        return CameraWorker(Traits(camera, loop=True), Opener(camera, [("pyav", opener)]), sink, counter)

    pool = CameraPool(supervisor, {camera: make(camera) for camera in frames})
    pool.wake(both_hot())
    yield pool, make, frames
    supervisor.close()


def both_hot():
    return Plan(cameras={camera: CameraPlan(Mode.HOT, 0, (), "a test") for camera in ("front", "rear")})


def test_a_replaced_camera_goes_on_with_its_numbers_and_the_others_are_untouched(pool):
    pool, make, frames = pool
    until(lambda: all(len(one) > 3 for one in frames.values()))
    pool.replace({"front": make("front", pool.counter("front"))})
    count = len(frames["front"])
    pool.wake(both_hot())
    until(lambda: len(frames["front"]) > count + 3)
    ids = [frame.id for frame in frames["front"]]
    assert ids == sorted(set(ids))
    assert ids[count] >= count
    assert [frame.id for frame in frames["rear"]] == list(range(len(frames["rear"])))
    assert (pool.reports()["front"].opens, pool.reports()["rear"].opens) == (1, 1)


def test_a_camera_that_was_removed_and_comes_again_goes_on_with_its_numbers(pool):
    pool, make, frames = pool
    until(lambda: len(frames["front"]) > 3)
    pool.stop(["front"])
    count = len(frames["front"])
    assert set(pool.reports()) == {"rear"}
    assert "camera:front" not in [thread.name for thread in threading.enumerate()]
    pool.replace({"front": make("front", pool.counter("front"))})
    pool.wake(both_hot())
    until(lambda: len(frames["front"]) > count)
    assert frames["front"][count].id > frames["front"][count - 1].id


def test_a_replacement_waits_for_one_that_hangs_in_its_source(pool, monkeypatch, caplog):
    monkeypatch.setattr(pool_module, "STOP_S", 0.05)
    pool, make, frames = pool
    hung = Scripted({3: "block"})
    pool.replace({"front": make("front", pool.counter("front"), lambda: hung)})
    pool.wake(both_hot())
    until(lambda: hung.number == 3)
    pool.replace({"front": make("front", pool.counter("front"))})
    assert "camera:front; each ends when its source lets it" in caplog.text
    pool.wake(both_hot())
    assert pool.reports()["front"].reason == "not started"
    hung.go.set()
    until(lambda: pool.reports()["front"].state is CameraState.RUNNING)
    assert hung.closed == 1
    ids = [frame.id for frame in frames["front"]]
    assert ids == sorted(set(ids))


class Bunch(Scripted):
    """Every third packet gives three pictures, the second of them as wide as it is told."""

    width, given = 8, 0

    def decode(self, grab):
        if grab.pts % 3 != 2:
            return []
        self.given += 3
        second = Picture(self.width, 6, PixelFormat.GRAY, Color(), ())
        pictures = (PICTURE, second, PICTURE)
        return [Decoded(one, grab.pts - 2 + place, self.release) for place, one in enumerate(pictures)]


def test_a_picture_that_is_too_large_is_given_back_with_those_behind_it(start):
    source = Bunch()
    source.width = 9
    worker, frames = start(lambda: source, picture_max_px=48)
    until(lambda: "9x6 is more than limits.picture_mpx" in worker.report().reason)
    worker.set_mode(Mode.COLD)
    until(lambda: worker.report().state is CameraState.CLOSED)
    for frame, _ in frames:
        frame.release()
    assert source.released == source.given > 0


@pytest.mark.parametrize("when", ["it fails", "it is told to stop"])
def test_pictures_that_nobody_took_are_given_back(when):
    source, stop = Bunch(), threading.Event()

    def sink(frame, wait):
        frame.release()
        stop.set()
        if when == "it fails":
            raise CameraError("the sink fails")

    worker = CameraWorker(Traits("front"), Opener("front", [("scripted", lambda: source)]), sink)
    worker.set_mode(Mode.HOT)
    worker.run(stop, lambda: None)
    assert source.released == source.given > 0


def test_a_back_end_that_cannot_decode_the_stream_gives_way_for_good(start, caplog):
    asked = []

    def refuse():
        asked.append(time.monotonic())
        raise Undecodable("x is mpeg4")

    source = Scripted({20: CameraError("gone")})
    opener = Opener("front", [("first", refuse), ("second", lambda: source)])
    worker, frames = start(opener)
    until(lambda: worker.report().opens >= 2)
    assert (worker.report().backend, len(asked)) == ("second", 1)
    assert "camera front: second in place of first: x is mpeg4" in caplog.text
    with pytest.raises(Undecodable):
        Opener("front", [("first", refuse)])()
