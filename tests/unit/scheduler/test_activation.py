"""Which tasks are wanted, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from worlds import demand, supply

from edged.config import TaskConfig, load_config
from edged.errors import UsageError
from edged.plan import TaskState
from edged.scheduler.activation import Activation
from edged.scheduler.planner import NO_PLAN, EngineLoad, Machine, make_plan
from edged.scheduler.rules import Summary
from edged.scheduler.signals import SignalBook
from edged.work import Cost


@pytest.fixture
def activation(site, task):
    tasks = {"on": task("a"), "off": task("a", active=False), "asked": task("a", active="on_subscribe")}
    return Activation(load_config(site({"a": {"source": "file:x.mp4"}}, tasks)).tasks)


def test_the_configuration_decides_first(activation):
    assert activation.of("on") == (True, "configured")
    assert activation.of("off") == (False, "active: false")
    assert activation.of("asked") == (False, "nobody subscribes")


def test_a_command_outweighs_it(activation):
    activation.command(["on", "asked"], active=False)
    activation.command(["off"], active=True)
    activation.listened_to(frozenset({"asked"}))
    assert activation.of("on") == (False, "deactivated by command")
    assert activation.of("off") == (True, "activated by command")
    assert activation.of("asked") == (False, "deactivated by command")


def test_a_command_that_is_taken_back_leaves_the_configuration_to_decide(activation):
    activation.command(["on", "off", "asked"], active=True)
    activation.command(["on"], active=False)
    activation.take_back(["on", "asked"])
    activation.take_back(["on"])  # of which nothing is commanded any more
    assert activation.of("on") == (True, "configured")
    assert activation.of("off") == (True, "activated by command")
    assert activation.of("asked") == (False, "nobody subscribes")
    with pytest.raises(UsageError, match="no task 'of'; did you mean 'off'"):
        activation.take_back(["off", "of"])
    assert activation.of("off") == (True, "activated by command"), "with a fault none is"


def test_a_subscriber_wakes_a_task_that_asks_for_one(activation):
    activation.listened_to(frozenset({"asked", "off", "unknown"}))
    assert activation.of("asked") == (True, "somebody subscribes")
    assert activation.of("off") == (False, "active: false")
    activation.listened_to(frozenset())
    assert activation.of("asked") == (False, "nobody subscribes")


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        (["on", "offf"], "no task 'offf'; did you mean 'off'? there are asked, off, on"),
        (["\x1b[31m"], r"no task '\x1b[31m'; there are asked, off, on"),
        ([], "tasks must be a list of task names; there are asked, off, on"),
        ("on", "tasks must be a list of task names; there are asked, off, on"),
        ([1], "tasks must be a list of task names; there are asked, off, on"),
        (None, "tasks must be a list of task names; there are asked, off, on"),
    ],
)
def test_an_unknown_task_changes_nothing(activation, tasks, text):
    with pytest.raises(UsageError) as caught:
        activation.command(tasks, active=False)
    assert str(caught.value) == text
    assert activation.of("on") == (True, "configured")


# ---- rules over signals ----------------------------------------------------------------------------------------------

RULE = "speed_mps < 20 and gear != 'reverse'"
Made = Mapping[str, TaskConfig]


class Scene:
    """Tasks, their activation, and the time."""

    def __init__(self, make: Callable[[dict[str, dict]], Made], **tasks: dict) -> None:
        self.now_s, self.woken, self._make = 100.0, 0, make
        self.book = SignalBook(changed=self._wake, clock=lambda: self.now_s)
        self.activation = Activation(make(tasks), self.book, lambda: self.now_s)

    def _wake(self) -> None:
        self.woken += 1

    def reload(self, **tasks: dict) -> None:
        self.activation.reload(self._make(tasks))

    def set(self, **signals: object) -> None:
        self.book.set({"signals": signals})

    def result(self, score: float, camera: str = "a") -> None:
        self.activation.noted(Summary("lane", camera, score, 1, 0))

    def of(self, task: str = "t") -> tuple[bool, str]:
        return self.activation.of(task)


@pytest.fixture
def scene(site, task):
    def make(tasks: dict[str, dict]) -> Made:
        cameras = {name: {"source": f"file:{name}.mp4"} for name in ("a", "b")}
        made = {name: task(*more.get("cameras", ["a"]), **more) for name, more in tasks.items()}
        return load_config(site(cameras, made)).tasks

    return lambda **tasks: Scene(make, **tasks)


def test_a_rule_over_signals_decides_and_says_why(scene):
    t = scene(t={"when": RULE})
    assert t.of() == (False, "when is false: gear was never set; speed_mps was never set")
    t.set(speed_mps=3, gear="drive")
    assert t.of() == (True, f"when is true: {RULE}")
    assert t.woken == 1
    t.set(gear="reverse")
    assert t.of() == (False, f"when is false: {RULE}")
    assert t.woken == 2


def test_a_stale_signal_ends_its_rule_at_once_and_says_so_in_words_that_stay(scene):
    t = scene(t={"when": {"if": "speed_mps < 20", "min_on_s": 60}})
    t.set(speed_mps=3)
    assert t.of()[0]
    said = set()
    for _ in range(10):
        t.now_s += 1.01
        said.add(t.of())
    assert said == {(False, "when is false: speed_mps is stale: nothing for more than 1 s")}
    t.set(speed_mps=3)
    assert t.of() == (True, "when is true: speed_mps < 20")


def test_a_division_by_zero_makes_a_rule_false(scene):
    t = scene(t={"when": "1 / speed_mps < 20"})
    t.set(speed_mps=0)
    assert t.of() == (False, "when is false: division by zero")


def test_minimum_times_and_hysteresis_hold(scene):
    t = scene(t={"when": {"if": "speed_mps < 5", "until": "speed_mps > 8", "min_on_s": 0.5}})
    t.set(speed_mps=4)
    assert t.of()[0]
    t.now_s += 0.1
    t.set(speed_mps=9)
    assert t.of() == (True, "when stays true for at least 0.5 s: speed_mps < 5")
    t.now_s += 0.5
    assert t.of() == (False, "when is false: speed_mps < 5")


def test_a_command_outweighs_a_rule_and_says_so(scene):
    t = scene(t={"when": RULE})
    t.activation.command(["t"], active=True)
    assert t.of() == (True, f"activated by command, which outweighs when: {RULE}")
    t.set(speed_mps=3, gear="drive")
    t.activation.command(["t"], active=False)
    assert t.of() == (False, f"deactivated by command, which outweighs when: {RULE}")


def test_the_order_in_which_tasks_are_asked_never_matters(scene):
    tasks = {f"t{n}": {"when": {"if": f"speed_mps < {n}", "until": f"speed_mps > {n + 2}"}} for n in range(6)}
    one, other = scene(**tasks), scene(**tasks)
    for speed_mps in (9, 3, 4, 6, 1, 5, 0, 8):
        said = []
        for where, names in ((one, sorted(tasks)), (other, sorted(tasks, reverse=True))):
            where.set(speed_mps=speed_mps)
            said.append({name: where.of(name) for name in names})
        assert said[0] == said[1]


# ---- results of other tasks ------------------------------------------------------------------------------------------

AFTER = {"task": "lane", "if": "score < 0.5"}


def test_another_tasks_newest_result_decides(scene):
    t = scene(lane={}, t={"after": AFTER})
    assert t.activation.followed() == {"lane"}
    assert t.of() == (False, "after lane is false: lane is not running")
    t.activation.planned({"lane": 100.0})
    assert t.of() == (False, "after lane is false: lane has no result of the last 1 s")
    t.result(0.4)
    assert t.of() == (True, "after lane is true: score < 0.5")
    t.result(0.6)
    assert t.of() == (False, "after lane is false: score < 0.5")


def test_one_of_several_cameras_is_enough_and_all_are_needed_to_end_it(scene):
    t = scene(lane={"cameras": ["a", "b"]}, t={"after": {**AFTER, "until": "score > 0.7"}})
    t.activation.planned({"lane": 100.0})
    t.result(0.9, "a")
    assert not t.of()[0]
    t.result(0.4, "b")
    assert t.of()[0]
    t.result(0.6, "b")
    assert t.of() == (True, "after lane stays true until score > 0.7")
    t.result(0.8, "b")
    assert not t.of()[0]


@pytest.mark.parametrize(("rate_hz", "patience_s"), [(100, 1), (2, 1.5), (0.5, 6)])
def test_a_result_counts_for_three_intervals_of_the_granted_rate_and_for_the_signals_time_at_least(
    scene, rate_hz, patience_s
):
    t = scene(lane={"rate_hz": 100}, t={"after": AFTER})
    t.activation.planned({"lane": rate_hz})
    t.result(0.1)
    t.now_s += patience_s
    assert t.of()[0]
    t.now_s += 0.01
    assert t.of() == (False, f"after lane is false: lane has no result of the last {patience_s:g} s")


def test_a_result_of_a_slower_time_counts_as_long_as_it_did_then(scene):
    t = scene(lane={"rate_hz": 100}, t={"after": AFTER})
    t.activation.planned({"lane": 0.5})
    t.result(0.1)
    t.now_s += 4
    t.activation.planned({"lane": 100.0})
    assert t.of()[0]
    t.result(0.1)
    t.activation.planned({"lane": 0.5})
    t.now_s += 4
    assert t.of()[0]


def test_a_followed_task_that_is_suspended_ends_nothing_before_its_time(scene):
    t = scene(lane={}, t={"after": {**AFTER, "min_on_s": 5, "min_off_s": 3}})
    t.activation.planned({"lane": 100.0})
    t.result(0.1)
    assert t.of()[0]
    t.activation.planned({"lane": 0.0})
    t.now_s += 1
    assert t.of() == (True, "after lane is true: score < 0.5"), "its last result counts as ever"
    t.now_s += 3.9
    assert t.of() == (True, "after lane stays true for at least 5 s: score < 0.5")
    t.now_s += 0.1
    assert t.of() == (False, "after lane is false: lane is suspended")
    t.activation.planned({"lane": 100.0})
    t.result(0.1)
    assert t.of() == (False, "after lane stays false for at least 3 s: score < 0.5")
    t.now_s += 3
    t.result(0.1)
    assert t.of()[0]


def test_a_followed_task_that_nobody_wants_any_more_ends_it_at_once(scene):
    t = scene(lane={}, t={"after": {**AFTER, "min_on_s": 5}})
    t.activation.planned({"lane": 100.0})
    t.result(0.1)
    assert t.of()[0]
    t.activation.planned({})
    assert t.of() == (False, "after lane is false: lane is not running")


@pytest.mark.parametrize(("more", "most"), [({}, 40), ({"min_on_s": 5}, 8)])
def test_a_task_that_takes_the_work_of_the_one_it_follows_does_not_flutter(scene, more, most):
    """In 20 seconds; a plan ten times a second made 200 changes of it."""
    t = scene(lane={}, t={"after": {"task": "lane", "if": "count > 0", **more}})
    engines = {"lane": EngineLoad("cpu", Cost(0, 0.05), 1), "t": EngineLoad("cpu", Cost(0, 0.07), 1)}
    machine = Machine(engines, {}, {"cpu": 0.9}, {"cpu": 2})
    plan, states = NO_PLAN, []
    for _ in range(200):
        t.now_s += 0.1
        if plan.tasks and plan.tasks["lane"].rate_hz > 0:
            t.result(0.9)
        lane = demand("lane", "a", rate_min_hz=5, engine="lane")
        follower = demand("t", "a", priority=10, active=(wanted := t.of())[0], why=wanted[1], engine="t")
        plan = make_plan([lane, follower], [supply("a", rate_hz=25)], machine, plan, t.now_s)
        t.activation.planned({name: one.rate_hz for name, one in plan.tasks.items() if one.rate_hz or one.suspended})
        states.append((plan.tasks["t"].state, plan.tasks["lane"].suspended))
    assert (TaskState.ACTIVE, True) in states, "it takes the other's work"
    assert sum(one[0] is not other[0] for one, other in pairwise(states)) <= most


def test_results_of_a_task_that_no_longer_runs_are_forgotten(scene):
    t = scene(lane={}, t={"after": AFTER})
    t.activation.planned({"lane": 100.0})
    t.result(0.1)
    assert t.of()[0]
    t.activation.planned({})
    assert t.of() == (False, "after lane is false: lane is not running")
    t.activation.planned({"lane": 100.0})
    assert t.of() == (False, "after lane is false: lane has no result of the last 1 s")


# ---- reload ----------------------------------------------------------------------------------------------------------


def test_a_reload_keeps_commands_of_tasks_that_still_exist(scene):
    t = scene(t={}, gone={})
    t.activation.command(["t", "gone"], active=False)
    t.reload(t={"when": RULE}, new={})
    assert t.of() == (False, f"deactivated by command, which outweighs when: {RULE}")
    assert t.of("new") == (True, "configured")
    t.reload(t={}, gone={})
    assert t.of("gone") == (True, "configured")


def test_a_reload_keeps_what_equal_rules_were_and_starts_others_anew(scene):
    band = {"if": "speed_mps < 5", "until": "speed_mps > 8"}
    t = scene(t={"when": band}, other={"when": band})
    t.set(speed_mps=4)
    assert t.of()[0]
    assert t.of("other")[0]
    t.set(speed_mps=6)
    t.reload(t={"when": band}, other={"when": {**band, "until": "speed_mps > 9"}})
    assert t.of() == (True, "when stays true until speed_mps > 8")
    assert t.of("other") == (False, "when is false: speed_mps < 5")
    woken = t.woken
    t.set(speed_mps=8.5)
    assert t.woken == woken + 1
