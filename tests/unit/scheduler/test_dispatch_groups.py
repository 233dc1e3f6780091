"""Frames of several cameras taken at the same time: who joins, who is waited for, and for how long."""

from __future__ import annotations

import threading

import pytest
from dispatch_parts import Leases, World, assert_accounted, losses, route
from hypothesis import given
from hypothesis import strategies as st

from edged.scheduler.dispatch import Dispatcher, EngineLimits
from edged.scheduler.groups import Sync
from edged.work import Cost

ALL = ("a", "b", "c")


def synced(rate_hz=10.0, *, tolerance_ms=5.0, wait_ms=50.0, cameras=ALL, task="s", **more):
    return route(task, rate_hz=rate_hz, sync=Sync(tolerance_ms, wait_ms, cameras), **more)


def world_of(rate_hz=10.0, *, present=ALL, max_batch=8, cost=None, **more):
    world = World({"e": EngineLimits(max_batch, 1)}, {"e": cost or Cost(0.001, 0.001)})
    world.dispatcher.set_routes({camera: (synced(rate_hz, **more),) for camera in present})
    return world


def groups(world, since_ms=0.0, task="s"):
    """Return (id, when its jobs began, its cameras with the frames' numbers), in order."""
    found = {}
    for one in world.served:
        for job in one.jobs:
            if job.group is not None and job.tasks == (task,) and one.begin >= since_ms:
                found.setdefault(job.group.id, (job.group, one.begin, {}))[2][job.frame.camera] = job.frame.id
    return [(key, round(begin, 3), frames, group) for key, (group, begin, frames) in sorted(found.items())]


def test_frames_of_one_moment_are_posted_together_when_the_last_is_in():
    world = world_of()
    for place, camera in enumerate(ALL):
        world.camera(camera, 25, 2.0, phase_ms=place, lag_ms=4 * place)
    world.run(3000)
    found = groups(world, 100)
    assert len(found) >= 18
    assert {len(frames) for _, _, frames, _ in found} == {3}
    assert all(len(set(frames.values())) == 1 for _, _, frames, _ in found)  # the same number on all cameras
    assert [key for key, *_ in found] == list(range(found[0][0], found[0][0] + len(found)))
    assert {(group.cameras, group.wanted) for *_, group in found} == {(ALL, ALL)}
    assert all(round(begin - 40 * frames["c"], 3) == 10 for _, begin, frames, _ in found)  # phase and lag of c
    counts = losses(world.dispatcher, "s", "c")
    assert counts.pop("unsynced") <= 3  # until it is known that there is a camera to wait for
    assert set(counts) == {"offered", "served", "rate"}
    world.end()


def test_a_late_camera_does_not_hold_a_group_beyond_its_limit():
    world = world_of(wait_ms=30)
    world.camera("a", 10, 2.0)
    world.camera("b", 10, 2.0)
    world.camera("c", 10, 2.0, lag_ms=45)
    world.run(3000)
    for _, begin, frames, group in groups(world, 300):
        assert set(frames) == {"a", "b"} == set(group.cameras)
        assert group.wanted == ALL
        assert begin % 100 == 30
    assert losses(world.dispatcher, "s", "c")["unsynced"] >= 17
    assert "unsynced" not in losses(world.dispatcher, "s", "a")
    world.end()


def test_a_group_never_waits_past_its_deadline():
    world = world_of(wait_ms=90, deadline_ms=20, cost=Cost(0.002, 0.001))
    world.camera("a", 10, 2.0)
    world.camera("b", 10, 2.0)
    world.camera("c", 10, 2.0, lag_ms=45)
    world.run(3000)
    assert {begin % 100 for _, begin, *_ in groups(world, 300)} == {15}  # three pictures take 5 ms
    assert losses(world.dispatcher, "s", "a")["served"] == 20
    world.end()


def test_a_camera_that_gives_nothing_is_waited_for_no_more_after_a_second():
    world = world_of()
    world.camera("a", 10, 5.0)
    world.camera("b", 10, 5.0)
    world.camera("c", 10, 1.0)
    world.run(6000)
    waited = {begin % 100 for _, begin, frames, _ in groups(world, 1000) if begin < 1900}
    assert waited == {50}
    assert {begin % 100 for _, begin, *_ in groups(world, 2000)} == {0}
    assert {frames.keys() == {"a", "b"} for _, _, frames, _ in groups(world, 1000)} == {True}
    world.end()


def test_a_camera_that_the_plan_has_not_is_not_waited_for_and_is_wanted_still():
    world = world_of(present=("a", "b"))
    world.camera("a", 10, 1.0)
    world.camera("b", 10, 1.0, phase_ms=2)
    world.run(2000)
    assert {begin % 100 for _, begin, *_ in groups(world, 100)} == {2}
    assert {group.wanted for *_, group in groups(world)} == {ALL}
    world.end()


