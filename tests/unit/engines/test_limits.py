"""What a task may lose is what its file says now, not what it said when the engine was built."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from engine_parts import write_blobs
from trt_parts import board, build_into  # noqa: F401 - a fixture

from edged.assembly import NOTHING, assemble, engine_request
from edged.cli import main
from edged.config import load_config
from edged.engines.ort import OrtEngine
from edged.engines.store import Manifest, Store, engine_key
from edged.tasks import PARSERS

LIMIT, DROP = 0.05, 0.02


def figures(drop=DROP):
    return {"drop": drop, "limit": LIMIT, "by": "AP50", "fp32_ms": 2.0, "int8_ms": 1.0}


@pytest.fixture
def place(site, task, clip, tmp_path):
    """Return a maker of configurations: tasks of one network by name, each with its limit."""
    net = write_blobs(tmp_path / "net.onnx")

    def place(backend=("onnxruntime",), precision="int8", **limits):
        tasks = {
            name: task(
                "a", onnx=net, net={"score_min": 0.5},
                engine={"backend": list(backend), "precision": precision, "max_accuracy_drop": limit},
            )
            for name, limit in limits.items()
        }  # fmt: skip
        edged = {"engines": {"store": str(tmp_path / "engines")}}
        return load_config(site({"a": {"source": f"file:{clip(frames=20)}"}}, tasks, edged))

    return place


def request_of(config, name):
    task = config.tasks[name]
    return engine_request(config, task, PARSERS.load(task.model.parser))


def install(config, *tasks):
    """Put an engine into the store that was good enough for these tasks when it was built."""
    request = request_of(config, tasks[0])
    store = Store(request.store)
    with store.writing():
        key = engine_key(request, "onnxruntime")
        store.install(request.onnx, Manifest(key, "", "", {task: figures() for task in tasks}))


def close(assembled):
    for loaded in assembled.engines.values():
        loaded.engine.close()


def listed(config, capsys):
    assert main(["--config", str(config.directory), "engine", "list", "--json"]) == 0
    return {row["task"]: (row["state"], row["reason"]) for row in json.loads(capsys.readouterr().out)["engines"]}


REFUSED = (
    "int8 engine of net.onnx for onnxruntime: refused: for task strict it loses 0.0200 AP50 against fp32, "
    "max_accuracy_drop is 0.01; raise it, or use another precision"
)


def test_a_limit_that_was_tightened_since_refuses_the_engine_to_its_task_alone(place, capsys):
    install(place(mild=LIMIT, strict=LIMIT), "mild", "strict")
    config = place(mild=LIMIT, strict=0.01)
    found = assemble(config)
    assert found.blocked == {"strict": REFUSED}
    assert found.task_engine.keys() == {"mild"}
    assert listed(config, capsys) == {"mild": ("fits", ""), "strict": ("refused", REFUSED)}


def test_a_task_that_joins_an_int8_engine_must_be_compared_first(place, capsys):
    config = place(mild=LIMIT, new=LIMIT)
    install(config, "mild")
    text = "for task new it was never compared with fp32; run: edged engine verify new"
    assert assemble(config).blocked["new"].endswith(text)
    assert listed(config, capsys)["new"][1].endswith(text)


def test_a_reload_with_a_tighter_limit_takes_the_engine_away(place):
    before = place(strict=LIMIT)
    install(before, "strict")
    running = assemble(before)
    after = assemble(place(strict=0.01), running)
    assert (after.blocked, after.engines, after.origins) == ({"strict": REFUSED}, {}, {})
    assert assemble(place(strict=DROP), running).engines == running.engines


def test_an_engine_that_no_task_may_use_is_closed(place, monkeypatch):
    install(place(strict=LIMIT), "strict")
    closed = []
    monkeypatch.setattr(OrtEngine, "close", lambda self: closed.append(self.precision))
    assert assemble(place(strict=0.01)).engines == {}
    assert closed == ["int8"]


def test_tensorrts_figures_count_too_and_fp16_without_any_serves(board, place):  # noqa: F811
    machine = board("10.3.0")
    config = place(("tensorrt", "onnxruntime"), "fp16", t=LIMIT)
    manifest = build_into(request_of(config, "t"))
    found = assemble(config)
    assert found.chosen["t"].startswith("tensorrt on gpu0, fp16")
    store = Store(request_of(config, "t").store)
    with store.writing():
        store.write_manifest(replace(manifest, verified={"t": figures()}))
    tight = place(("tensorrt", "onnxruntime"), "fp16", t=0.01)
    assert "for task t it loses 0.0200 AP50 against fp32, max_accuracy_drop is 0.01" in assemble(tight).blocked["t"]
    close(found)
    assert machine.left == []


def test_fp32_on_the_cpu_is_what_others_are_compared_with(place):
    assert assemble(place(precision="fp32", t=0.0), NOTHING).task_engine.keys() == {"t"}
