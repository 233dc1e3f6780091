"""Lane masks drawn here, in cells of the network's output, against the lines that were drawn."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edged.errors import ConfigError
from edged.geometry import Fit, fit_frame
from edged.results import Found, Lane
from edged.tasks.base import ParserSettings
from edged.tasks.lane_mask import LaneMask, cut_to_frame
from edged.tensor import ModelSpec, TensorSpec

IMAGE = TensorSpec("images", (None, 3, 192, 320), "float32")
FIT = fit_frame((640, 360), (320, 192), "letterbox")  # 6 rows of padding above and below
FINE, COARSE = (192, 320), (96, 160)
Line = np.ndarray


def out(name: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name, (None, *shape), "float32")


def make(*outputs: TensorSpec, labels: tuple[str, ...] = (), **more: Any) -> LaneMask:
    keys = ("keep", "score_min")
    picked = {key: more.pop(key) for key in keys if key in more}
    return LaneMask(ModelSpec((IMAGE,), outputs), ParserSettings(labels, **picked, options=more))


def straight(*ends: tuple[float, float]) -> Line:
    return np.linspace(ends[0], ends[1], 200)


def draw(lines: list[Line], size: tuple[int, int] = FINE, width_px: float = 3.5, fit: Fit = FIT) -> np.ndarray:
    """Return log odds of a picture with these lines, given in source pixels, `width_px` network pixels wide."""
    zoom = 8
    picture = np.zeros((fit.height * zoom, fit.width * zoom), np.uint8)
    for line in lines:
        net = np.stack((line[:, 0] * fit.scale_x + fit.left, line[:, 1] * fit.scale_y + fit.top), axis=1)
        # OpenCV's pixel centres are whole numbers: half a fine pixel less
        cv2.polylines(picture, [np.round(net * zoom - 0.5).astype(int)], False, 255, round(width_px * zoom))
    share = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return (10 * (share - 0.5))[None, None]


def dashes(line: Line, on: float, off: float) -> list[Line]:
    along = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))))
    starts = np.arange(0, along[-1] - on / 2, on + off)
    return [line[(along >= s) & (along <= s + on)] for s in starts]


def find(lines: list[Line], size: tuple[int, int] = FINE) -> tuple[Lane, ...]:
    lanes = make(out("lines", 1, *size)).parse({"lines": draw(lines, size)}, 0, FIT).lanes
    assert lanes is not None
    return lanes


def apart(lane: Lane, line: Line) -> float:
    """Return the largest distance of the lane's inner points from the line."""
    dense = np.concatenate([np.linspace(a, b, 50) for a, b in zip(line[:-1:4], line[4::4], strict=False)])
    inner = np.array(lane.points)[1:-1]
    return float(np.linalg.norm(inner[:, None] - dense[None], axis=2).min(axis=1).max())


def reaches(lane: Lane, line: Line, within_px: float) -> bool:
    ends = np.array([lane.points[0], lane.points[-1]])
    wanted = line[[0, -1]] if line[0, 1] >= line[-1, 1] else line[[-1, 0]]
    return bool((np.linalg.norm(ends - wanted, axis=1) <= within_px).all())


CURVE = np.stack((200 + 150 * np.linspace(0, 1, 200) ** 2, np.linspace(360, 160, 200)), axis=1)
FLAT = np.stack((np.linspace(0, 640, 200), 200 + 30 * np.linspace(-1, 1, 200) ** 2), axis=1)
SHAPES = {
    "upright": straight((320, 360), (320, 170)),
    "steep": straight((100, 360), (300, 170)),
    "diagonal": straight((500, 350), (330, 180)),
    "flat": straight((20, 220), (620, 190)),
    "level": straight((20, 200), (620, 200)),
    "curve": CURVE,
    "arch": FLAT,
}


@pytest.mark.parametrize("size", [FINE, COARSE])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_line_is_one_polyline_in_its_middle_and_to_its_ends(shape: str, size: tuple[int, int]) -> None:
    line = SHAPES[shape]
    (lane,) = find([line], size)
    assert apart(lane, line) < 1.0
    assert reaches(lane, line, 6)
    assert 2 <= len(lane.points) <= 20
    assert lane.kind == "line"
    assert 0.8 < lane.score <= 1
    assert lane.points[0][1] >= lane.points[-1][1]


