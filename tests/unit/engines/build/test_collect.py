"""Which pictures are picked: the frame numbers painted into the clips say it."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from parts import number_of, painted

from edged.camera.base import Opening
from edged.camera.pyav import PyAvSource
from edged.camera.scene.source import SceneSource
from edged.engines.build import collect
from edged.engines.build.collect import from_folder, from_live, from_recording, shares, spread
from edged.errors import CameraError, ConfigError


def opener(path, source=PyAvSource, scheme="file"):
    return partial(source, Opening("c", scheme, str(path), str))


def numbers(picks):
    return [number_of(pick.picture.planes[0]) for pick in picks]


def test_spread_is_even_and_each_once():
    assert spread(10, 3) == [1, 5, 8]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(0, 5) == []
    for count in (1, 7, 100, 333):
        for wanted in (1, 2, 50, 99):
            chosen = spread(count, wanted)
            assert len(set(chosen)) == len(chosen) == min(count, wanted)
            assert chosen == sorted(chosen)
            assert not chosen or 0 <= chosen[0] <= chosen[-1] < count


def test_cameras_share_evenly():
    assert shares(128, 6) == [22, 22, 21, 21, 21, 21]
    assert sum(shares(5, 8)) == 5


@pytest.mark.parametrize("bframes", [0, 3])
@pytest.mark.parametrize("wanted", [1, 8, 100, 500])
def test_a_clip_gives_the_same_evenly_spread_frames_each_time(clip, bframes, wanted):
    path = clip(frames=100, gop=17, bframes=bframes)
    picks = list(from_recording("c", opener(path), wanted, None))
    assert sorted(numbers(picks)) == spread(100, wanted)
    assert [int(pick.id) for pick in picks] == numbers(picks)
    assert {pick.camera for pick in picks} == {"c"}
    assert numbers(from_recording("c", opener(path), wanted, None)) == numbers(picks)


def test_the_first_seconds_of_a_clip(clip):
    found = numbers(from_recording("c", opener(clip(frames=100)), 10, 1.0))
    assert len(found) == 10
    assert max(found) <= 26  # 25 frames a second


def test_only_the_groups_of_pictures_with_a_chosen_one_are_decoded(clip):
    decoded = []

    class Counting(PyAvSource):
        def decode(self, grab):
            decoded.append(grab.pts)
            return super().decode(grab)

    assert numbers(from_recording("c", opener(clip(frames=100, gop=10), Counting), 2, None)) == [25, 75]
    assert len(decoded) == 20


def test_the_scene_is_a_recording_too():
    picks = list(from_recording("c", opener("front_wide", SceneSource, "scene"), 3, 1.0))
    assert [int(pick.id) for pick in picks] == [2, 8, 13]


@pytest.fixture
def live(monkeypatch):
    """Return a class of streams that give a picture each 10 ms of a clock that only they move."""
    now_s = [0.0]
    monkeypatch.setattr(collect, "time", SimpleNamespace(monotonic=lambda: now_s[0]))

    class Live(PyAvSource):
        def grab(self):
            now_s[0] += 0.01
            return super().grab()

    return Live


def test_a_live_stream_is_sampled_over_time(clip, live):
    picks = list(from_live("c", opener(clip(frames=200), live), 4, 1.0))
    found = numbers(picks)
    assert found == [0, 24, 49, 74]
    assert [int(pick.id) for pick in picks] == found


def test_a_live_stream_that_has_fewer_pictures_than_wanted_gives_all_and_takes_no_longer(clip, live):
    found = numbers(from_live("c", opener(clip(frames=200), live), 1000, 0.5))
    assert found == list(range(50))


def test_a_clip_that_is_none_is_a_camera_error(tmp_path):
    with pytest.raises(CameraError, match="no such file"):
        list(from_recording("c", opener(tmp_path / "none.mp4"), 3, None))


def test_a_folder_gives_pictures_in_the_order_of_their_names(tmp_path):
    for number in range(20):
        cv2.imwrite(str(tmp_path / f"{number:02d}.{'png' if number % 2 else 'bmp'}"), painted(number))
    (tmp_path / "notes.txt").write_text("no picture")
    picks = list(from_folder(tmp_path, 5))
    assert [number_of(pick.picture.planes[0][:, :, 0]) for pick in picks] == [2, 6, 10, 14, 18]
    assert picks[0].id == "02.bmp"


def test_a_folder_without_pictures_or_with_a_broken_one(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        list(from_folder(tmp_path / "none", 5))
    with pytest.raises(ConfigError, match="no pictures there; allowed are .png"):
        list(from_folder(tmp_path, 5))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match="a.png: not a picture"):
        list(from_folder(tmp_path, 5))


def test_colours_of_a_folder_are_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((4, 4, 3), (0, 0, 255), np.uint8))
    (pick,) = from_folder(tmp_path, 1)
    assert pick.picture.planes[0][0, 0].tolist() == [255, 0, 0]
