"""Views in the real daemon: a fisheye camera is decoded once, and tasks see perspective pictures of it."""

from __future__ import annotations

import json
from collections import defaultdict
from math import radians

import cv2
import numpy as np
import pytest
from parts import HEIGHT, WIDTH, edged, number_of, painted, schema_faults, until

from edged.publish.schema import SCHEMA

RATE, FRAMES = 25, 50
FISHEYE_PX, FIELD_DEG = 480, 185.0
YAW_DEG, FOV_DEG = 45.0, 50.0
FIRST = {"left": 0, "right": 1000}  # the number that the first frame shows to each side
LENS = {"model": "equidistant", "fov_deg": FIELD_DEG}
LOSSES = ("rate", "superseded", "late", "stopped", "failed", "unsynced")


def view(yaw_deg, of="roof"):
    """Return what `cameras.yaml` says of a view: twice as large as the network's input."""
    return {"view_of": of, "yaw_deg": yaw_deg, "fov_deg": FOV_DEG, "width_px": 2 * WIDTH, "height_px": 2 * HEIGHT}


def screens():
    """Return for each side which pixels of the fisheye's picture show its screen, and of that which rows and columns.

    A screen is seen at right angles 45 degrees to its side, and fills a view exactly.
    """
    place = (np.arange(FISHEYE_PX) + 0.5 - FISHEYE_PX / 2) / (FISHEYE_PX / 2) * radians(FIELD_DEG / 2)
    x, y = np.meshgrid(place, place)
    off = np.hypot(x, y)
    rays = np.stack([np.sin(off) * x / off, np.sin(off) * y / off, np.cos(off)])
    half = np.tan(radians(FOV_DEG / 2))
    for side, yaw in (("left", radians(-YAW_DEG)), ("right", radians(YAW_DEG))):
        depth = rays[0] * np.sin(yaw) + rays[2] * np.cos(yaw)
        across, down = (rays[0] * np.cos(yaw) - rays[2] * np.sin(yaw)) / depth, rays[1] / depth
        columns = np.floor((across / half + 1) / 2 * WIDTH).astype(int)
        rows = np.floor(down / half * WIDTH / 2 + HEIGHT / 2).astype(int)
        seen = (depth > 0) & (columns >= 0) & (columns < WIDTH) & (rows >= 0) & (rows < HEIGHT)
        yield side, seen, rows[seen], columns[seen]


