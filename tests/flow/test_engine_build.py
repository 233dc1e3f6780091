"""From calibration frames to a daemon that serves INT8, by the commands a person types."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from engine_parts import write_blobs, write_extremes
from parts import edged, until

from edged.doctor import setup
from edged.doctor.probing import Answer

pytestmark = pytest.mark.side_by_side

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def place(site, task, clip, tmp_path):
    """Return a configuration with two tasks that share one network and one that wants none built."""
    net = shutil.copy(write_blobs(tmp_path / "blobs.onnx"), tmp_path / "net.onnx")
    engine = {"backend": ["tensorrt", "onnxruntime"], "precision": "int8", "max_accuracy_drop": 0.02}
    cameras = {
        "a": {"source": f"file:{clip(frames=80, bframes=2)}", "loop": True},
        "b": {"source": f"file:{clip(frames=80, first=2000)}", "loop": True},
    }
    settings = {"onnx": Path(net), "net": {"score_min": 0.5}}
    tasks = {
        "bright": task("a", "b", engine=engine, **settings),
        "same": task("b", engine=engine, **settings),
        "plain": task("a"),
    }
    return site(cameras, tasks, {"engines": {"store": "engines"}})


def answer(place, *args, code=0, **environment):
    done = edged("--config", str(place), "engine", *args, **environment)
    assert done.returncode == code, done.stderr
    return done


def answer_json(place, *args, code=0):
    return json.loads(answer(place, *args, "--json", code=code).stdout)


def rows(place):
    return {row["task"]: row for row in answer_json(place, "list")["engines"]}


def next_of(place):
    """Return what `check` and the doctor say of the tasks that want an int8 engine."""
    checked = json.loads(edged("--config", str(place), "check", "--json").stdout)["tasks"]
    told = Answer({"engines": list(rows(place).values())})
    lines = setup.engines({"configuration": Answer({"tasks": ["bright"]}), "engines": told})
    remedies = {line.name: line.remedy for line in lines}
    assert remedies["task bright"].split()[:3] == checked["bright"].rpartition("run: ")[2].split()[:3]
    return checked["bright"], checked["same"]


def test_calibrate_build_verify_serve(place, daemon):
    before = rows(place)
    assert {task: row["state"] for task, row in before.items()} == {
        "bright": "missing",
        "same": "missing",
        "plain": "needs no build",
    }
    for reason in (*next_of(place), before["bright"]["reason"], before["same"]["reason"]):
        assert reason.endswith("/engines; run: edged engine calibrate bright")
    for command in ("inspect", "verify"):
        assert answer(place, command, "same", code=69).stderr.endswith("; run: edged engine calibrate bright\n")
    refused = answer(place, "build", code=69)
    assert "no calibration frames in" in refused.stderr
    assert "run: edged engine calibrate bright" in refused.stderr
    assert refused.stdout == ""

    record = answer_json(place, "calibrate", "bright", "--frames", "48")
    assert record["cameras"] == {"a": 24, "b": 24}
    assert record["brightness"]["min"] < record["brightness"]["max"]
    assert answer_json(place, "calibrate", "bright", "--frames", "48") == record
    calibrated = rows(place)
    for reason in (*next_of(place), calibrated["bright"]["reason"], calibrated["same"]["reason"]):
        assert reason.endswith("/engines; run: edged engine build")

    built = answer_json(place, "build")["built"]
    assert [one["tasks"] for one in built] == [["bright", "same"]]
    figures = built[0]["manifest"]["verified"]
    assert figures["bright"]["drop"] <= 0.02
    assert figures["bright"]["frames"] == record["coverage"]["parts"]["verify"]["frames"]

    after = rows(place)
    assert {task: (row["state"], row["reason"]) for task, row in after.items() if task != "plain"} == {
        task: ("fits", after[task]["reason"]) for task in ("bright", "same")
    }
    assert answer_json(place, "inspect", "same") == built[0]["manifest"]
    verified = answer_json(place, "verify", "same")
    assert verified["tasks"]["same"]["drop"] == figures["same"]["drop"]
    assert "LOSS" in answer(place, "verify", "same").stdout
    assert "recipe: ranges" in answer(place, "inspect", "same").stdout
    assert "fits" in answer(place, "list").stdout

    running = daemon(place)
    with running.subscriber("edged/1/det/bright/") as subscriber:
        result = subscriber.receive(5)
    assert result is not None
    assert (result.message["engine"]["precision"], result.message["engine"]["backend"]) == ("int8", "onnxruntime")


def test_without_an_engine_the_task_is_inactive_and_says_what_to_run(place, daemon):
    running = daemon(place)
    row = until(lambda: running.task("bright"), 5)
    assert row["state"] == "inactive"
    assert "none is built in" in row["reason"]
    assert "run: edged engine calibrate bright" in row["reason"]
    assert running.task("plain")["state"] != "inactive"


def test_a_changed_model_a_changed_engine_and_new_frames_are_told_apart(place, tmp_path):
    answer(place, "calibrate", "same", "--frames", "32")
    answer(place, "build", "same")
    answer(place, "calibrate", "same", "--frames", "40")
    assert rows(place)["same"]["reason"] == "task same was calibrated again since; run: edged engine build same"
    gone = answer(place, "verify", "same", code=69)
    assert "the frames kept for comparison are gone" in gone.stderr
    (engine,) = (place / "engines").glob("*.onnx")
    good = engine.read_bytes()
    engine.write_bytes(good[:-1])
    assert "is not the file its manifest describes" in rows(place)["same"]["reason"]
    engine.write_bytes(good)
    engine.chmod(0o666)
    assert "can be written by others" in rows(place)["same"]["reason"]
    engine.chmod(0o644)
    assert rows(place)["same"]["state"] == "fits"
    write_blobs(tmp_path / "net.onnx", seed=5)
    assert "the model has changed since it was built; run: edged engine build" in rows(place)["same"]["reason"]


def test_a_ruined_engine_is_refused_with_its_figures(place, tmp_path):
    write_blobs(tmp_path / "net.onnx", loud=1e5)
    answer(place, "calibrate", "bright", "--frames", "32")
    refused = answer(place, "build", "bright", code=78)
    assert "built, but refused: for task bright it loses" in refused.stderr
    assert "max_accuracy_drop is 0.02" in refused.stderr
    row = rows(place)["bright"]
    assert (row["state"], row["drop"] > 0.02) == ("refused", True)
    assert "refused" in answer(place, "verify", "bright", code=78).stderr


def test_calibration_from_a_folder(place, tmp_path):
    import cv2
    from parts import painted

    for number in range(30):
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), painted(number * 67 % 4096))
    record = answer_json(place, "calibrate", "bright", "--from", str(tmp_path), "--frames", "16")
    assert record["cameras"] == {"folder": 16}
    assert answer_json(place, "build", "bright")["built"][0]["manifest"]["verified"]["bright"]["drop"] <= 0.02


def test_a_calibration_in_the_dark_is_refused_with_the_figures(site, task, clip, tmp_path):
    """Ranges from pictures at night, and a comparison by day: what is bright is lost, and the gate says how much."""
    import cv2
    import numpy as np

    random = np.random.default_rng(3)
    for name, values in (("night", (2, 45)), ("day", (2, 250)), ("dusk", (60, 120))):
        (tmp_path / name).mkdir()
        for number in range(40):
            grid = random.integers(*values, (3, 4)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number:02d}.png"), np.kron(grid, np.ones((16, 16), np.uint8)))
    engine = {"backend": "onnxruntime", "precision": "int8", "max_accuracy_drop": 0.02}
    settings = {"onnx": write_extremes(tmp_path / "net.onnx"), "net": {"score_min": 0.5}}
    cameras = {"a": {"source": f"file:{clip(frames=20)}"}}
    place = site(cameras, {"t": task("a", engine=engine, **settings)}, {"engines": {"store": str(tmp_path / "store")}})

    night, day = str(tmp_path / "night"), str(tmp_path / "day")
    record = answer_json(place, "calibrate", "t", "--from", night, "--verify-from", day, "--frames", "32")
    assert record["cameras"] == {"folder": 24, "verify": 8}
    refused = answer(place, "build", "t", code=78)
    figures = re.search(
        r"for task t it loses (0\.\d+) (AP50|F1) against fp32, max_accuracy_drop is 0\.02", refused.stderr
    )
    assert figures
    assert float(figures[1]) > 0.2
    row = rows(place)["t"]
    assert (row["state"], row["drop"], row["by"]) == ("refused", pytest.approx(float(figures[1]), abs=1e-4), figures[2])

    answer(place, "calibrate", "t", "--from", day, "--frames", "32")
    assert answer_json(place, "build", "t")["built"][0]["manifest"]["verified"]["t"]["drop"] <= 0.02
    answer(place, "calibrate", "t", "--from", str(tmp_path / "dusk"), "--frames", "32")
    assert "fp32 finds nothing in the" in answer(place, "build", "t", code=78).stderr


def test_a_build_that_takes_too_long_is_ended(place):
    answer(place, "calibrate", "bright", "--frames", "16")
    late = answer(place, "build", "bright", "--limit-s", "0.05", code=75)
    assert "took longer than 0.05 s and was ended" in late.stderr
    answer(place, "build", "bright")


def test_building_without_the_onnx_package_is_one_line(place, tmp_path):
    (tmp_path / "onnx.py").write_text("raise ModuleNotFoundError(\"No module named 'onnx'\", name='onnx')\n")
    answer(place, "calibrate", "bright", "--frames", "16")
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    refused = answer(place, "build", "bright", code=69, PYTHONPATH=path)
    assert "building int8 engines needs the onnx package: pip install 'edged[build]'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_wrong_usage(place):
    assert "no task 'brihgt'; did you mean 'bright'?" in answer(place, "build", "brihgt", code=2).stderr
    assert "needs no build" in answer(place, "inspect", "plain", code=2).stderr
    assert "--frames must be 8 to 4000, got 3" in answer(place, "calibrate", "bright", "--frames", "3", code=2).stderr
    assert "--seconds must be above 0" in answer(place, "calibrate", "bright", "--seconds", "0", code=2).stderr
    assert answer(place, "build", "plain").stdout == "no task wants an engine that needs building\n"


def test_a_camera_that_cannot_be_opened_is_left_out_and_named(site, task, clip, tmp_path):
    cameras = {
        "a": {"source": f"file:{clip(frames=40)}"},
        "b": {"source": f"file:{tmp_path / 'none.mp4'}"},
    }
    net = write_blobs(tmp_path / "net.onnx")
    place = site(cameras, {"t": task("a", "b", onnx=net)}, {"engines": {"store": str(tmp_path / "store")}})
    done = answer(place, "calibrate", "t", "--frames", "32", "--json")
    assert "camera b: no such file" in done.stderr
    assert json.loads(done.stdout)["cameras"] == {"a": 32}
