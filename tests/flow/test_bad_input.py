"""What is wrong with cameras, files, models and labels: said clearly, and it takes nothing else down."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from parts import edged, number_in, until, write_clip

from edged.cli import main

pytestmark = pytest.mark.side_by_side


@pytest.fixture(scope="module")
def broken(tmp_path_factory, clip):
    """Files that are no good, by name."""
    folder = tmp_path_factory.mktemp("broken")
    whole = clip(frames=50).read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])  # its index is at the end, and gone
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 64)
    (folder / "folder.mp4").mkdir()
    stream = write_clip(folder / "whole.ts", 60, gop=10).read_bytes()
    (folder / "damaged.ts").write_bytes(stream[:6000] + bytes(3000) + stream[9000:])
    return folder


def test_cameras_that_cannot_be_opened_say_why_and_the_others_go_on(daemon, site, task, clip, broken):
    names = ("truncated", "empty", "text", "noise", "folder", "missing")
    cameras = {name: {"source": f"file:{broken / name}.mp4"} for name in names}
    cameras["good"] = {"source": f"file:{clip(frames=50)}", "loop": True}
    running = daemon(site(cameras, {"t": task(*cameras)}))
    with running.subscriber() as subscriber:
        assert {subscriber.receive(5).camera for _ in range(20)} == {"good"}
    until(lambda: {running.camera(name)["state"] for name in names} == {"backoff"}, 5, "back-off of all of them")
    reasons = {name: running.camera(name)["reason"] for name in names}
    for name in ("truncated", "empty", "text", "noise"):
        assert reasons[name] == f"cannot open {broken}/{name}.mp4: Invalid data found when processing input"
    assert reasons["folder"] == f"cannot open {broken}/folder.mp4: Is a directory"
    assert reasons["missing"] == f"no such file: {broken}/missing.mp4"
    listed = running.task("t")
    assert listed["state"] == "degraded"
    assert re.search(rf"missing backoff since [0-9:]+ UTC: no such file: {broken}/missing.mp4", listed["reason"])
    assert running.camera("good")["state"] == "running"
    assert "Traceback" not in running.log


def test_a_file_that_is_there_later_is_opened_then(daemon, site, task, clip, tmp_path):
    late = tmp_path / "late.mp4"
    running = daemon(site({"late": {"source": f"file:{late}", "loop": True}}, {"t": task("late")}))
    until(lambda: running.camera("late")["state"] == "backoff")
    late.write_bytes(clip(frames=50).read_bytes())
    with running.subscriber() as subscriber:
        assert subscriber.receive(5).frame_id >= 0
    until(lambda: running.task("t")["state"] == "active", 2)


def test_a_damaged_stream_gives_what_it_has_and_counts_the_rest(daemon, site, task, broken):
    source = {"source": f"file:{broken}/damaged.ts", "pace": "fast"}
    running = daemon(site({"c": source}, {"t": task("c", rate_hz=1000, active=False)}))
    with running.subscriber("edged/1/") as subscriber:
        assert subscriber.receive_message(5)
        running.request("task.activate", tasks=["t"])
        results = []
        while (result := subscriber.receive(1.5)) is not None:
            results.append(result)
    camera = running.camera("c")
    frames = camera["frames"]
    assert camera["state"] == "ended"
    assert 20 < len(results) == frames["decoded"]
    assert frames["read"] == frames["decoded"] + frames["damaged"] + frames["undecoded"]
    assert len({result.frame_id for result in results}) == len(results)
    first = min(results, key=lambda result: result.frame_id)
    assert (first.frame_id, number_in(first.message["detections"])) == (0, 0)


@pytest.mark.parametrize("suffix", ["h264", "ts"])
def test_a_video_that_changes_its_size_goes_on(daemon, site, task, tmp_path, suffix):
    fmt = {"h264": "h264", "ts": "mpegts"}[suffix]
    parts = [
        write_clip(tmp_path / f"{number}.{suffix}", 40, size=size, first=number * 40, fmt=fmt)
        for number, size in enumerate([(64, 48), (128, 96), (96, 64)])
    ]
    both = tmp_path / f"changing.{suffix}"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = {"source": f"file:{both}", "pace": "fast"}
    running = daemon(site({"c": source}, {"t": task("c", rate_hz=1000, active=False)}))
    sizes = {}
    with running.subscriber("edged/1/") as subscriber:
        assert subscriber.receive_message(5)
        running.request("task.activate", tasks=["t"])
        while (result := subscriber.receive(1.5)) is not None:
            sizes.setdefault((result.width, result.height), []).append(result)
    assert list(sizes) == [(64, 48), (128, 96), (96, 64)]
    assert all(len(results) >= 38 for results in sizes.values())
    for result in sizes[128, 96]:
        (x1, y1, x2, y2) = result.detections[0].box
        assert 0 <= x1 < x2 <= 128
        assert 0 <= y1 < y2 <= 96
    assert running.camera("c")["size"] == [96, 64]
    assert running.camera("c")["state"] == "ended"


def test_a_looped_file_without_frames_does_not_spin(daemon, site, task, tmp_path):
    empty = write_clip(tmp_path / "empty.avi", 0, codec="mpeg4")
    running = daemon(site({"c": {"source": f"file:{empty}", "loop": True}}, {"t": task("c")}))
    until(lambda: running.camera("c")["state"] == "backoff", 5)
    reason = running.camera("c")["reason"]
    assert reason == f"no pictures in {empty}"
    cpu_s = running.child.cpu_s()
    time.sleep(1)
    assert running.child.cpu_s() < cpu_s + 0.5


# ---- models --------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(site, task, clip, capsys, tmp_path, monkeypatch):
    """Give a task to `check` and to `run`; return what both say, having seen that they say the same and end with 78."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))

    def refused(**how):
        config = site({"a": {"source": f"file:{clip()}"}}, {"t": task("a", **how)})
        texts = []
        for name in ("check", "run"):
            assert main(["--config", str(config), name]) == 78
            out, stderr = capsys.readouterr()
            assert out == ""
            texts.append([line for line in stderr.splitlines() if " I task" not in line])
        assert texts[0] == texts[1]
        *lines, last = texts[0]
        assert last == f"{len(lines)} fault(s); nothing was started"
        (line,) = lines
        start = f"edged: {config}/tasks/t.yaml:1: "
        assert line.startswith(start)
        return line.removeprefix(start)

    return refused


