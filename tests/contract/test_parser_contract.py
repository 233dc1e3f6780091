"""What every output parser must do. A new parser fails here until it has a row in CASES."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from edged.errors import ConfigError
from edged.geometry import fit_frame
from edged.results import Box, Found, Lane
from edged.tasks import PARSERS
from edged.tasks.base import ParserSettings
from edged.tensor import InputFormat, ModelSpec, TensorSpec

NET = (128, 96)  # width, height
SOURCES = [(640, 360), (128, 96), (90, 200)]
IMAGE = TensorSpec("images", (None, 3, NET[1], NET[0]), "float32")
WRONG = ModelSpec((IMAGE,), (TensorSpec("wrong", (None, 7), "float32"), TensorSpec("worse", (None, 2, 2), "float32")))
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model that fits, and how to fill its outputs for a batch."""

    outputs: tuple[TensorSpec, ...]
    fill: Callable[[np.random.Generator, int], Outputs]
    labels: tuple[str, ...] = ("car", "person", "sign")
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> ModelSpec:
        return ModelSpec((IMAGE,), self.outputs)

    @property
    def settings(self) -> ParserSettings:
        return ParserSettings(self.labels, (), 0.2, 0.5, self.options)


def spec(name: str, *shape: int | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, (None, *shape), dtype)


def centres(rng: np.random.Generator, batch: int, boxes: int) -> np.ndarray:
    return rng.uniform((-20, -20, 1, 1), (NET[0] + 20, NET[1] + 20, 90, 90), (batch, boxes, 4))


