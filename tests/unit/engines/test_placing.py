"""Where engines go: properties that hold for any wishes, and the cases a person would ask about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engines.placing import Wish, place_engines

ROOMS = {"gpu0": {"bytes": 100}, "gpu1": {}, "dla0": {"loadables": 16}, "dla1": {"loadables": 16}}


@st.composite
def wishes(draw):
    found = []
    for number in range(draw(st.integers(1, 8))):
        times = st.one_of(st.none(), st.floats(0.1, 40))
        ms = draw(st.dictionaries(st.sampled_from([*ROOMS, "gpu7"]), times, min_size=1, max_size=4))
        takes = {place: {"loadables": draw(st.integers(1, 12))} for place in ms if place.startswith("dla")}
        if "gpu0" in ms:
            takes["gpu0"] = {"bytes": draw(st.integers(1, 80))}
        found.append(Wish(f"net{number}", draw(st.integers(0, 3)), draw(st.floats(0, 200)), ms, takes))
    return found


@given(wishes(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_wishes_never_matters(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    shuffled = [replace(one, ms=dict(random.sample(list(one.ms.items()), len(one.ms)))) for one in shuffled]
    assert place_engines(shuffled, ROOMS) == place_engines(found, ROOMS)


@given(wishes(), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_lower_priority_never_moves_a_higher_one(found, least):
    higher = [one for one in found if one.priority >= least]
    assert place_engines(higher, ROOMS).items() <= place_engines(found, ROOMS).items()


@given(wishes())
@settings(max_examples=40, deadline=None)
def test_what_is_limited_is_kept_where_there_is_another_place(found):
    placed = place_engines(found, ROOMS)
    assert placed.keys() == {one.name for one in found if one.ms.keys() & ROOMS.keys()}
    used = dict.fromkeys(ROOMS, 0)
    for one in sorted(found, key=lambda one: (-one.priority, one.name)):
        if one.name not in placed:
            continue
        places = placed[one.name].places
        assert set(places) == one.ms.keys() & ROOMS.keys()
        takes = {place: sum(one.takes.get(place, {}).values()) for place in places}

        def fits(place, takes=takes):
            return used[place] + takes[place] <= next(iter(ROOMS[place].values()), 10**9)

        assert fits(places[0]) or not any(map(fits, places))
        used[places[0]] += takes[places[0]]


def wish(name, priority=0, rate_hz=10.0, **ms):
    return Wish(name, priority, rate_hz, ms)


def where(*found, rooms=ROOMS):
    return {name: one.places[0] for name, one in place_engines(found, rooms).items()}


def test_alone_each_runs_where_it_is_fastest():
    assert where(wish("a", gpu0=2.0, dla0=5.0)) == {"a": "gpu0"}
    assert where(wish("a", gpu0=9.0, dla0=5.0, dla1=5.0)) == {"a": "dla0"}


def test_a_busy_gpu_gives_way_to_a_dla_as_soon_as_that_is_done_sooner():
    busy = wish("busy", 10, rate_hz=100.0, gpu0=7.0)  # 70 % of it
    found = place_engines([busy, wish("a", 5, gpu0=2.0, dla0=5.0, dla1=5.0)], ROOMS)
    assert found["a"].places == ("dla0", "dla1", "gpu0")  # 2 ms / 30 % is 6.7 ms
    assert found["a"].reason == "dla0 5.00 ms, dla1 5.00 ms, gpu0 2.00 ms while 70% is taken before it"
    assert found["busy"].reason == ""  # it had no choice
    idle = wish("busy", 10, rate_hz=50.0, gpu0=7.0)
    assert where(idle, wish("a", 5, gpu0=2.0, dla0=5.0))["a"] == "gpu0"


def test_equals_spread_over_the_cores():
    three = [wish(name, rate_hz=100.0, gpu0=20.0, dla0=5.0, dla1=5.0) for name in "abc"]
    assert where(*three) == {"a": "dla0", "b": "dla1", "c": "dla0"}


def test_what_fits_nowhere_goes_where_it_overloads_least():
    assert where(wish("a", rate_hz=100.0, gpu0=30.0, dla0=20.0)) == {"a": "dla0"}
    assert where(wish("a", rate_hz=100.0, gpu0=9.0), wish("b", rate_hz=100.0, gpu0=9.0, dla0=30.0))["b"] == "gpu0"


def test_a_place_that_was_not_measured_comes_last():
    assert where(wish("a", gpu0=None, dla0=50.0)) == {"a": "dla0"}
    found = place_engines([wish("a", gpu0=None, dla0=None)], ROOMS)["a"]
    assert (found.places, found.reason) == (("gpu0", "dla0"), "gpu0 not measured, dla0 not measured")


def test_a_core_that_is_full_is_passed_over_and_the_reason_says_so():
    takes = {"dla0": {"loadables": 10}}
    one, two = (Wish(name, 1, 10.0, {"gpu0": 9.0, "dla0": 5.0}, takes) for name in "ab")
    found = place_engines([one, two], ROOMS)
    assert (found["a"].places[0], found["b"].places[0]) == ("dla0", "gpu0")
    assert found["b"].reason == "gpu0 9.00 ms, dla0 takes 10 loadables, 6 of 16 are left"


@pytest.mark.parametrize("rooms", [{}, {"gpu0": {}}])
def test_a_place_that_the_machine_does_not_have_is_none(rooms):
    assert where(wish("a", gpu5=1.0), rooms=rooms) == {}
