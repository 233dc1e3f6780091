"""Segmentation networks for lane lines, with or without the drivable area."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.errors import ConfigError
from edged.geometry import Fit
from edged.results import Found, Lane, Mask
from edged.tasks.base import ParserSettings
from edged.tasks.labels import read_labels
from edged.tasks.lanes import lane_lines
from edged.tasks.options import Options
from edged.tasks.outputs import is_float, misfit, named_output
from edged.tasks.strokes import find_strokes
from edged.tensor import InputFormat, ModelSpec, TensorSpec

_NEEDS = "an output [batch, 1 or 2, height, width] of lane lines"
_LINE_NAMES = ("ll", "lines", "lane_lines", "lanes", "lane")
_ENOUGH_COLUMNS = 320
"""Wider pictures are sampled: every second column and row of 640 still places a line within a pixel."""


@dataclass(frozen=True)
class _Picture:
    """The part of one output that shows the source frame: log odds for yes, by cell.

    Row r of `yes` is row `top + r * step` of the output; a cell is `cell_x` network pixels wide.
    `no` is None where the network gives the odds themselves, not one score for yes and one for no.
    """

    yes: NDArray[np.generic]
    no: NDArray[np.generic] | None
    left: int
    top: int
    step: int
    cell_x: float
    cell_y: float

    def mask(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.greater(self.yes, 0 if self.no is None else self.no)
        return np.ascontiguousarray(mask)

    def odds(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return how sure the network is of these cells."""
        yes = self.yes[rows, columns].astype(np.float32)
        return yes if self.no is None else yes - self.no[rows, columns].astype(np.float32)

    def to_source(self, points: NDArray[np.float64], fit: Fit) -> NDArray[np.float64]:
        """Return (N, 2) x, y in cells of `yes` in source pixels."""
        x = ((points[:, 0] - 0.5) * self.step + self.left + 0.5) * self.cell_x
        y = ((points[:, 1] - 0.5) * self.step + self.top + 0.5) * self.cell_y
        return np.stack(((x - fit.left) / fit.scale_x, (y - fit.top) / fit.scale_y), axis=1)


class LaneMask:
    """Outputs [batch, 2, height, width] (channel 1 above channel 0 means yes) or [batch, 1, ...] (above 0 does).

    Options: `lines`, the output with the lines (default: the only one, or the one named ll, lines, lane_lines,
    lanes or lane); `area`, the output with the drivable area, published as a mask; `masks`, publish the mask of
    the lines too; `min_length_px`, shorter lines are dropped; `max_gap_px`, the longest gap in a dashed line.
    Labels, if any, name the lines, then the area; without them they are "line" and "drivable".
    """

    input: ClassVar[InputFormat] = InputFormat()

    def __init__(self, model: ModelSpec, settings: ParserSettings) -> None:
        options = Options("lane_mask", settings.options)
        lines, area = options.value("lines", None), options.value("area", None)
        self._masks = options.flag("masks", False)
        self._min_length_px = options.number("min_length_px", 0.0, 0, 10_000)
        self._max_gap_px = options.number("max_gap_px", 0.0, 0, 10_000)
        options.close()
        self._lines = _lines_output(model, lines).name
        self._area = None if area is None else _checked(model, named_output("lane_mask", model, "area", area)).name
        if self._area == self._lines:
            raise ConfigError(f"parser 'lane_mask': lines and area are both output {area!r}")
        if len(settings.labels) > 2:
            raise ConfigError(
                f"parser 'lane_mask' has 2 labels at most, for lines and drivable area; labels has "
                f"{len(settings.labels)}"
            )
        names = (*settings.labels, *("line", "drivable")[len(settings.labels) :])
        kept = read_labels("lane_mask", ParserSettings(names, settings.keep), 2).kept
        self._kinds = names
        self._wants_lines, self._wants_area = not kept or 0 in kept, not kept or 1 in kept
        self._score_min = settings.score_min

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return lines and masks of image `index`; lanes is empty where no line is seen."""
        lanes: tuple[Lane, ...] = ()
        masks = []
        if self._wants_lines:
            lanes = self._find_lanes(_picture(outputs[self._lines][index], fit, _ENOUGH_COLUMNS), fit)
            if self._masks:
                masks.append(_packed(self._kinds[0], _picture(outputs[self._lines][index], fit, None), fit))
        if self._area is not None and self._wants_area:
            masks.append(_packed(self._kinds[1], _picture(outputs[self._area][index], fit, None), fit))
        return Found(lanes=lanes, masks=tuple(masks))

    def _find_lanes(self, picture: _Picture, fit: Fit) -> tuple[Lane, ...]:
        mask = picture.mask()
        if not mask.any():
            return ()
        min_length_px = self._min_length_px or 0.05 * math.hypot(fit.source_width, fit.source_height)
        max_gap_px = self._max_gap_px or 0.35 * fit.source_height
        px_per_cell = picture.step * math.sqrt(picture.cell_x * picture.cell_y / fit.scale_x / fit.scale_y)
        found = lane_lines(
            find_strokes(mask, picture.odds),
            (mask.shape[1], mask.shape[0]),
            min_length_px / px_per_cell,
            max_gap_px / px_per_cell,
        )
        lanes = []
        for line in found:
            points = cut_to_frame(picture.to_source(line.points, fit), fit.source_width, fit.source_height)
            if line.score >= self._score_min and len(points) >= 2:
                lanes.append(Lane(self._kinds[0], line.score, tuple(map(tuple, points.tolist()))))
        return tuple(sorted(lanes, key=lambda lane: (-lane.score, lane.points)))


def cut_to_frame(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Return the part of a polyline from its first to its last place in the frame, ended on the border."""
    limit = np.array([width, height], np.float64)
    inside = np.flatnonzero(((points >= 0) & (points <= limit)).all(axis=1))
    if not inside.size:
        return points[:0]
    low, high = int(inside[0]), int(inside[-1])
    kept = [points[low : high + 1]]
    if low > 0:
        kept.insert(0, _border_point(points[low], points[low - 1], limit)[None])
    if high + 1 < len(points):
        kept.append(_border_point(points[high], points[high + 1], limit)[None])
    return np.clip(np.concatenate(kept), 0, limit)