def scores(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(0, 1, shape) ** 2


def v5(rng: np.random.Generator, batch: int) -> Outputs:
    return {"o": np.concatenate((centres(rng, batch, 252), scores(rng, batch, 252, 4)), axis=2)}


def v8(rng: np.random.Generator, batch: int) -> Outputs:
    rows = np.concatenate((centres(rng, batch, 252), scores(rng, batch, 252, 3)), axis=2)
    return {"o": rows.transpose(0, 2, 1)}


def yolox(rng: np.random.Generator, batch: int) -> Outputs:
    return {"o": np.concatenate((rng.normal(0, 1, (batch, 252, 4)), scores(rng, batch, 252, 4)), axis=2)}


def fastest(rng: np.random.Generator, batch: int) -> Outputs:
    grid = rng.normal(0, 1.5, (batch, 8, 6, 8))
    grid[:, [0, 5, 6, 7]] = scores(rng, batch, 4, 6, 8)
    return {"o": grid}


def detr(rng: np.random.Generator, batch: int) -> Outputs:
    return {"logits": rng.normal(-1, 2, (batch, 40, 3)), "pred_boxes": rng.uniform(0, 1, (batch, 40, 4))}


def corners(rng: np.random.Generator, batch: int, boxes: int) -> np.ndarray:
    rows = centres(rng, batch, boxes)
    return np.concatenate((rows[..., :2] - rows[..., 2:] / 2, rows[..., :2] + rows[..., 2:] / 2), axis=2)


def rcnn(rng: np.random.Generator, batch: int) -> Outputs:
    labels = rng.integers(1, 4, (batch, 20))
    return {"boxes": corners(rng, batch, 20), "labels": labels, "scores": scores(rng, batch, 20)}


def efficient(rng: np.random.Generator, batch: int) -> Outputs:
    return {
        "num": rng.integers(0, 20, (batch, 1)).astype(np.int32),
        "boxes": corners(rng, batch, 20),
        "scores": scores(rng, batch, 20),
        "classes": rng.integers(0, 3, (batch, 20)).astype(np.int32),
    }


def lane_mask(rng: np.random.Generator, batch: int) -> Outputs:
    y, x = np.mgrid[:48, :64]
    tilt = rng.uniform(-1, 1, (batch, 1, 1, 1))
    line = 2 - np.abs(x - 32 - tilt * (y - 24))
    return {"lines": line + rng.normal(0, 0.2, line.shape)}


def ufld(rng: np.random.Generator, batch: int) -> Outputs:
    logits = rng.normal(0, 1, (batch, 21, 18, 4))
    logits[:, 10] += 6
    return {"o": logits}


CASES = {
    "yolov5": Case((spec("o", None, 8),), v5),
    "yolov8": Case((spec("o", 7, None),), v8),
    "yolox": Case((spec("o", 252, 8),), yolox),
    "fastestdet": Case((spec("o", 8, 6, 8),), fastest),
    "detr": Case((spec("logits", 40, 3), spec("pred_boxes", 40, 4)), detr),
    "faster_rcnn": Case((spec("boxes", None, 4), spec("labels", None, dtype="int64"), spec("scores", None)), rcnn),
    "efficient_nms": Case(
        (
            spec("num", 1, dtype="int32"),
            spec("boxes", 20, 4),
            spec("scores", 20),
            spec("classes", 20, dtype="int32"),
        ),
        efficient,
    ),
    "lane_mask": Case((spec("lines", 1, 48, 64),), lane_mask, ("solid",)),
    "ufld": Case((spec("o", 21, 18, 4),), ufld, ("a", "b", "c", "d")),
}


def outputs_of(case: Case, seed: int, batch: int) -> Outputs:
    filled = case.fill(np.random.default_rng(seed), batch)
    return {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in filled.items()}


def parse(name: str, outputs: Outputs, index: int, source: tuple[int, int]) -> Found:
    parser_class = PARSERS.load(name)
    fit = fit_frame(source, NET, parser_class.input.fit)
    return parser_class(CASES[name].model, CASES[name].settings).parse(outputs, index, fit)


@pytest.fixture(params=PARSERS.names())
def name(request: pytest.FixtureRequest) -> str:
    if request.param not in CASES:
        pytest.fail(f"parser {request.param!r} has no row in CASES of this file")
    return str(request.param)


def test_says_how_its_networks_see(name: str) -> None:
    assert isinstance(PARSERS.load(name).input, InputFormat)


def test_refuses_a_wrong_model_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' needs .*(, model has )wrong \[\?, 7\] float32"):
        PARSERS.load(name)(WRONG, CASES[name].settings)


def test_refuses_whole_numbers_for_scores(name: str) -> None:
    model = CASES[name].model
    model = replace(model, outputs=tuple(replace(o, dtype="int8") for o in model.outputs))
    with pytest.raises(ConfigError, match=rf"'{name}' needs .* model has .*int8"):
        PARSERS.load(name)(model, CASES[name].settings)


def test_refuses_a_model_without_outputs(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' needs .* model has no output"):
        PARSERS.load(name)(ModelSpec((IMAGE,), ()), CASES[name].settings)


def test_refuses_an_unknown_option_and_names_the_allowed(name: str) -> None:
    settings = replace(CASES[name].settings, options={"no_such_option": 1})
    with pytest.raises(ConfigError, match=f"parser '{name}' has no option 'no_such_option'; .*allowed: [a-z]"):
        PARSERS.load(name)(CASES[name].model, settings)


def test_refuses_to_keep_what_is_no_label(name: str) -> None:
    label = CASES[name].labels[0]
    with pytest.raises(ConfigError, match=f"keep has '{label}s', which is no label; (did you mean|labels are)"):
        PARSERS.load(name)(CASES[name].model, replace(CASES[name].settings, keep=(f"{label}s",)))


@pytest.mark.parametrize("source", SOURCES)
def test_finds_something_inside_the_frame_best_first(name: str, source: tuple[int, int]) -> None:
    found = parse(name, outputs_of(CASES[name], 1, 1), 0, source)
    assert found.boxes or found.lanes
    assert found.boxes == tuple(sorted(found.boxes, key=lambda box: -box.score))
    for box in found.boxes:
        assert 0 <= box.x1 < box.x2 <= source[0]
        assert 0 <= box.y1 < box.y2 <= source[1]
        assert 0.2 <= box.score <= 1
        assert box.label == CASES[name].labels[box.class_id]
    for lane in found.lanes or ():
        assert 0.2 <= lane.score <= 1
        assert 2 <= len(lane.points) <= 60
        assert all(0 <= x <= source[0] and 0 <= y <= source[1] for x, y in lane.points)
        assert lane.points[0][1] >= lane.points[-1][1]


def test_gives_plain_numbers(name: str) -> None:
    found = parse(name, outputs_of(CASES[name], 1, 1), 0, SOURCES[0])
    for box in found.boxes:
        assert [type(v) for v in (box.class_id, box.score, box.x1, box.y2)] == [int, float, float, float]
    for lane in found.lanes or ():
        assert {type(v) for v in (lane.score, *lane.points[0])} == {float}


def test_same_answer_in_a_batch_as_alone(name: str) -> None:
    batch = outputs_of(CASES[name], 2, 3)
    for index in range(3):
        alone = {key: value[index : index + 1] for key, value in batch.items()}
        assert parse(name, batch, index, SOURCES[0]) == parse(name, alone, 0, SOURCES[0])


def test_leaves_the_outputs_alone(name: str) -> None:
    outputs = outputs_of(CASES[name], 3, 2)
    copies = {key: value.copy() for key, value in outputs.items()}
    for value in outputs.values():
        value.setflags(write=False)
    parse(name, outputs, 1, SOURCES[0])
    assert all((outputs[key] == copies[key]).all() for key in outputs)


def same(box: Box, other: Box) -> bool:
    """Tell whether two boxes are of one object: of one class, and nearly one place."""
    wide, high = min(box.x2, other.x2) - max(box.x1, other.x1), min(box.y2, other.y2) - max(box.y1, other.y1)
    shared = max(0.0, wide) * max(0.0, high)
    areas = [(one.x2 - one.x1) * (one.y2 - one.y1) for one in (box, other)]
    near = abs(box.score - other.score) < 0.01
    return near and box.label == other.label and shared / (sum(areas) - shared) > 0.9


def apart_px(lane: Lane, other: Lane) -> float:
    """Return how far the points of one lane are at most from the nearest of another's, at its rows."""
    rows = np.array([y for _, y in reversed(other.points)])
    columns = np.array([x for x, _ in reversed(other.points)])
    inside = [(x, y) for x, y in lane.points if rows[0] - 2 <= y <= rows[-1] + 2]
    assert len(inside) >= len(lane.points) - 1
    return max(abs(x - float(np.interp(y, rows, columns))) for x, y in inside)


def test_half_precision_finds_the_same(name: str) -> None:
    outputs = outputs_of(CASES[name], 4, 1)
    halves = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in outputs.items()}
    full, half = (parse(name, o, 0, SOURCES[0]) for o in (outputs, halves))
    for found, others in ((full.boxes, half.boxes), (half.boxes, full.boxes)):
        missing = [box for box in found if not any(same(box, other) for other in others)]
        assert len(missing) <= 1, missing  # two whose scores are equal in half precision may change places
    assert len(full.lanes or ()) == len(half.lanes or ())
    for lane in full.lanes or ():
        assert min(apart_px(lane, other) for other in half.lanes or () if other.kind == lane.kind) < 2, lane


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0])
def test_nonsense_gives_no_box_and_no_fault(name: str, bad: float) -> None:
    outputs = outputs_of(CASES[name], 5, 1)
    for value in outputs.values():
        if value.dtype.kind == "f":
            value[:] = bad
    found = parse(name, outputs, 0, SOURCES[0])
    assert found.boxes == ()
    assert all(np.isfinite(lane.points).all() for lane in found.lanes or ())


def test_a_sprinkle_of_nonsense_spoils_nothing_else(name: str) -> None:
    outputs = outputs_of(CASES[name], 6, 1)
    rng = np.random.default_rng(6)
    for value in outputs.values():
        if value.dtype.kind == "f":
            value[rng.uniform(size=value.shape) < 0.01] = np.nan
            value[rng.uniform(size=value.shape) < 0.01] = np.inf
    found = parse(name, outputs, 0, SOURCES[0])
    assert found.boxes or found.lanes
    assert all(np.isfinite((box.score, box.x1, box.y1, box.x2, box.y2)).all() for box in found.boxes)
    assert all(np.isfinite(lane.points).all() and np.isfinite(lane.score) for lane in found.lanes or ())
