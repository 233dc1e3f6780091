"""All shards as one: what they load must fit together, or nothing is taken over."""

from __future__ import annotations

import pickle

import pytest

from edged.assembly import Lineup
from edged.config import Secrets, load_config
from edged.errors import BackendUnavailable, ConfigError
from edged.shards.fleet import Fleet, joined
from edged.work import Cost


class Part:
    """A part that loads what it is told, or fails."""

    def __init__(self, outcome):
        self.outcome, self.share, self.prepared, self.taken_over, self.costs = outcome, None, False, [], {}

    def prepare(self, config, secrets, cameras):
        self.share, self.prepared = cameras, True
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def discard(self):
        self.prepared = False

    def take_over(self, changed):
        self.taken_over.append(changed)
        self.costs = {}

    def set_costs(self, costs):
        self.costs = costs

    def cameras(self):
        return {}


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
    assert [part.share for part in parts] == [{"a"}, {"b"}]
    assert not any(part.taken_over for part in parts)
    fleet.take_over(frozenset("a"))
    assert [part.taken_over for part in parts] == [[{"a"}], [{"a"}]]


def test_a_part_that_is_given_an_engine_of_another_one_is_told_what_it_costs(config):
    parts = [Part(served()), Part(served())]
    fleet = Fleet(parts)
    fleet.prepare(config, Secrets())
    fleet.take_over(frozenset("a"))
    costs = {"net/cpu": Cost(0.0, 0.02)}
    fleet.set_costs(costs)
    fleet.prepare(config, Secrets())
    fleet.take_over(frozenset())  # a part knows the costs of the engines that it had before
    assert [part.costs for part in parts] == [costs, costs]


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


def test_a_task_whose_engines_differ_only_in_their_files_is_refused_too():
    """They were built anew while the processes read them."""
    with pytest.raises(BackendUnavailable, match="task t: files of its engine were changed"):
        joined([served("net/cpu/1"), Lineup(), served("net/cpu/2")])


def test_a_camera_that_comes_back_goes_where_it_was(config, site, task):
    parts = [Part(served()), Part(served())]
    fleet = Fleet(parts)
    more = load_config(site({name: {"source": "scene:rear"} for name in "abcd"}, {"t": task("a", "b")}))
    shares = []
    for one in (more, config, more):
        fleet.prepare(one, Secrets())
        fleet.take_over(frozenset())
        shares.append([part.share for part in parts])
    assert shares[0] == shares[2] != shares[1]
    assert set(fleet.cameras()) == set("abcd")


def test_a_configuration_travels_and_says_the_same(config):
    again = pickle.loads(pickle.dumps(config.as_values()))
    assert again == config
    assert again.fault("task", "t", "cameras", "wrong") == config.fault("task", "t", "cameras", "wrong")
