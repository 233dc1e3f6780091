from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edged.errors import ConfigError, ShapeError
from edged.geometry import fit_frame
from edged.tasks.base import ParserSettings
from edged.tasks.ufld import ROW_ANCHORS, Ufld
from edged.tensor import ModelSpec, TensorSpec

FIT = fit_frame((1640, 590), (800, 288), "stretch")
IMAGE = TensorSpec("images", (1, 3, 288, 800), "float32")


def make(*shape: int | None, labels: tuple[str, ...] = (), **options: Any) -> Ufld:
    model = ModelSpec((IMAGE,), (TensorSpec("out", (1, *shape), "float32"),))
    return Ufld(model, ParserSettings(labels, score_min=0.3, options=options))


def nothing(cells: int, rows: int, lanes: int) -> np.ndarray:
    logits = np.zeros((1, cells + 1, rows, lanes), np.float32)
    logits[:, -1] = 12
    return logits


def test_expected_column_of_every_row_near_to_far() -> None:
    rng = np.random.default_rng(1)
    logits = nothing(200, 18, 4)
    logits[0, :, 2:12, 1] = rng.normal(0, 1, (201, 10))
    logits[0, 60:64, 2:12, 1] += 9
    lanes = make(201, 18, 4, labels=("l2", "l1", "r1", "r2")).parse({"out": logits}, 0, FIT).lanes
    assert lanes is not None
    (lane,) = lanes
    assert lane.kind == "l1"
    points, shares = [], []
    for row in reversed(range(2, 12)):
        powers = [math.exp(float(v)) for v in logits[0, :, row, 1]]
        cell = sum((i + 0.5) * p for i, p in enumerate(powers[:-1])) / sum(powers[:-1])
        points.append((cell * 799 / 199 * 1640 / 800, (ROW_ANCHORS["culane"][row] + 0.5) * 590 / 288))
        shares.append(1 - powers[-1] / sum(powers))
    assert np.allclose(lane.points, points, atol=1e-2)
    assert lane.score == pytest.approx(sum(shares) / 10, abs=1e-5)


def test_fewer_than_three_rows_are_no_line() -> None:
    logits = nothing(100, 56, 4)
    logits[0, 50, 10:12, 0] = 20
    logits[0, 50, 10:13, 3] = 20
    lanes = make(101, 56, 4).parse({"out": logits}, 0, FIT).lanes
    assert lanes is not None
    assert [(lane.kind, len(lane.points)) for lane in lanes] == [("line", 3)]


def test_best_first_and_keep() -> None:
    logits = nothing(200, 18, 2)
    logits[0, 50, :, 0], logits[0, 90, :, 1] = 13, 20
    outputs = {"out": logits}
    parser = make(201, 18, 2, labels=("left", "right"))
    assert [lane.kind for lane in parser.parse(outputs, 0, FIT).lanes or ()] == ["right", "left"]
    model = ModelSpec((IMAGE,), (TensorSpec("out", (1, 201, 18, 2), "float32"),))
    parser = Ufld(model, ParserSettings(("left", "right"), ("left",)))
    assert [lane.kind for lane in parser.parse(outputs, 0, FIT).lanes or ()] == ["left"]


def test_own_rows_are_pixels_of_the_input() -> None:
    logits = nothing(50, 4, 1)
    logits[0, 20, :, 0] = 30
    lanes = make(51, 4, 1, row_anchors=[100, 150, 200, 250], griding=50).parse({"out": logits}, 0, FIT).lanes
    assert lanes is not None
    assert [y for _, y in lanes[0].points] == pytest.approx([(r + 0.5) * 590 / 288 for r in (250, 200, 150, 100)])
    assert [x for x, _ in lanes[0].points] == pytest.approx([20.5 * 799 / 49 * 1640 / 800] * 4, rel=1e-4)


def test_rows_and_cells_have_to_fit() -> None:
    with pytest.raises(ConfigError, match=r"needs one output \[batch, 101, 18, lanes\], model has out \[1, 201"):
        make(201, 18, 4, griding=100)
    with pytest.raises(ConfigError, match="which has 18 row anchors, not 56"):
        make(201, 18, 4, row_anchors="tusimple")
    with pytest.raises(ConfigError, match="give option row_anchors"):
        make(201, 30, 4)
    with pytest.raises(ConfigError, match="which is 4 lanes; labels has 2"):
        make(201, 18, 4, labels=("a", "b"))
    for wrong in ("culan", [3, 2, 1], [], 18, [100, 300]):
        with pytest.raises(ConfigError, match="option 'row_anchors' of parser 'ufld' is "):
            make(201, len(wrong) if isinstance(wrong, list) else 18, 4, row_anchors=wrong)
    parser = make(None, None, None, row_anchors="culane")
    with pytest.raises(ShapeError, match="18 row anchors, but the network gave 5 rows"):
        parser.parse({"out": nothing(200, 5, 4)}, 0, FIT)
