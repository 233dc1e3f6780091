"""Engines on a GPU and its DLA cores: what is built, which one serves a task and why, and the twin that stands in."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from engine_parts import write_blobs
from tensorrt_double import RELEASES
from trt_parts import board  # noqa: F401 - a fixture

from edged.assembly import assemble
from edged.cli import main
from edged.config import load_config
from edged.engines.base import EngineError
from edged.engines.build.child import KINDS
from edged.engines.store import Store
from edged.engines.tensorrt.arrange import TrtArranger
from edged.engines.tensorrt.engine import TrtEngine
from edged.engines.tensorrt.place import place_of, sizes_of
from edged.frame import Capture, Color, Frame, Picture, PixelFormat

WITH_DLA = ("8.5.3.1", "10.3.0", "10.7.0", "11.4.0.106")


@pytest.fixture
def place(site, task, clip, tmp_path):
    """Return a maker of configurations: tasks by name, each with what differs in its engine and priority."""
    net = write_blobs(tmp_path / "net.onnx")

    def place(**tasks):
        made = {}
        for name, how in tasks.items():
            priority, rate_hz = how.get("priority", 0), how.get("rate_hz", 10)
            engine = {"backend": "tensorrt", "precision": "fp16", "batch": 1}
            engine |= {key: value for key, value in how.items() if key not in ("priority", "rate_hz")}
            made[name] = task("a", engine=engine, onnx=net, net={"score_min": 0.5}, priority=priority, rate_hz=rate_hz)
        return site({"a": {"source": f"file:{clip(frames=20)}"}}, made, {"engines": {"store": "engines"}})

    return place


@pytest.fixture
def build(capsys, monkeypatch):
    """Build all that a configuration wants, in this process; return the place and batch of each."""
    monkeypatch.setattr("edged.processes.lower_priority", lambda: None)

    def child(arguments, what, limit_s):
        sys.stderr.write(capsys.readouterr().err)
        assert main(list(arguments)) == 0
        out, err = capsys.readouterr()
        sys.stderr.write(err)
        report = json.loads(out)
        if "error" in report:
            raise KINDS[report["error"]["code"]](report["error"]["text"])
        return report

    monkeypatch.setattr("edged.engines.build.child.run_child", child)

    def build(directory, *names):
        assert main(["--config", str(directory), "engine", "build", *names, "--json"]) == 0
        built = json.loads(capsys.readouterr().out)["built"]
        return [(one["manifest"]["key"]["facts"]["device"], one["manifest"]["key"]["facts"]["batch"]) for one in built]

    return build


def listed(directory, capsys):
    capsys.readouterr()
    assert main(["--config", str(directory), "engine", "list", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["engines"]


def measured(directory, **ms):
    """Put other times into the manifests, as if the engines were so fast."""
    store = Store(directory / "engines")
    for path in store.root.glob("*.json"):
        manifest = store.manifest(read_key(path))
        place = manifest.key.facts["device"].replace("gpu", "gpu0")
        if place in ms:
            sizes = dict.fromkeys(manifest.about["ms"], ms[place])
            store.write_manifest(replace(manifest, about={**manifest.about, "ms": sizes}))


def read_key(path):
    from edged.engines.store import read_manifest

    return read_manifest(path).key


def serving(directory):
    """Return what each task is served by."""
    assembled = assemble(load_config(directory))
    for loaded in assembled.engines.values():
        loaded.engine.close()
    return dict(assembled.chosen)


@pytest.mark.parametrize("release", WITH_DLA)
def test_auto_builds_for_every_place_and_takes_the_fastest(board, place, build, capsys, release):  # noqa: F811
    board(release, dla_cores=2)
    directory = place(t={"device": "auto"})
    assert build(directory) == [("gpu", "1/1/1"), ("dla0", "1/1/1"), ("dla1", "1/1/1")]
    measured(directory, gpu0=4.0, dla0=3.0, dla1=2.0)
    text = "tensorrt on dla1, fp16 (dla1 2.00 ms, dla0 3.00 ms, gpu0 4.00 ms)"
    assert serving(directory) == {"t": text}
    rows = {row["place"]: row for row in listed(directory, capsys)}
    assert {name: (row["state"], row["twin"], row["chosen"]) for name, row in rows.items()} == {
        "gpu0": ("fits", False, False),
        "dla0": ("fits", False, False),
        "dla1": ("fits", False, True),
    }
    assert rows["dla1"]["reason"] == "dla1 2.00 ms, dla0 3.00 ms, gpu0 4.00 ms"
    main(["--config", str(directory), "engine", "list"])
    assert "dla1 x1 *" in capsys.readouterr().out


def test_priorities_and_rates_decide_who_gets_the_fastest_place(board, place, build):  # noqa: F811
    board("10.3.0", dla_cores=1)
    directory = place(low={"priority": 1}, high={"priority": 9, "rate_hz": 200, "batch": 2})
    build(directory)
    measured(directory, gpu0=4.0, dla0=12.0)
    chosen = serving(directory)
    assert chosen["high"].startswith("tensorrt on gpu0, fp16 (gpu0 4.00 ms")
    assert chosen["low"] == "tensorrt on dla0, fp16 (dla0 12.00 ms, gpu0 4.00 ms while 80% is taken before it)"


def test_a_batch_on_a_dla_has_an_engine_for_each_power_of_two(board, place, build):  # noqa: F811
    machine = board("10.3.0", dla_cores=1)
    directory = place(t={"device": "dla0", "batch": 3, "gpu_fallback": "never"})
    assert build(directory) == [("dla0", "3/3/3"), ("dla0", "2/2/2"), ("dla0", "1/1/1")]
    assembled = assemble(load_config(directory))
    ((_, loaded),) = assembled.engines.items()
    with closing(loaded.engine) as engine:
        assert (engine.device, engine.max_batch, engine.fixed_batch, engine.workers) == ("dla0", 3, False, 2)
        slot = engine.reserve(1)
        alone = {}
        for count in (3, 2, 1):
            for index in range(count):
                slot.fill(index, bright(index, count))
            slot.submit(count)
            outputs = slot.complete()["output"]
            alone[count] = outputs[:count, 4].argmax(axis=1).tolist()
        slot.release()
        assert alone == {3: [0, 1, 2], 2: [0, 1], 1: [0]}
    assert machine.left == []


def bright(cell, count):
    """Return a picture with one bright cell of the first row."""
    pixels = np.full((48, 64, 3), 20, np.uint8)
    pixels[:16, 16 * cell : 16 * cell + 16] = 250
    return Frame(
        "c", count, Picture(64, 48, PixelFormat.RGB, Color(full=True), (pixels,)), Capture(0, 0, "media"), 0, 0
    )


def test_a_smaller_size_that_is_not_built_is_served_by_the_next_larger_one(board, place, build):  # noqa: F811
    board("8.5.3.1", dla_cores=1)
    directory = place(t={"device": "dla0", "batch": 4, "gpu_fallback": "never"})
    build(directory)
    for path in (directory / "engines").glob("*.json"):
        if read_key(path).facts["batch"] == "1/1/1":
            path.unlink()
    assembled = assemble(load_config(directory))
    ((_, loaded),) = assembled.engines.items()
    with closing(loaded.engine) as engine:
        slot = engine.reserve(1)
        assert sorted(slot._contexts) == [2, 4]
        slot.fill(0, bright(2, 1))
        slot.submit(1)
        assert slot.complete()["output"][0, 4].argmax() == 2
        slot.release()


def test_sizes_are_few(board):  # noqa: F811
    from edged.engines.base import EngineRequest
    from edged.tensor import InputFormat

    def sizes(batch, device="dla0"):
        request = EngineRequest(None, InputFormat(), "fp16", device, batch)
        return sizes_of(request, place_of(request))

    assert [sizes(n) for n in (1, 2, 3, 4, 6)] == [(1,), (2, 1), (3, 2, 1), (4, 2, 1), (6, 4, 2, 1)]
    assert len(sizes(256)) == 9
    assert sizes(6, "gpu") == (6,)


def test_a_model_with_a_fixed_batch_has_one_engine_on_a_dla(board, place, build, tmp_path):  # noqa: F811
    board("10.3.0", dla_cores=1)
    directory = place(t={"device": "dla0", "batch": 4, "gpu_fallback": "never"})
    write_blobs(tmp_path / "net.onnx", batch=2)
    assert build(directory) == [("dla0", "4/4/4")]
    assert serving(directory) == {"t": "tensorrt on dla0, fp16 (batch 2 is the model's own)"}


def test_a_dla_engine_has_a_twin_on_the_gpu_that_stands_in(board, place, build, capsys):  # noqa: F811
    board("10.3.0", dla_cores=1)
    directory = place(t={"device": "dla0"})
    assert build(directory) == [("dla0", "1/1/1"), ("gpu", "1/1/1")]
    rows = listed(directory, capsys)
    assert [(row["place"], row["twin"], row["state"]) for row in rows] == [
        ("dla0", False, "fits"),
        ("gpu0", True, "fits"),
    ]
    main(["--config", str(directory), "engine", "list"])
    assert "gpu0 twin" in capsys.readouterr().out
    assert serving(directory) == {"t": "tensorrt on dla0, fp16"}

    (plan,) = (
        directory / "engines" / json.loads(path.read_text())["file"]
        for path in (directory / "engines").glob("*.json")
        if read_key(path).facts["device"] == "dla0"
    )
    good = plan.read_bytes()
    plan.write_bytes(good[:-1])
    refused = serving(directory)["t"]
    assert refused.startswith("tensorrt on gpu0, fp16 (dla0: fp16 engine of net.onnx for tensorrt: ")
    assert refused.endswith("is not the file its manifest describes; run: edged engine build; in place of dla0)")
    plan.unlink()
    assert "is missing; run: edged engine build; in place of dla0)" in serving(directory)["t"]


def test_without_a_twin_nothing_runs_on_the_gpu(board, place, build):  # noqa: F811
    board("10.3.0", dla_cores=1)
    directory = place(t={"device": "dla0", "gpu_fallback": "never"})
    assert build(directory) == [("dla0", "1/1/1")]
    for path in (directory / "engines").glob("*.json"):
        path.unlink()
    assert serving(directory)["t"].startswith("none: dla0: fp16 engine of net.onnx for tensorrt: none is built in")


def test_a_core_that_fails_at_start_leaves_the_task_to_its_twin(board, place, build, monkeypatch):  # noqa: F811
    board("10.3.0", dla_cores=1)
    directory = place(t={"device": "dla0"})
    build(directory)
    load = TrtEngine._load

    def broken(self, *args):
        if self.device == "dla0":
            raise EngineError("tensorrt: the first inference failed: NvMediaDlaSubmit failed")
        load(self, *args)

    monkeypatch.setattr(TrtEngine, "_load", broken)
    assert serving(directory) == {
        "t": "tensorrt on gpu0, fp16 (dla0: tensorrt: net.onnx on dla0: the first inference failed: "
        "NvMediaDlaSubmit failed; "
        "in place of dla0)"
    }


@pytest.mark.parametrize("release", [one for one in RELEASES if one not in WITH_DLA])
def test_a_release_or_board_without_a_dla_is_named(board, place, build, release):  # noqa: F811
    board(release)
    directory = place(
        free={"device": "auto"}, core={"device": "dla1"}, only={"device": "dla0", "gpu_fallback": "never"}
    )
    assert build(directory, "free") == [("gpu", "1/1/1")]
    none = f"TensorRT {release} finds no DLA: the board has none, or this release does not support it; use device: gpu"
    assert serving(directory) == {
        "free": f"tensorrt on gpu0, fp16 (TensorRT {release} finds no DLA here)",
        "core": f"tensorrt on gpu0, fp16 (dla1: {none})",
        "only": f"none: dla0: {none}",
    }


def test_where_auto_may_choose_a_core_that_cannot_is_no_failure(board, place, build, capsys):  # noqa: F811
    board("10.3.0", dla_cores=1, dla_refuses=("Conv",))
    directory = place(t={"gpu_fallback": "never"})
    assert main(["--config", str(directory), "engine", "build"]) == 0
    said = capsys.readouterr().err
    assert "is not supported on DLA and GPU fallback is not enabled" in said
    assert "the task goes without that place" in said
    assert serving(directory) == {"t": "tensorrt on gpu0, fp16"}
    directory = place(t={"gpu_fallback": "never", "device": "dla0"})
    assert main(["--config", str(directory), "engine", "build"]) == 78


def test_fp32_never_goes_to_a_dla(board, place, build):  # noqa: F811
    board("10.3.0", dla_cores=2)
    directory = place(t={"precision": "fp32"})
    assert build(directory) == [("gpu", "1/1/1")]
    assert serving(directory) == {"t": "tensorrt on gpu0, fp32"}


def test_more_loadables_than_a_core_holds_go_elsewhere(board, place, build):  # noqa: F811
    board("10.3.0", dla_cores=1)
    directory = place(a={"batch": 4}, b={"batch": 3})
    build(directory)
    measured(directory, gpu0=9.0, dla0=1.0)
    layers = {"dla0": 5}  # of each of three sizes
    store = Store(directory / "engines")
    for path in store.root.glob("*.json"):
        manifest = store.manifest(read_key(path))
        if "dla0" in manifest.about["layers"]:
            store.write_manifest(replace(manifest, about={**manifest.about, "layers": layers}))
    chosen = serving(directory)
    assert sorted(text.split(",")[0] for text in chosen.values()) == ["tensorrt on dla0", "tensorrt on gpu0"]
    assert any("dla0 takes 15 loadables, 1 of 16 are left" in text for text in chosen.values())


def test_the_build_measures_every_size(board, place, build):  # noqa: F811
    board("10.3.0", dla_cores=1)
    directory = place(t={"batch": 3})
    build(directory)
    found = {}
    for path in (directory / "engines").glob("*.json"):
        manifest = Store(directory / "engines").manifest(read_key(path))
        found.setdefault(manifest.key.facts["device"], []).append(sorted(manifest.about["ms"]))
        assert all(ms > 0 for ms in manifest.about["ms"].values())
    assert {place: sorted(sizes) for place, sizes in found.items()} == {
        "gpu": [["1", "2", "3"]],
        "dla0": [["1"], ["2"], ["3"]],
    }


def test_the_calibration_of_one_core_serves_the_others(board, place, build, monkeypatch):  # noqa: F811
    machine = board("10.3.0", dla_cores=2)
    directory = place(t={"precision": "int8", "batch": 2})
    assert main(["--config", str(directory), "engine", "calibrate", "t", "--frames", "16"]) == 0
    build(directory)
    calibrators = [config.int8_calibrator for _, config in machine.trt._board.built if config.int8_calibrator]
    assert len(calibrators) == 4  # two cores, two sizes
    assert sum(one._memory is None and one._host is None for one in calibrators) == 4
    assert len(list((directory / "engines").glob("ranges.*.cache"))) == 1


def test_who_asks_for_nothing_gets_nothing(board):  # noqa: F811
    board("10.3.0", dla_cores=2)
    assert TrtArranger().arrange([]) == {}
