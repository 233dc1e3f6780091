"""Every box parser on hand-built tensors; the right answer is worked out box by box in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edged.errors import ConfigError, ShapeError
from edged.geometry import Fit, fit_frame
from edged.results import Box
from edged.tasks import PARSERS
from edged.tasks.base import Parser, ParserSettings
from edged.tasks.boxes import FEW
from edged.tensor import ModelSpec, TensorSpec

LABELS = ("car", "person", "sign")
NET = (128, 96)
IMAGE = TensorSpec("images", (None, 3, NET[1], NET[0]), "float32")
LETTERBOX = fit_frame((640, 360), NET, "letterbox")
STRETCH = fit_frame((640, 360), NET, "stretch")


def model(*outputs: TensorSpec) -> ModelSpec:
    return ModelSpec((IMAGE,), outputs)


def out(*shape: int | None, name: str = "output0", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, shape, dtype)


def make(name: str, spec: ModelSpec, labels: tuple[str, ...] = LABELS, **more: Any) -> Parser:
    keys = ("keep", "score_min", "iou_max")
    picked = {key: more.pop(key) for key in keys if key in more}
    return PARSERS.load(name)(spec, ParserSettings(labels, **picked, options=more))


def to_source(fit: Fit, x: float, y: float) -> tuple[float, float]:
    x, y = (x - fit.left) * fit.source_width / fit.inner_width, (y - fit.top) * fit.source_height / fit.inner_height
    return min(max(x, 0.0), fit.source_width), min(max(y, 0.0), fit.source_height)


def expect(fit: Fit, label: str, score: float, centre: tuple[float, float], size: tuple[float, float]) -> Box:
    x1, y1 = to_source(fit, centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    x2, y2 = to_source(fit, centre[0] + size[0] / 2, centre[1] + size[1] / 2)
    return Box(label, LABELS.index(label), score, x1, y1, x2, y2)


def same(found: tuple[Box, ...], wanted: list[Box]) -> bool:
    return [(b.label, b.class_id) for b in found] == [(b.label, b.class_id) for b in wanted] and np.allclose(
        [(b.score * 100, b.x1, b.y1, b.x2, b.y2) for b in found],
        [(b.score * 100, b.x1, b.y1, b.x2, b.y2) for b in wanted],
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize("fit", [LETTERBOX, STRETCH])
def test_yolov8(fit: Fit) -> None:
    rows = np.zeros((2, 7, 252), np.float32)
    rows[1, :, 7] = (40.5, 50.25, 20, 10, 0.1, 0.8, 0.2)
    rows[1, :, 9] = (42, 50, 20, 10, 0, 0.7, 0)  # the same person again
    rows[1, :, 11] = (42, 50, 20, 10, 0.6, 0.1, 0)  # a car in the same place
    rows[1, :, 250] = (2, 20, 10, 8, 0, 0, 0.9)  # reaches out of the frame
    rows[1, :, 251] = (2, 20, 10, 8, 0, 0, 0.39)
    parser = make("yolov8", model(out(None, 7, 252)))
    wanted = [
        expect(fit, "sign", 0.9, (2, 20), (10, 8)),
        expect(fit, "person", 0.8, (40.5, 50.25), (20, 10)),
        expect(fit, "car", 0.6, (42, 50), (20, 10)),
    ]
    assert same(parser.parse({"output0": rows}, 1, fit).boxes, wanted)
    assert parser.parse({"output0": rows}, 0, fit).boxes == ()


def test_yolov5_multiplies_objectness_and_class() -> None:
    rows = np.zeros((1, 252, 8), np.float32)
    rows[0, 3] = (40, 50, 20, 10, 0.9, 0.1, 0.8, 0.2)
    rows[0, 4] = (90, 50, 20, 10, 0.5, 0.7, 0.1, 0.2)  # 0.35: below the threshold
    parser = make("yolov5", model(out(1, 252, 8)))
    found = parser.parse({"output0": rows}, 0, LETTERBOX).boxes
    assert same(found, [expect(LETTERBOX, "person", 0.72, (40, 50), (20, 10))])


def test_yolox_decodes_its_grids() -> None:
    rows = np.zeros((1, 252, 8), np.float32)  # 16 x 12 cells of 8 px, 8 x 6 of 16, 4 x 3 of 32
    rows[0, 16 * 5 + 3] = (0.5, 0.25, math.log(2), math.log(3), 0.9, 0.9, 0, 0)
    rows[0, 192 + 8 * 2 + 6] = (-0.5, 0.75, 0, math.log(1.5), 0.8, 0, 0.9, 0)
    rows[0, 240 + 4 * 1 + 2] = (0, 0, math.log(0.5), 0, 0.8, 0, 0, 0.8)
    parser = make("yolox", model(out(1, 252, 8)))
    wanted = [
        expect(LETTERBOX, "car", 0.81, (3.5 * 8, 5.25 * 8), (16, 24)),
        expect(LETTERBOX, "person", 0.72, (5.5 * 16, 2.75 * 16), (16, 24)),
        expect(LETTERBOX, "sign", 0.64, (64, 32), (16, 32)),
    ]
    assert same(parser.parse({"output0": rows}, 0, LETTERBOX).boxes, wanted)


def test_yolox_decoded_in_the_model() -> None:
    rows = np.zeros((1, 10, 8), np.float32)
    rows[0, 3] = (40, 50, 20, 10, 0.9, 0, 0.8, 0)
    parser = make("yolox", model(out(1, 10, 8)), decoded=True)
    found = parser.parse({"output0": rows}, 0, LETTERBOX).boxes
    assert same(found, [expect(LETTERBOX, "person", 0.72, (40, 50), (20, 10))])


def test_yolox_says_when_the_grids_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"needs 252 boxes for an input of 128x96 with strides 8, 16, 32, .*250"):
        make("yolox", model(out(1, 250, 8)))
    parser = make("yolox", model(out(1, None, 8)))
    with pytest.raises(ShapeError, match="252 grid cells, but the network gave 9 boxes"):
        parser.parse({"output0": np.zeros((1, 9, 8), np.float32)}, 0, LETTERBOX)


def test_fastestdet() -> None:
    grid = np.zeros((1, 8, 6, 8), np.float32)
    grid[0, :, 2, 5] = (0.9, 0.3, -0.4, -1.2, -0.7, 0.1, 0.8, 0.2)
    grid[0, :, 4, 1] = (0.5, 0, 0, 0, 0, 0.2, 0, 0)
    wanted = expect(
        STRETCH,
        "person",
        0.9**0.6 * 0.8**0.4,
        ((math.tanh(0.3) + 5) / 8 * 128, (math.tanh(-0.4) + 2) / 6 * 96),
        (128 / (1 + math.exp(1.2)), 96 / (1 + math.exp(0.7))),
    )
    parser = make("fastestdet", model(out(1, 8, 6, 8)))
    assert same(parser.parse({"output0": grid}, 0, STRETCH).boxes, [wanted])


def test_fastestdet_with_a_candidate_in_every_cell() -> None:
    rows, columns = 10, 12
    grid = np.random.default_rng(3).uniform(0.3, 1, (1, 8, rows, columns)).astype(np.float32)
    grid[0, 1:5] = grid[0, 1:5] * 2 - 1.3
    wanted = []
    for row, column in np.ndindex(rows, columns):
        objectness, b0, b1, b2, b3, *classes = grid[0, :, row, column].tolist()
        label = LABELS[int(np.argmax(classes))]
        centre = (math.tanh(b0) + column) / columns * 128, (math.tanh(b1) + row) / rows * 96
        size = 128 / (1 + math.exp(-b2)), 96 / (1 + math.exp(-b3))
        wanted.append(expect(STRETCH, label, objectness**0.6 * max(classes) ** 0.4, centre, size))
    wanted = sorted((box for box in wanted if box.score >= 0.5), key=lambda box: -box.score)
    assert len(wanted) > FEW
    parser = make("fastestdet", model(out(1, 8, rows, columns)), score_min=0.5, iou_max=1.0)
    assert same(parser.parse({"output0": grid}, 0, STRETCH).boxes, wanted)


def test_detr_with_a_last_class_for_nothing() -> None:
    logits, boxes = np.zeros((1, 5, 4), np.float32), np.zeros((1, 5, 4), np.float32)
    logits[0, :, 3] = 9
    logits[0, 2] = (1.0, 4.0, 0.0, 2.0)
    boxes[0, 2] = (0.4, 0.5, 0.25, 0.125)
    parser = make("detr", model(out(1, 5, 4, name="logits"), out(1, 5, 4, name="pred_boxes")))
    score = math.exp(4) / sum(math.exp(v) for v in (1, 4, 0, 2))
    found = parser.parse({"logits": logits, "pred_boxes": boxes}, 0, STRETCH).boxes
    assert same(found, [expect(STRETCH, "person", score, (0.4 * 128, 48), (32, 12))])


@pytest.mark.parametrize("single", [False, True])
def test_detr_without_one(single: bool) -> None:
    logits, boxes = np.full((1, 5, 3), -5, np.float32), np.zeros((1, 5, 4), np.float32)
    logits[0, 2], boxes[0, 2] = (-1.0, 2.0, 0.0), (0.4, 0.5, 0.25, 0.125)
    logits[0, 4], boxes[0, 4] = (-1.0, 1.0, 0.0), (0.4, 0.5, 0.25, 0.125)  # no suppression in this family
    outputs = {"logits": logits, "boxes": boxes}
    spec = model(out(1, 5, 4, name="boxes"), out(1, 5, 3, name="logits"))
    if single:
        outputs = {"output0": np.concatenate((boxes, 1 / (1 + np.exp(-logits))), axis=2)}
        spec = model(out(1, 5, 7))
    wanted = [expect(STRETCH, "person", 1 / (1 + math.exp(-v)), (0.4 * 128, 48), (32, 12)) for v in (2.0, 1.0)]
    assert same(make("detr", spec).parse(outputs, 0, STRETCH).boxes, wanted)


def test_detr_without_labels_asks_for_the_activation() -> None:
    spec = model(out(1, 5, 92, name="logits"), out(1, 5, 4, name="boxes"))
    with pytest.raises(ConfigError, match="cannot tell whether .* option activation"):
        make("detr", spec, ())
    make("detr", spec, (), activation="softmax")
    with pytest.raises(ConfigError, match="option 'activation' .* one of softmax, sigmoid, none, got 'max'"):
        make("detr", spec, (), activation="max")
    with pytest.raises(ConfigError, match="which is 92 classes; labels has 3"):
        make("detr", spec)


RCNN = (out(None, 4, name="6379"), out(None, name="6381", dtype="int64"), out(None, name="6383"))


def test_faster_rcnn_finds_its_outputs_by_shape_and_counts_from_one() -> None:
    outputs = {
        "6379": np.array([[30, 45, 50, 55], [1, 1, 9, 9], [30, 45, 50, 55]], np.float32),
        "6381": np.array([2, 3, 0]),
        "6383": np.array([0.7, 0.3, 0.9], np.float32),
    }
    parser = make("faster_rcnn", model(*RCNN))
    found = parser.parse(outputs, 0, LETTERBOX).boxes
    assert same(found, [expect(LETTERBOX, "person", 0.7, (40, 50), (20, 10))])
    with pytest.raises(ShapeError, match="without a batch dimension have no image 1"):
        parser.parse(outputs, 1, LETTERBOX)
    nothing = {name: value[:0] for name, value in outputs.items()}
    assert parser.parse(nothing, 0, LETTERBOX).boxes == ()


def test_a_class_beyond_the_labels_keeps_its_number() -> None:
    outputs = {
        "6379": np.array([[30, 45, 50, 55]], np.float32),
        "6381": np.array([9]),
        "6383": np.array([0.7], np.float32),
    }
    (box,) = make("faster_rcnn", model(*RCNN)).parse(outputs, 0, LETTERBOX).boxes
    assert (box.label, box.class_id) == ("8", 8)


NMS_OUTPUTS = (
    out(None, 1, name="num_dets", dtype="int32"),
    out(None, 3, 4, name="det_boxes"),
    out(None, 3, name="det_scores"),
    out(None, 3, name="det_classes", dtype="int32"),
)


@pytest.mark.parametrize(("normalized", "order"), [(False, "xyxy"), (True, "yxyx")])
def test_efficient_nms_reads_only_as_many_as_it_says(normalized: bool, order: str) -> None:
    boxes = np.array([[30, 45, 50, 55], [1, 1, 9, 9], [60, 60, 80, 80]], np.float32)
    if normalized:
        boxes = (boxes / [128, 96, 128, 96]).astype(np.float32)[:, [1, 0, 3, 2]]
    outputs = {
        "num_dets": np.array([[0], [2]], np.int32),
        "det_boxes": np.stack([boxes, boxes]),
        "det_scores": np.array([[0.9, 0.9, 0.9], [0.7, 0.3, 0.9]], np.float32),
        "det_classes": np.array([[1, 0, 0], [1, 0, 0]], np.int32),
    }
    parser = make("efficient_nms", model(*NMS_OUTPUTS), normalized=normalized, order=order)
    found = parser.parse(outputs, 1, LETTERBOX).boxes
    assert same(found, [expect(LETTERBOX, "person", 0.7, (40, 50), (20, 10))])
    assert parser.parse(outputs, 0, LETTERBOX).boxes == ()


def test_labels_and_classes_have_to_be_as_many() -> None:
    text = (
        r"parser 'yolov8' needs one output \[batch, 4 \+ 3 labels, boxes\], "
        r"model has output0 \[\?, 6, 1260\] float32, which is 2 classes; labels has 3"
    )
    with pytest.raises(ConfigError, match=f"^{text}$"):
        make("yolov8", model(out(None, 6, 1260)))
    with pytest.raises(ConfigError, match="which is 1 class; labels has 3"):
        make("fastestdet", model(out(1, 6, 22, 22)))
    with pytest.raises(ConfigError, match="which is 80 classes; labels has 3"):
        make("yolov5", model(out(1, 25200, 85)))


def test_without_labels_a_transposed_output_is_noticed() -> None:
    with pytest.raises(ConfigError, match=r"which is more classes \(1256\) than boxes \(6\)"):
        make("yolov8", model(out(None, 1260, 6)), ())


def test_without_labels_classes_are_numbers() -> None:
    rows = np.zeros((1, 7, 20), np.float32)
    rows[0, :, 3] = (40, 50, 20, 10, 0, 0, 0.9)
    (box,) = make("yolov8", model(out(1, 7, 20)), (), keep=("2",)).parse({"output0": rows}, 0, LETTERBOX).boxes
    assert (box.label, box.class_id) == ("2", 2)


def test_keep() -> None:
    rows = np.zeros((1, 7, 20), np.float32)
    rows[0, :, 3] = (40, 50, 20, 10, 0.8, 0, 0.9)
    rows[0, :, 5] = (80, 50, 20, 10, 0.5, 0, 0)
    parser = make("yolov8", model(out(1, 7, 20)), keep=("car", "person"))
    found = parser.parse({"output0": rows}, 0, LETTERBOX).boxes
    assert same(found, [expect(LETTERBOX, "car", 0.5, (80, 50), (20, 10))])
    with pytest.raises(ConfigError, match="keep has 'persn', which is no label; did you mean 'person'"):
        make("yolov8", model(out(1, 7, 20)), keep=("persn",))
    with pytest.raises(ConfigError, match="keep needs labels"):
        make("faster_rcnn", model(*RCNN), (), keep=("person",))


def test_max_boxes() -> None:
    rows = np.zeros((1, 7, 400), np.float32)
    rows[0, 0] = np.linspace(5, 120, 400)
    rows[0, 1], rows[0, 2], rows[0, 3], rows[0, 4] = 50, 0.2, 8, np.linspace(0.5, 0.9, 400)
    spec = model(out(1, 7, 400))
    assert len(make("yolov8", spec).parse({"output0": rows}, 0, STRETCH).boxes) == 300
    found = make("yolov8", spec, max_boxes=5).parse({"output0": rows}, 0, STRETCH).boxes
    assert [round(box.score, 3) for box in found] == [0.9, 0.899, 0.898, 0.897, 0.896]
    with pytest.raises(ConfigError, match="'max_boxes' of parser 'yolov8' is a whole number from 1 to 10000, got 0"):
        make("yolov8", spec, max_boxes=0)


def test_options_are_checked() -> None:
    spec = model(out(1, 252, 8))
    with pytest.raises(ConfigError, match="has no option 'stride'; did you mean 'strides'"):
        make("yolox", spec, stride=[8])
    for wrong in (8, [], [8, -1], "8", [8, True], [0.5]):
        with pytest.raises(ConfigError, match="option 'strides' of parser 'yolox' is a list of .*numbers above 0"):
            make("yolox", spec, strides=wrong)
    with pytest.raises(ConfigError, match="option 'decoded' of parser 'yolox' is true or false, got 1"):
        make("yolox", spec, decoded=1)


def test_empty_and_inside_out_boxes_are_dropped() -> None:
    rows = np.zeros((1, 7, 20), np.float32)
    rows[0, 4] = 0.9
    rows[0, :4, 0] = (40, 50, 0, 10)
    rows[0, :4, 1] = (40, 50, -20, -10)
    rows[0, :4, 2] = (-90, 50, 20, 10)  # all outside
    rows[0, :4, 3] = (40, 1, 20, 10)  # in the letterbox's border
    assert make("yolov8", model(out(1, 7, 20))).parse({"output0": rows}, 0, LETTERBOX).boxes == ()


SIZES = st.integers(16, 4000)


@settings(max_examples=60, deadline=None)
@given(st.tuples(SIZES, SIZES), st.sampled_from(["letterbox", "stretch"]), st.tuples(*[st.floats(0, 1)] * 4))
def test_a_source_box_comes_back_from_the_network(source: tuple, mode: Any, place: tuple) -> None:
    fit = fit_frame(source, (640, 384), mode)
    x1, x2 = sorted((place[0] * source[0] * 0.98, place[2] * source[0]))
    y1, y2 = sorted((place[1] * source[1] * 0.98, place[3] * source[1]))
    x2, y2 = min(source[0], max(x2, x1 + source[0] * 0.02)), min(source[1], max(y2, y1 + source[1] * 0.02))
    net = [
        [x * fit.inner_width / source[0] + fit.left, y * fit.inner_height / source[1] + fit.top]
        for x, y in ((x1, y1), (x2, y2))
    ]
    (ax, ay), (bx, by) = net
    outputs = {"6379": np.array([[ax, ay, bx, by]], np.float64), "6381": np.array([1]), "6383": np.array([0.9])}
    (box,) = make("faster_rcnn", model(*RCNN)).parse(outputs, 0, fit).boxes
    # a float32 network pixel is worth this much in the source
    tolerance = 1e-3 + 640 * 2**-23 * max(source[0] / fit.inner_width, source[1] / fit.inner_height)
    assert np.allclose((box.x1, box.y1, box.x2, box.y2), (x1, y1, x2, y2), atol=tolerance, rtol=0)


@settings(max_examples=80, deadline=None)
@given(arrays(np.float32, (1, 7, 12), elements=st.floats(width=32)), st.floats(0, 1))
def test_any_numbers_give_sane_boxes_or_none(rows: np.ndarray, score_min: float) -> None:
    for name, values in (
        ("yolov8", rows),
        ("yolov5", rows.reshape(1, 12, 7)),
        ("fastestdet", rows.reshape(1, 7, 3, 4)),
    ):
        parser = make(name, model(out(*values.shape)), (), score_min=score_min)
        for box in parser.parse({"output0": values}, 0, LETTERBOX).boxes:
            assert 0 <= box.x1 < box.x2 <= 640
            assert 0 <= box.y1 < box.y2 <= 360
            assert score_min - 1e-6 <= box.score <= 1
