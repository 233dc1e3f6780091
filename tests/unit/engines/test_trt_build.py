"""Building for TensorRT, on stand-ins for all seven releases: what each generation is told, and what comes out."""

from __future__ import annotations

import json
import logging
import math
import weakref
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorrt_double
from engine_parts import write_blobs
from tensorrt_double import RELEASES
from trt_parts import board  # noqa: F401 - a fixture

from edged.engines.base import EngineRequest
from edged.engines.build import trt, trt8
from edged.engines.build.compare import TaskCheck
from edged.engines.build.gather import Pick, write_record
from edged.engines.build.order import Order
from edged.engines.build.record import Record, Seen
from edged.engines.store import Store
from edged.engines.tensorrt.engine import TrtEngine
from edged.engines.tensorrt.library import open_library
from edged.errors import BackendUnavailable, ConfigError
from edged.frame import Color, Picture, PixelFormat
from edged.tasks.base import ParserSettings
from edged.tasks.yolo import Yolov8
from edged.tensor import InputFormat

CONTEXTS = 4
GENERATION = {"8": "8.x", "10": "10.x", "11": "11.x"}


def cells(count=32):
    """Yield 64 x 48 pictures with bright cells on dark ones."""
    random = np.random.default_rng(0)
    for number in range(count):
        grid = np.where(random.random((3, 4)) < 0.4, 200, 40) + random.integers(-20, 20, (3, 4))
        pixels = np.repeat(np.repeat(grid.astype(np.uint8), 16, axis=0), 16, axis=1)
        picture = Picture(64, 48, PixelFormat.RGB, Color(full=True), (np.dstack([pixels] * 3),))
        yield Pick("c", str(number), picture)


def check(limit=0.01):
    return TaskCheck("t", lambda model, score: Yolov8(model, ParserSettings(("a", "b"), (), score)).parse, 0.5, limit)


@pytest.fixture
def order(tmp_path):
    """Return a maker of orders, with calibration frames unless told otherwise."""

    def order(precision="fp32", *, limit=0.01, frames=True, net=None, **how):
        onnx = write_blobs(tmp_path / "net.onnx", **(net or {}))
        request = EngineRequest(onnx, InputFormat(), precision, batch=3, store=tmp_path / "store", **how)
        store = Store(request.store)
        if not frames:
            return Order(request, (check(limit),), ())
        with store.writing():
            record = write_record(store.root, "t", Seen(64, 48, "letterbox", 114), {}, cells())
        return Order(request, (check(limit),), (record,))

    return order


def build(order):
    store = Store(order.request.store)
    with store.writing():
        return trt.build(order, store)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("release", RELEASES)
def test_every_release_builds_every_precision_and_says_what_it_is(board, order, release, precision):  # noqa: F811
    board(release)
    wanted = order(precision)
    manifest = build(wanted)
    about = manifest.about
    assert about["builder"] == GENERATION[release.split(".")[0]]
    assert about["versions"]["tensorrt"] == manifest.key.facts["tensorrt"] == release
    assert set(about["computed_in"]) == {precision}
    assert about["layers"] == {"gpu": sum(about["computed_in"].values())}
    assert {"by", "at", "took_s", "machine", "tasks", "calibration"} <= about.keys()
    facts = manifest.key.facts
    assert (facts["batch"], facts["device"], facts["gpu"]) == ("1/3/3", "gpu", "NVIDIA Stand-In")
    assert manifest.verified["t"]["drop"] == 0.0
    assert manifest.verified["t"]["ms"] > 0
    with closing(TrtEngine(wanted.request)) as engine:
        assert (engine.precision, engine.max_batch, engine.fixed_batch) == (precision, 3, False)


@pytest.mark.parametrize("release", RELEASES)
def test_int8_is_told_in_the_way_of_each_generation(board, order, release):  # noqa: F811
    machine = board(release)
    wanted = order("int8")
    build(wanted)
    network, config = machine.trt._board.built[-1]
    kinds = Counter(node.op_type for node in network._model.graph.node)
    store = Store(wanted.request.store)
    caches = list(store.root.glob("ranges.net.*.cache"))
    if release.startswith("8."):
        assert kinds["QuantizeLinear"] == 0
        batches = math.ceil(len(wanted.frames("calibrate", "choose")) / 3)  # of three pictures
        assert f'"batches": {batches}'.encode() in caches[0].read_bytes()
    else:
        rounded = {node.input[0] for node in network._model.graph.node if node.op_type == "QuantizeLinear"}
        assert {"w1", "w2", "images"} <= rounded
        assert "w3" not in rounded  # the last one stays float
        assert caches == []
        zeros = [tensor for tensor in network._model.graph.initializer if "zero_point" in tensor.name]
        import onnx

        assert zeros
        assert all(not onnx.numpy_helper.to_array(tensor).any() for tensor in zeros)
    flags = {flag.name for flag in config._flags}
    assert flags == (set() if release.startswith("11.") else {"INT8", "FP16"})


