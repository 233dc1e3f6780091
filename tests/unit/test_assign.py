"""Which camera belongs to which process."""

from __future__ import annotations

import pytest

from edged.config import load_config
from edged.errors import ConfigError
from edged.shards.assign import assign


@pytest.fixture
def vehicle(site, task):
    def vehicle(cameras, tasks):
        sources = {name: one or {"source": "scene:front_wide"} for name, one in cameras.items()}
        return load_config(site(sources, {name: task(*wanted, **more) for name, (wanted, more) in tasks.items()}))

    return vehicle


def shares(placed):
    return [sorted(c for c, one in placed.items() if one == shard) for shard in sorted(set(placed.values()))]


CAMERAS = dict.fromkeys(("a", "b", "c", "d", "e", "f"))


def test_cameras_are_dealt_out_evenly_in_their_order(vehicle):
    config = vehicle(CAMERAS, {"t": (CAMERAS, {"rate_hz": 10})})
    assert shares(assign(config, 3)) == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert shares(assign(config, 1)) == [list(CAMERAS)]


def test_a_camera_that_much_is_wanted_of_weighs_more(vehicle):
    config = vehicle(CAMERAS, {"t": (CAMERAS, {"rate_hz": 2}), "much": (("a",), {"rate_hz": 100})})
    assert shares(assign(config, 2)) == [["a"], ["b", "c", "d", "e", "f"]]


def test_no_process_is_empty_while_another_could_give(vehicle):
    config = vehicle(dict.fromkeys("abc"), {"t": ("abc", {"rate_hz": 1}), "much": (("a",), {"rate_hz": 100})})
    assert shares(assign(config, 3)) == [["a"], ["b"], ["c"]]
    assert shares(assign(config, 5)) == [["a"], ["b"], ["c"]]


def test_frames_that_are_grouped_in_time_are_in_one_process(vehicle):
    sync = {"rate_hz": 10, "sync": {"tolerance_ms": 10, "wait_ms": 50}}
    config = vehicle(CAMERAS, {"t": (CAMERAS, {"rate_hz": 1}), "x": (("a", "f"), sync), "y": (("f", "c"), sync)})
    placed = assign(config, 3)
    assert placed["a"] == placed["c"] == placed["f"]
    assert len(set(placed.values())) > 1


def test_a_view_goes_with_its_camera(vehicle):
    roof = {"source": "scene:roof", "lens": {"model": "equirectangular"}}
    view = {"view_of": "roof", "width_px": 64, "height_px": 48, "fov_deg": 90}
    config = vehicle({"a": None, "roof": roof, "left": view}, {"t": (("a",), {}), "v": (("left",), {"rate_hz": 100})})
    assert set(assign(config, 2)) == {"a", "roof"}


def test_cameras_of_one_gpu_stay_together(vehicle):
    def on(gpu):
        return {"engine": {"backend": ["tensorrt"], "device": gpu}, "rate_hz": 10}

    config = vehicle(CAMERAS, {"t": (("a", "c", "e"), on("gpu0")), "u": (("b", "d", "f"), on("gpu1"))})
    assert shares(assign(config, 2)) == [["a", "c", "e"], ["b", "d", "f"]]


def test_a_camera_keeps_its_process_and_a_new_one_goes_where_least_is(vehicle):
    before = assign(vehicle(CAMERAS, {"t": (CAMERAS, {})}), 2)
    config = vehicle({**CAMERAS, "new": None}, {"t": (("a", "d", "e", "f", "new"), {})})
    assert assign(config, 2, before) == {**before, "new": before["a"]}


def test_cameras_of_two_processes_cannot_be_grouped_later_and_the_task_is_named(vehicle):
    before = {"a": 0, "b": 1}
    two = {"a": None, "b": None}
    config = vehicle(two, {"t": (two, {"sync": {"tolerance_ms": 10, "wait_ms": 50}})})
    with pytest.raises(ConfigError, match=r"t\.yaml:1: sync: groups cameras that run in different processes .*a, b"):
        assign(config, 2, before)
