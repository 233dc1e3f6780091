"""Where every frame went: received + counted losses = read, with nothing unexplained."""

from __future__ import annotations

import time
from collections import defaultdict

from parts import number_in, until

from edged.scheduler.dispatch import LOSSLESS_PLACES

LOSSES = ("rate", "superseded", "late", "stopped", "failed", "unsynced")


def receive_until_quiet(running, subscriber, lanes, *, frames=None, seconds=None, task="t"):
    """Receive until there were enough, then switch the task off and take what is still on its way."""
    end_s = time.monotonic() + (seconds or 60)
    while time.monotonic() < end_s and (frames is None or sum(map(len, lanes.values())) < frames):
        result = subscriber.receive(1.0)
        if result is not None:
            lanes[result.camera].append(result)
    running.request("task.deactivate", tasks=[task])
    while (result := subscriber.receive(0.5)) is not None:
        lanes[result.camera].append(result)


def accounts(running, task="t"):
    """Return the task's and the cameras' counts once no frame is on its way."""

    def settled():
        frames = running.task(task)["frames"]
        on_the_way = [one["offered"] - one["served"] - sum(one[cause] for cause in LOSSES) for one in frames.values()]
        assert min(on_the_way) >= 0
        return not any(on_the_way) and frames

    frames = until(settled, 5, "every frame accounted for")
    return frames, {camera: running.camera(camera)["frames"] for camera in frames}


def test_ten_thousand_frames_as_fast_as_they_are_read(daemon, site, task, clip):
    """Four looped files, two of them with B-frames: nothing is lost, twisted or counted twice."""
    frames = 250
    cameras = {
        f"c{n}": {
            "source": f"file:{clip(frames=frames, bframes=2 * (n % 2), first=n * 300)}",
            "loop": True,
            "pace": "fast",
        }
        for n in range(4)
    }
    config = site(cameras, {"t": task(*cameras, rate_hz=1000, active=False)}, {"limits": {"send_queue": 100_000}})
    running, lanes = daemon(config), defaultdict(list)
    with running.subscriber("edged/1/") as subscriber:
        assert subscriber.receive_message(5) is not None
        running.request("task.activate", tasks=["t"])
        receive_until_quiet(running, subscriber, lanes, frames=10_000)
    counts, read = accounts(running)
    assert sum(map(len, lanes.values())) >= 10_000
    for n, camera in enumerate(cameras):
        results = lanes[camera]
        assert [result.seq for result in results] == list(range(len(results)))
        in_order = sorted(result.frame_id for result in results)
        lost = sum(counts[camera][cause] for cause in LOSSES)
        assert lost == counts[camera]["stopped"]
        assert lost <= LOSSLESS_PLACES + 1  # those that were on their way when the task was switched off
        assert len(set(in_order)) == len(results)
        assert read[camera]["damaged"] == 0
        assert counts[camera]["offered"] == len(results) + lost
        assert counts[camera]["offered"] <= read[camera]["decoded"]
        assert counts[camera]["published"] == len(results)
        assert counts[camera]["dropped"] == 0
        assert in_order == list(range(len(results)))
        for result in results:
            assert result.frame_id % frames + n * 300 == number_in(result.message["detections"])


def test_a_finite_file_is_read_to_its_last_frame_and_ends(daemon, site, task, clip):
    """Read, decoded, offered, served, published and received: one number, B-frames or not."""
    cameras = {
        f"c{bframes}": {"source": f"file:{clip(frames=333, bframes=bframes)}", "pace": "fast"} for bframes in (0, 3)
    }
    running = daemon(site(cameras, {"t": task(*cameras, rate_hz=1000, active=False)}))
    lanes = defaultdict(list)
    with running.subscriber("edged/1/") as subscriber:
        assert subscriber.receive_message(5) is not None
        running.request("task.activate", tasks=["t"])
        while (result := subscriber.receive(2)) is not None:
            lanes[result.camera].append(result.frame_id)
    counts = running.task("t")["frames"]
    for camera in cameras:
        state = running.camera(camera)
        assert sorted(lanes[camera]) == list(range(333))
        assert state["frames"] == {"read": 333, "decoded": 333, "undecoded": 0, "damaged": 0, "caught_up": 0, "lost": 0}
        assert [counts[camera][key] for key in ("offered", "served", "published")] == [333] * 3
        assert state["state"] == "ended"
        assert state["reason"].startswith("end of /")


def test_overload_loses_frames_by_cause_and_every_one_is_counted(daemon, site, task, clip, model):
    """Two live cameras ask for more than the network can: superseded, late, rate and stopped add up."""
    path = clip(frames=100, rate=50)
    cameras = {name: {"source": f"file:{path}", "loop": True} for name in ("left", "right")}
    heavy = model(work=120)
    config = site(
        cameras,
        {
            "t": task("left", "right", rate_hz=1000, onnx=heavy, active=False),
            "hurried": task("left", rate_hz=30, onnx=heavy, deadline_ms=12, active=False, net={"score_min": 0.5}),
        },
    )
    running, lanes, hurried = daemon(config), defaultdict(list), defaultdict(list)
    with running.subscriber("edged/1/det/t/") as subscriber, running.subscriber("edged/1/det/hurried/") as other:
        running.request("task.activate", tasks=["t", "hurried"])
        receive_until_quiet(running, subscriber, lanes, seconds=2.5)
        receive_until_quiet(running, other, hurried, seconds=0.1, task="hurried")
    losses = defaultdict(int)
    for name, received in (("t", lanes), ("hurried", hurried)):
        counts, read = accounts(running, name)
        for camera, count in counts.items():
            results = received[camera]
            seqs = [result.seq for result in results]
            lost = sum(count[cause] for cause in LOSSES)
            assert seqs == list(range(len(seqs)))
            assert count["offered"] == count["served"] + lost
            assert count["served"] == count["published"] + count["dropped"] == len(seqs)
            assert count["offered"] <= read[camera]["decoded"]
            became = sum(read[camera][how] for how in ("decoded", "undecoded", "damaged"))
            assert read[camera]["read"] - 1 <= became <= read[camera]["read"]  # one may be with the decoder
            for result in results:
                assert result.frame_id % 100 == number_in(result.message["detections"])
            for cause in LOSSES:
                losses[cause] += count[cause]
    assert losses["superseded"] > 0
    assert losses["rate"] > 10
    assert losses["failed"] == 0


def test_a_slow_task_on_a_quick_camera_gets_its_rate(daemon, site, task, clip):
    camera = {"source": f"file:{clip(frames=60, rate=30)}", "loop": True}
    config = site({"c": camera}, {"ten": task("c", rate_hz=10), "seven": task("c", rate_hz=7)})
    running = daemon(config)
    until(lambda: running.task("seven")["rate_hz"] > 0, what="results")
    before, begin_s = {name: running.task(name)["frames"]["c"] for name in ("ten", "seven")}, time.monotonic()
    time.sleep(2)
    after, seconds = {name: running.task(name)["frames"]["c"] for name in ("ten", "seven")}, time.monotonic() - begin_s
    for name, wanted_hz in (("ten", 10), ("seven", 7)):
        served = after[name]["served"] - before[name]["served"]
        assert abs(served / seconds - wanted_hz) < 0.8
        assert after[name]["rate"] - before[name]["rate"] > 25