def test_a_calibration_cache_of_the_same_frames_spares_the_calibration(board, order, monkeypatch):  # noqa: F811
    machine = board("8.5.3.1")
    wanted = order("int8")
    build(wanted)
    first = machine.trt._board.built[-1][1].int8_calibrator.kept
    asked = []
    monkeypatch.setattr("edged.engines.build.trt_calibrate.batches", lambda work, count: asked.append(1) or iter(()))
    build(wanted)
    assert machine.trt._board.built[-1][1].int8_calibrator.kept == first
    assert asked == [1]  # made, and never begun
    assert machine.trt._board.built[-1][1].int8_calibrator.read_calibration_cache() == first


@pytest.mark.parametrize("fails_at", [1, 8])
@pytest.mark.parametrize(("release", "how"), [("8.5.3.1", {}), ("10.3.0", {"device": "dla0"})])
def test_a_calibration_that_breaks_off_is_no_calibration(board, order, monkeypatch, release, how, fails_at):  # noqa: F811
    machine = board(release, dla_cores=1)
    wanted = order("int8", **how)
    read, reads = Record.read, []

    def failing(self, number):
        reads.append(number)
        if len(reads) == fails_at:
            raise MemoryError("no memory for picture")
        return read(self, number)

    monkeypatch.setattr(Record, "read", failing)
    with pytest.raises(MemoryError, match="no memory for picture"):
        build(wanted)
    store = Store(wanted.request.store)
    assert not [*store.root.glob("ranges.*"), *store.root.glob("net.*")]
    assert machine.left == []
    monkeypatch.undo()
    board(release, dla_cores=1)
    build(wanted)
    batches = math.ceil(len(wanted.frames("calibrate", "choose")) / 3)
    (ranges,) = store.root.glob("ranges.net.*.cache")
    assert f'"batches": {batches}'.encode() in ranges.read_bytes()


def test_fp16_of_a_strongly_typed_release_is_in_the_model(board, order):  # noqa: F811
    machine = board("11.4.0.106")
    build(order("fp16"))
    network, config = machine.trt._board.built[-1]
    assert config._flags == set()
    assert {tensor.data_type for tensor in network._model.graph.initializer} >= {10}  # FLOAT16
    assert [one.dtype for one in network._inputs] == ["FLOAT"]


@pytest.mark.parametrize(("release", "engines"), [("8.5.3.1", 3 * CONTEXTS), ("10.3.0", 1), ("11.0.0.114", 1)])
def test_where_contexts_cannot_share_a_profile_each_has_an_engine_of_its_own(board, order, release, engines):  # noqa: F811
    machine = board(release)
    for net, wanted, profiles in (({}, engines, 1), ({"batch": 2}, 1, 0)):
        one = order(net=net)
        build(one)
        assert len(machine.trt._board.built[-1][1]._added) == profiles
        with closing(TrtEngine(one.request)) as engine:
            assert (engine.workers, len(engine._engines)) == (CONTEXTS, wanted)


def test_with_8_6_each_context_of_one_engine_is_given_the_profile(board, order, monkeypatch, tmp_path):  # noqa: F811
    """Its names are those of 8.5 and a flag for sharing; that only the first context has a profile its header says."""
    facts = json.loads((tensorrt_double.FACTS / "8.5.3.1.json").read_text())
    facts["version"] = "8.6.2.3"
    facts["classes"]["PreviewFeature"]["enum"].append("PROFILE_SHARING_0806")
    (tmp_path / "8.6.2.3.json").write_text(json.dumps(facts))
    monkeypatch.setattr(tensorrt_double, "FACTS", tmp_path)
    board("8.6.2.3")
    for net in ({}, {"batch": 2}):
        one = order(net=net)
        build(one)
        with closing(TrtEngine(one.request)) as engine:
            assert (engine.workers, len(engine._engines), engine.note) == (CONTEXTS, 1, "CUDA graphs")


def test_tactics_whose_libraries_are_not_there_are_left_out(board, order, monkeypatch):  # noqa: F811
    machine = board("8.5.3.1")
    source = machine.trt.TacticSource
    monkeypatch.setattr(trt8, "_loads", lambda *names: "cudnnGetProperty" not in names)
    build(order())
    assert machine.trt._board.built[-1][1]._sources == 31 & ~(1 << int(source.CUDNN))


