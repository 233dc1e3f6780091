"""What configuration and health mean to the planner."""

from __future__ import annotations

import pytest

from edged.config import load_config
from edged.planning import Stock


@pytest.fixture
def stock(site, task):
    def stock(unneeded, linger_s, camera="front"):
        cameras = {name: {"source": f"scene:{name}"} for name in ("front", "rear")}
        rest = {"unneeded": unneeded, "linger_s": linger_s}
        return Stock(load_config(site(cameras, {"lane": task(camera, **rest)})))

    return stock


@pytest.mark.parametrize(
    ("before", "after", "readier"),
    [
        (("cold", 60), ("cold", 60), False),
        (("cold", 60), ("parked", 60), True),
        (("parked", 60), ("warm", 5), True),
        (("parked", 5), ("parked", 60), True),
        (("parked", 60), ("parked", 5), False),
        (("warm", 60), ("parked", 60), False),
    ],
)
def test_a_camera_rests_readier_in_a_readier_mode_or_for_longer(stock, before, after, readier):
    assert stock(*after).readier("front", stock(*before)) is readier
    assert not stock(*after).readier("front", stock(*after))


def test_a_camera_that_no_task_names_any_more_is_not_readier(stock):
    none = stock("parked", 60, camera="rear")
    assert not none.readier("front", stock("parked", 60))
    assert stock("parked", 60).readier("front", none)
