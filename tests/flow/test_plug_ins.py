"""A daemon with a plug-in's parser that does not keep to its seam."""

from __future__ import annotations

import json
import re
import time

import pytest
from parts import until


@pytest.fixture
def odd(plug_in):
    """The environment with a plug-in parser `odd`, which returns something else for each picture."""
    code = """
        import sys
        from itertools import count

        import numpy as np

        from edged.results import Box, Found
        from edged.tensor import InputFormat

        class Odd:
            input = InputFormat()

            def __init__(self, model, settings):
                self.number = count()

            def parse(self, outputs, index, fit):
                def box(score, attrs=None):
                    return Found((Box("a", np.int64(0), score, score, score, score, score, None, attrs),))

                x = np.float32(0.5)
                odd = box(x), None, box(x, {"seen": {1, 2}}), box(np.float32("nan"))
                number = next(self.number) % 5
                return odd[number] if number < 4 else sys.exit(3)
    """
    return plug_in("odd", code)


def test_what_a_plug_in_s_parser_returns_costs_at_most_its_own_results(daemon, site, task, clip, odd):
    camera = {"source": f"file:{clip(frames=100)}", "loop": True}
    tasks = {"odd": task("front", net={"parser": "odd"}), "sound": task("rear"), "next": task("rear", after=AFTER)}
    running = daemon(site({"front": camera, "rear": camera}, tasks), **odd)
    with running.subscriber("edged/1/det/odd/") as subscriber:
        assert subscriber.receive(10).detections[0].score == 0.5

    def frames(name, camera):
        return next(one for one in running.request("status")["tasks"] if one["task"] == name)["frames"][camera]

    until(lambda: frames("odd", "front")["failed"] > 4, what="results that are none")
    before = frames("sound", "rear")["published"]
    until(lambda: frames("sound", "rear")["published"] > before and frames("odd", "front")["published"] > 1)
    assert "TypeError: parser 'odd' returned a result as NoneType in place of Found" in running.log
    assert "TypeError: parser 'odd' returned boxes[0].attrs.seen as set; allowed are texts, " in running.log
    assert "TypeError: parser 'odd' returned boxes[0].score as nan, which is no number" in running.log
    assert "RuntimeError: parser 'odd' wants to end this thread: SystemExit: 3 (odd.py:" in running.log
    assert running.task("next")["state"] == "active"


AFTER = {"task": "odd", "if": "score > 0.4"}


def test_a_task_whose_parser_fails_on_every_frame_says_so(daemon, site, task, clip, plug_in, tmp_path):
    code = """
        from pathlib import Path

        from edged.results import Found
        from edged.tensor import InputFormat

        class Moody:
            input = InputFormat()

            def __init__(self, model, settings): ...

            def parse(self, outputs, index, fit):
                if Path(__file__).with_name("good").exists():
                    return Found()
                raise RuntimeError("in no mood")
    """
    environment = plug_in("moody", code)
    camera = {"source": f"file:{clip(frames=100)}", "loop": True}
    tasks = {"moody": task("front", net={"parser": "moody"}), "sound": task("front")}
    running = daemon(site({"front": camera}, tasks), **environment)
    said = r"every frame has failed since \d\d:\d\d:\d\d UTC; the log says why"
    until(lambda: re.fullmatch(said, running.task("moody")["reason"]), what="a task that fails")
    assert running.task("moody")["state"] == "degraded"
    assert running.task("sound")["state"] == "active"
    (tmp_path / "plug-ins" / "good").touch()
    until(lambda: running.task("moody")["state"] == "active", what="a task that no longer fails")


def test_reloads_wait_for_no_parser_however_long_it_takes(daemon, site, task, clip, plug_in):
    code = """
        import time

        from edged.results import Found
        from edged.tensor import InputFormat

        class Slow:
            input = InputFormat()

            def __init__(self, model, settings): ...

            def parse(self, outputs, index, fit):
                time.sleep(3)
                return Found()
    """
    camera = {"source": f"file:{clip(frames=100)}", "loop": True}
    tasks = {"slow": task("front", net={"parser": "slow"}, engine={"batch": 2}), "sound": task("front")}
    running = daemon(site({"front": camera}, tasks), **plug_in("slow", code))
    until(lambda: running.task("slow")["state"] == "active")
    time.sleep(1)  # it is at work by now
    (running.config / "tasks/slow.yaml").unlink()
    for number in range(2):
        (running.config / "tasks/sound.yaml").write_text(json.dumps(task("front", rate_hz=7 + number)))
        begin_s = time.monotonic()
        assert "sound" in str(running.request("reload")["changed"])
        assert running.task("sound")["wanted_hz"] == 7 + number
        assert time.monotonic() - begin_s < 2
    assert [one["task"] for one in running.request("task.list")["tasks"]] == ["sound"]