@pytest.mark.parametrize("order", [("view", "roof"), ("roof", "view")])
def test_a_camera_and_its_view_are_together_from_the_first_frame_on_and_after_each_pause(order):
    """Seconds of silence, and a plan that let them go: what was heard of one was heard of both."""
    routes = {
        camera: (route("s", rate_hz=5, sync=Sync(5.0, 50.0, ("roof", "view"), {"view": "roof"})),) for camera in order
    }
    world = World({"e": EngineLimits(8, 1)}, {"e": Cost(0.001, 0.001)})
    world.dispatcher.set_routes(routes)
    for begin_s in (0, 6, 12):
        for number in range(25 * begin_s, 25 * (begin_s + 2)):
            for camera in order:  # as the cameras hand them on: one right after the other
                world.frame(camera, 40 * number, number)
    world.at(11_000, lambda: world.dispatcher.set_routes({}))
    world.at(11_900, lambda: world.dispatcher.set_routes(routes))
    world.run(15_000)
    found = groups(world)
    assert len(found) >= 3 * 9
    assert {(frames.keys() == set(order), len(set(frames.values()))) for _, _, frames, _ in found} == {(True, 1)}
    assert {begin % 40 for _, begin, *_ in found} == {0}, "nobody was waited for"
    for camera in order:
        assert losses(world.dispatcher, "s", camera).keys() == {"offered", "served", "rate"}
    world.end()


def test_a_camera_out_of_step_has_passed_the_group_by_and_holds_nobody_up():
    world = world_of(rate_hz=10, tolerance_ms=5, wait_ms=90)
    world.camera("a", 10, 2.0)
    world.camera("b", 10, 2.0)
    world.camera("c", 10, 2.0, phase_ms=40)
    world.run(3000)
    assert {begin % 100 for _, begin, *_ in groups(world, 200)} == {40}  # its next frame is there: none is to come
    assert losses(world.dispatcher, "s", "c")["unsynced"] >= 18
    world.end()


def test_groups_overlap_when_the_wait_is_longer_than_the_interval():
    world = world_of(rate_hz=20, wait_ms=200)
    world.camera("a", 20, 2.0)
    world.camera("b", 20, 2.0)
    world.camera("c", 20, 2.0, lag_ms=120)
    world.run(3000)
    found = groups(world, 400)
    assert {len(frames) for _, _, frames, _ in found} == {3}
    assert len(found) >= 30
    world.end()


@pytest.mark.parametrize(("camera_hz", "task_hz"), [(25, 10), (30, 7), (10, 10), (15, 25)])
def test_a_task_that_groups_keeps_its_rate_on_every_camera(camera_hz, task_hz):
    world = world_of(task_hz)
    for camera in ALL:
        world.camera(camera, camera_hz, 20.0, lag_ms=3)
    world.run(21_000)
    wanted = min(camera_hz, task_hz) * 20
    for camera in ALL:
        assert abs(losses(world.dispatcher, "s", camera)["served"] - wanted) <= max(2, 0.02 * wanted)
    world.end()


def test_a_task_beside_it_on_the_same_camera_and_engine_flows_as_if_alone():
    def run(claims):
        world = World({"e": EngineLimits(1, 1)}, {"e": Cost(0.0, 0.002)})
        world.dispatcher.set_routes(dict.fromkeys(ALL, claims))
        for camera in ALL:
            world.camera(camera, 25, 4.0, lag_ms=30 if camera == "c" else 0)
        world.run(5000)
        counts = [losses(world.dispatcher, "t", camera) for camera in ALL]
        world.end()
        return counts, groups(world, 500)

    alone, _ = run((route("t", rate_hz=25),))
    beside, found = run((route("t", rate_hz=25), synced(rate_hz=5)))
    assert beside == alone
    assert len(found) >= 17
    assert {len(frames) for _, _, frames, _ in found} == {3}


def test_a_group_that_no_worker_took_gives_way_to_the_next():
    world = world_of(max_batch=3, cost=Cost(0.250, 0.0))
    for camera in ALL:
        world.camera(camera, 10, 3.0)
    world.run(4000)
    for camera in ALL:
        counts = losses(world.dispatcher, "s", camera)
        assert counts["superseded"] >= 15
        assert counts["offered"] == sum(counts.values()) / 2
    assert {len(frames) for _, _, frames, _ in groups(world, 500)} == {3}
    world.end()


def test_frames_in_an_open_group_go_back_when_their_camera_or_task_leaves():
    world = world_of(wait_ms=500)
    world.camera("a", 10, 0.3)
    world.camera("b", 10, 0.3)
    world.camera("c", 10, 0.3)
    world.run(310)
    world.frame("a", 320)
    world.frame("b", 321)
    world.run(330)
    world.dispatcher.set_routes({"b": (synced(wait_ms=500),), "c": (synced(wait_ms=500),)})
    assert losses(world.dispatcher, "s", "a")["stopped"] == 1
    assert "stopped" not in losses(world.dispatcher, "s", "b")
    world.dispatcher.set_routes({})
    assert losses(world.dispatcher, "s", "b")["stopped"] == 1
    world.dispatcher.set_routes(dict.fromkeys("bc", (synced(),)))
    world.frame("b", 1000)
    world.run(1500)
    assert groups(world)[-1][0] == 3  # three were made before: a task that comes back goes on counting
    world.end()


