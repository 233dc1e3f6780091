"""Camera modes in the real daemon: what an unneeded camera falls to, how it comes back, and where its frames went."""

from __future__ import annotations

import time

import pytest
from parts import number_in, until

FRAMES, RATE = 50, 25
INSIDE_MAX = 64  # frames that a decoder holds back at most: read, and neither decoded nor given up yet


@pytest.fixture(scope="module")
def running(shared_daemon, site, task, clip):
    """Every task is off at first; `a` and `b` share `shared`, and ask for different modes."""
    looped = {"source": f"file:{clip(frames=FRAMES, rate=RATE)}", "loop": True}
    long_group = {"source": f"file:{clip(frames=FRAMES, rate=RATE, gop=FRAMES)}", "loop": True}
    names = ("keeps", "discards", "closes", "lingers", "shared", "needed", "nobodys")
    off = {"active": False}
    tasks = {
        "warm": task("keeps", unneeded="warm", **off),
        "parked": task("discards", unneeded="parked", **off),
        "cold": task("closes", unneeded="cold", **off),
        "linger": task("lingers", unneeded="parked", linger_s=0.6, **off),
        "a": task("shared", unneeded="parked", **off),
        "b": task("shared", unneeded="warm", **off),
        "long": task("long_group", unneeded="warm", **off),
        "always": task("needed"),
    }
    scheduler = {"scheduler": {"warm_max_s": 1.0, "unneeded": "parked"}}
    running = shared_daemon(site({**dict.fromkeys(names, looped), "long_group": long_group}, tasks, scheduler))
    until(lambda: running.task("always")["rate_hz"] > 15, what="results of always")
    return running


@pytest.fixture
def switch(running):
    """Switch tasks on and off; at the end those that are on are switched off."""
    on = set()

    def switch(*tasks, active):
        running.request("task.activate" if active else "task.deactivate", tasks=list(tasks))
        on.update(tasks) if active else on.difference_update(tasks)

    yield switch
    if on:
        running.request("task.deactivate", tasks=sorted(on))


def accounted(camera):
    """Check that every frame that was read went somewhere; return how many are still in the decoder."""
    frames = camera["frames"]
    inside = frames["read"] - frames["decoded"] - frames["undecoded"] - frames["damaged"]
    assert 0 <= inside <= INSIDE_MAX, frames
    assert frames["damaged"] == 0, frames
    assert frames["caught_up"] <= frames["undecoded"], frames
    return inside


def on_their_way(counts):
    """Return how many frames of a task and camera have neither been served nor lost."""
    return counts["offered"] - sum(counts[one] for one in ("served", "rate", "superseded", "late", "stopped", "failed"))


def settle(running, camera, mode, state):
    """Wait until a camera is in a mode and its stream in a state; return it."""
    last = {}

    def there():
        last.update(running.camera(camera))
        return (last["mode"], last["state"]) == (mode, state)

    until(there, 5, lambda: f"{camera} {mode} and {state}, but {last}")
    return last


RESTING = [
    ("warm", "keeps", "warm", "running"),
    ("parked", "discards", "parked", "running"),
    ("cold", "closes", "cold", "closed"),
]


@pytest.mark.parametrize(("name", "camera", "mode", "state"), RESTING)
def test_an_unneeded_camera_falls_to_the_mode_of_its_task_and_comes_back(running, switch, name, camera, mode, state):
    for _ in range(3):
        resting = settle(running, camera, mode, state)
        assert accounted(resting) == 0
        assert resting["tasks"] == []
        words = "not needed" if state == "closed" else f"only {name} needs it and {name} is inactive"
        assert resting["reason"] == words
        before = resting["frames"]["read"]
        with running.subscriber(f"edged/1/det/{name}/") as subscriber:
            switch(name, active=True)
            results = [subscriber.receive(5) for _ in range(5)]
        hot = running.camera(camera)
        accounted(hot)
        assert (hot["mode"], hot["state"], hot["tasks"]) == ("hot", "running", [name])
        assert hot["reason"] == f"needed by {name} 100 Hz"
        ids = [result.frame_id for result in results]
        assert len(set(ids)) == len(ids)
        assert min(ids) >= before, "a frame from before it was wanted was inferred"
        if state == "running":  # a file that was closed begins anew, and its numbers go on
            assert [one % FRAMES for one in ids] == [number_in(result.message["detections"]) for result in results]
        switch(name, active=False)