def test_without_frames_fp16_is_built_unverified_and_int8_is_not(board, order):  # noqa: F811
    board("10.3.0")
    manifest = build(order("fp16", frames=False))
    assert (manifest.verified, manifest.refusal()) == ({}, "")
    with pytest.raises(BackendUnavailable, match="int8 needs frames; run: edged engine calibrate"):
        build(order("int8", frames=False))


def test_what_the_library_refuses_is_told_in_its_words_and_the_last_good_engine_stays(
    board,  # noqa: F811
    order,
    caplog,
):
    machine = board("10.3.0")
    wanted = order()
    good = build(wanted)
    machine.trt._board.build_fails = "Could not find any implementation for node conv."
    with (
        caplog.at_level(logging.CRITICAL, "edged.tensorrt"),
        pytest.raises(
            ConfigError, match=r"TensorRT 10.3.0 cannot build the fp32 engine for gpu0: Could not find any imp"
        ),
    ):
        build(wanted)
    store = Store(wanted.request.store)
    assert store.find(good.key)[1] == good
    assert not list(store.root.glob(".build-*"))
    with closing(TrtEngine(wanted.request)) as engine:
        assert engine.workers


def test_an_engine_that_loses_too_much_is_refused_with_the_figures(board, order):  # noqa: F811
    board("10.3.0")
    with pytest.raises(ConfigError, match=r"built, but refused: for task t it loses 0.0000 .* max_accuracy_drop is -1"):
        build(order("fp16", limit=-1.0))


def test_the_timing_cache_is_used_again_unless_others_could_have_written_it(board, order):  # noqa: F811
    machine = board("11.0.0.114")
    wanted = order()
    seen = []
    config_class = machine.trt.IBuilderConfig
    create = config_class.create_timing_cache
    config_class.create_timing_cache = lambda self, data: seen.append(data) or create(self, data)
    build(wanted)
    build(wanted)
    (cache,) = Store(wanted.request.store).root.glob("timing.*.cache")
    cache.chmod(0o666)
    build(wanted)
    assert seen == [b"", b"timed", b""]


def test_a_complaint_about_an_old_timing_cache_is_not_the_reason_of_a_later_failure(board, order):  # noqa: F811
    machine = board("8.5.3.1")
    config_class = machine.trt.IBuilderConfig
    create = config_class.create_timing_cache

    def complain(self, data):
        open_library().logger.log(machine.trt.ILogger.ERROR, "The timing cache will not be used!")
        return create(self, data)

    config_class.create_timing_cache = complain
    build(order())
    assert open_library().why() == "TensorRT gives no reason"


@pytest.mark.parametrize("release", ["8.5.3.1", "10.3.0", "11.4.0.106"])
def test_a_dla_engine_has_one_batch_and_is_enqueued(board, order, release):  # noqa: F811
    machine = board(release, dla_cores=2)
    wanted = order("fp16", device="dla1")
    manifest = build(wanted)
    _, config = machine.trt._board.built[-1]
    assert (config._device, config._dla_core) == ("DLA", 1)
    assert manifest.key.facts["batch"] == "3/3/3"
    assert manifest.about["layers"] == {"dla1": sum(manifest.about["layers"].values())}
    with closing(TrtEngine(wanted.request)) as engine:
        assert engine.note == "plain enqueue: a DLA engine cannot be recorded"
        assert (engine.device, engine.fixed_batch, engine.max_batch) == ("dla1", True, 3)
        assert engine.workers == 2


@pytest.mark.parametrize("release", ["10.3.0", "11.4.0.106"])
def test_fp16_on_a_dla_has_no_layer_in_fp32(board, order, release):  # noqa: F811
    board(release, dla_cores=1)
    wanted = order("fp16", device="dla0", gpu_fallback="never")
    manifest = build(wanted)
    assert manifest.about["beside_dla"] == []
    assert manifest.verified["t"]["drop"] <= 0.01
    with closing(TrtEngine(wanted.request)) as engine:
        ends = {spec.dtype for spec in (*engine.model.inputs, *engine.model.outputs)}
        assert ends == {"float32" if release == "10.3.0" else "float16"}


def test_int8_on_a_dla_comes_from_a_calibrator_where_there_is_one(board, order):  # noqa: F811
    machine = board("10.3.0", dla_cores=1)
    build(order("int8", device="dla0"))
    network, config = machine.trt._board.built[-1]
    assert config.int8_calibrator.kept
    assert "QuantizeLinear" not in {node.op_type for node in network._model.graph.node}


