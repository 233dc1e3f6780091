"""Ranges for Nsight, with the library played, and what is left of them without."""

from __future__ import annotations

import json
import subprocess
import sys

from edged.engines.worker import EngineWorker
from edged.trace import stage

PLAYED = """
import json, sys, types
ranges, depth = [], []
library = types.ModuleType("nvtx")
library.push_range = lambda text, domain: (ranges.append(text), depth.append(domain))
library.pop_range = lambda domain: depth.pop()
sys.modules["nvtx"] = library
from edged.trace import stage

class Work:
    @stage("infer", lambda self, camera, *_: camera)
    def work(self, camera, fails=False):
        return 1 / 0 if fails else camera

work = Work()
assert work.work("front") == "front"
try:
    work.work("rear", True)
except ZeroDivisionError:
    pass
print(json.dumps([ranges, depth, Work.work.__name__]))
"""


def test_a_range_has_its_stage_and_camera_and_ends_whatever_happens():
    environment = {"EDGED_NVTX": "1", "PATH": "/usr/bin"}
    told = subprocess.run([sys.executable, "-c", PLAYED], env=environment, check=True, capture_output=True, text=True)
    assert json.loads(told.stdout) == [["infer: front", "infer: rear"], [], "work"]


def test_without_tracing_a_function_stays_itself():
    def function():
        pass

    assert stage("infer", lambda: "x")(function) is function
    assert EngineWorker._infer.__qualname__ == "EngineWorker._infer"
    assert not hasattr(EngineWorker._infer, "__wrapped__")
