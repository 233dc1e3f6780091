"""`edged engine` on a machine with TensorRT, played by the stand-in."""

from __future__ import annotations

import json

import pytest
from engine_parts import write_blobs
from trt_parts import board  # noqa: F401 - a fixture

from edged.assembly import assemble
from edged.cli import main
from edged.config import load_config


@pytest.fixture
def place(site, task, clip, tmp_path):
    """Return a configuration: one task for TensorRT alone, one that could do without, and one without it."""
    net = {"onnx": write_blobs(tmp_path / "net.onnx"), "net": {"score_min": 0.5}}
    tasks = {
        "gpu": task("a", engine={"backend": "tensorrt", "precision": "fp16", "batch": 2}, **net),
        "either": task("a", engine={"backend": ["tensorrt", "onnxruntime"]}, **net),
        "cpu": task("a"),
    }
    return site({"a": {"source": f"file:{clip(frames=20)}"}}, tasks, {"engines": {"store": "engines"}})


@pytest.fixture
def engine(place, capsys, monkeypatch):
    monkeypatch.setattr("edged.processes.lower_priority", lambda: None)  # this process is no child

    def engine(*args, code=0):
        found = main(["--config", str(place), "engine", *args, "--json"])
        out, err = capsys.readouterr()
        assert found == code, err
        return json.loads(out) if out else err

    return engine


def states(engine):
    return {(row["task"], *row["backend"]): (row["state"], row["reason"]) for row in engine("list")["engines"]}


def test_what_is_wanted_is_listed_built_inspected_and_found(board, engine):  # noqa: F811
    board("10.3.0")
    before = states(engine)
    assert {name: state for name, (state, _) in before.items()} == {
        ("gpu", "tensorrt"): "missing",
        ("either", "tensorrt"): "missing",
        ("cpu", "onnxruntime"): "needs no build",
    }
    for task in ("gpu", "either"):
        built = engine("build", "--here", "--backend", "tensorrt", task)
        assert built["key"]["facts"]["tensorrt"] == "10.3.0"
        assert engine("inspect", task) == built
    assert {name: state for name, (state, _) in states(engine).items()} == {
        ("gpu", "tensorrt"): "fits",
        ("either", "tensorrt"): "fits",
        ("cpu", "onnxruntime"): "needs no build",
    }


def test_a_precision_that_the_gpu_does_not_gain_from_is_told_as_what_was_built(board, engine, place):  # noqa: F811
    machine = board("10.3.0")
    begin = machine.trt.Builder.__init__

    def slow(self, logger):
        begin(self, logger)
        self.platform_has_fast_fp16 = False

    machine.trt.Builder.__init__ = slow
    engine("build", "--here", "--backend", "tensorrt", "gpu")
    remark = "no layer is computed in fp16: 7 fp32"
    state, reason = states(engine)["gpu", "tensorrt"]
    assert (state, reason) == ("fits", f"TensorRT 10.3.0 finds no DLA here; {remark}")
    running = assemble(load_config(place))
    loaded = running.engines[running.task_engine["gpu"]]
    assert (loaded.facts().precision, loaded.facts().note) == ("fp32", f"CUDA graphs; {remark}")
    assert running.chosen["gpu"].startswith("tensorrt on gpu0, fp32")
    for one in running.engines.values():
        one.engine.close()


def test_an_engine_of_another_release_is_missing_with_the_reason(board, engine):  # noqa: F811
    board("8.5.3.1")
    engine("build", "--here", "--backend", "tensorrt", "gpu")
    board("11.4.0.106")
    state, reason = states(engine)["gpu", "tensorrt"]
    assert state == "missing"
    assert reason.endswith("it was built with TensorRT 8.5.3.1, here is 11.4.0.106; run: edged engine build")


def test_without_tensorrt_the_row_says_so_and_building_it_by_name_fails(engine, monkeypatch):
    import sys

    from edged.engines.tensorrt.library import open_library

    open_library.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    rows = {row["task"]: row for row in engine("list")["engines"]}
    text = "engine back end 'tensorrt' needs NVIDIA's tensorrt package"
    assert rows["gpu"]["state"] == "unavailable"
    assert rows["either"]["state"] == "needs no build"
    assert rows["gpu"]["reason"].startswith(text)
    assert rows["either"]["reason"].startswith(text)
    assert f"task gpu: {text}" in engine("build", "gpu", code=69)
    assert engine("build") == {"built": []}


def test_comparing_needs_frames(board, engine):  # noqa: F811
    board("10.3.0")
    engine("build", "--here", "--backend", "tensorrt", "gpu")
    assert "no frames to compare on; run: edged engine calibrate gpu" in engine("verify", "gpu", code=69)
    engine("calibrate", "gpu", "--frames", "16")
    figures = engine("verify", "gpu")["tasks"]["gpu"]
    assert (figures["frames"] in range(3, 6), figures["drop"]) == (True, 0.0)  # a quarter of 16, in whole stretches
    rows = {row["task"]: row for row in engine("list")["engines"]}
    assert (rows["gpu"]["drop"], rows["either"]["drop"]) == (0.0, None)


def test_a_build_that_is_refused_ends_with_the_reason(board, engine):  # noqa: F811
    board("10.3.0", build_fails="Out of memory.")
    report = engine("build", "--here", "--backend", "tensorrt", "gpu")
    assert report["error"]["code"] == 78
    assert report["error"]["text"].endswith("cannot build the fp16 engine for gpu0: Out of memory.")
