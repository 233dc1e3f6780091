"""The maps by which OpenCV reads a view from a lens's picture: made once, kept for all slots while they are used."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edged.engines.kept import Kept
from edged.geometry import Fit
from edged.optics import OUTSIDE, picture_map, source_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edged.frame import Picture
    from edged.lens import View

Plane = tuple["NDArray[np.int16]", "NDArray[np.uint16]"]
"""Whole source pixels and 1/32 parts of them, as `cv2.remap` reads them fastest."""


@dataclass(frozen=True)
class Maps:
    """Where the pixels inside a fit lie in the luma and the chroma planes, and which of them lie in none.

    `outside` are their numbers, row after row.
    """

    luma: Plane
    chroma: Plane
    outside: NDArray[np.intp]


_Key = tuple["View", Fit, tuple[int, int], tuple[int, int]]
_lock = threading.Lock()
_kept: Kept[_Key, Maps] = Kept()


def maps_of(picture: Picture, fit: Fit) -> Maps:
    """Return the maps of a host picture that has a view. Any thread; the first call for a view takes some 25 ms."""
    width, height = source_size(picture)
    last = cast("NDArray[np.uint8]", picture.planes[-1])
    chroma = last.shape[1], last.shape[0]
    key = cast("View", picture.view), fit, (width, height), chroma
    with _lock:
        kept = _kept.get(key)
    if kept is not None:
        return kept
    points = picture_map(picture, fit)
    luma = _planar(points)
    scale = np.array([chroma[0] / width, chroma[1] / height], np.float32)
    small = luma if chroma == (width, height) else _planar((points + 0.5) * scale - 0.5)
    maps = Maps(luma, small, np.flatnonzero(points[..., 0] == OUTSIDE))
    with _lock:
        _kept.put(key, maps)
    return maps


def _planar(points: NDArray[np.float32]) -> Plane:
    x, y = np.ascontiguousarray(np.moveaxis(points, -1, 0))
    whole, part = cv2.convertMaps(x, y, cv2.CV_16SC2)
    return cast("Plane", (whole, part))
