"""What is in a picture, by the task's own parser."""

from __future__ import annotations

import numpy as np
import pytest
from engine_parts import write_blobs

from edged.engines.base import EngineRequest
from edged.engines.build.compare import TaskCheck
from edged.engines.build.objects import count_objects, findings
from edged.engines.build.record import as_frame
from edged.results import Box, Found, Lane, Mask
from edged.tasks.base import ParserSettings
from edged.tasks.yolo import Yolov8
from edged.tensor import InputFormat


def picture(bright):
    """Return a frame with so many bright cells, none beside another."""
    pixels = np.full((48, 64, 3), 20, np.uint8)
    for cell in range(bright):
        row, column = divmod(2 * cell, 4)
        pixels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 250
    return as_frame("c", bright, pixels)


@pytest.mark.parametrize("batch", [None, 2])
def test_each_picture_has_its_own_count_whatever_the_task_runs_on(tmp_path, batch):
    request = EngineRequest(write_blobs(tmp_path / "net.onnx", batch=batch), InputFormat(), "int8", "dla0", 4)
    check = TaskCheck(
        "t", lambda model, score: Yolov8(model, ParserSettings(("a", "b"), (), score)).parse, 0.5, limit=0.01
    )
    wanted = [0, 3, 1, 0, 5, 2] * 5
    assert count_objects(request, check, [lambda count=count: picture(count) for count in wanted]) == wanted


def test_masks_count_where_there_is_nothing_else():
    box, lane = Box("a", 0, 0.9, 0, 0, 1, 1), Lane("line", 0.9, ((0.0, 0.0), (1.0, 1.0)))
    full, empty = (Mask("road", 8, 1, (0, 0, 8, 1), bits) for bits in (b"\x10", b"\x00"))
    assert findings(Found(boxes=(box, box), masks=(full,))) == 2
    assert findings(Found(lanes=(lane,), masks=(full, full))) == 1
    assert findings(Found(lanes=(), masks=(full,))) == 0
    assert findings(Found(masks=(full, empty))) == 1
    assert findings(Found()) == 0
