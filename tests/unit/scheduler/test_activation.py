"""Which tasks are wanted, and by whom."""

from __future__ import annotations

import pytest

from edged.config import load_config
from edged.errors import UsageError
from edged.scheduler.activation import Activation


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