def test_a_resting_camera_decodes_nothing(running, switch):
    for camera, mode in (("keeps", "warm"), ("discards", "parked")):
        before = settle(running, camera, mode, "running")["frames"]
        until(lambda camera=camera, before=before: running.camera(camera)["frames"]["read"] > before["read"] + 10)
        after = running.camera(camera)
        assert after["frames"]["decoded"] == before["decoded"]
        assert after["frames"]["caught_up"] == before["caught_up"]
        assert after["frames"]["undecoded"] == after["frames"]["read"] - after["frames"]["decoded"]
    assert until(lambda: running.camera("keeps")["kept"]["packets"] > 0)
    assert running.camera("discards")["kept"] == {"packets": 0, "seconds": 0.0}


def test_a_camera_of_two_tasks_falls_to_the_readiest_mode_that_they_ask_for(running, switch):
    resting = settle(running, "shared", "warm", "running")
    assert resting["reason"] == "needed by a, b, all inactive"
    switch("a", "b", active=True)
    hot = settle(running, "shared", "hot", "running")
    assert (hot["tasks"], hot["reason"]) == (["a", "b"], "needed by a 100 Hz, b 100 Hz")
    switch("b", active=False)
    assert settle(running, "shared", "hot", "running")["reason"] == "needed by a 100 Hz"
    switch("a", active=False)
    assert settle(running, "shared", "warm", "running")["reason"] == "needed by a, b, all inactive"


def test_a_camera_is_closed_after_its_linger_and_comes_back_from_there(running, switch):
    with running.subscriber("edged/1/det/linger/") as subscriber:
        switch("linger", active=True)
        first = subscriber.receive(5)
        switch("linger", active=False)
        begin_s = time.monotonic()
        resting = running.camera("lingers")
        assert (resting["mode"], resting["state"]) == ("parked", "running")
        closed = settle(running, "lingers", "cold", "closed")
        assert time.monotonic() - begin_s > 0.55
        assert accounted(closed) == 0
        last = first.frame_id
        while (late := subscriber.receive(0.1)) is not None:
            last = late.frame_id
        switch("linger", active=True)
        again = subscriber.receive(5)
    assert again.frame_id > last
    assert again.frame_id >= closed["frames"]["read"]
    assert running.camera("lingers")["opens"] >= closed["opens"] + 1


def test_a_camera_that_no_task_names_is_closed_and_never_opened(running):
    camera = running.camera("nobodys")
    assert (camera["mode"], camera["state"], camera["opens"]) == ("cold", "closed", 0)
    assert camera["frames"]["read"] == 0


def test_a_group_that_is_too_long_to_keep_is_parked_and_says_so(running, switch):
    """Two seconds between key frames, and at most one is kept."""
    until(
        lambda: running.camera("long_group")["reason"].startswith("parked: warm keeps at most 1 s"),
        5,
        lambda: f"warm is full, but {running.camera('long_group')}",
    )
    camera = running.camera("long_group")
    assert (camera["mode"], camera["state"]) == ("warm", "running")
    with running.subscriber("edged/1/det/long/") as subscriber:
        switch("long", active=True)
        result = subscriber.receive(5)
    assert result.frame_id % FRAMES == number_in(result.message["detections"])
    accounted(running.camera("long_group"))


