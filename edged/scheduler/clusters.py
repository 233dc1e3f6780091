"""Cameras that are alike to the planner are planned as one, so that its work does not grow with their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import inf
from typing import NamedTuple

from edged.plan import CameraState
from edged.scheduler.demand import Demand, Supply


class Cluster(NamedTuple):
    """Cameras that the same tasks name, at the same stream rate.

    `members` are positions in the sorted list of tasks. `counted` is how many of the cameras the budget counts: 0 for
    lossless ones, and for sources that have ended. `decode_s` is the sum over those. `stream_hz` is infinite where
    unknown.
    """

    supplies: tuple[Supply, ...]
    members: tuple[int, ...]
    counted: int
    stream_hz: float
    decode_s: float
    lossless: bool


class Grouping(NamedTuple):
    """All clusters, and for each task, by its position, the numbers of those of its clusters that the budget counts."""

    clusters: tuple[Cluster, ...]
    by_task: tuple[list[int], ...]


def group_cameras(tasks: Sequence[Demand], supplies: Sequence[Supply], decode_s: Mapping[str, float]) -> Grouping:
    """Group the cameras. Cameras of a task that are not supplied are left out."""
    sets: dict[tuple[str, ...], list[int]] = {}
    for position, demand in enumerate(tasks):
        sets.setdefault(demand.cameras, []).append(position)
    named: dict[str, list[int]] = {supply.camera: [] for supply in supplies}
    for number, cameras in enumerate(sets):
        for camera in cameras:
            if camera in named:
                named[camera].append(number)
    alike: dict[tuple[tuple[int, ...], float | None, bool, bool], list[Supply]] = {}
    for supply in supplies:
        key = (tuple(named[supply.camera]), supply.rate_hz, supply.lossless, supply.state is CameraState.ENDED)
        alike.setdefault(key, []).append(supply)
    members = list(sets.values())
    clusters = tuple([_cluster(key[0], members, group, decode_s) for key, group in alike.items()])
    of_set: list[list[int]] = [[] for _ in sets]
    for number, key in enumerate(alike):
        if clusters[number].counted:
            for one in dict.fromkeys(key[0]):
                of_set[one].append(number)
    by_cameras = dict(zip(sets, of_set, strict=True))
    return Grouping(clusters, tuple([by_cameras[demand.cameras] for demand in tasks]))


def _cluster(
    sets: tuple[int, ...], members: Sequence[list[int]], supplies: list[Supply], decode_s: Mapping[str, float]
) -> Cluster:
    first = supplies[0]
    counts = not first.lossless and first.state is not CameraState.ENDED
    return Cluster(
        supplies=tuple(supplies),
        members=tuple(sorted(chain.from_iterable([members[number] for number in dict.fromkeys(sets)]))),
        counted=len(supplies) if counts else 0,
        stream_hz=first.rate_hz or inf,
        decode_s=sum([decode_s.get(supply.camera, 0.0) for supply in supplies]) if counts else 0.0,
        lossless=first.lossless,
    )
