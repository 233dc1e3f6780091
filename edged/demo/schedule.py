"""Which tasks are on at which moment of the show: a pure function of time."""

from __future__ import annotations

import math

SECONDS_MIN, SECONDS_DEFAULT = 5.0, 30.0
ROUND_MAX_S = 60.0  # a longer show repeats itself: nobody waits ten minutes for a switch

# (fraction of a round, tasks that are on from there), and what one sees
ACTS: tuple[tuple[float, frozenset[str]], ...] = (
    (0.00, frozenset({"pedestrian"})),  # the four front cameras
    (0.15, frozenset({"pedestrian", "lane"})),  # joins them, disturbs none
    (0.32, frozenset({"pedestrian", "lane", "vehicle"})),  # the rear cameras appear
    (0.52, frozenset({"lane", "vehicle"})),  # no camera changes: lane needs them all
    (0.68, frozenset({"vehicle"})),  # front_narrow, front_left and front_right vanish
    (0.84, frozenset({"pedestrian", "lane", "vehicle"})),  # everything, for the picture
)


def active_tasks(seconds: float, elapsed_s: float) -> frozenset[str]:
    """Return the tasks that are on `elapsed_s` into a show of `seconds`. After its end the last act stands."""
    if elapsed_s >= seconds:
        return ACTS[-1][1]
    round_s = seconds / _rounds(seconds)
    place = max(0.0, elapsed_s) % round_s / round_s
    return [tasks for start, tasks in ACTS if start <= place][-1]


def _rounds(seconds: float) -> int:
    return max(1, math.ceil(seconds / ROUND_MAX_S))
