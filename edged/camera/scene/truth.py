"""Exact ground truth of one rendered picture, and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

Label = Literal["pedestrian", "vehicle"]
LineKind = Literal["solid", "dashed"]


@dataclass(frozen=True)
class TruthBox:
    """One road user. Edges in px, clipped to the picture; pixel column i spans [i, i + 1].

    `visible` is the share (0..1) of the whole silhouette that can be seen: hidden by nothing
    nearer and not cut off by the picture's edge.
    """

    label: Label
    x1: float
    y1: float
    x2: float
    y2: float
    visible: float


@dataclass(frozen=True)
class TruthLane:
    """The middle of one painted lane line, near end first, in px inside the picture.

    A dashed line is one polyline through its dashes. The ends are visible; what lies between
    may be hidden by a road user.
    """

    points: tuple[tuple[float, float], ...]
    kind: LineKind


@dataclass(frozen=True)
class Truth:
    """All road users and lane lines of one picture."""

    boxes: tuple[TruthBox, ...]
    lanes: tuple[TruthLane, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, px rounded to 0.1 and shares to 0.01."""
        return {
            "boxes": [
                [b.label, *(round(v, 1) for v in (b.x1, b.y1, b.x2, b.y2)), round(b.visible, 2)] for b in self.boxes
            ],
            "lanes": [
                {"kind": lane.kind, "points": [[round(x, 1), round(y, 1)] for x, y in lane.points]}
                for lane in self.lanes
            ],
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Truth:
        """Read what `to_json` wrote. Raise `KeyError` or `TypeError` for anything else."""
        return Truth(
            boxes=tuple(
                TruthBox(cast("Label", label), x1, y1, x2, y2, visible)
                for label, x1, y1, x2, y2, visible in record["boxes"]
            ),
            lanes=tuple(TruthLane(tuple((x, y) for x, y in lane["points"]), lane["kind"]) for lane in record["lanes"]),
        )


@dataclass(frozen=True, eq=False)
class View:
    """One picture of one camera: `image` is (360, 640, 3) uint8 RGB, owned by the receiver."""

    image: npt.NDArray[np.uint8]
    truth: Truth
