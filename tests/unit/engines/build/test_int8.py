"""Quantisation of real networks: what stays float, how faithful the engine is, and what is refused."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import onnx
import pytest
from engine_parts import write_blobs
from onnx import TensorProto as Type
from onnx import helper as make

from edged.engines.base import EngineRequest
from edged.engines.build.compare import TaskCheck, compare
from edged.engines.build.gather import Pick, write_record
from edged.engines.build.int8 import Order, build, seen_by, verify
from edged.engines.build.quantize import measure, prepare, quantise
from edged.engines.build.record import CALIBRATE, VERIFY, Seen
from edged.engines.build.regions import Graph, Recipe
from edged.engines.ort import OrtEngine
from edged.engines.store import Store, engine_key
from edged.errors import BackendUnavailable, ConfigError
from edged.frame import Color, Picture, PixelFormat
from edged.tasks.base import ParserSettings
from edged.tasks.yolo import Yolov8
from edged.tensor import InputFormat


def cells(count=32, bright=200, seed=0):
    """Yield 64 x 48 pictures with bright cells on dark ones."""
    random = np.random.default_rng(seed)
    for number in range(count):
        grid = np.where(random.random((3, 4)) < 0.4, bright, 40) + random.integers(-20, 20, (3, 4))
        pixels = np.repeat(np.repeat(grid.astype(np.uint8), 16, axis=0), 16, axis=1)
        picture = Picture(64, 48, PixelFormat.RGB, Color(full=True), (np.dstack([pixels] * 3),))
        yield Pick("c", str(number), picture)


SEEN = Seen(64, 48, "letterbox", 114)


def check(task="t", limit=0.01):
    return TaskCheck(task, lambda model, score: Yolov8(model, ParserSettings(("a", "b"), (), score)).parse, 0.5, limit)


@pytest.fixture
def ordered(tmp_path):
    def ordered(limit=0.01, frames=None, seen=SEEN, **how):
        request = EngineRequest(write_blobs(tmp_path / "net.onnx", **how), InputFormat(), "int8", store=tmp_path / "s")
        store = Store(tmp_path / "s")
        with store.writing():
            record = write_record(store.root, "t", seen, {}, frames or cells())
        return Order(request, (check(limit=limit),), (record,)), store

    return ordered


@pytest.mark.parametrize("how", [{}, {"batch": 1}, {"batch": 3}, {"opset": 11}], ids=str)
def test_a_good_network_is_built_and_served(ordered, how):
    order, store = ordered(**how)
    with store.writing():
        manifest = build(order, store)
    figures = manifest.verified["t"]
    assert (figures["drop"], figures["by"], figures["limit"]) == (0.0, "AP50", 0.01)
    assert figures["truths"] > 8
    assert manifest.about["operators"]["int8"]["Conv"] >= 1
    about = dict(manifest.about["calibration"])
    assert about["tasks"] == {"t": order.records[0].sha256}
    parts = {part: about[part] for part in ("calibrate", "choose", "verify")}
    assert sum(parts.values()) == 32
    assert all(abs(parts[part] - frames) <= 3 for part, frames in (("calibrate", 16), ("choose", 8), ("verify", 8)))
    assert parts["verify"] == figures["frames"]
    assert 0 < manifest.about["output_error"]["output"] < 0.01
    assert {"by", "at", "took_s", "machine", "versions", "recipe", "tried"} <= manifest.about.keys()
    with closing(OrtEngine(order.request)) as engine:
        assert engine.precision == "int8"
    assert store.manifest(engine_key(order.request, "onnxruntime")) == manifest
    assert not list(store.root.glob(".build-*"))


def test_a_network_that_eight_bits_ruin_is_refused_with_its_figures(ordered):
    order, store = ordered(loud=100_000.0)
    with store.writing(), pytest.raises(ConfigError, match=r"built, but refused: for task t it loses \d\.\d+ AP50"):
        build(order, store)
    with pytest.raises(BackendUnavailable, match=r"refused: for task t it loses .*; raise max_accuracy_drop"):
        OrtEngine(order.request)


def test_a_good_engine_stays_when_a_new_one_is_not_good_enough(ordered):
    order, store = ordered()
    with store.writing():
        good = build(order, store)
        with pytest.raises(ConfigError, match="not taken: .*; the engine that was there stays in use"):
            build(Order(order.request, (check(limit=-1.0),), order.records), store)
    assert store.find(good.key)[1] == good


def test_frames_that_show_nothing_prove_nothing(ordered):
    order, store = ordered(frames=cells(bright=45))
    with store.writing(), pytest.raises(ConfigError, match=r"fp32 finds nothing in the \d+ frames kept for comparison"):
        build(order, store)
    assert not list(store.root.glob("*.json"))


def test_frames_for_another_input_are_refused(ordered):
    order, store = ordered(seen=Seen(64, 64, "letterbox", 114))
    with (
        store.writing(),
        pytest.raises(BackendUnavailable, match="are for 64x64 letterbox, pad 114, the model takes 64x48"),
    ):
        build(order, store)


def test_what_an_earlier_build_left_is_swept_up(ordered):
    order, store = ordered()
    (store.root / ".build-dead").mkdir()
    with store.writing():
        build(order, store)
    assert not list(store.root.glob(".build-*"))


def test_verify_sees_an_engine_that_is_not_as_good(ordered, tmp_path):
    """With the network's own file for the engine it is the same; with another network's it is not."""
    order, _ = ordered()
    same, comparison = verify(order.request, order.request.onnx, order.checks, order.records)
    assert same["t"]["drop"] == 0.0
    assert comparison.output_error == {"output": 0.0}
    other = write_blobs(tmp_path / "other.onnx", seed=2)
    model = onnx.load(other)
    for tensor in model.graph.initializer:
        if tensor.name == "w3":
            tensor.CopyFrom(onnx.numpy_helper.from_array(0.5 * onnx.numpy_helper.to_array(tensor), "w3"))
    onnx.save(model, other)
    worse, _ = verify(order.request, other, order.checks, order.records)
    assert (worse["t"]["drop"], worse["t"]["by"]) == (1.0, "F1")  # half the score: in order, but below the threshold


def test_every_recipe_can_be_built_and_says_what_is_float(ordered, tmp_path):
    order, _ = ordered()
    prepared = prepare(order.request.onnx, seen_by(order.request)[1], order.request.input, tmp_path)
    counts = {}
    for recipe in (Recipe(), Recipe(stem_float=True), Recipe(heads_float=1), Recipe("average", True, 1)):
        graph = quantise(
            prepared, recipe, measure(prepared, order.frames(CALIBRATE), recipe.ranges, tmp_path), tmp_path / "q.onnx"
        )
        integer, floating = graph.operators()
        counts[str(recipe)] = integer.get("Conv", 0)
        assert integer.get("Conv", 0) + floating.get("Conv", 0) == 3
        assert floating["Add"] == 1  # what decodes the boxes is float always
        with (
            closing(OrtEngine(EngineRequest(order.request.onnx, InputFormat()))) as reference,
            closing(OrtEngine(EngineRequest(tmp_path / "q.onnx", InputFormat()))) as other,
        ):
            assert compare(reference, other, order.frames(VERIFY), order.checks).agreements["t"].drop == 0.0
    assert list(counts.values()) == [3, 2, 2, 1]


def test_the_rules_of_regions():
    """Two heads from one trunk; one ends in a sigmoid behind a concat, the other in a resize."""
    value = make.make_tensor_value_info
    nodes = [
        make.make_node("Pad", ["x", "p"], ["x1"], name="pad"),
        make.make_node("Conv", ["x1", "w"], ["a"], name="stem"),
        make.make_node("Relu", ["a"], ["b"], name="relu"),
        make.make_node("Conv", ["b", "w"], ["c"], name="middle"),
        make.make_node("Conv", ["c", "w"], ["d"], name="head1"),
        make.make_node("Conv", ["c", "w"], ["e"], name="head2"),
        make.make_node("Concat", ["d", "c"], ["f"], name="concat", axis=1),
        make.make_node("Sigmoid", ["f"], ["y"], name="sigmoid"),
        make.make_node("ConvTranspose", ["e", "w"], ["g"], name="up"),
        make.make_node("Resize", ["g"], ["z"], name="resize"),
    ]
    outputs = [value(name, Type.FLOAT, None) for name in "yz"]
    weights = [onnx.numpy_helper.from_array(np.zeros(1, np.float32), name) for name in "wp"]
    graph = Graph(make.make_model(make.make_graph(nodes, "g", [value("x", Type.FLOAT, None)], outputs, weights)))
    tail = ["concat", "resize", "sigmoid"]
    assert graph.kept_float(Recipe()) == tail
    assert graph.kept_float(Recipe(stem_float=True)) == sorted([*tail, "pad", "stem"])
    assert graph.kept_float(Recipe(heads_float=1)) == sorted([*tail, "head1", "middle", "relu", "up"])
    assert graph.kept_float(Recipe(blocks_float=(0, 7))) == sorted([*tail, "head2"])


def test_a_network_that_is_quantised_already_or_none_at_all(ordered, tmp_path):
    order, _ = ordered()
    image = seen_by(order.request)[1]
    prepared = prepare(order.request.onnx, image, order.request.input, tmp_path)
    ranges = measure(prepared, order.frames(CALIBRATE), "minmax", tmp_path)
    quantise(prepared, Recipe(), ranges, tmp_path / "q.onnx")
    with pytest.raises(ConfigError, match="q.onnx: is quantised already; give the float network"):
        prepare(tmp_path / "q.onnx", image, order.request.input, tmp_path)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match="bad.onnx: ONNX Runtime's quantisation refuses it"):
        prepare(tmp_path / "bad.onnx", image, order.request.input, tmp_path)
