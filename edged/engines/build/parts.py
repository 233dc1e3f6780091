"""How the frames of a record are dealt out to its parts, so that each covers and none knows the others' frames.

Neighbours in time look alike, and a figure taken on frames next to those that gave the ranges would flatter. So whole
stretches of time go to one part, cut where the picture changes most. Each camera's stretches are dealt in the order in
which the choice of frames reached them: what comes first in it covers most, and every part gets some of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edged.engines.build.cover import Candidate, Space

CALIBRATE, CHOOSE, VERIFY = "calibrate", "choose", "verify"
SHARES: Mapping[str, int] = {CALIBRATE: 2, VERIFY: 1, CHOOSE: 1}
STRETCH, STRETCHES_MIN, STRETCHES_MAX = 8, 4, 16  # frames in one, and how many a camera has


@dataclass(frozen=True)
class _Stretch:
    camera: str
    places: tuple[int, ...]
    with_objects: int


def deal(
    space: Space, candidates: Sequence[Candidate], taken: Sequence[int], shares: Mapping[str, int] = SHARES
) -> dict[int, str]:
    """Return the part of each candidate taken.

    Args:
        space: the distances between candidates.
        candidates: all of them.
        taken: the places of those that were taken, in that order.
        shares: each part's share of the frames.
    """
    rank = {place: number for number, place in enumerate(taken)}
    stretches = [one for camera in dict.fromkeys(one.camera for one in candidates)
                 for one in _stretches(space, candidates, sorted(taken), camera)]  # fmt: skip
    stretches.sort(key=lambda one: min(rank[place] for place in one.places))
    given: Counter[tuple[str, str, bool]] = Counter()
    most = max(shares.values())

    def need(part: str, one: _Stretch) -> tuple[int, ...]:
        """Return how much a part has of its share: of this camera, then of all; what it has of objects weighs too."""
        scale = most * 2 // shares[part]
        return tuple(
            scale * (given[part, camera, False] + given[part, camera, True] * bool(one.with_objects))
            for camera in (one.camera, "")
        )

    parts = {}
    for one in stretches:
        part = min(shares, key=lambda part: need(part, one))
        for camera in (one.camera, ""):
            given[part, camera, True] += one.with_objects
            given[part, camera, False] += len(one.places)
        parts.update(dict.fromkeys(one.places, part))
    return parts


def _stretches(space: Space, candidates: Sequence[Candidate], taken: Sequence[int], camera: str) -> list[_Stretch]:
    """Cut a camera's frames in the order of time, near even distances, where neighbours differ most."""
    places = [place for place in taken if candidates[place].camera == camera]
    count = min(len(places), max(STRETCHES_MIN, min(STRETCHES_MAX, len(places) // STRETCH)))
    if count == 0:
        return []
    change = [0, *(space.apart(one, two) for one, two in zip(places, places[1:], strict=False))]
    slack = len(places) // (4 * count)
    cuts = [0]
    for number in range(1, count):
        even = number * len(places) // count
        cuts.append(max(range(even - slack, even + slack + 1), key=lambda at: (change[at], -abs(at - even), -at)))
    cuts.append(len(places))
    return [
        _Stretch(camera, tuple(places[one:two]), sum(bool(candidates[place].objects) for place in places[one:two]))
        for one, two in zip(cuts, cuts[1:], strict=False)
    ]
