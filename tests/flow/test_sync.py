"""Tasks that want their cameras' frames of the same time: groups in the real daemon."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest
from parts import schema_faults, until

from edged.publish.schema import SCHEMA

RATE = 25
INTERVAL_NS = 1_000_000_000 // RATE
TOLERANCE_MS = 25.0  # more than half of the interval between two frames: each has a partner


@pytest.fixture(scope="module")
def running(shared_daemon, site, task, clip):
    """`pair` needs two cameras, `three` one more that is not there, and `slow` takes every fifth frame or so."""
    looped = {"source": f"file:{clip(frames=50, rate=RATE)}", "loop": True}
    sync = {"sync": {"tolerance_ms": TOLERANCE_MS, "wait_ms": 200}}
    running = shared_daemon(
        site(
            {"left": looped, "right": looped, "gone": {"source": "file:gone.mp4"}, "ends": looped},
            {
                "pair": task("left", "right", **sync),
                "three": task("left", "gone", "right", **sync),
                "slow": task("right", "left", rate_hz=5, **sync),
                "alone": task("left"),
                "leaves": task("ends", "left", active=False, **sync),
                "stays": task("left", "ends", unneeded="cold", active=False, **sync),
            },
        )
    )
    for name in ("pair", "three", "slow"):
        until(lambda name=name: running.task(name)["rate_hz"] > 2, what=f"results of {name}")
    return running


def collect(running, seconds, topic="edged/1/det/"):
    """Return the results of some seconds by task, in the order in which they came."""
    found = defaultdict(list)
    end_s = time.monotonic() + seconds
    with running.subscriber(topic) as subscriber:
        while (left_s := end_s - time.monotonic()) > 0:
            if (result := subscriber.receive(left_s)) is not None:
                found[result.task].append(result.message)
    return found


@pytest.fixture(scope="module")
def recorded(running):
    return collect(running, 2.0)


def groups_of(messages):
    """Return the messages of each group, without the first and the last one, which may be cut off."""
    groups = defaultdict(list)
    for message in messages:
        groups[message["group"]["id"]].append(message)
    return {number: groups[number] for number in sorted(groups)[1:-1]}


def check_times(groups):
    """Check that the frames of a group were taken at about the same time, and each in one group only."""
    for group in groups.values():
        times = [message["t"]["mono_ns"] for message in group]
        assert max(times) - min(times) <= TOLERANCE_MS * 1e6
    for camera in {message["camera"] for group in groups.values() for message in group}:
        ids = [one["frame"]["id"] for group in groups.values() for one in group if one["camera"] == camera]
        assert len(set(ids)) == len(ids)


def test_the_frames_of_a_group_are_of_the_same_time(recorded, running):
    groups = groups_of(recorded["pair"])
    assert len(groups) > 25
    missing = set(range(min(groups), max(groups) + 1)) - groups.keys()
    counted = [frames["superseded"] + frames["late"] for frames in running.task("pair")["frames"].values()]
    assert len(missing) <= max(counted), f"groups {sorted(missing)} are missing; counted as lost: {counted}"
    check_times(groups)
    whole = [group for group in groups.values() if len(group) == 2]
    assert len(whole) > 0.8 * len(groups), f"{len(whole)} of {len(groups)} groups have both cameras"
    for group in groups.values():
        for message in group:
            assert schema_faults(SCHEMA["result"], message) == []
            assert message["group"]["wanted"] == ["left", "right"]
            assert message["group"]["cameras"] == [one for one in ("left", "right") if one in cameras(group)]


def cameras(group):
    return {message["camera"] for message in group}


def test_a_camera_that_is_not_there_does_not_hold_the_others(recorded):
    groups = groups_of(recorded["three"])
    assert len(groups) > 25
    check_times(groups)
    for group in groups.values():
        assert group[0]["group"]["wanted"] == ["left", "gone", "right"]
        assert "gone" not in group[0]["group"]["cameras"]
    waits = sorted(message["latency_ms"]["total"] for message in recorded["three"])
    assert waits[len(waits) // 2] < 150, "the groups wait for the camera that is not there"


def test_the_rate_counts_groups_and_not_frames(recorded):
    groups = groups_of(recorded["slow"])
    assert 5 <= len(groups) <= 12
    check_times(groups)
    assert sum(len(group) == 2 for group in groups.values()) > 0.6 * len(groups)
    assert {message["group"]["wanted"][0] for group in groups.values() for message in group} == {"right"}


def test_a_task_without_sync_has_no_groups(recorded):
    assert len(recorded["alone"]) > 25
    assert not any("group" in message for message in recorded["alone"])


def test_every_frame_of_a_task_with_groups_is_accounted(running):
    task = running.task("slow")
    for counts in task["frames"].values():
        causes = ("rate", "superseded", "late", "stopped", "failed", "unsynced")
        on_their_way = counts["offered"] - counts["served"] - sum(counts[cause] for cause in causes)
        assert 0 <= on_their_way <= 10, counts


def test_groups_go_on_when_a_camera_stops_and_have_it_again_when_it_is_back(running):
    """`ends` stops because its configuration says another file, which is not there; then the first one again."""
    running.request("task.activate", tasks=["leaves"])
    try:
        both = until(lambda: paired(running), 10, "groups with both cameras")
        assert both[0]["group"]["wanted"] == ["ends", "left"]
        cameras_yaml = running.config / "cameras.yaml"
        text = cameras_yaml.read_text()
        with running.subscriber("edged/1/det/leaves/left/") as subscriber:
            subscriber.receive(5)
            at_s, longest_s = time.monotonic(), 0.0
            cameras_yaml.write_text(text.replace('"ends": {"source": "file:', '"ends": {"source": "file:/gone'))
            running.request("reload")
            until_s = time.monotonic() + 2.5
            alone = []
            while time.monotonic() < until_s:
                result = subscriber.receive(2)
                assert result is not None, "the camera that stopped holds the other one"
                longest_s, at_s = max(longest_s, time.monotonic() - at_s), time.monotonic()
                alone.append(result.message["group"]["cameras"] == ["left"])
        assert longest_s < 1.0
        assert all(alone[-20:])
        assert len(alone) > 30
        cameras_yaml.write_text(text)
        running.request("reload")
        until(lambda: paired(running), 10, "groups with both cameras again")
    finally:
        running.request("task.deactivate", tasks=["leaves"])


def paired(running):
    """Return the messages of a group of `leaves` with both cameras, None where there is none in half a second."""
    whole = [group for group in groups_of(collect(running, 0.5, "edged/1/det/leaves/")["leaves"]).values() if group[1:]]
    for group in whole:
        assert group[0]["group"]["cameras"] == ["ends", "left"]
    check_times(dict(enumerate(whole)))
    return whole[-1] if len(whole) > 5 else None


def test_groups_of_a_task_that_flips_have_ids_that_go_on(running):
    last = -1
    for _ in range(4):
        running.request("task.activate", tasks=["stays"])
        with running.subscriber("edged/1/det/stays/") as subscriber:
            first = subscriber.receive(5).message["group"]["id"]
            until(lambda s=subscriber: s.receive(5).message["group"]["cameras"] == ["left", "ends"], 5, "both cameras")
            assert first > last, "a group's id is used again"
            last = max(first, subscriber.receive(5).message["group"]["id"])
            running.request("task.deactivate", tasks=["stays"])
            while (result := subscriber.receive(0.2)) is not None:
                last = max(last, result.message["group"]["id"])
