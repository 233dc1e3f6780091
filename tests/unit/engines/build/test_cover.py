"""Which candidates are taken, and to which part they go: properties that hold for any recording."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engines.build.cover import ONE, Candidate, Space, evenly, farthest_first, quotas, radius, spread
from edged.engines.build.coverage import Coverage, coverage_of
from edged.engines.build.look import SCENE, Look
from edged.engines.build.parts import SHARES, _stretches, deal

CELLS = SCENE[0] * SCENE[1] * 3


def candidate(camera, brightness, objects=None, scene=0, contrast=40):
    return Candidate(camera, Look(brightness, contrast, np.full(CELLS, scene, np.int64)), objects)


@st.composite
def candidates(draw):
    row = st.tuples(st.sampled_from("abc"), st.integers(0, 255), st.integers(0, 9), st.integers(-90, 90))
    rows = draw(st.lists(row, min_size=1, max_size=60))
    return [candidate(*row) for row in sorted(rows, key=lambda row: row[0])]


@given(candidates(), st.integers(1, 80))
@settings(max_examples=40, deadline=None)
def test_what_is_taken_keeps_every_quota_and_is_taken_once(rows, wanted):
    space = Space(rows)
    taken = farthest_first(space, rows, wanted)
    assert len(set(taken)) == len(taken) == min(wanted, len(rows))
    assert Counter(rows[place].group for place in taken) == +Counter(quotas(rows, wanted))
    assert taken == farthest_first(Space(rows), rows, wanted)


@given(candidates(), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_frames_of_one_group_are_as_far_apart_as_the_worst_served_candidate_is_from_them(rows, wanted):
    rows = [candidate("a", one.look.brightness, None, int(one.look.scene[0])) for one in rows]
    space = Space(rows)
    taken = farthest_first(space, rows, wanted)
    reach = int(space.nearest(taken).max())
    assert all(space.apart(one, two) >= reach for n, one in enumerate(taken) for two in taken[:n])


def test_a_rare_scene_is_taken_where_an_even_choice_passes_it_over():
    rows = [candidate("a", 100 + n % 3) for n in range(200)]
    rows[7] = candidate("a", 10)  # a tunnel
    rows[150] = candidate("a", 250, scene=30)  # low sun
    space = Space(rows)
    taken = farthest_first(space, rows, 8)
    assert {7, 150} <= set(taken[:3])
    assert radius(space.nearest(taken)) < radius(space.nearest(spread(len(rows), 8)))


def test_cameras_share_evenly_and_what_one_lacks_the_others_give():
    assert evenly(128, [300] * 6) == [22, 22, 21, 21, 21, 21]
    assert evenly(100, [10, 300, 300]) == [10, 45, 45]
    assert evenly(10, [2, 3]) == [2, 3]
    assert evenly(5, []) == []


def test_half_of_each_camera_shows_something_where_that_is_possible():
    rows = [candidate("a", n, int(n % 10 == 0)) for n in range(100)] + [candidate("b", n, 2) for n in range(100)]
    assert quotas(rows, 80) == {("a", True): 10, ("a", False): 30, ("b", True): 40, ("b", False): 0}
    rows = [candidate("a", n, int(n % 2 == 0)) for n in range(100)]
    assert quotas(rows, 40) == {("a", True): 20, ("a", False): 20}


def test_blocks_that_do_not_vary_say_nothing():
    rows = [candidate("a", brightness, 1, contrast=40 + brightness % 2) for brightness in (100, 100, 101, 200)]
    space = Space(rows)
    assert space.apart(0, 1) == 0
    assert space.apart(0, 2) < ONE // 4 < space.apart(0, 3)


def drive(frames=160, cameras=("a", "b")):
    """Return candidates of cameras whose pictures change a little with every frame, and at places at once."""
    random = np.random.default_rng(5)
    rows = []
    for camera in cameras:
        place = 0
        for number in range(frames):
            place = random.integers(-60, 60) if number % 23 == 0 else place + random.integers(-2, 3)
            rows.append(candidate(camera, int(120 + place), int(number // 23 % 2), int(place)))
    return rows


@pytest.mark.parametrize("wanted", [8, 16, 44, 128, 320])
def test_every_part_has_its_share_of_every_camera_and_of_objects(wanted):
    rows = drive()
    space = Space(rows)
    taken = farthest_first(space, rows, wanted)
    parts = deal(space, rows, taken)
    assert sorted(parts) == sorted(taken)
    for camera in "ab":
        mine = Counter(part for place, part in parts.items() if rows[place].camera == camera)
        for part, share in SHARES.items():
            assert abs(mine[part] - share * mine.total() / 4) <= max(2, mine.total() / 12)
    showing = Counter(part for place, part in parts.items() if rows[place].objects)
    assert set(showing) == set(SHARES)
    assert parts == deal(Space(rows), rows, taken)


def test_neighbours_in_time_are_in_one_part_but_where_stretches_meet():
    rows = drive(cameras=("a",))
    space = Space(rows)
    taken = sorted(farthest_first(space, rows, 128))
    parts = deal(space, rows, taken)
    apart = [(one, two) for one, two in zip(taken, taken[1:], strict=False) if parts[one] != parts[two]]
    assert len(apart) <= 15


def test_stretches_are_cut_where_the_picture_changes_at_once_if_that_is_near():
    rows = drive(cameras=("a",))
    cuts = {min(one) for one in _stretches(Space(rows), rows, range(160), "a")}
    assert len(cuts) == 16
    assert {69, 92, 138} <= cuts  # 23, 46 and 115 are too far from even distances of 10


def test_parts_cover_as_the_whole_does():
    rows = drive(400)
    space = Space(rows)
    taken = farthest_first(space, rows, 256)
    found = coverage_of(space, rows, taken, deal(space, rows, taken), {"a": 3})
    assert found.radius < found.radius_even
    assert (found.candidates, found.near_duplicates, found.cameras["a"].near_duplicates) == (800, 3, 3)
    by_time = dict(zip(sorted(taken), ["calibrate"] * 128 + ["verify"] * 64 + ["choose"] * 64, strict=True))
    in_a_row = coverage_of(space, rows, taken, by_time, {})
    for name, part in found.parts.items():
        assert abs(part.frames - 64 * SHARES[name]) <= 8
        assert found.radius <= part.radius < in_a_row.parts[name].radius
        assert 0.3 < part.with_objects < 0.7
    assert Coverage.from_json(found.to_json()) == found


def test_other_shares_are_kept_too():
    rows = drive()
    space = Space(rows)
    taken = farthest_first(space, rows, 96)
    parts = Counter(deal(space, rows, taken, {"calibrate": 2, "choose": 1}).values())
    assert abs(parts["calibrate"] - 64) <= 8
    assert parts["verify"] == 0
    assert set(deal(space, rows, taken, {"verify": 1}).values()) == {"verify"}
