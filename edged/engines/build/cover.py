"""Which of many candidates cover most: farthest-first over descriptors, with quotas for cameras and for objects.

The next frame taken is always the one farthest from all that are taken (T. Gonzalez, Clustering to minimize the maximum
intercluster distance, 1985; as a choice of training frames: Sener and Savarese, Active learning for convolutional
neural networks: a core-set approach, 2018). Without quotas no choice of that size has less than half its radius, the
distance from the worst served candidate to the nearest one taken, and any two frames taken are at least that far apart.

Everything is computed in whole numbers, so that equal descriptors give the same frames on every machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.engines.build.look import Look

ONE = 1 << 32  # the squared distance at which two frames differ by one standard deviation of one block
LEAST = {"light": 4, "scene": 480, "objects": 4}  # variance below which a block says nothing and is not blown up


@dataclass(frozen=True)
class Candidate:
    """A picture that may be taken. Those of one camera stand in the order of time.

    `objects` is how many findings FP32 has in it, None where that is not known.
    """

    camera: str
    look: Look
    objects: int | None = None

    @property
    def group(self) -> tuple[str, bool]:
        """Return what its quota is for: the camera, and whether there is something in the picture."""
        return self.camera, bool(self.objects)


class Space:
    """The candidates as points: brightness and contrast, scene, and number of objects, each worth the same.

    Objects count by powers of two: whether there is one matters more than whether there are nine or ten.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        blocks = {
            "light": [(one.look.brightness, one.look.contrast) for one in candidates],
            "scene": [one.look.scene for one in candidates],
            "objects": [(4 * min(one.objects or 0, 15).bit_length(),) for one in candidates],
        }
        arrays = {name: np.array(rows, np.int64) for name, rows in blocks.items()}
        self._points = np.concatenate(list(arrays.values()), axis=1)
        self._weights = np.concatenate([_weights(values, LEAST[name]) for name, values in arrays.items()])

    def __len__(self) -> int:
        return len(self._points)

    def to(self, place: int) -> NDArray[np.int64]:
        """Return the squared distance of every candidate to one of them; `ONE` is the unit."""
        return self._squared(self._points[place])

    def apart(self, one: int, other: int) -> int:
        """Return the squared distance between two candidates."""
        apart = self._points[one] - self._points[other]
        return int((apart * apart) @ self._weights)

    def middle(self) -> int:
        """Return the candidate nearest to the mean of all."""
        return int(np.argmin(self._squared(self._points.sum(axis=0) // len(self._points))))

    def nearest(self, taken: Sequence[int]) -> NDArray[np.int64]:
        """Return the squared distance of every candidate to the nearest one taken."""
        found = self.to(taken[0])
        for place in taken[1:]:
            np.minimum(found, self.to(place), out=found)
        return found

    def _squared(self, point: NDArray[np.int64]) -> NDArray[np.int64]:
        apart = self._points - point
        squared: NDArray[np.int64] = (apart * apart) @ self._weights
        return squared


def _weights(values: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Return the factor that gives a block of features the variance `ONE`, once for each of them."""
    count = len(values)
    variance = int((count * (values * values).sum(axis=0) - values.sum(axis=0) ** 2).sum())
    return np.full(values.shape[1], ONE * count * count // max(variance, least * count * count), np.int64)


def radius(squared: NDArray[np.int64]) -> float:
    """Return the greatest of squared distances as a distance, in standard deviations."""
    return round(math.sqrt(int(squared.max()) / ONE), 3)


def spread(count: int, wanted: int) -> list[int]:
    """Return `wanted` of the numbers below `count`, evenly spread and each once; all when there are fewer."""
    if wanted >= count:
        return list(range(count))
    return [(2 * n + 1) * count // (2 * wanted) for n in range(wanted)]


def evenly(wanted: int, available: Sequence[int]) -> list[int]:
    """Share a number out as evenly as what is available allows; the first ones take the remainder."""
    given = [0] * len(available)
    while wanted > 0:
        still = [place for place, most in enumerate(available) if given[place] < most]
        if not still:
            break
        each = max(1, wanted // len(still))
        for place in still:
            more = min(each, available[place] - given[place], wanted)
            given[place] += more
            wanted -= more
    return given


def quotas(candidates: Sequence[Candidate], wanted: int) -> dict[tuple[str, bool], int]:
    """Return how many each group gives: cameras alike, and of each camera half with objects, as far as there are."""
    have = Counter(one.group for one in candidates)
    cameras = list(dict.fromkeys(one.camera for one in candidates))
    per_camera = evenly(wanted, [have[name, True] + have[name, False] for name in cameras])
    found = {}
    for name, share in zip(cameras, per_camera, strict=True):
        found[name, True], found[name, False] = evenly(share, [have[name, True], have[name, False]])
    return found


def farthest_first(space: Space, candidates: Sequence[Candidate], wanted: int) -> list[int]:
    """Return the places of the candidates to take, in the order in which they were taken: any beginning covers too."""
    left = quotas(candidates, wanted)
    members: dict[tuple[str, bool], list[int]] = {}
    for place, one in enumerate(candidates):
        members.setdefault(one.group, []).append(place)
    free = np.array([left[one.group] > 0 for one in candidates])
    taken: list[int] = []
    nearest = np.full(len(space), np.iinfo(np.int64).max)
    middle = space.middle() if candidates else 0
    while free.any():
        place = middle if not taken and free[middle] else int(np.argmax(np.where(free, nearest, -1)))
        taken.append(place)
        np.minimum(nearest, space.to(place), out=nearest)
        free[place] = False
        group = candidates[place].group
        left[group] -= 1
        if left[group] == 0:
            free[members[group]] = False
    return taken