@pytest.mark.parametrize("size", [FINE, COARSE])
@pytest.mark.parametrize("shape", ["steep", "flat", "curve", "arch"])
def test_dashes_on_one_curve_are_one_polyline(shape: str, size: tuple[int, int]) -> None:
    line = SHAPES[shape]
    (lane,) = find(dashes(line, 40, 35 if shape == "curve" else 50), size)
    assert apart(lane, line) < 1.5


@pytest.mark.parametrize("size", [FINE, COARSE])
def test_lines_that_meet_at_the_horizon_stay_apart(size: tuple[int, int]) -> None:
    lines = [straight((x, 360), (320 + (x - 320) * 0.02, 172)) for x in (-250, 130, 520, 900)]
    lanes = find(lines, size)
    assert len(lanes) == 4
    for line in lines:
        # coarse cells have the lines touch well below the horizon: one of them ends there in another's cells
        assert min(apart(lane, line) for lane in lanes) < (2 if size == FINE else 12)


def test_a_line_ends_on_the_border_it_leaves_by() -> None:
    (lane,) = find([straight((-60, 400), (300, 170))])
    assert lane.points[0] == pytest.approx((2.6, 360), abs=2)
    (lane,) = find([straight((-200, 360), (300, 170))])
    assert lane.points[0] == pytest.approx((0, 284), abs=2)


def test_parallel_dashed_lines_are_not_mixed() -> None:
    lines = [straight((20, y), (620, y - 20)) for y in (180, 215, 260)]
    lanes = find([dash for line in lines for dash in dashes(line, 45, 45)])
    assert len(lanes) == 3
    assert all(min(apart(lane, line) for line in lines) < 1.5 for lane in lanes)


def test_blobs_and_specks_are_no_lines() -> None:
    odds = np.full((1, 1, *FINE), -5, np.float32)
    odds[0, 0, 100:140, 40:90] = 5  # a blob
    odds[0, 0, 60:63, 200:204] = 5  # a speck
    assert make(out("lines", 1, *FINE)).parse({"lines": odds}, 0, FIT).lanes == ()
    assert make(out("lines", 1, *FINE)).parse({"lines": np.ones_like(odds)}, 0, FIT).lanes == ()


def test_the_letterbox_border_does_not_count() -> None:
    odds = np.full((1, 1, *FINE), -5, np.float32)
    odds[0, 0, :6], odds[0, 0, -6:] = 5, 5
    found = make(out("lines", 1, *FINE), masks=True).parse({"lines": odds}, 0, FIT)
    assert found.lanes == ()
    assert found.masks[0].bits == bytes(180 * 40)


def test_two_channels_say_the_same_as_one() -> None:
    odds = draw([CURVE, FLAT])
    both = np.concatenate((np.zeros_like(odds), odds), axis=1) + 3
    one = make(out("lines", 1, *FINE)).parse({"lines": odds}, 0, FIT).lanes
    two = make(out("lines", 2, *FINE)).parse({"lines": both}, 0, FIT).lanes
    assert len(one or ()) == len(two or ()) == 2
    for a, b in zip(one or (), two or (), strict=True):
        assert np.allclose(a.points, b.points, atol=0.01)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_a_wide_picture_is_sampled_within_a_pixel() -> None:
    fit = fit_frame((640, 360), (640, 360), "letterbox")
    for line in SHAPES.values():
        lanes = make(out("ll", 1, 360, 640)).parse({"ll": draw([line], (360, 640), 6, fit)}, 0, fit).lanes
        assert lanes is not None
        assert len(lanes) == 1
        assert apart(lanes[0], line) < 1


def test_score_is_the_mean_probability() -> None:
    odds = np.full((1, 1, *FINE), -9, np.float32)
    odds[0, 0, 60:160, 100:104] = 1.0
    odds[0, 0, 60:110, 100:104] = 2.0
    (lane,) = make(out("lines", 1, *FINE)).parse({"lines": odds}, 0, FIT).lanes or ()
    assert lane.score == pytest.approx((1 / (1 + np.exp(-1.0)) + 1 / (1 + np.exp(-2.0))) / 2, abs=1e-5)
    assert make(out("lines", 1, *FINE), score_min=0.9).parse({"lines": odds}, 0, FIT).lanes == ()