def _border_point(
    inside: NDArray[np.float64], outside: NDArray[np.float64], limit: NDArray[np.float64]
) -> NDArray[np.float64]:
    step = outside - inside
    room = np.where(step > 0, limit - inside, inside)
    share = float((room[step != 0] / np.abs(step[step != 0])).min())
    return inside + step * min(share, 1.0)


def _picture(output: NDArray[np.generic], fit: Fit, enough_columns: int | None) -> _Picture:
    """Return the cells whose centres lie in the source frame, every `step`-th where there are more than enough."""
    channels, height, width = output.shape
    cell_x, cell_y = fit.width / width, fit.height / height
    left, right = (round(edge / cell_x) for edge in (fit.left, fit.left + fit.inner_width))
    top, bottom = (round(edge / cell_y) for edge in (fit.top, fit.top + fit.inner_height))
    step = max(1, (right - left) // enough_columns) if enough_columns else 1
    inner = output[:, top:bottom:step, left:right:step]
    yes, no = (inner[0], None) if channels == 1 else (inner[1], inner[0])
    return _Picture(yes, no, left, top, step, cell_x, cell_y)


def _packed(kind: str, picture: _Picture, fit: Fit) -> Mask:
    mask = picture.mask()
    height, width = mask.shape
    corners = picture.to_source(np.array([[0, 0], [width, height]], np.float64), fit).ravel().tolist()
    box = (corners[0], corners[1], corners[2], corners[3])
    return Mask(kind, width, height, box, np.packbits(mask, axis=1).tobytes())


def _lines_output(model: ModelSpec, name: object) -> TensorSpec:
    if name is not None:
        return _checked(model, named_output("lane_mask", model, "lines", name))
    if len(model.outputs) == 1:
        return _checked(model, model.outputs[0])
    named = [output for output in model.outputs if output.name.lower() in _LINE_NAMES]
    if len(named) != 1:
        raise misfit("lane_mask", _NEEDS, model, "name it in option lines")
    return _checked(model, named[0])


def _checked(model: ModelSpec, output: TensorSpec) -> TensorSpec:
    if len(output.shape) != 4 or not is_float(output) or output.shape[1] not in {1, 2, None}:
        raise misfit("lane_mask", _NEEDS, model, f"and {output.name} is none")
    return output