@pytest.fixture(scope="module")
def fisheye(tmp_path_factory):
    """A clip of a fisheye camera that sees two screens, each with the number of the frame."""
    import av

    path, places = tmp_path_factory.mktemp("fisheye") / "roof.mp4", list(screens())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width = stream.height = FISHEYE_PX
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        for number in range(FRAMES):
            luma = np.full((FISHEYE_PX * 3 // 2, FISHEYE_PX), 128, np.uint8)  # and grey chroma below it
            for side, seen, rows, columns in places:
                luma[:FISHEYE_PX][seen] = painted(FIRST[side] + number)[rows, columns]
            frame = av.VideoFrame.from_ndarray(luma, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def number_seen(message):
    """Return the number that the network read; its box is in pixels of the view."""
    assert (message["frame"]["width"], message["frame"]["height"]) == (2 * WIDTH, 2 * HEIGHT)
    (box,) = [one["box"] for one in message["detections"]]
    return round(box[0] / 2) + 64 * round(box[1] / 2)


@pytest.fixture(scope="module")
def running(shared_daemon, site, task, fisheye):
    roof = {"source": f"file:{fisheye}", "loop": True, "lens": LENS}
    cameras = {
        "roof": roof,
        "left": view(-YAW_DEG),
        "right": view(YAW_DEG),
        "spare": view(0.0),
        "gone": {"source": "file:gone.mp4", "lens": LENS},
        "gone_front": view(0.0, "gone"),
    }
    both = {"sync": {"tolerance_ms": 5.0, "wait_ms": 200}}
    tasks = {
        "sides": task("left", "right"),
        "pair": task("right", "left", **both),
        "half": task("right", rate_hz=5, active=False),
        "blind": task("gone_front"),
        "whole": task("roof", active=False),
        "woken": task("roof", "left", rate_hz=5, active="on_subscribe", **both),
    }
    running = shared_daemon(site(cameras, tasks))
    until(lambda: running.task("sides")["rate_hz"] > 15 and running.task("pair")["rate_hz"] > 15, 20, "results")
    return running


def collect(running, task, count, timeout_s=10.0):
    """Return the next results of a task by camera, `count` in all."""
    found = defaultdict(list)
    with running.subscriber(f"edged/1/det/{task}/") as subscriber:
        for _ in range(count):
            message = subscriber.receive(timeout_s).message
            assert not schema_faults(SCHEMA["result"], message)
            found[message["camera"]].append(message)
    return found


def test_each_view_shows_its_own_part_of_the_same_frame(running):
    found = collect(running, "sides", 40)
    assert set(found) == {"left", "right"}
    for side, messages in found.items():
        assert len(messages) > 12
        for message in messages:
            assert number_seen(message) == FIRST[side] + message["frame"]["id"] % FRAMES
    times = {one["frame"]["id"]: one["t"] for one in found["left"]}
    both = [(times[one["frame"]["id"]], one["t"]) for one in found["right"] if one["frame"]["id"] in times]
    assert both
    for left, right in both:
        assert (left["capture_ns"], left["mono_ns"]) == (right["capture_ns"], right["mono_ns"])


def test_views_of_one_camera_are_grouped_like_cameras(running):
    groups = defaultdict(dict)
    for camera, messages in collect(running, "pair", 24).items():
        for message in messages:
            groups[message["group"]["id"]][camera] = message["frame"]["id"]
    whole = [group for group in groups.values() if len(group) == 2]
    assert len(whole) > 8
    assert all(group["left"] == group["right"] for group in whole)


def test_a_camera_and_its_view_are_together_from_the_first_group_of_each_wake_up(running):
    for _ in range(3):
        groups = defaultdict(set)
        for camera, messages in collect(running, "woken", 6).items():
            for message in messages:
                groups[message["group"]["id"]].add((camera, tuple(message["group"]["cameras"]), message["frame"]["id"]))
        assert {frozenset(camera for camera, *_ in group) for group in groups.values()} == {frozenset({"roof", "left"})}
        assert {whole for group in groups.values() for _, whole, _ in group} == {("roof", "left")}
        until(lambda: running.task("woken")["state"] == "inactive", what="the task to rest")
    assert [one["unsynced"] for one in running.task("woken")["frames"].values()] == [0, 0]


def test_a_camera_is_decoded_once_and_its_views_say_whose_they_are(running):
    roof, left, spare = running.camera("roof"), running.camera("left"), running.camera("spare")
    assert (roof["mode"], roof["state"], roof["view_of"], roof["tasks"]) == ("hot", "running", None, [])
    assert roof["reason"] == "needed by pair 100 Hz, sides 100 Hz (left, right)"
    assert (left["mode"], left["state"], left["view_of"]) == ("hot", "running", "roof")
    assert (left["tasks"], left["size"], left["stream"]) == (["pair", "sides"], [2 * WIDTH, 2 * HEIGHT], "view of roof")
    assert left["reason"] == "view of roof: needed by pair 100 Hz, sides 100 Hz"
    assert spare["reason"] == "view of roof: no task names it"
    before = running.task("sides")["frames"]["left"]["offered"], running.camera("roof")["frames"]["decoded"]
    until(lambda: running.task("sides")["frames"]["left"]["offered"] > before[0] + 10, what="frames")
    after = running.camera("roof")["frames"]["decoded"], running.task("sides")["frames"]
    assert after[0] - before[1] <= after[1]["left"]["offered"] - before[0] + 2  # one picture for both views
    assert set(running.camera("left")["frames"].values()) == {0}


def test_a_task_on_a_view_of_a_camera_that_is_lost_names_both(running):
    until(lambda: running.camera("gone")["state"] == "backoff", what="the missing file")
    blind, row = running.task("blind"), running.camera("gone_front")
    assert blind["state"] == "degraded"
    assert blind["reason"].startswith("gone_front backoff since ")
    assert ": gone: " in blind["reason"]
    assert (row["state"], row["view_of"]) == ("backoff", "gone")
    assert row["reason"].startswith("gone: ")


def test_every_frame_of_a_view_is_accounted_for_and_the_camera_rests_with_its_tasks(running):
    running.request("task.activate", tasks=["half"])
    until(lambda: running.task("half")["frames"]["right"]["published"] > 5, what="results of half")
    running.request("task.deactivate", tasks=["sides", "pair", "half"])
    try:
        until(lambda: running.camera("roof")["mode"] == "parked", what="the camera to rest")
        assert running.camera("left")["mode"] == "parked"

        def settled():
            frames = [one for name in ("sides", "pair", "half") for one in running.task(name)["frames"].values()]
            return all(one["offered"] == one["served"] + sum(one[loss] for loss in LOSSES) for one in frames)

        until(settled, what="every frame accounted for")
        for name in ("sides", "pair", "half"):
            for one in running.task(name)["frames"].values():
                assert one["served"] == one["published"] + one["dropped"]
        half = running.task("half")["frames"]["right"]
        assert half["rate"] > half["published"]
        roof = running.camera("roof")["frames"]
        assert running.task("sides")["frames"]["left"]["offered"] <= roof["decoded"]
    finally:
        running.request("task.activate", tasks=["sides", "pair"])


def test_the_whole_picture_is_a_camera_as_well(running):
    running.request("task.activate", tasks=["whole"])
    try:
        (message,) = collect(running, "whole", 1)["roof"]
        assert (message["frame"]["width"], message["frame"]["height"]) == (FISHEYE_PX, FISHEYE_PX)
        assert running.camera("roof")["tasks"] == ["whole"]
    finally:
        running.request("task.deactivate", tasks=["whole"])


def test_views_come_go_and_turn_while_their_camera_runs_on(running, task):
    file = running.config / "cameras.yaml"
    first = json.loads(file.read_text())
    opens, lookers = running.camera("roof")["opens"], running.config / "tasks" / "sides.yaml"
    changed = {**first["cameras"], "right": view(-YAW_DEG), "other": view(YAW_DEG)}
    del changed["spare"]
    try:
        file.write_text(json.dumps({"cameras": changed}))
        lookers.write_text(json.dumps(task("left", "right", "other")))
        answer = running.request("reload")
        assert answer["changed"][:3] == ["camera other added", "camera right changed", "camera spare removed"]
        found = collect(running, "sides", 60)
        assert set(found) == {"left", "right", "other"}
        for camera, start in (("left", 0), ("right", 0), ("other", FIRST["right"])):
            late = found[camera][5:]  # a result of before may still come
            assert late
            for message in late:
                assert number_seen(message) == start + message["frame"]["id"] % FRAMES
        roof = running.camera("roof")
        assert (roof["opens"], roof["state"]) == (opens, "running")
    finally:
        file.write_text(json.dumps(first))
        lookers.write_text(json.dumps(task("left", "right")))
        running.request("reload")


def test_a_recording_gives_every_frame_to_every_view(daemon, site, task, fisheye):
    """As fast as it is read: the reader waits for both views' places, and nothing is lost."""
    cameras = {
        "roof": {"source": f"file:{fisheye}", "pace": "fast", "lens": LENS},
        "left": view(-YAW_DEG),
        "right": view(YAW_DEG),
    }
    tasks = {"sides": task("left", "right", active=False), "pair": task("left", "right", sync={"tolerance_ms": 1.0})}
    running, found = daemon(site(cameras, {**tasks, "pair": {**tasks["pair"], "active": False}})), defaultdict(list)
    with running.subscriber("edged/1/") as subscriber:
        assert subscriber.receive_message(5) is not None
        running.request("task.activate", tasks=["sides", "pair"])
        while sum(map(len, found.values())) < 4 * FRAMES:
            if (result := subscriber.receive(10)) is None:
                break
            found[result.task, result.camera].append(result.message)
    for (name, side), messages in found.items():
        assert sorted(one["frame"]["id"] for one in messages) == list(range(FRAMES)), (name, side)
        assert all(number_seen(one) == FIRST[side] + one["frame"]["id"] for one in messages)
    assert len(found) == 4
    frames = running.camera("roof")["frames"]
    assert (frames["read"], frames["decoded"]) == (FRAMES, FRAMES)


def test_calibration_frames_are_what_the_view_shows(site, task, fisheye):
    cameras = {"roof": {"source": f"file:{fisheye}", "lens": LENS}, "right": view(YAW_DEG)}
    engine = {"backend": ["tensorrt", "onnxruntime"], "precision": "int8"}
    config = site(cameras, {"sides": task("right", engine=engine)}, {"engines": {"store": "engines"}})
    done = edged("--config", str(config), "engine", "calibrate", "sides", "--frames", "10", "--json")
    assert done.returncode == 0, done.stderr
    home = config / "engines/calibration/sides"
    notes = json.loads((home / "record.json").read_text())["notes"]
    pictures = [next(home.glob(f"*/{note['file']}")) for note in notes]
    numbers = [number_of(cv2.imread(str(one), cv2.IMREAD_GRAYSCALE)) for one in pictures]
    assert numbers == [FIRST["right"] + int(note["id"]) for note in notes]
    assert len(set(numbers)) == 10
