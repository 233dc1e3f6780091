from __future__ import annotations

import pytest
from demo_messages import box, camera_row, lane, result, status, task_row

from edged.demo.view import View


@pytest.fixture
def view() -> View:
    """Two tasks on one hot camera, and one parked camera; everything came at 10 s."""
    tasks = [task_row("lane", rate_hz=5.0), task_row("pedestrian"), task_row("vehicle", "inactive", 0.0, "by command")]
    cameras = [camera_row("front", tasks=("lane", "pedestrian")), camera_row("rear", "parked", reason="only vehicle")]
    messages = [
        status(tasks, cameras),
        result("pedestrian", "front", 7, detections=[box("pedestrian", 0.71), box("pedestrian", 0.93)]),
        result("lane", "front", 7, lanes=[lane(), lane()], latency_ms={"total": 31.0}),
    ]
    made = View()
    for topic, message in messages:
        made = made.updated(topic, message, 10.0)
    return made
