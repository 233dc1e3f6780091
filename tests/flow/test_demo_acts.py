"""The whole show in a pipe: every act. Nothing runs beside it: on a full machine a task may be suspended in one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2


def test_in_a_pipe_it_plays_every_act_and_leaves_a_picture(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edged", "demo", "--seconds", "6"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "\x1b" not in out
    for said in (
        "lane on: no camera changes",
        "vehicle on: rear_left, rear_right hot",
        "pedestrian off: no camera changes",
        "lane off: front_narrow, front_left, front_right parked",
        "lane on, pedestrian on: front_narrow, front_left, front_right hot",
    ):
        assert re.search(rf"^ +\d+\.\d s  {said}$", out, re.MULTILINE), said
    assert len(re.findall("^CAMERA ", out, re.MULTILINE)) >= 3
    assert re.search(r"^\d+ results, none lost$", out, re.MULTILINE)
    picture = tmp_path / "demo-mosaic.png"
    assert f"picture: {picture}" in out
    assert cv2.imread(str(picture)).shape[1] > 3 * 640
