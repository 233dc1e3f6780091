"""From a decoder's planes to a network's input on the CPU, at the network's size.

Each plane is resized on its own, so no full-size RGB picture is ever made, and one 3x4 matrix then does range,
colour standard and channel order with saturation. Resizing and the colour matrix are both linear, so the result
differs from the usual order only by rounding. A view is read from the planes of its lens's picture in the same way, by
a map instead of a scale.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edged.engines.remap import Maps, maps_of
from edged.errors import ShapeError
from edged.frame import Color, Frame, Picture, PixelFormat
from edged.geometry import Fit, fit_frame
from edged.tensor import ColorOrder, InputFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

cv2.setNumThreads(1)  # the engine workers are the parallelism

LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


@lru_cache(maxsize=32)
def color_matrix(color: Color, order: ColorOrder) -> NDArray[np.float32]:
    """Return the 3x4 matrix from Y, U, V samples (0..255) and 1 to R, G, B (0..255) or B, G, R.

    From Kr and Kb of the standard: ITU-R BT.601-7, BT.709-6, BT.2020-2, section on signal formats; the limited
    range is 16..235 for Y and 16..240 for U and V.
    """
    kr, kb = LUMA[color.matrix]
    kg = 1 - kr - kb
    rgb = np.array([[1, 0, 2 - 2 * kr], [1, -kb * (2 - 2 * kb) / kg, -kr * (2 - 2 * kr) / kg], [1, 2 - 2 * kb, 0]])
    scale = np.array([1.0, 1.0, 1.0] if color.full else [255 / 219, 255 / 224, 255 / 224])
    offset = np.array([0.0 if color.full else 16.0, 128.0, 128.0])
    matrix = rgb * scale
    full = np.concatenate([matrix, -(matrix @ offset)[:, None]], axis=1)
    return (full if order == "rgb" else full[::-1]).astype(np.float32)


class Preprocessor:
    """Writes frames into one network's input. One per slot: it owns the scratch memory. Not thread-safe.

    Args:
        size: (width, height) of the network's input in pixels.
        fmt: the picture format the network was trained on.
    """

    def __init__(self, size: tuple[int, int], fmt: InputFormat) -> None:
        self._size, self._format = size, fmt
        mean, std = np.array(fmt.mean), np.array(fmt.std)
        self._gain = (1 / (255 * std)).astype(np.float32)
        self._bias = (-mean / std).astype(np.float32)
        self._pad = ((fmt.pad / 255 - mean) / std).astype(np.float32)
        self._plain = bool(np.all(self._bias == 0) and np.all(self._gain == self._gain[0]))
        self._scratch: dict[tuple[int, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
        self._padded: dict[int, Fit] = {}

    def write(self, frame: Frame, out: NDArray[np.generic], place: int) -> Fit:
        """Fit one host frame into `out`, a (3, height, width) float array of the network's input.

        `place` tells the inputs of one slot apart, so that the padding is written only when it moved.
        """
        picture = frame.picture
        if picture.device is not None:
            raise ShapeError(f"{frame!r} lives on a device; the CPU preprocessor reads host frames")
        fit = fit_frame((picture.width, picture.height), self._size, self._format.fit)
        if self._padded.get(place) != fit:
            out[:] = self._pad[:, None, None]
            self._padded[place] = fit
        pixels, planes = self._buffers((fit.inner_height, fit.inner_width))
        maps = None if picture.view is None else maps_of(picture, fit)
        self._pixels(picture, pixels, planes, (fit.inner_width, fit.inner_height), maps)
        if maps is not None:
            pixels.reshape(-1, 3)[maps.outside] = self._format.pad
        cv2.split(pixels, list(planes))
        inner = out[:, fit.top : fit.top + fit.inner_height, fit.left : fit.left + fit.inner_width]
        if self._plain:
            np.multiply(planes, self._gain[0], out=inner, casting="unsafe")
        else:
            np.multiply(planes, self._gain[:, None, None], out=inner, casting="unsafe")
            np.add(inner, self._bias[:, None, None], out=inner, casting="unsafe")
        return fit

    def _buffers(self, rows_columns: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if rows_columns not in self._scratch:
            if len(self._scratch) >= 8:  # a camera that keeps changing size must not eat the memory
                self._scratch.clear()
            rows, columns = rows_columns
            self._scratch[rows_columns] = (
                np.empty((rows, columns, 3), np.uint8),
                np.empty((3, rows, columns), np.uint8),
            )
        return self._scratch[rows_columns]

    def _pixels(
        self,
        picture: Picture,
        pixels: NDArray[np.uint8],
        planes: NDArray[np.uint8],
        size: tuple[int, int],
        maps: Maps | None,
    ) -> None:
        """Fill `pixels`, (rows, columns, 3) in the network's channel order, at network size."""

        def fit(plane: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
            if maps is None:
                return cast("NDArray[np.uint8]", cv2.resize(plane, size, dst=out, interpolation=cv2.INTER_LINEAR))
            whole, part = maps.luma if plane is host[0] else maps.chroma
            return cast(
                "NDArray[np.uint8]",
                cv2.remap(plane, whole, part, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE),
            )

        host = cast("tuple[NDArray[np.uint8], ...]", picture.planes)
        order = self._format.color
        if picture.format is PixelFormat.RGB:
            fit(host[0], pixels)
            if order == "bgr":
                cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels)
            return
        fit(host[0], planes[0])
        if picture.format is PixelFormat.GRAY:
            planes[1:] = 128
        elif picture.format is PixelFormat.NV12:
            cv2.split(fit(host[1]), [planes[1], planes[2]])
        else:
            fit(host[1], planes[1])
            fit(host[2], planes[2])
        cv2.merge(list(planes), dst=pixels)
        cv2.transform(pixels, color_matrix(picture.color, order), dst=pixels)
