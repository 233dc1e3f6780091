"""What `edged sub` prints of a message."""

from __future__ import annotations

import numpy as np

from edged.cli.sub import _line

TOPIC = "edged/1/det/area/front/"
RESULT = {"seq": 3, "frame": {"id": 7}, "latency_ms": {"total": 12.34}, "detections": []}


def mask(kind, cells):
    bits = np.packbits(cells, 1).tobytes()
    return {"kind": kind, "width": cells.shape[1], "height": cells.shape[0], "box": [0, 0, 1, 1], "bits": bits}


def test_a_result_without_findings_is_a_dash():
    assert _line(TOPIC, RESULT) == f"{TOPIC} #3 frame 7 12.3 ms: -"


def test_a_result_shows_its_objects_lanes_and_masks():
    cells = np.zeros((5, 10), np.uint8)
    cells[:, :3] = 1
    masks = [mask("drivable", cells), mask("lane", np.ones((1, 3), np.uint8))]
    shown = "drivable mask 10x5 30 %, lane mask 3x1 100 %"
    assert _line(TOPIC, {**RESULT, "masks": masks}).endswith(f" ms: {shown}")
    found = {"detections": [{"class": "car", "score": 0.876}], "lanes": [{"kind": "line", "score": 0.5}]}
    assert _line(TOPIC, {**RESULT, **found, "masks": masks}).endswith(f" ms: car 0.88, line 0.50, {shown}")
