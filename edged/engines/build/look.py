"""What a picture looks like, in whole numbers: light, scene, and what tells near-duplicates.

All of it is sums of pixels, so equal pixels give equal numbers on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SCENE = (8, 5)  # columns and rows of the coarse picture that stands for the scene
DETAIL = (32, 18)  # of the finer one in which near-duplicates are told apart
SAME = 4  # grey levels of 255 by which cells of near-duplicates differ at most: more than noise leaves in a mean


@dataclass(frozen=True)
class Look:
    """One picture's descriptor.

    `brightness` is the mean luma and `contrast` its standard deviation, both in 0..255; `scene` has the mean colour of
    each cell of a coarse grid with the brightness taken off, flat, as int64.
    """

    brightness: int
    contrast: int
    scene: NDArray[np.int64]


def look_at(rgb: NDArray[np.uint8]) -> Look:
    """Describe (rows, columns, 3) pixels."""
    red, green, blue = (rgb[..., channel].astype(np.uint16) for channel in range(3))
    shades = np.bincount(((77 * red + 150 * green + 29 * blue) >> 8).ravel(), minlength=256)
    values = np.arange(256)
    count, total, squares = rgb[..., 0].size, int(shades @ values), int(shades @ (values * values))
    brightness = total // count
    return Look(
        brightness=brightness,
        contrast=math.isqrt(count * squares - total * total) // count,
        scene=(cell_means(rgb, SCENE) - brightness).reshape(-1),
    )


def cell_means(rgb: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.int64]:
    """Return the mean colours of a grid of (columns, rows) cells, as (rows, columns, 3)."""
    height, width = rgb.shape[:2]
    sums = np.asarray(cv2.integral(rgb), np.int64)
    across = np.arange(grid[0] + 1) * width // grid[0]
    down = np.arange(grid[1] + 1) * height // grid[1]
    corners = sums[down[:, None], across]
    cells = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    areas = np.maximum(np.outer(np.diff(down), np.diff(across)), 1)
    means: NDArray[np.int64] = cells // areas[:, :, None]
    return means


def detail_of(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return what `same_picture` compares."""
    return cell_means(rgb, DETAIL)


def same_picture(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Say whether two pictures of one camera differ by no more than noise: nothing moved, and the light stayed."""
    return bool(np.abs(one - other).max() <= SAME)
