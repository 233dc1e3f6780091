"""All shards as one: what they load must fit together, or nothing is taken over."""

from __future__ import annotations

import pickle

import pytest

from edged.assembly import Lineup
from edged.config import Secrets, load_config
from edged.errors import BackendUnavailable, ConfigError
from edged.shards.fleet import Fleet, joined


class Part:
    """A part that loads what it is told, or fails."""

    def __init__(self, outcome):
        self.outcome, self.cameras, self.prepared, self.taken_over = outcome, None, False, []

    def prepare(self, config, secrets, cameras):
        self.cameras, self.prepared = cameras, True
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def discard(self):
        self.prepared = False

    def take_over(self, changed):
        self.taken_over.append(changed)


@pytest.fixture
def config(site, task):
    return load_config(
        site({"a": {"source": "scene:front_wide"}, "b": {"source": "scene:rear"}}, {"t": task("a", "b")})
    )


def served(engine="net/cpu", words="on cpu"):
    return Lineup({}, {"t": engine}, {}, {"t": words})


def test_each_part_gets_its_share_and_takes_over_what_it_prepared(config):
    parts = [Part(served()), Part(served())]
    fleet = Fleet(parts)
    assert fleet.prepare(config, Secrets()).task_engine == {"t": "net/cpu"}
    assert [part.cameras for part in parts] == [{"a"}, {"b"}]
    assert not any(part.taken_over for part in parts)
    fleet.take_over(frozenset("a"))
    assert [part.taken_over for part in parts] == [[{"a"}], [{"a"}]]


@pytest.mark.parametrize("outcome", [ConfigError("no such output"), served("net/gpu0", "on gpu0")], ids=type)
def test_where_one_part_differs_nothing_stays_prepared(config, outcome):
    parts = [Part(served()), Part(outcome)]
    with pytest.raises((ConfigError, BackendUnavailable)):
        Fleet(parts).prepare(config, Secrets())
    assert not any(part.prepared for part in parts)


def test_a_task_that_is_not_served_alike_everywhere_is_named_with_both_ways():
    with pytest.raises(
        BackendUnavailable, match=r"task t is served by on gpu0 in one process and by on cpu in another"
    ):
        joined([served("x", "on gpu0"), Lineup(), served("y", "on cpu")])


def test_a_configuration_travels_and_says_the_same(config):
    again = pickle.loads(pickle.dumps(config.as_values()))
    assert again == config
    assert again.fault("task", "t", "cameras", "wrong") == config.fault("task", "t", "cameras", "wrong")
