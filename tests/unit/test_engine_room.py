"""One set of engines takes over from another, whatever batches of the one before are still at work."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from edged.assembly import Assembled
from edged.engine_room import EngineRoom
from edged.engines.worker import LoadedEngine
from edged.supervisor import Supervisor


@dataclass
class Engine:
    """What an engine room needs of one."""

    closed: int = 0
    backend: str = "onnxruntime"
    device: str = "cpu"
    precision: str = "fp32"
    max_batch: int = 1
    fixed_batch: bool = False
    workers: int = 1
    note: str = ""

    def close(self) -> None:
        self.closed += 1


@dataclass
class Parser:
    name: str = ""

    def parse(self, outputs, index, fit): ...


@dataclass
class Room:
    """An engine room whose batches at work are those that a test says."""

    room: EngineRoom
    engines: dict[str, Engine] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)

    def take_over(self, **tasks: str) -> None:
        """Serve each task with an engine of that name; one that was there before stays as it is."""
        used = {name: self.engines.setdefault(name, Engine()) for name in tasks.values()}
        loaded = {name: LoadedEngine(engine, f"{name}.onnx") for name, engine in used.items()}
        self.room.take_over(Assembled(loaded, dict(tasks), {task: Parser(task) for task in tasks}))

    def served(self):
        """Return the engines and parsers that workers have."""
        table = self.room._holder.table
        return sorted(table.engines), sorted(table.parsers)


@pytest.fixture
def room(monkeypatch):
    supervisor = Supervisor()
    made = Room(EngineRoom(supervisor, lambda result, wait: None, lambda *_: None))
    monkeypatch.setattr(made.room.dispatcher, "in_flight", lambda key: int(key in made.busy))
    yield made
    supervisor.close()
    made.room.close()
    assert [engine.closed for engine in made.engines.values()] == [1] * len(made.engines), "each is closed once"


def test_an_engine_goes_when_its_last_batch_is_done(room):
    room.take_over(t="one")
    room.busy = {"one"}
    room.take_over(t="two")
    room.room.retire()
    assert room.served() == (["one", "two"], [("t", "one"), ("t", "two")])
    room.busy = set()
    room.room.retire()
    assert room.served() == (["two"], [("t", "two")])
    assert (room.engines["one"].closed, room.engines["two"].closed) == (1, 0)


def test_a_takeover_waits_for_no_batch_of_those_before_it(room):
    room.take_over(t="one")
    room.busy = {"one"}
    for name in ("two", "three", "four"):
        room.take_over(t=name)
        room.room.retire()
    assert room.served()[0] == ["four", "one"]
    assert [room.engines[name].closed for name in ("one", "two", "three", "four")] == [0, 1, 1, 0]


def test_a_parser_stays_while_its_engine_which_others_keep_is_at_work(room):
    room.take_over(t="one", other="one")
    room.busy = {"one"}
    room.take_over(t="one")
    room.room.retire()
    assert room.served()[1] == [("other", "one"), ("t", "one")], "a batch may have been taken with it"
    room.busy = set()
    room.room.retire()
    assert room.served() == (["one"], [("t", "one")])
    assert room.engines["one"].closed == 0


def test_an_engine_that_was_loaded_anew_under_its_name_takes_the_old_ones_place(room):
    room.take_over(t="one")
    room.busy = {"one"}
    room.take_over(t="two")
    old = room.engines.pop("one")
    room.take_over(t="one")
    room.room.retire()
    assert room.room._holder.table.engines["one"].engine is room.engines["one"]
    assert old.closed == 0
    room.busy = set()
    room.room.retire()
    assert (old.closed, room.engines["one"].closed, room.engines["two"].closed) == (1, 0, 1)
