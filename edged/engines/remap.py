"""The maps by which OpenCV reads a view from a lens's picture: made once, kept for all slots, within a limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edged.geometry import Fit
from edged.optics import OUTSIDE, picture_map, source_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edged.frame import Picture
    from edged.lens import View

KEPT_MAX_BYTES = 256_000_000  # 50 views at 640x640: 5 MB each, luma and chroma

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

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return self.outside.nbytes + sum(part.nbytes for part in (*self.luma, *self.chroma))


_Key = tuple["View", Fit, tuple[int, int], tuple[int, int]]
_lock = threading.Lock()
_kept: OrderedDict[_Key, Maps] = OrderedDict()


def maps_of(picture: Picture, fit: Fit) -> Maps:
    """Return the maps of a host picture that has a view. Any thread; the first call for a view takes some 25 ms."""
    width, height = source_size(picture)
    last = cast("NDArray[np.uint8]", picture.planes[-1])
    chroma = last.shape[1], last.shape[0]
    key = cast("View", picture.view), fit, (width, height), chroma
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    points = picture_map(picture, fit)
    luma = _planar(points)
    scale = np.array([chroma[0] / width, chroma[1] / height], np.float32)
    small = luma if chroma == (width, height) else _planar((points + 0.5) * scale - 0.5)
    maps = Maps(luma, small, np.flatnonzero(points[..., 0] == OUTSIDE))
    with _lock:
        _kept[key] = maps
        while sum(one.nbytes for one in _kept.values()) > KEPT_MAX_BYTES and len(_kept) > 1:
            _kept.popitem(last=False)
    return maps


def _planar(points: NDArray[np.float32]) -> Plane:
    x, y = np.ascontiguousarray(np.moveaxis(points, -1, 0))
    whole, part = cv2.convertMaps(x, y, cv2.CV_16SC2)
    return cast("Plane", (whole, part))
