"""What several tasks of one command would get together."""

from __future__ import annotations

from dataclasses import replace

from worlds import demand, supply

from edged.plan import Plan
from edged.scheduler.admission import admit, admit_all
from edged.scheduler.planner import EngineLoad, Machine
from edged.work import Cost

ENGINES = {name: EngineLoad("cpu", Cost(0, 0.06), 1) for name in "ab"}
MACHINE = Machine(ENGINES, {}, {"cpu": 0.9}, {"cpu": 1})
A, B = (demand(name, "front", active=False, engine=name) for name in "ab")
CAMERAS = [supply("front", rate_hz=30)]


def granted(*demands, tasks):
    told = admit_all(demands, CAMERAS, MACHINE, Plan(), tasks)
    return {name: one.granted_hz >= one.wanted_hz for name, one in told.items()}


def test_tasks_that_fit_one_by_one_need_not_fit_together():
    assert all(admit([A, B], CAMERAS, MACHINE, Plan(), name).granted_hz == 10 for name in "ab")
    assert granted(A, B, tasks=["a"]) == {"a": True}
    assert granted(A, B, tasks=["a", "b"]) == {"a": True, "b": False}
    assert granted(A, B, tasks=["b", "a"]) == {"b": True, "a": False}
    assert granted(A, replace(B, rate_hz=4), tasks=["a", "b"]) == {"a": True, "b": True}


def test_the_one_of_higher_priority_is_asked_about_first_wherever_it_stands():
    for tasks in (["a", "b"], ["b", "a"]):
        assert granted(A, replace(B, priority=10), tasks=tasks) == {"a": False, "b": True}
