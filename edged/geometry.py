"""Where a source pixel lands in a network's input, and the exact way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from edged.tensor import FitMode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Fit:
    """The map between a source frame and a network input, in continuous pixel coordinates.

    `x_net = x_source * scale_x + left`, `y_net = y_source * scale_y + top`. The scales are those of the
    rounded inner size, so the way back is exact whatever the sizes are.
    """

    source_width: int
    source_height: int
    width: int
    height: int
    inner_width: int
    inner_height: int
    left: int
    top: int

    @property
    def scale_x(self) -> float:
        """Network pixels per source pixel, horizontally."""
        return self.inner_width / self.source_width

    @property
    def scale_y(self) -> float:
        """Network pixels per source pixel, vertically."""
        return self.inner_height / self.source_height

    def boxes_to_source(self, boxes: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return (N, 4) x1 y1 x2 y2 boxes, given in network pixels, in source pixels, clipped to the frame."""
        import numpy as np

        shift = np.array([self.left, self.top, self.left, self.top], np.float32)
        scale = np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], np.float32)
        limit = np.array([self.source_width, self.source_height] * 2, np.float32)
        placed: NDArray[np.floating] = np.clip((boxes - shift) / scale, 0, limit)
        return placed

    def point_to_source(self, x: float, y: float) -> tuple[float, float]:
        """Return a point given in network pixels in source pixels; it is not clipped."""
        return (x - self.left) / self.scale_x, (y - self.top) / self.scale_y


@lru_cache(maxsize=256)
def fit_frame(source: tuple[int, int], net: tuple[int, int], mode: FitMode) -> Fit:
    """Place a source of (width, height) pixels into a network input of (width, height) pixels.

    `letterbox` keeps the aspect ratio and centres, `stretch` fills the input. Sizes are at least 1.
    """
    (source_width, source_height), (width, height) = source, net
    if mode == "stretch":
        return Fit(source_width, source_height, width, height, width, height, 0, 0)
    scale = min(width / source_width, height / source_height)
    inner_width = max(1, min(width, round(source_width * scale)))
    inner_height = max(1, min(height, round(source_height * scale)))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    return Fit(source_width, source_height, width, height, inner_width, inner_height, left, top)
