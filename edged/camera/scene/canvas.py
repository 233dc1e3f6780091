"""The picture and, beside it, which body each pixel shows."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edged.camera.scene.cameras import HEIGHT_PX, WIDTH_PX, FloatArray

_SHIFT = 4
_ONE = float(1 << _SHIFT)
_COUNT_SIDE_PX = 256.0


def fixed_point(outline_px: FloatArray) -> npt.NDArray[np.int32]:
    """Turn px (edges convention) into OpenCV's fixed point, whose whole numbers are pixel centres."""
    return (outline_px * _ONE - (_ONE / 2 - 0.5)).astype(np.int32)


class Canvas:
    """One picture being painted from far to near. Used by one thread.

    Attributes:
        image: (360, 640, 3) uint8 RGB.
        ids: (360, 640) uint8, 0 for ground and sky, else the number of the body seen there.
    """

    def __init__(self) -> None:
        self.image: npt.NDArray[np.uint8] = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
        self.ids: npt.NDArray[np.uint8] = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)

    def fill(self, outline_px: FloatArray, colour: FloatArray, body: int = 0) -> None:
        """Paint one polygon (N, 2) px, smooth at its edges; number it when `body` is above 0."""
        points = fixed_point(outline_px)
        red, green, blue = colour.tolist()
        cv2.fillPoly(self.image, [points], (red, green, blue), cv2.LINE_AA, _SHIFT)
        if body:
            cv2.fillPoly(self.ids, [points], body, cv2.LINE_8, _SHIFT)

    def count(self, body: int, box_px: FloatArray) -> int:
        """Return how many pixels show `body`, looking only inside `box_px` (x1, y1, x2, y2)."""
        x1, y1, x2, y2 = clip_box(box_px + np.array([-2.0, -2.0, 2.0, 2.0])).astype(int)
        return int(np.count_nonzero(self.ids[y1:y2, x1:x2] == body))


def clip_box(box_px: FloatArray) -> FloatArray:
    """Return (x1, y1, x2, y2) cut to the picture."""
    low = np.zeros(4)
    high = np.array([WIDTH_PX, HEIGHT_PX, WIDTH_PX, HEIGHT_PX], dtype=np.float64)
    clipped: FloatArray = np.clip(box_px, low, high)
    return clipped


def area_px(outlines_px: list[FloatArray], box_px: FloatArray) -> float:
    """Return the area in px of a silhouette, including what lies outside the picture."""
    size = np.maximum(box_px[2:] - box_px[:2], 1.0)
    scale = min(1.0, _COUNT_SIDE_PX / float(size.max()))
    width, height = (int(v) + 3 for v in size * scale)
    mask = np.zeros((height, width), np.uint8)
    for outline in outlines_px:
        cv2.fillPoly(mask, [fixed_point((outline - box_px[:2]) * scale + 1.0)], 1, cv2.LINE_8, _SHIFT)
    return cv2.countNonZero(mask) / scale**2