def test_a_file_that_is_no_onnx(refused, tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    assert refused(onnx=path).startswith(f"model.onnx: {path}: not a model that ONNX Runtime ")


def test_an_empty_onnx_file(refused, tmp_path):
    path = tmp_path / "empty.onnx"
    path.touch()
    assert refused(onnx=path).startswith(f"model.onnx: {path}: ")


@pytest.mark.parametrize(
    ("how", "has"),
    [
        ({"rank": 3, "work": 0}, "images [3, 48, 64] float32"),
        ({"channels": 1}, "images [?, 1, 48, 64] float32"),
        ({"inputs": 2}, "images [?, 3, 48, 64] float32; other [?, 3, 48, 64] float32"),
        ({"size": ("w", "h")}, "images [?, 3, ?, ?] float32"),
    ],
)
def test_an_onnx_without_batch_or_size_or_with_other_inputs(refused, model, how, has):
    path = model(**how)
    assert has in refused(onnx=path)


@pytest.mark.parametrize(("takes", "batch", "fails_on"), [(1, 4, 4), (2, 2, 1)])
def test_a_network_that_fails_on_a_batch_of_a_size_that_it_declares(refused, tmp_path, takes, batch, fails_on):
    import onnx
    from onnx import TensorProto, helper

    path, kind = tmp_path / "inside.onnx", TensorProto.FLOAT
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [takes, 3 * 48 * 64])
    images = helper.make_tensor_value_info("images", kind, ["n", 3, 48, 64])
    output = helper.make_tensor_value_info("output", kind, ["n", 3 * 48 * 64])
    node = helper.make_node("Reshape", ["images", "shape"], ["output"])
    graph = helper.make_graph([node], "inside", [images], [output], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    text = refused(onnx=path, engine={"batch": batch})
    assert text.startswith(f"model.onnx: {path}: fails on a batch of {fails_on}: onnxruntime: inference of 'images' ")


def test_a_model_that_is_not_the_parsers(refused, model):
    text = refused(net={"parser": "fastestdet"})
    assert text.startswith("model: parser 'fastestdet' needs ")
    assert "model has output [?, 6, 8] float32" in text


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "c"]])
def test_too_few_or_too_many_labels(refused, labels):
    text = refused(net={"labels": labels})
    assert text.startswith("model: parser 'yolov8' needs ")
    assert f"{len(labels)} label" in text