@pytest.mark.parametrize("fallback", ["never", "report", "allow"])
def test_layers_beside_the_dla_are_refused_reported_or_allowed(board, order, caplog, fallback):  # noqa: F811
    board("10.3.0", dla_cores=1, dla_refuses=("Reshape",))
    wanted = order("fp16", device="dla0", gpu_fallback=fallback)
    if fallback == "never":
        with (
            caplog.at_level(logging.CRITICAL),
            pytest.raises(ConfigError, match="is not supported on DLA and GPU fall"),
        ):
            build(wanted)
        return
    with caplog.at_level(logging.WARNING):
        manifest = build(wanted)
    assert manifest.about["beside_dla"] == ["f"]
    assert ("1 layer(s) run on the GPU instead of dla0: f" in caplog.text) is (fallback == "report")


def test_a_fallback_that_nobody_asked_for_is_found_in_the_inspector(board, order, caplog):  # noqa: F811
    machine = board("10.3.0", dla_cores=1)
    machine.trt.EngineInspector.get_engine_information = lambda self, kind: (
        '{"Layers": [{"Name": "a", "LayerType": "DLA"}, {"Name": "b", "LayerType": "CaskConvolution"}]}'
    )
    with pytest.raises(ConfigError, match=r"1 layer\(s\) run on the GPU instead of dla0: b; gpu_fallback is never"):
        build(order("fp16", device="dla0", gpu_fallback="never"))


def test_a_board_without_a_dla_is_named(board, order):  # noqa: F811
    board("10.13.3.9")
    with pytest.raises(
        BackendUnavailable, match=r"^dla0: TensorRT 10.13.3.9 finds no DLA: the board has none, or this"
    ):
        build(order("fp16", device="dla0"))


def test_a_model_that_the_parser_refuses_is_named(board, order, monkeypatch):  # noqa: F811
    machine = board("8.5.3.1")
    wanted = order()
    machine.trt.OnnxParser.parse = lambda self, model, path=None: self._fault("No importer registered for op: Foo")
    with pytest.raises(ConfigError, match=r"net.onnx: TensorRT 8.5.3.1 cannot read it: No importer registered for op"):
        build(wanted)


@pytest.mark.parametrize("release", RELEASES)
def test_a_model_with_plugin_layers_is_read_by_tensorrt_alone(board, order, monkeypatch, tmp_path, release):  # noqa: F811
    from edged.engines.build import order as orders

    def unknown(path):
        raise ConfigError(f"{path}: Mine is not a registered function/op")

    machine = board(release)
    monkeypatch.setattr(orders, "open_session", unknown)
    library = tmp_path / "libmine.so"
    library.symlink_to(next(Path(np.__file__).parent.rglob("*.so")))
    wanted = order(frames=False)
    with pytest.raises(ConfigError, match="Mine is not a registered"):
        build(wanted)
    wanted = replace(wanted, request=replace(wanted.request, plugins=(library,)))
    manifest = build(wanted)
    assert manifest.key.facts["plugins"] != "none"
    assert [target.key for target in trt.targets(wanted.request)] == [manifest.key]
    with closing(TrtEngine(wanted.request)) as engine:
        assert engine.max_batch == 3
    framed = order()
    with pytest.raises(ConfigError, match=r"nothing to compare an engine with .* remove calibration/t from the store"):
        build(replace(framed, request=replace(framed.request, plugins=(library,))))
    assert machine.left == []


def test_frames_for_another_input_are_refused(board, order):  # noqa: F811
    board("10.3.0")
    wanted = order("fp16")
    other = replace(wanted, request=replace(wanted.request, input=InputFormat(fit="stretch")))
    with pytest.raises(BackendUnavailable, match=r"are for 64x48 letterbox, pad 114, the model takes 64x48 stretch"):
        build(other)


@pytest.mark.parametrize("release", ["8.5.3.1", "10.3.0", "11.4.0.106"])
def test_calibrating_and_comparing_hold_a_few_pictures_however_many_there_are(board, order, monkeypatch, release):  # noqa: F811
    board(release)
    wanted = order("int8")
    pictures = []
    most = []
    read = Record.read

    def counting(self, number):
        frame = read(self, number)
        pictures.append(weakref.ref(frame.picture.planes[0]))
        most.append(sum(one() is not None for one in pictures))
        return frame

    monkeypatch.setattr(Record, "read", counting)
    build(wanted)
    assert len(most) >= 32
    assert max(most) <= 3