def test_min_length_and_max_gap() -> None:
    odds = draw([straight((300, 300), (300, 250)), straight((300, 210), (300, 170))])
    parsed = [
        make(out("lines", 1, *FINE), **options).parse({"lines": odds}, 0, FIT).lanes or ()
        for options in ({}, {"max_gap_px": 10}, {"max_gap_px": 10, "min_length_px": 60}, {"min_length_px": 60})
    ]
    assert [len(lanes) for lanes in parsed] == [1, 2, 0, 1]


def area_and_lines(**more: Any) -> Found:
    area = np.full((1, 2, *COARSE), 0, np.float32)
    area[0, 1, 3:93] = -1
    area[0, 1, 50:93, 13:] = 1
    parser = make(out("ll", 2, *COARSE), out("da", 2, *COARSE), area="da", **more)
    lines = draw([CURVE], COARSE)
    return parser.parse({"ll": np.concatenate((-lines, lines), axis=1), "da": area}, 0, FIT)


def test_the_drivable_area_is_a_packed_mask_of_the_frame() -> None:
    found = area_and_lines()
    (mask,) = found.masks
    assert (mask.kind, mask.width, mask.height) == ("drivable", 160, 90)
    assert mask.box == pytest.approx((0, 0, 640, 360))
    rows = [mask.bits[r * 20 : (r + 1) * 20] for r in range(90)]
    assert rows[46] == bytes(20)
    assert rows[47] == rows[89] == bytes([0, 0b00000111]) + b"\xff" * 18
    assert len(mask.bits) == 1800
    assert len(found.lanes or ()) == 1


def test_masks_labels_and_keep() -> None:
    found = area_and_lines(masks=True, labels=("solid", "free"))
    assert [mask.kind for mask in found.masks] == ["solid", "free"]
    assert [lane.kind for lane in found.lanes or ()] == ["solid"]
    assert area_and_lines(keep=("drivable",)).lanes == ()
    assert area_and_lines(keep=("line",)).masks == ()
    with pytest.raises(ConfigError, match="2 labels at most, for lines and drivable area; labels has 3"):
        area_and_lines(labels=("a", "b", "c"))


def test_a_mask_that_ends_within_a_byte() -> None:
    odds = -np.ones((1, 1, 2, 11), np.float32)
    odds[0, 0, 1, 10] = 1
    fit = fit_frame((22, 4), (22, 4), "stretch")
    (mask,) = make(out("lines", 1, 2, 11), masks=True).parse({"lines": odds}, 0, fit).masks
    assert (mask.width, mask.height, mask.bits) == (11, 2, bytes([0, 0, 0, 0b00100000]))


def test_which_output_has_the_lines() -> None:
    pair = out("da", 2, *COARSE), out("seg", 2, *COARSE)
    with pytest.raises(ConfigError, match="model has da .*; seg .*, name it in option lines"):
        make(*pair)
    make(*pair, lines="seg", area="da")
    with pytest.raises(ConfigError, match=r"'lines' .* is the name of an output \(da, seg\), got 'sge'"):
        make(*pair, lines="sge")
    with pytest.raises(ConfigError, match="lines and area are both output 'da'"):
        make(*pair, lines="da", area="da")
    with pytest.raises(ConfigError, match="needs an output .* and ll is none"):
        make(out("ll", 3, *COARSE))


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_no_fault_and_does_not_explode(seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1, (1, 1, *FINE)).astype(np.float32)
    if seed % 2:
        odds = cv2.GaussianBlur(odds[0, 0], (0, 0), 1.5)[None, None]
    odds[rng.uniform(size=odds.shape) < 0.01] = np.nan
    lanes = make(out("lines", 1, *FINE), score_min=0.0).parse({"lines": odds}, 0, FIT).lanes or ()
    assert len(lanes) <= 96
    assert all(0 <= x <= 640 and 0 <= y <= 360 for lane in lanes for x, y in lane.points)


def test_cut_to_frame() -> None:
    line = np.array([[50, 120], [50, 90], [50, 10], [80, -20]], np.float64)
    assert cut_to_frame(line, 100, 100).tolist() == [[50, 100], [50, 90], [50, 10], [60, 0]]
    assert cut_to_frame(line - 500, 100, 100).tolist() == []
    assert cut_to_frame(line[1:3], 100, 100).tolist() == line[1:3].tolist()