def test_a_task_that_flips_repeats_no_frame_and_publishes_none_that_was_caught_up_with(running, switch):
    """Frames that are decoded only for those after them are counted beside the sum, and handed to nobody."""
    start = settle(running, "keeps", "warm", "running")
    begin = running.task("warm")["frames"]["keeps"]
    opens, ids = start["opens"], []
    with running.subscriber("edged/1/det/warm/") as subscriber:
        for number in range(12):
            read = running.camera("keeps")["frames"]["read"]
            switch("warm", active=True)
            accounted(running.camera("keeps"))
            result = subscriber.receive(5)
            assert result.frame_id >= read, "a frame from before it was wanted was inferred"
            ids.append(result.frame_id)
            time.sleep(0.03 * (number % 4))
            switch("warm", active=False)
            accounted(running.camera("keeps"))
            time.sleep(0.03 * (number % 5))
            until(lambda: on_their_way(running.task("warm")["frames"]["keeps"]) == 0, 5, "no frame on its way")
            while len(ids) < running.task("warm")["frames"]["keeps"]["published"] - begin["published"]:
                result = subscriber.receive(5)
                ids.append(result.frame_id)
                assert result.frame_id % FRAMES == number_in(result.message["detections"])
    end = settle(running, "keeps", "warm", "running")
    assert accounted(end) == 0
    assert len(set(ids)) == len(ids)  # one may overtake another: the engine has several workers
    assert end["opens"] == opens
    assert end["frames"]["caught_up"] > start["frames"]["caught_up"]
    counts = running.task("warm")["frames"]["keeps"]
    assert counts["published"] - begin["published"] == len(ids)
    offered = counts["offered"] - begin["offered"]
    assert len(ids) <= offered <= end["frames"]["decoded"] - start["frames"]["decoded"]


def test_a_camera_that_stays_hot_loses_nothing_while_others_come_and_go(running, switch):
    others = ["warm", "parked", "cold", "a"]
    before = running.camera("needed"), running.task("always")["frames"]["needed"]
    with running.subscriber("edged/1/det/always/") as subscriber:
        subscriber.receive(5)
        ids = []
        for number in range(10):
            switch(*others, active=number % 2 == 0)
            until_s = time.monotonic() + 0.12
            while (left_s := until_s - time.monotonic()) > 0:
                if (result := subscriber.receive(left_s)) is not None:
                    ids.append((result.frame_id, result.message["seq"]))
    after = running.camera("needed"), running.task("always")["frames"]["needed"]
    assert len(ids) > 15
    assert [seq for _, seq in ids] == list(range(ids[0][1], ids[0][1] + len(ids)))
    frames = {one for one, _ in ids}
    superseded = (
        after[1]["superseded"] - before[1]["superseded"]
    )  # the machine was too busy, which is no switch's fault
    assert max(frames) - min(frames) + 1 - len(ids) <= superseded
    for cause in ("rate", "late", "stopped", "failed", "dropped"):
        assert after[1][cause] == before[1][cause]
    assert after[0]["opens"] == before[0]["opens"]
    assert after[0]["frames"]["undecoded"] == before[0]["frames"]["undecoded"]


@pytest.mark.parametrize("processes", [1, 2])
def test_neither_a_start_nor_a_wake_up_is_told_as_a_degradation(daemon, site, task, clip, processes):
    looped = {"source": f"file:{clip(frames=50)}", "loop": True}
    tasks = {"always": task("front"), "ordered": task("rear", active=False, unneeded="cold")}
    running = daemon(site({"front": looped, "rear": looped}, tasks, {"scheduler": {"processes": processes}}))
    until(lambda: running.task("always")["rate_hz"] > 0, what="results")
    running.request("task.activate", tasks=["ordered"])
    until(lambda: running.task("ordered")["rate_hz"] > 0, what="results")
    assert {running.task(name)["state"] for name in tasks} == {"active"}
    assert "connecting" not in running.task("ordered")["reason"]
    assert "degraded" not in running.log