def test_an_unknown_parser_and_an_unknown_back_end(refused):
    assert refused(net={"parser": "yolo8"}).startswith("model.parser: unknown parser 'yolo8'; did you mean 'yolov8'?")
    text = refused(engine={"backend": ["onnxruntimes"]})
    assert text == "engine.backend: unknown engine back end 'onnxruntimes'; did you mean 'onnxruntime'?"


def test_a_group_over_a_recordings_time_and_the_clocks(site, task, clip):
    cameras = {name: {"source": f"file:{clip()}"} for name in ("slow", "fast")}
    cameras["fast"]["pace"] = "fast"
    done = edged("--config", str(site(cameras, {"t": task("slow", "fast", sync={"tolerance_ms": 20})})), "check")
    said = "tasks/t.yaml:1: sync: camera fast counts in its recording's time (pace: fast) and camera slow in that of "
    assert (done.returncode, said in done.stderr) == (78, True), done.stderr
    cameras["slow"]["pace"] = "fast"
    done = edged("--config", str(site(cameras, {"t": task("slow", "fast", sync={"tolerance_ms": 20})})), "check")
    assert done.returncode == 0, done.stderr


def test_an_endpoint_whose_path_is_taken_is_a_fault_of_the_configuration(site, task, clip, tmp_path):
    (tmp_path / "taken").touch()
    cameras, more = {"a": {"source": f"file:{clip()}"}}, {"publish": {"endpoints": [f"ipc://{tmp_path}/taken"]}}
    config = site(cameras, {"t": task("a")}, more)
    for name in ("check", "run"):
        done = edged("--config", str(config), name, rundir=tmp_path / "run")
        said = f"{config}/edged.yaml:1: publish.endpoints: ipc://{tmp_path}/taken: the path is taken by something "
        assert (done.returncode, said in done.stderr) == (78, True), done.stderr


def test_a_fixed_batch_is_kept_and_said(daemon, site, task, clip, model):
    cameras = {name: {"source": f"file:{clip(frames=50)}", "loop": True} for name in ("a", "b", "c")}
    config = site(cameras, {"t": task(*cameras, onnx=model(batch=2), engine={"batch": 8})})
    assert "fp32 (batch 2 is the model's own)" in edged("--config", str(config), "check").stdout
    running = daemon(config)
    with running.subscriber() as subscriber:
        results = [subscriber.receive(5) for _ in range(40)]
    assert {result.message["engine"]["batch"] for result in results} == {2}
    assert {result.camera for result in results} == {"a", "b", "c"}
    for result in results:
        assert result.frame_id % 50 == number_in(result.message["detections"])
    (engine,) = running.request("status")["engines"]
    assert (engine["batch"], engine["fixed_batch"]) == (2, True)


