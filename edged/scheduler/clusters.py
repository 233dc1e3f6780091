"""Cameras that are alike to the planner are planned as one, so that its work does not grow with their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import inf
from typing import NamedTuple

from edged.plan import CameraState
from edged.scheduler.demand import Demand, Supply


class Cluster(NamedTuple):
    """Cameras that the same tasks name, at the same stream rate; a view counts as a camera that needs no decoding.

    A camera with views is in two of them: in one for what is inferred of its own pictures, and alone in one for its
    decoding, whose members are those of its `views` too. `members` are positions in the sorted list of tasks. `counted`
    is how many of the cameras the budget counts inferences of: 0 for lossless ones, for sources that have ended, and
    for mere decoding. `decode_s` is the sum over those. `stream_hz` is infinite where unknown.
    """

    supplies: tuple[Supply, ...]
    members: tuple[int, ...]
    counted: int
    stream_hz: float
    decode_s: float
    lossless: bool
    views: tuple[str, ...] = ()


class Grouping(NamedTuple):
    """All clusters, and for each task, by its position, the numbers of those of its clusters that the budget counts.

    The decoding of cameras with views comes last.
    """

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
    members, views = list(sets.values()), _views(supplies)
    own_s = {camera: seconds for camera, seconds in decode_s.items() if camera not in views} if views else decode_s
    clusters = [_cluster(key[0], members, group, own_s) for key, group in alike.items()]
    of_set: list[list[int]] = [[] for _ in sets]
    for number, key in enumerate(alike):
        if clusters[number].counted:
            for one in dict.fromkeys(key[0]):
                of_set[one].append(number)
    for supply in supplies:
        if own := views.get(supply.camera):
            users = tuple(sorted({one for camera in (supply.camera, *own) for one in named[camera]}))
            decoding = _cluster(users, members, [supply], decode_s)._replace(counted=0, views=own)
            if decoding.decode_s:
                for one in users:
                    of_set[one].append(len(clusters))
            clusters.append(decoding)
    by_cameras = dict(zip(sets, of_set, strict=True))
    return Grouping(tuple(clusters), tuple([by_cameras[demand.cameras] for demand in tasks]))


def _views(supplies: Sequence[Supply]) -> dict[str, tuple[str, ...]]:
    """Return the views of each camera that has some."""
    views: dict[str, tuple[str, ...]] = {}
    for supply in supplies:
        if supply.of:
            views[supply.of] = (*views.get(supply.of, ()), supply.camera)
    return views


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
