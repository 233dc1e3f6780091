from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edged.client import Detection, LaneLine
from edged.demo.mosaic import (
    BAR_H,
    CLASS_COLORS,
    COLUMNS,
    GAP,
    LANE_COLOR,
    TILE_H,
    TILE_W,
    TITLE_H,
    Tile,
    draw_mosaic,
    draw_tile,
    write_picture,
)
from edged.demo.view import Moment, Seen
from edged.errors import UsageError

GREY = np.full((360, 640, 3), 100, np.uint8)


def moment(camera: str = "front_wide", mode: str = "hot", results: tuple[Seen, ...] = ()) -> Moment:
    return Moment(camera, mode, "why", tuple(one.task for one in results), 7, results)


def box(label: str, *edges: float, score: float = 0.9) -> Seen:
    x1, y1, x2, y2 = edges
    return Seen(0.0, label, "front_wide", 7, 20.0, (Detection(label, 0, score, (x1, y1, x2, y2), None, {}),))


def near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - color).max() < 30)


def test_a_box_is_drawn_where_it_is_in_its_class_color() -> None:
    tile = draw_tile(Tile(moment(results=(box("vehicle", 100, 80, 300, 200),)), GREY))
    color = CLASS_COLORS["vehicle"]
    for x, y in ((100, 150), (300, 150), (200, 80), (200, 200)):
        assert near(tile[y, x], color), (x, y)
    assert (tile[140, 200] == 100).all()
    assert (tile[300:] == 100).all()
    assert (GREY == 100).all()


def test_a_frame_of_another_size_is_scaled_with_its_boxes() -> None:
    big = np.full((720, 1280, 3), 100, np.uint8)
    tile = draw_tile(Tile(moment(results=(box("pedestrian", 200, 160, 600, 400),)), big))
    assert tile.shape == (TILE_H, TILE_W, 3)
    assert near(tile[150, 100], CLASS_COLORS["pedestrian"])


def test_a_lane_is_a_line_through_its_points() -> None:
    lane = Seen(0.0, "lane", "front_wide", 7, 20.0, lanes=(LaneLine("line", 0.8, ((100, 300), (200, 200))),))
    tile = draw_tile(Tile(moment(results=(lane,)), GREY))
    assert near(tile[250, 150], LANE_COLOR)
    assert (tile[250, 250] == 100).all()


@pytest.mark.parametrize("edges", [(-50, -40, 20, 20), (630, 350, 700, 400), (0, 0, 640, 360)])
def test_boxes_that_leave_the_picture_are_cut(edges: tuple[float, float, float, float]) -> None:
    assert not (draw_tile(Tile(moment(results=(box("other", *edges),)), GREY)) == 100).all()


def test_a_parked_camera_is_dimmed_and_has_no_boxes() -> None:
    tile = draw_tile(Tile(moment(mode="parked", results=(box("vehicle", 100, 20, 300, 100),)), GREY))
    assert (tile[:120] == 28).all()
    assert tile.max() > 200  # its mode stands on it


def test_a_camera_without_a_picture_says_so() -> None:
    assert draw_tile(Tile(moment(), None)).max() > 200


def test_the_cameras_stand_as_they_look_out() -> None:
    names = ("rear_right", "front_wide", "front_left", "front_right", "front_narrow", "rear_left")
    levels = {name: 40 + 30 * number for number, name in enumerate(names)}
    tiles = [Tile(moment(name), np.full((360, 640, 3), level, np.uint8)) for name, level in levels.items()]
    mosaic = draw_mosaic(tiles, "title")
    assert mosaic.shape == (TITLE_H + 2 * (BAR_H + TILE_H + GAP), GAP + COLUMNS * (TILE_W + GAP), 3)
    for number, name in enumerate(
        ("front_left", "front_wide", "front_right", "rear_left", "front_narrow", "rear_right")
    ):
        row, column = divmod(number, COLUMNS)
        y, x = TITLE_H + row * (BAR_H + TILE_H + GAP) + BAR_H + 180, GAP + column * (TILE_W + GAP) + 320
        assert (mosaic[y, x] == levels[name]).all(), name


def test_the_picture_is_written_as_its_name_says(tmp_path: Path) -> None:
    write_picture(GREY, tmp_path / "a.PNG")
    assert (cv2.imread(str(tmp_path / "a.PNG")) == GREY).all()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write the picture .*nowhere/a\.png: No such file"):
        write_picture(GREY, tmp_path / "nowhere" / "a.png")
