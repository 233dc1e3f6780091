"""Truth of the painted lane lines in one picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edged.camera.scene.cameras import HEIGHT_PX, NEAR_M, WIDTH_PX, Eye, FloatArray
from edged.camera.scene.road import END_M, START_M, Line, Road
from edged.camera.scene.truth import TruthLane

LANE_REACH_M = 35.0
MIN_APART_PX = 12.0
MIN_LENGTH_PX = 30.0
MIN_SEEN = 0.4
_STEP_M = 0.1
_BEND_PX = 0.3


def lane_truth(eye: Eye, road: Road, ids: npt.NDArray[np.uint8], ego_s_m: float) -> tuple[TruthLane, ...]:
    """Return the lines that can be seen, from their first to their last visible paint.

    A line counts up to `LANE_REACH_M` from the camera and while it is `MIN_APART_PX` clear of the
    next line, when at least `MIN_SEEN` of it (in px) is not hidden by a body and it is at least
    `MIN_LENGTH_PX` long. `ids` is (360, 640): which body each pixel shows, 0 for none.
    """
    s = np.arange(max(START_M, ego_s_m - 40.0), min(END_M, ego_s_m + 42.0), _STEP_M)
    world = road.at(s[None], np.array([line.offset_m for line in road.lines])[:, None])
    seen = eye.to_camera(world)
    before = seen[..., 2] > NEAR_M
    pixels = eye.to_pixels(np.where(before[..., None], seen, 1.0))
    away = np.hypot(world[..., 0] - eye.origin_m[0], world[..., 1] - eye.origin_m[1])
    inside = before & (away <= LANE_REACH_M) & (pixels >= 0).all(axis=-1)
    inside &= (pixels[..., 0] < WIDTH_PX) & (pixels[..., 1] < HEIGHT_PX) & (_apart_px(pixels) >= MIN_APART_PX)
    lanes = []
    for line, mine, where in zip(road.lines, pixels, inside, strict=True):
        for run in _runs(where):
            lane = _lane(road, line, s[run], mine[run], ids)
            if lane is not None:
                lanes.append(lane)
    return tuple(lanes)


def _apart_px(pixels: FloatArray) -> FloatArray:
    """Return how far (L, S) each point is, across its line, from the next lines on either side."""
    along = np.gradient(pixels, axis=1)
    along /= np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)[..., None]
    step = np.diff(pixels, axis=0)
    apart = np.full(pixels.shape[:2], np.inf)
    for side in (slice(0, -1), slice(1, None)):
        across = np.abs(step[..., 0] * along[side, :, 1] - step[..., 1] * along[side, :, 0])
        apart[side] = np.minimum(apart[side], across)
    return apart


def _runs(inside: npt.NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _lane(road: Road, line: Line, s_m: FloatArray, pixels: FloatArray, ids: npt.NDArray[np.uint8]) -> TruthLane | None:
    clear = ids[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] == 0
    paint = clear.copy()
    if line.kind == "dashed":
        paint &= ((s_m - START_M) % (road.dash_m + road.gap_m)) < road.dash_m
    marks = np.flatnonzero(paint)
    if marks.size < 2:
        return None
    span = slice(int(marks[0]), int(marks[-1]) + 1)
    points, clear = pixels[span], clear[span]
    steps = np.hypot(*np.diff(points, axis=0).T)
    length = float(steps.sum())
    if length < MIN_LENGTH_PX or float(steps[clear[1:]].sum()) < MIN_SEEN * length:
        return None
    corners = np.asarray(cv2.approxPolyDP(points.astype(np.float32)[:, None], _BEND_PX, False))[:, 0]
    if corners[0, 1] < corners[-1, 1]:
        corners = corners[::-1]
    return TruthLane(tuple((float(x), float(y)) for x, y in corners), line.kind)
