"""The picture at the end: six cameras, each with the very frame that its results name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.client import Detection, LaneLine
from edged.demo.view import Moment
from edged.errors import UsageError

Image = NDArray[np.uint8]
Bgr = tuple[int, int, int]

TILE_W, TILE_H, BAR_H, TITLE_H, GAP = 640, 360, 32, 48, 8
COLUMNS = 3
ORDER = ("front_left", "front_wide", "front_right", "rear_left", "front_narrow", "rear_right")  # as they look out
FONT = cv2.FONT_HERSHEY_DUPLEX
GROUND, BAR, WHITE, GREY, DARK = (24, 22, 20), (46, 42, 38), (245, 245, 245), (165, 160, 155), (20, 20, 20)
CLASS_COLORS: dict[str, Bgr] = {"pedestrian": (40, 160, 255), "vehicle": (255, 200, 60)}
OTHER_COLOR: Bgr = (220, 120, 220)
LANE_COLOR: Bgr = (90, 235, 110)
DIMMED = 0.28


@dataclass(frozen=True)
class Tile:
    """One camera's place: what is drawn, and on which picture; None where its clip cannot be read."""

    moment: Moment
    image: Image | None


def draw_mosaic(tiles: Sequence[Tile], title: str) -> Image:
    """Draw all cameras in rows of three under one title. Returns (H, W, 3) uint8, BGR."""
    ordered = sorted(tiles, key=lambda tile: ORDER.index(tile.moment.camera) if tile.moment.camera in ORDER else 99)
    rows = -(-len(ordered) // COLUMNS)
    height, width = TITLE_H + rows * (BAR_H + TILE_H + GAP), GAP + COLUMNS * (TILE_W + GAP)
    canvas: Image = np.full((height, width, 3), GROUND, np.uint8)
    _draw_title(canvas, title)
    for number, tile in enumerate(ordered):
        left = GAP + number % COLUMNS * (TILE_W + GAP)
        top = TITLE_H + number // COLUMNS * (BAR_H + TILE_H + GAP)
        _draw_bar(canvas[top : top + BAR_H, left : left + TILE_W], tile.moment)
        canvas[top + BAR_H : top + BAR_H + TILE_H, left : left + TILE_W] = draw_tile(tile)
    return canvas


def draw_tile(tile: Tile) -> Image:
    """Draw one camera's picture at tile size, with its boxes and lanes, or dimmed where nothing needs it."""
    moment = tile.moment
    if tile.image is None:
        return _veiled(np.full((TILE_H, TILE_W, 3), GROUND, np.uint8), "no picture", moment.reason)
    scale = (TILE_W / tile.image.shape[1], TILE_H / tile.image.shape[0])
    image: Image = np.array(cv2.resize(tile.image, (TILE_W, TILE_H), interpolation=cv2.INTER_AREA), np.uint8)
    if moment.mode != "hot":
        return _veiled((image * DIMMED).astype(np.uint8), moment.mode, moment.reason)
    for result in moment.results:
        for lane in result.lanes:
            _draw_lane(image, lane, scale)
    boxes = [box for result in moment.results for box in result.boxes]
    for box in sorted(boxes, key=lambda box: box.box[3]):  # nearer ones end lower: they go on top
        _draw_box(image, box, scale)
    return image


def write_picture(image: Image, path: Path) -> None:
    """Write a picture in the format that its name says.

    Raises:
        UsageError: the file cannot be written.
    """
    encoded, data = cv2.imencode(path.suffix.lower(), image)
    if not encoded:
        raise UsageError(f"cannot encode a {path.suffix} picture")
    try:
        path.write_bytes(data.tobytes())
    except OSError as exc:
        raise UsageError(f"cannot write the picture {path}: {exc.strerror}") from exc


def _draw_title(canvas: Image, title: str) -> None:
    _text(canvas, title, (GAP + 4, 32), 0.75, WHITE)
    right = canvas.shape[1] - GAP - 4
    for name, color in reversed((*CLASS_COLORS.items(), ("lane", LANE_COLOR))):
        right -= _width(name, 0.62)
        _text(canvas, name, (right, 31), 0.62, WHITE)
        right -= 34
        if name == "lane":
            cv2.line(canvas, (right, 26), (right + 24, 26), color, 4, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, (right + 4, 16), (right + 22, 34), color, 2)
        right -= 26


def _draw_bar(bar: Image, moment: Moment) -> None:
    bar[:] = BAR
    hot = moment.mode == "hot"
    _text(bar, moment.camera, (10, 22), 0.64, WHITE if hot else GREY)
    answered = [one.task for one in moment.results]
    names = ", ".join(task for task in moment.tasks if task in answered) or "no results"
    frame = "" if moment.frame_id is None else f"frame {moment.frame_id}"
    said = f"{names}   {frame}" if hot else moment.mode
    _text(bar, said, (TILE_W - 10 - _width(said, 0.52), 21), 0.52, WHITE if hot else GREY)


def _draw_box(image: Image, found: Detection, scale: tuple[float, float]) -> None:
    color = CLASS_COLORS.get(found.label, OTHER_COLOR)
    (left, top), (right, bottom) = _at(found.box[:2], scale), _at(found.box[2:], scale)
    cv2.rectangle(image, (left, top), (right, bottom), color, 2, cv2.LINE_AA)
    said = f"{found.score:.2f}" if found.label in CLASS_COLORS else f"{found.label} {found.score:.2f}"
    wide, high = _width(said, 0.42) + 6, 16
    x = min(max(0, left - 1), TILE_W - wide)
    y = top - high if top >= high else max(0, top)  # inside where there is no room above
    cv2.rectangle(image, (x, y), (x + wide, y + high - 1), color, cv2.FILLED)
    _text(image, said, (x + 3, y + 12), 0.42, DARK)


def _draw_lane(image: Image, lane: LaneLine, scale: tuple[float, float]) -> None:
    points = np.array([_at(point, scale) for point in lane.points], np.int32)
    cv2.polylines(image, [points], False, DARK, 5, cv2.LINE_AA)
    cv2.polylines(image, [points], False, LANE_COLOR, 3, cv2.LINE_AA)


def _veiled(image: Image, word: str, why: str) -> Image:
    _text(image, word, ((TILE_W - _width(word, 1.2)) // 2, TILE_H // 2), 1.2, WHITE)
    _text(image, why, (max(8, (TILE_W - _width(why, 0.5)) // 2), TILE_H // 2 + 34), 0.5, GREY)
    return image


def _at(point: tuple[Any, ...], scale: tuple[float, float]) -> tuple[int, int]:
    return round(point[0] * scale[0]), round(point[1] * scale[1])


def _width(text: str, size: float) -> int:
    (wide, _), _ = cv2.getTextSize(text, FONT, size, 1)
    return int(wide)


def _text(image: Image, text: str, at: tuple[int, int], size: float, color: Bgr) -> None:
    cv2.putText(image, text, at, FONT, size, color, 1, cv2.LINE_AA)
