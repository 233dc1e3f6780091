"""What a choice of frames covers, as figures for people: beside those of an evenly spread choice of the same size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edged.engines.build.cover import Candidate, Space, evenly, radius, spread
from edged.engines.build.parts import SHARES


@dataclass(frozen=True)
class CameraCoverage:
    """One camera's part in a choice.

    `frames` were taken of `candidates`, beside which `near_duplicates` were left out. `brightness` is the least and
    greatest mean luma of those taken, 0..255. `with_objects` is the share of those taken in which FP32 finds something,
    None where nobody looked. `radius` is how far the worst served candidate is from the nearest frame taken, in
    standard deviations; `radius_even` the same for as many frames evenly spread over time.
    """

    candidates: int
    near_duplicates: int
    frames: int
    brightness: tuple[int, int]
    with_objects: float | None
    radius: float
    radius_even: float


@dataclass(frozen=True)
class PartCoverage:
    """One part: its frames, the share of them with objects, and the radius of what it covers by itself."""

    frames: int
    with_objects: float | None
    radius: float


@dataclass(frozen=True)
class Coverage:
    """A choice as a whole, by camera, and by part; see `CameraCoverage`."""

    candidates: int
    near_duplicates: int
    radius: float
    radius_even: float
    cameras: Mapping[str, CameraCoverage]
    parts: Mapping[str, PartCoverage]

    @classmethod
    def nothing(cls) -> Coverage:
        """Return the coverage of no frames."""
        return cls(0, 0, 0.0, 0.0, {}, {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Coverage:
        """Return what `to_json` made a map of. Raise `TypeError` or `KeyError` for another map."""
        cameras = {
            name: CameraCoverage(**{**one, "brightness": tuple(one["brightness"])})
            for name, one in data["cameras"].items()
        }
        parts = {name: PartCoverage(**one) for name, one in data["parts"].items()}
        return cls(**{**data, "cameras": cameras, "parts": parts})

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def coverage_of(
    space: Space,
    candidates: Sequence[Candidate],
    taken: Sequence[int],
    parts: Mapping[int, str],
    near_duplicates: Mapping[str, int],
) -> Coverage:
    """Return the figures of a choice.

    Args:
        space: the distances between candidates.
        candidates: all of them, at least one.
        taken: the places of those that were taken.
        parts: the part of each.
        near_duplicates: how many pictures of each camera were not even candidates.
    """
    by_camera: dict[str, list[int]] = {}
    for place, one in enumerate(candidates):
        by_camera.setdefault(one.camera, []).append(place)
    even_shares = evenly(len(taken), [len(places) for places in by_camera.values()])
    even = [
        places[number]
        for places, share in zip(by_camera.values(), even_shares, strict=True)
        for number in spread(len(places), share)
    ]
    served, served_even = space.nearest(taken), space.nearest(even)
    mine = set(taken)

    used = set(parts.values())

    def camera(name: str, places: list[int]) -> CameraCoverage:
        kept = [place for place in places if place in mine]
        light = [candidates[place].look.brightness for place in kept]
        return CameraCoverage(
            candidates=len(places),
            near_duplicates=near_duplicates.get(name, 0),
            frames=len(kept),
            brightness=(min(light, default=0), max(light, default=0)),
            with_objects=_share_with_objects(candidates, kept),
            radius=radius(served[places]),
            radius_even=radius(served_even[places]),
        )

    def part(name: str) -> PartCoverage:
        kept = [place for place in taken if parts[place] == name]
        return PartCoverage(len(kept), _share_with_objects(candidates, kept), radius(space.nearest(kept)))

    return Coverage(
        candidates=len(candidates),
        near_duplicates=sum(near_duplicates.values()),
        radius=radius(served),
        radius_even=radius(served_even),
        cameras={name: camera(name, places) for name, places in by_camera.items()},
        parts={name: part(name) for name in SHARES if name in used},
    )


def _share_with_objects(candidates: Sequence[Candidate], places: Sequence[int]) -> float | None:
    counts = [candidates[place].objects for place in places]
    known = [count for count in counts if count is not None]
    return round(float(np.mean([count > 0 for count in known])), 3) if known else None
