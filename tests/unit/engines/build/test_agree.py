"""Agreement in the task's own terms, on findings whose figures can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edged.engines.build.agree import Agreement, agreement
from edged.results import Box, Found, Lane, Mask

SIZE = (640, 360)


def box(x, score=0.9, kind=0):
    return Box(str(kind), kind, score, x, 0.0, x + 10.0, 10.0)


def of(truth, other, score_min=0.4, judge_masks=True):
    return agreement([Found(*one) for one in truth], [Found(*one) for one in other], score_min, SIZE, judge_masks)


def boxes(*frames):
    return [(tuple(frame),) for frame in frames]


def lanes(*frames):
    return [((), tuple(frame)) for frame in frames]


def line(x, score=0.9):
    return Lane("line", score, ((x, 350.0), (x, 100.0)))


def mask(*rows):
    cells = np.array(rows, bool)
    return Mask("area", cells.shape[1], cells.shape[0], (0, 0, 640, 360), np.packbits(cells, axis=1).tobytes())


def test_equal_findings_agree_wholly():
    same = boxes([box(0), box(50, 0.5), box(100, 0.3)], [], [box(7)])
    found = of(same, same)
    assert (found.ap50, found.f1, found.drop, found.by) == (1.0, 1.0, 0.0, "AP50")
    assert (found.frames, found.truths) == (3, 3)


def test_a_missed_box_and_a_false_one_cost():
    truth = boxes([box(0), box(50)])
    assert of(truth, boxes([box(0)])).ap50 == 0.5
    assert of(truth, boxes([box(0)])).f1 == pytest.approx(2 / 3)
    worse = of(truth, boxes([box(200, 0.95), box(0), box(50)]))  # precision at the two hits: 1/2, then 2/3
    assert worse.ap50 == pytest.approx(2 / 3)
    assert worse.drop == pytest.approx(1 / 3, abs=1e-6)
    after = of(truth, boxes([box(0), box(50), box(200, 0.41)]))  # a false one behind all hits costs F1 alone
    assert (after.ap50, after.f1, after.by) == (1.0, 0.8, "F1")


def test_what_flips_at_the_threshold_costs_nothing():
    truth = boxes([box(0), box(50, 0.41), box(100, 0.39)])
    found = of(truth, boxes([box(0), box(50, 0.39), box(100, 0.41)]))
    assert (found.ap50, found.f1) == (1.0, 1.0)


def test_scores_that_fall_below_the_threshold_cost_though_their_order_is_kept():
    truth = boxes([box(0, 0.9), box(50, 0.8)])
    found = of(truth, boxes([box(0, 0.45), box(50, 0.39)]))
    assert found.ap50 == 1.0
    assert (found.f1, found.by) == (pytest.approx(2 / 3, abs=1e-6), "F1")
    assert of(boxes([box(0, 0.29), box(50)]), boxes([box(0, 0.5), box(50)])).f1 == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize("other", [box(4), box(0, kind=1)])
def test_another_place_or_another_class_is_another_box(other):
    assert of(boxes([box(0)]), boxes([other])).ap50 == 0.0
    assert of(boxes([box(0)]), boxes([box(3)])).ap50 == 1.0  # IoU 7/13


def test_one_box_is_not_found_twice():
    assert of(boxes([box(0)]), boxes([box(0), box(1, 0.95)])).ap50 == 1.0
    assert of(boxes([box(0), box(50)]), boxes([box(0), box(1, 0.95), box(50, 0.5)])).ap50 == pytest.approx(
        (1 + 2 / 3) / 2
    )


def test_nothing_to_compare_is_no_agreement():
    found = of(boxes([], []), boxes([], []))
    assert (found.ap50, found.f1, found.drop) == (None, None, None)
    assert of(boxes([]), boxes([box(0)])).drop == 1.0  # FP32 saw nothing, the other invents
    assert of(boxes([box(0, 0.3)]), boxes([box(0, 0.35)])).drop is None


def test_lanes_are_compared_as_broad_lines():
    truth = lanes([line(100.0), line(300.0)])
    assert of(truth, lanes([line(102.0), line(301.0)])).lane_f1 == 1.0
    moved = of(truth, lanes([line(130.0), line(300.0)]))
    assert (moved.lane_f1, moved.by) == (0.5, "lane F1")
    assert of(truth, lanes([line(100.0)])).lane_f1 == pytest.approx(2 / 3, abs=1e-6)
    assert of(lanes([]), lanes([])).lane_f1 is None


def test_masks_are_compared_cell_by_cell():
    truth, other = mask([1, 1, 0], [0, 0, 0]), mask([1, 0, 0], [0, 0, 1])
    found = of([((), None, (truth,))], [((), None, (other,))])
    assert found.mask_f1 == 0.5
    assert found.mask_equal == pytest.approx(4 / 6, abs=1e-6)
    assert (found.drop, found.by) == (0.5, "mask F1")
    assert of([((), None, (truth,))], [((), None, (other,))], judge_masks=False).drop is None


def test_the_worst_measure_decides():
    both = Agreement(1, 1, ap50=0.99, lane_f1=0.97, mask_f1=0.95)
    assert (both.drop, both.by) == (0.05, "mask F1")
    assert Agreement(1, 1, ap50=0.99, f1=0.9).by == "F1"
    assert (replace(both, judge_masks=False).drop, replace(both, judge_masks=False).by) == (0.03, "lane F1")
