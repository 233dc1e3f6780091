from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edged.geometry import fit_frame
from edged.tasks import boxes as boxes_module
from edged.tasks.boxes import BoxPicker
from edged.tasks.labels import Labels
from edged.tasks.nms import best_first, nms, nms_few


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common / (area - common) if area > common else 0.0


def slow_nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou_max: float, limit: int) -> list[int]:
    rows = boxes.astype(np.float64).tolist()
    kept: list[int] = []
    for i in best_first(boxes, scores, classes).tolist():
        if len(kept) < limit and all(classes[i] != classes[k] or iou(rows[i], rows[k]) <= iou_max for k in kept):
            kept.append(i)
    return kept


def crowd(seed: int, count: int, span: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, span, (count, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(1, 40, (count, 2))), axis=1).astype(np.float32)
    return boxes, rng.uniform(0, 1, count).astype(np.float32), rng.integers(0, 3, count)


@st.composite
def candidates(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(0, 40))
    corner = draw(arrays(np.float32, (count, 2), elements=st.integers(0, 50)))
    size = draw(arrays(np.float32, (count, 2), elements=st.integers(1, 30)))
    scores = draw(arrays(np.float32, count, elements=st.sampled_from([0.25, 0.5, 0.625, 0.75, 1.0])))
    classes = draw(arrays(np.int64, count, elements=st.integers(0, 2)))
    return np.concatenate((corner, corner + size), axis=1), scores, classes


def test_many_boxes_as_a_slow_loop_does_them() -> None:
    for seed, count, span in ((1, 700, 80.0), (2, 900, 600.0), (3, 30, 40.0)):
        boxes, scores, classes = crowd(seed, count, span)
        for limit in (5, 300):
            wanted = slow_nms(boxes, scores, classes, 0.45, limit)
            assert nms(boxes, scores, classes, 0.45, limit).tolist() == wanted


def test_a_box_beaten_by_a_beaten_box_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert nms(boxes, scores, np.zeros(3, int), 0.3, 9).tolist() == [0, 2]


def test_classes_do_not_suppress_each_other() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 2, np.float32)
    assert nms(boxes, np.array([0.5, 0.6]), np.array([1, 2]), 0.1, 9).tolist() == [1, 0]


def test_none_and_no_room() -> None:
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int)
    assert nms(*none, 0.5, 10).tolist() == []
    assert nms(*crowd(1, 5, 20.0), 0.5, 0).tolist() == []


@settings(max_examples=150, deadline=None)
@given(candidates(), st.floats(0, 1))
def test_kept_boxes_of_a_class_never_overlap_more(found: tuple, iou_max: float) -> None:
    boxes, scores, classes = found
    kept = nms(boxes, scores, classes, iou_max, 300)
    assert (np.diff(scores[kept]) <= 0).all()
    for n, i in enumerate(kept):
        for k in kept[:n]:
            assert classes[i] != classes[k] or iou(boxes[i].tolist(), boxes[k].tolist()) <= iou_max + 1e-6


@settings(max_examples=150, deadline=None)
@given(candidates(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_order_never_matters(found: tuple, iou_max: float, random: object) -> None:
    boxes, scores, classes = found
    shuffled = np.arange(len(boxes))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = nms(boxes, scores, classes, iou_max, 300)
    other = shuffled[nms(boxes[shuffled], scores[shuffled], classes[shuffled], iou_max, 300)]
    assert (boxes[one] == boxes[other]).all()
    assert (classes[one] == classes[other]).all()


@given(candidates(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(1, 40))
def test_few_candidates_give_what_many_would(made, iou_max, limit):
    boxes, scores, classes = made
    rows = [(score, kind, *corners) for score, kind, corners in
            zip(scores.tolist(), classes.tolist(), boxes.tolist(), strict=True)]  # fmt: skip
    kept = nms_few(rows, iou_max, limit)
    assert kept == [rows[index] for index in nms(boxes, scores, classes, iou_max, limit).tolist()]
    assert nms_few(rows, None, limit) == [rows[index] for index in best_first(boxes, scores, classes)[:limit].tolist()]


@given(candidates(), st.sampled_from([None, 0.5]), st.sampled_from([(), (0, 2)]))
def test_the_quick_way_to_boxes_is_the_other_one(made, iou_max, kept):
    boxes, scores, classes = made
    boxes = np.concatenate((boxes, np.array([[np.nan, 0, 1, 1], [5, 5, 5, 9]], np.float32)))
    scores, classes = np.append(scores, [0.9, 0.9]).astype(np.float32), np.append(classes, [0, 0])
    picker, fit = BoxPicker(Labels(("a", "b", "c"), kept), iou_max, 30), fit_frame((640, 360), (64, 48), "letterbox")
    quick = picker.pick(boxes, scores, classes, fit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes_module, "FEW", -1)
        slow = picker.pick(boxes, scores, classes, fit)
        plain = picker.pick_rows([*zip(scores.tolist(), classes.tolist(), *boxes.T.tolist(), strict=True)], fit)
    for found in (quick, plain):
        assert [box.label for box in found] == [box.label for box in slow]
        for one, two in zip(found, slow, strict=True):
            assert _numbers(one) == pytest.approx(_numbers(two))


def _numbers(box):
    return box.x1, box.y1, box.x2, box.y2, box.score