def test_a_clock_that_is_set_back_begins_anew():
    world = world_of()
    for camera in ALL:
        world.camera(camera, 10, 1.0)
    world.run(1200)
    for n in range(10):
        for camera in ALL:
            frame = world.leases.frame(camera, 100 + n, at_ms=500_000 + n * 100)
            world.at(1200 + n * 100, lambda frame=frame: world.dispatcher.offer(frame))
    world.run(3000)
    assert [sorted(frames.values()) for _, _, frames, _ in groups(world, 1200)] == [[100 + n] * 3 for n in range(10)]
    world.end()


@given(
    st.lists(st.tuples(st.sampled_from(ALL), st.integers(0, 60), st.integers(0, 80)), max_size=60),
    st.floats(0.1, 30),
    st.floats(0, 100),
    st.sampled_from([2.0, 10.0, 1000.0]),
)
def test_frames_of_a_group_are_of_one_moment_and_none_waits_too_long(frames, tolerance_ms, wait_ms, rate_hz):
    world = world_of(rate_hz, tolerance_ms=tolerance_ms, wait_ms=wait_ms, cost=Cost(0, 0.000001))
    at_ms, offered = 0.0, {}
    for number, (camera, gap, lag) in enumerate(frames):
        at_ms += gap
        offered[number] = at_ms + lag
        world.frame(camera, at_ms, number, lag)
    world.run(at_ms + 1000)
    taken = {}
    for _, begin, members, group in groups(world):
        assert set(group.cameras) >= set(members)
        begins = min(offered[number] for number in members.values())
        assert begin <= begins + wait_ms + 0.01
        for number in members.values():
            assert taken.setdefault(number, group.id) == group.id
    world.end()


def test_cameras_that_are_read_as_fast_as_they_can_group_by_media_time_and_lose_nothing():
    """One reader is far faster than the others: it waits for them, not they for it."""
    leases = Leases()
    dispatcher = Dispatcher({"e": EngineLimits(4, 2)})
    dispatcher.set_routes(dict.fromkeys(ALL, (synced(rate_hz=1000, tolerance_ms=10),)))
    stop, taken = threading.Event(), {}

    def read(camera, hold):
        for number in range(60):
            stop.wait(hold)
            dispatcher.offer(leases.frame(camera, number, media_ms=number * 40 + len(camera)), wait=True)

    def work():
        while not stop.is_set():
            if (batch := dispatcher.take(0.05)) is not None:
                for job in batch.jobs:
                    taken.setdefault(job.group.id, {})[job.frame.camera] = job.frame.id
                    job.frame.release()
                    dispatcher.done(job)
                dispatcher.finished(batch, 0.001)

    readers = [
        threading.Thread(target=read, args=(camera, hold)) for camera, hold in zip(ALL, (0, 0.002, 0), strict=True)
    ]
    workers = [threading.Thread(target=work) for _ in range(2)]
    for thread in (*readers, *workers):
        thread.start()
    for thread in readers:
        thread.join(60)
    dispatcher.set_routes({})
    stop.set()
    for thread in workers:
        thread.join(5)
    assert_accounted(dispatcher)
    leases.assert_all_back_once()
    for camera in ALL:
        counts = losses(dispatcher, "s", camera)
        assert counts["offered"] == 60
        assert set(counts) <= {"offered", "served", "stopped"}  # stopped: those at the end that nobody had taken yet
    whole = [members for members in taken.values() if len(members) == 3]
    assert len(whole) >= 50
    assert all(len(set(members.values())) == 1 for members in taken.values())


def test_a_fast_camera_that_ends_lets_the_others_go_on():
    leases = Leases()
    world = World({"e": EngineLimits(4, 1)})
    dispatcher = world.dispatcher
    dispatcher.set_routes(dict.fromkeys("ab", (synced(rate_hz=1000, cameras=("a", "b")),)))
    dispatcher.offer(leases.frame("a", 0, media_ms=0), wait=True)
    dispatcher.offer(leases.frame("b", 0, media_ms=0), wait=True)
    dispatcher.offer(leases.frame("a", 1, media_ms=40), wait=True)
    world.run(4000)
    assert [frames for _, _, frames, _ in groups(world)] == [{"a": 0, "b": 0}]
    world.run(6000)
    assert [frames for _, _, frames, _ in groups(world)] == [{"a": 0, "b": 0}, {"a": 1}]
    world.end()
    leases.assert_all_back_once()
