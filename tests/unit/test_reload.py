"""Reading the configuration again: one reading at a time, which may fail or hang, and who waits for it."""

from __future__ import annotations

import threading
from collections import deque

import pytest
from parts import until

from edged.assembly import NOTHING, Lineup
from edged.errors import ConfigError, WorkerFailed
from edged.reload import Loaded, Readings, Reloader, Reloads, load
from edged.supervisor import Supervisor

EMPTY = Lineup({}, {}, {}, {})


def test_a_faulty_configuration_names_every_fault_and_loads_nothing(site, task):
    directory = site({"front": {"source": "scene:front"}}, {"lane": {**task("nowhere"), "rate_hz": 0}})
    with pytest.raises(ConfigError, match=r"(?s)rate_hz.*nowhere.*2 fault"):
        load(directory, NOTHING)


def test_who_asks_while_a_reading_is_under_way_waits_for_the_next_one():
    begun = []
    readings = Readings(lambda: begun.append(len(begun)))
    for who in ("one", "two", None, "three"):
        readings.ask(who)
    assert begun == [0]
    assert readings.ended() == ["one"]
    assert begun == [0, 1]
    assert readings.ended() == ["two", "three"]
    assert (begun, readings.ended()) == ([0, 1], [])


def test_a_signal_alone_is_a_reading_that_nobody_waits_for():
    begun = []
    readings = Readings(lambda: begun.append(True))
    readings.ask(None)
    readings.ask(None)
    assert (readings.ended(), readings.ended(), len(begun)) == ([], [], 2)


class Desk:
    """Asks for readings as the daemon does, and holds each of them up until it is told how to end."""

    def __init__(self, directory):
        self.directory = directory
        self.supervisor = Supervisor()
        self.events, self.told, self.answers, self.discarded = deque(), [], {}, 0
        self.go, self.fails = threading.Event(), None
        self.reloads = Reloads(
            self.supervisor, self.reader, lambda: self.told.append("reloading"), self.settle, self.discard
        )

    def reader(self, number):
        return Reloader(number, self.directory, self.prepare, self.events.append)

    def prepare(self, _config, _secrets):
        assert self.go.wait(10)
        if self.fails is not None:
            raise self.fails
        return EMPTY

    def settle(self, outcome):
        what = "loaded" if isinstance(outcome, Loaded) else str(outcome.error)
        self.told.append(what)
        return lambda who: self.answers.update({who: what})

    def discard(self):
        self.discarded += 1

    def serve(self, count=1):
        """Take so many outcomes in, as the main loop does."""
        until(lambda: len(self.events) >= count, what="the reading")
        for _ in range(count):
            self.reloads.read(self.events.popleft())

    def lose(self):
        self.reloads.lost(WorkerFailed("reload: silent for 600.0 s"))


@pytest.fixture
def desk(site, task, monkeypatch):
    monkeypatch.setattr("edged.reload.GIVE_UP_S", 0.05)
    desk = Desk(site({"front": {"source": "scene:front"}}, {"lane": task("front")}))
    yield desk
    desk.go.set()
    desk.supervisor.close()


def test_a_reading_is_taken_over_and_answers_who_asked(desk):
    desk.go.set()
    desk.reloads.ask("one")
    desk.reloads.ask("two")
    desk.serve()
    assert desk.answers == {"one": "loaded"}
    desk.serve()
    assert desk.answers == {"one": "loaded", "two": "loaded"}
    assert desk.told == ["reloading", "loaded", "reloading", "loaded"]
    assert (desk.supervisor.names(), desk.discarded) == ([], 0)


def test_one_that_hangs_is_refused_and_so_are_others_until_it_has_ended(desk):
    desk.reloads.ask("one")
    desk.lose()
    desk.reloads.ask("two")
    assert desk.answers["one"] == "reload: silent for 600.0 s"
    assert desk.answers["two"].startswith("the reload before this one hangs")
    assert desk.told[0::2] == ["reloading", "reloading"], "who waits for READY=1 has been told"
    desk.go.set()
    desk.serve()
    assert (desk.discarded, desk.supervisor.names()) == (1, [])
    desk.reloads.ask("three")
    desk.serve()
    assert (desk.answers["three"], desk.discarded) == ("loaded", 1)


def test_one_that_ends_just_as_it_is_given_up_stays_refused(desk):
    desk.go.set()
    desk.reloads.ask("one")
    desk.reloads.ask("two")
    until(lambda: desk.events, what="the first reading")
    desk.lose()
    assert (desk.answers, desk.discarded) == ({"one": "reload: silent for 600.0 s"}, 1)
    desk.serve(2)
    assert desk.answers["two"] == "loaded"
    assert (desk.discarded, desk.supervisor.names()) == (1, [])


@pytest.mark.parametrize("hangs", [True, False])
def test_one_that_ends_with_a_bug_holds_up_no_other(desk, hangs):
    desk.fails = ZeroDivisionError("a plug-in's")
    desk.reloads.ask("one")
    if hangs:
        desk.lose()
    desk.go.set()
    until(lambda: not any(one.name == "reload" for one in threading.enumerate()), what="the end of the thread")
    if not hangs:
        (lost,) = desk.supervisor.check()
        desk.reloads.lost(lost.error)
        assert desk.answers["one"] == "reload: gave up after 1 failure(s): a plug-in's"
    desk.fails = None
    desk.reloads.ask("two")
    desk.serve()
    assert (desk.answers["two"], desk.discarded) == ("loaded", 0)