def test_a_back_end_that_is_not_there_leaves_its_task_inactive_with_the_reason(daemon, site, task, clip):
    camera = {"a": {"source": f"file:{clip(frames=50)}", "loop": True}}
    tasks = {
        "gpu": task("a", engine={"backend": ["tensorrt"]}),
        "either": task("a", engine={"backend": ["tensorrt", "onnxruntime"]}),
    }
    config = site(camera, tasks)
    running = daemon(config)
    until(lambda: running.task("either")["state"] == "active", 5)
    gpu = running.task("gpu")
    assert (gpu["state"], gpu["active"]) == ("inactive", False)
    assert gpu["reason"].startswith("engine back end 'tensorrt' needs ")
    assert running.task("either")["engine"].startswith("onnxruntime on cpu, fp32 (engine back end 'tensorrt' needs ")
    checked = edged("--config", str(config), "check", "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["tasks"]["gpu"].startswith("none: engine back end 'tensorrt' needs ")


# ---- check and run agree -------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2000), st.floats(width=16), st.sampled_from(["", "a", "ä", "${cred:x}"])
)


def mostly(good, bad=SCALARS):
    """Values of which one in six is of the bad kind."""
    return st.integers(0, 5).flatmap(lambda dice: bad if dice == 5 else good)


CAMERAS = st.dictionaries(
    mostly(st.sampled_from("ab"), st.sampled_from(["Front", "1x", "", "x" * 40, "ä"])),
    st.fixed_dictionaries(
        {"source": mostly(st.just("file:x.mp4"), st.sampled_from(["v4l2:/dev/video77", "nothing", "rtsp://h/s", 5]))},
        optional={
            "loop": mostly(st.booleans()),
            "pace": mostly(st.sampled_from(["fast", "realtime"])),
            "rate_hz": mostly(st.integers(1, 100)),
            "backend": mostly(st.sampled_from(["pyav", ["gstreamer", "pyav"]])),
        },
    ),
    min_size=1,
    max_size=2,
)
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "rate_hz": mostly(st.floats(1, 30)),
        "priority": mostly(st.integers(0, 9)),
        "deadline_ms": mostly(st.integers(1, 99)),
        "active": mostly(st.sampled_from([True, False, "on_subscribe"])),
        "unneeded": mostly(st.sampled_from(["warm", "cold"])),
        "when": mostly(st.just("speed_mps < 5")),
        "other": mostly(st.just(1)),
    },
)
NETS = st.fixed_dictionaries(
    {},
    optional={
        "labels": mostly(st.just(["a", "b"]), st.lists(st.sampled_from("abc"), max_size=3)),
        "score_min": mostly(st.floats(0, 1)),
        "parser": mostly(st.just("yolov8"), st.sampled_from(["yolov5", "detr", "none"])),
        "options": mostly(st.just({"max_boxes": 5})),
    },
)
EDGED = mostly(
    st.sampled_from([{}, {"log": {"level": "error"}}, {"publish": {"endpoints": ["tcp://127.0.0.1:*"]}}]),
    st.sampled_from(
        [
            {"log": {"level": "loud"}},
            {"publish": {"endpoints": ["tcp://0.0.0.0:5599"]}},
            {"publish": {"endpoints": ["ipc:///" + "x" * 120]}},
            {"control": {"endpoints": ["tcp://192.0.2.1:5599"]}},
        ]
    ),
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cameras=CAMERAS, more=TASKS, net=NETS, edged_yaml=EDGED)
def test_what_check_accepts_run_accepts(site, task, capsys, tmp_path, monkeypatch, cameras, more, net, edged_yaml):
    """A configuration is taken by `check` and by `run`, or refused by both with 78 and the same words."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr("edged.daemon.Daemon._loop", lambda _: None)  # build everything, then end at once
    values = task(*list(cameras)[:1], net=net)
    values.update(more)
    config = site(cameras, {"t": values}, edged_yaml)
    codes, texts = [], []
    for name in ("check", "run"):
        codes.append(main(["--config", str(config), name]))
        stderr = capsys.readouterr().err
        texts.append([line for line in stderr.splitlines() if line.startswith(("edged: ", str(config)))])
    event(str(codes))
    assert codes in ([0, 0], [78, 78]), texts
    if codes == [78, 78]:
        assert texts[0] == texts[1] != []
