"""What is costly to make is kept while it is used, however much that is."""

from __future__ import annotations

import pytest

from edged.engines.kept import UNUSED_S, Kept


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def kept(now):
    return Kept(lambda: now[0])


def test_what_comes_in_turn_is_made_once_however_many_there_are(kept, now):
    made = 0
    for _ in range(10):
        for key in range(1000):
            if kept.get(key) is None:
                made += 1
                assert kept.put(key, f"thing {key}") == {}
        now[0] += UNUSED_S / 2
    assert made == 1000


def test_what_was_not_used_for_long_goes_when_something_new_comes(kept, now):
    for key in "abc":
        kept.put(key, key.upper())
    now[0] = UNUSED_S
    assert kept.get("b") == "B"
    now[0] += 1
    assert kept.put("d", "D") == {"a": "A", "c": "C"}
    assert [kept.get(key) for key in "abcd"] == [None, "B", None, "D"]


def test_all_is_given_back_at_the_end(kept):
    kept.put(1, "x")
    assert kept.clear() == {1: "x"}
    assert kept.clear() == {}
    assert kept.get(1) is None
