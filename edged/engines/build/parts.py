"""How the frames of a record are dealt out to its parts, so that each covers and none knows the others' frames.

Neighbours in time look alike, and a figure taken on frames next to those that gave the ranges would flatter. So whole
stretches of time go to one part, cut where the picture changes most. Of each camera's stretches the part that has least
of its share takes the one that holds what is farthest from all it has, so that each part covers by itself too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from edged.engines.build.cover import Candidate, Space

CALIBRATE, CHOOSE, VERIFY = "calibrate", "choose", "verify"
SHARES: Mapping[str, int] = {CALIBRATE: 2, VERIFY: 1, CHOOSE: 1}
STRETCH, STRETCHES_MIN, STRETCHES_MAX = 8, 4, 16  # frames in one, and how many a camera has


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
    given: Counter[tuple[str, str]] = Counter()
    nearest = {part: np.full(len(space), np.iinfo(np.int64).max) for part in shares}
    most = 2 * max(shares.values())
    parts: dict[int, str] = {}
    showing: set[str] = set()

    def shows(stretch: list[int]) -> bool:
        return any(candidates[place].objects for place in stretch)

    for camera in dict.fromkeys(one.camera for one in candidates):
        left = _stretches(space, candidates, taken, camera)
        while left:
            part = min(shares, key=lambda part: [given[part, name] * most // shares[part] for name in (camera, "")])
            blind = part not in showing  # a part that shows nothing proves nothing: objects first
            one = max(left, key=lambda one: (blind and shows(one), int(nearest[part][one].max())))
            left.remove(one)
            showing |= {part} if shows(one) else set()
            for name in (camera, ""):
                given[part, name] += len(one)
            for place in one:
                np.minimum(nearest[part], space.to(place), out=nearest[part])
            parts.update(dict.fromkeys(one, part))
    return parts


def _stretches(space: Space, candidates: Sequence[Candidate], taken: Sequence[int], camera: str) -> list[list[int]]:
    """Cut a camera's frames in the order of time, near even distances, where neighbours differ most.

    Those come first that the choice of frames reached first.
    """
    rank = {place: number for number, place in enumerate(taken)}
    places = [place for place in sorted(taken) if candidates[place].camera == camera]
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
    stretches = [places[one:two] for one, two in zip(cuts, cuts[1:], strict=False)]
    return sorted(stretches, key=lambda one: min(rank[place] for place in one))
