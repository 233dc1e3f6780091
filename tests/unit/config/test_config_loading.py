"""Which files are read, what comes out, and that a line can be found again later."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from edged.config import CameraConfig, ModelConfig, Secrets, Source, TaskConfig, config_error, document, load_config
from edged.config.faults import Fault
from edged.errors import ConfigError
from edged.tensor import InputFormat


def test_a_small_configuration_takes_the_defaults(write, tmp_path):
    config = load_config(write())
    assert list(config.cameras) == ["front", "rear"]
    assert config.cameras["front"].source == Source("file", str(tmp_path / "conf/front.mp4"))
    assert config.cameras["rear"].source == Source("v4l2", "/dev/video7")
    task = config.tasks["lane"]
    assert (task.name, task.cameras, task.rate_hz, task.rate_min_hz) == ("lane", ("front",), 10.0, 0.0)
    assert (task.active, task.when, task.after, task.deadline_ms) == (True, None, None, None)
    assert task.model.onnx == tmp_path / "conf/net.onnx"
    assert (task.engine.backend, task.engine.precision, task.engine.device) == (("onnxruntime",), "fp32", "auto")
    assert config.edged.engines.store == Path("/var/lib/edged/engines")
    assert config.edged.publish.endpoints == ()
    assert config.directory == Path("conf")


def test_all_keys_of_all_files_are_read(write, tmp_path):
    directory = write(
        {
            "edged.yaml": (
                'publish:\n  endpoints: ["tcp://127.0.0.1:5599"]\n'
                '  curve: {server_secret: "${cred:curve}", allowed_clients: clients}\n'
                "control: {endpoints: []}\n"
                "scheduler: {unneeded: cold, linger_s: 0, signal_timeout_s: 2, warm_max_s: 1, warm_max_mb: 2}\n"
                'engines: {store: ../store}\nmetrics: {listen: "127.0.0.1:9464"}\n'
            ),
            "names.txt": "person\r\ncar\n\n",
            "tasks/lane.yaml": (
                "cameras: [front, rear]\nrate_hz: 10\npriority: 3\ndeadline_ms: 100\n"
                'after: {task: other, if: "score < 0.5"}\nrate_min_hz: 2\nrequired: true\nunneeded: warm\n'
                "sync: {tolerance_ms: 20}\n"
                "model:\n  onnx: ../net.onnx\n  parser: fastestdet\n  labels: ../names.txt\n  keep: [car]\n"
                "  score_min: 0\n  iou_max: 1\n"
                "  input: {fit: stretch, color: bgr, mean: [0, 0.5, 1], std: [1, 1, 2.5], pad: 0}\n"
                "  options: {anchors: [[1, 2], [3, 4]], nested: {a: true}}\n"
                "engine: {backend: [tensorrt, onnxruntime], precision: int8, device: dla1, batch: 4,\n"
                "  gpu_fallback: never, max_accuracy_drop: 0.5}\n"
            ),
            "tasks/other.yaml": (
                'cameras: [rear]\nrate_hz: 0.5\nwhen: "speed_mps < 20"\nmodel: {onnx: ../net.onnx, parser: p}\n'
            ),
        }
    )
    config = load_config(directory)
    edged, task = config.edged, config.tasks["lane"]
    assert edged.publish.curve is not None
    assert edged.publish.curve.allowed_clients == tmp_path / "conf/clients"
    assert edged.engines.store == tmp_path / "store"
    assert str(edged.metrics.listen) == "127.0.0.1:9464"
    assert task.after is not None
    assert (task.after.task, task.after.condition) == ("other", "score < 0.5")
    assert task.sync is not None
    assert task.sync.tolerance_ms == 20
    assert task.model.labels == ("person", "car")
    assert task.model.input.over(InputFormat()) == InputFormat("stretch", "bgr", (0, 0.5, 1), (1, 1, 2.5), 0)
    assert task.model.options == {"anchors": [[1, 2], [3, 4]], "nested": {"a": True}}
    assert task.engine.backend == ("tensorrt", "onnxruntime")
    assert config.tasks["other"].when is not None
    assert config.tasks["other"].when.condition == "speed_mps < 20"
    (note,) = config.notes
    assert note.startswith("conf/cameras.yaml:3: cameras.rear.source: v4l2:/dev/video7 is a number, which another ")


def test_an_input_format_that_is_not_overridden_is_the_parsers_own():
    base = InputFormat("stretch", "bgr", (1, 2, 3), (4, 5, 6), 7)
    assert ModelConfig(onnx=Path("a"), parser="p").input.over(base) == base


def test_a_later_stage_reports_the_line_as_well(write):
    config = load_config(write())
    assert config.where("task", "lane", "model.parser") == "conf/tasks/lane.yaml:5"
    assert config.where("task", "lane", ("model", "labels")) == "conf/tasks/lane.yaml:3"
    assert config.where("task", "lane", "cameras.0") == "conf/tasks/lane.yaml:1"
    assert config.where("camera", "rear") == "conf/cameras.yaml:3"
    assert config.where("camera", "rear", "source") == "conf/cameras.yaml:3"
    assert config.where("edged", path="log.level") == "conf/edged.yaml:1"
    fault = config.fault("task", "lane", "model.parser", "has no output 'boxes'")
    assert str(fault) == "conf/tasks/lane.yaml:5: model.parser: has no output 'boxes'"
    error = config_error([fault])
    assert str(error) == f"{fault}\n1 fault(s); nothing was started"
    assert list(error.faults) == [
        {"file": "conf/tasks/lane.yaml", "line": 5, "key": "model.parser", "text": "has no output 'boxes'"}
    ]


def test_faults_for_programs_hold_no_password_and_nothing_a_terminal_acts_on():
    where = ("rtsp://u:pw@h", "a" * 99)
    told = Fault("conf/a\x1b.yaml", 1, where, "got 'rtsp://u:pw@h/\n'").to_json()
    assert told == {
        "file": "conf/a\\x1b.yaml",
        "line": 1,
        "key": f"rtsp://***@h.{'a' * 79}…",
        "text": "got 'rtsp://***@h/\\n'",
    }
    assert Fault("conf", 1, (), "is empty").to_json()["key"] is None


def test_nothing_in_it_can_be_changed(write):
    config = load_config(write())
    with pytest.raises(ValidationError, match="frozen"):
        config.tasks["lane"].rate_hz = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.tasks["other"] = config.tasks["lane"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        config.directory = Path("x")  # type: ignore[misc]


def test_two_readings_of_the_same_files_are_equal(write):
    assert load_config(write()) == load_config(Path("conf"))
    assert load_config(write()) != load_config(write({"edged.yaml": "log: {level: debug}\n"}))


def test_models_can_be_made_in_python():
    task = TaskConfig(name="t", cameras=("a",), rate_hz=1, model=ModelConfig(onnx=Path("x.onnx"), parser="p"))
    assert task.model.onnx == Path("x.onnx")
    assert CameraConfig(id="a", source=Source("csi", "0")).source.scheme == "csi"


def test_remarkable_things_are_noted(write):
    text = (
        "cameras: [front]\nrate_hz: 60\nmodel: {onnx: ../net.onnx, parser: p}\nengine: {precision: fp16, device: cpu}\n"
    )
    cameras = 'cameras:\n  front: {source: "csi:0", rate_hz: 30}\n  rear: {source: "csi:1"}\n'
    assert load_config(write({"tasks/lane.yaml": text, "cameras.yaml": cameras})).notes == (
        "conf/cameras.yaml:3: cameras.rear: no task names this camera; it stays closed",
        "conf/tasks/lane.yaml:4: engine.precision: fp16 is for GPUs and DLAs; on the cpu it gains no speed",
        "conf/tasks/lane.yaml:1: cameras.0: camera 'front' gives 30 Hz, less than rate_hz 60",
    )


def test_a_vehicle_may_have_no_camera_and_then_no_task(write):
    config = load_config(write({"cameras.yaml": "cameras: {}\n", "tasks/lane.yaml": None, "tasks/README": ""}))
    assert (dict(config.cameras), dict(config.tasks)) == ({}, {})
    assert config.notes == ("conf/cameras.yaml:1: cameras: no camera yet; the daemon runs, and has nothing to do",)


def test_a_path_goes_through_links_as_the_kernel_does(write, tmp_path):
    directory = write({"tasks/lane.yaml": None})
    (tmp_path / "elsewhere/tasks").mkdir(parents=True)
    (tmp_path / "elsewhere/net.onnx").touch()
    (tmp_path / "elsewhere/tasks/lane.yaml").write_text(
        "cameras: [front]\nrate_hz: 1\nmodel: {onnx: ../net.onnx, parser: p}\n"
    )
    (directory / "tasks").symlink_to(tmp_path / "elsewhere/tasks")
    assert load_config(directory).tasks["lane"].model.onnx == tmp_path / "elsewhere/net.onnx"


DIRECTORIES = [
    ({"cameras.yaml": None}, ["conf/cameras.yaml:1: required, but absent"]),
    (
        {"tasks/lane.yaml": None},
        ["conf/tasks:1: required, but absent; it holds one tasks/<task>.yaml for each task"],
    ),
    (
        {"tasks/lane.yaml": None, "tasks/README.md": "x", "tasks/.lane.yaml": "x"},
        ["conf/tasks:1: no task; needed: at least one tasks/<task>.yaml"],
    ),
    (
        {"tasks/lane.yaml": None, "tasks": "x"},
        ["conf/tasks:1: must be a directory"],
    ),
    ({"tasks/lane.yml": "x"}, ["conf/tasks/lane.yml:1: rename it to lane.yaml"]),
    (
        {"tasks/Größe.yaml": "x"},
        [
            "conf/tasks/Größe.yaml:1: a task name must be a lower-case letter, then lower-case letters, digits or _, "
            "at most 32 in all, got 'Größe'"
        ],
    ),
    ({"edged.yml": "x"}, ["conf/edged.yml:1: rename it to edged.yaml"]),
    ({"camera.yaml": "x"}, ["conf/camera.yaml:1: is not read; did you mean 'cameras.yaml'?"]),
    ({"tasks/b.yaml/x": ""}, ["conf/tasks/b.yaml:1: cannot be read: not a regular file"]),
    (
        {"cameras.yaml": None, "tasks/lane.yaml": None},
        ["conf:1: no configuration in this directory; needed: cameras.yaml and tasks/<task>.yaml"],
    ),
]


@pytest.mark.parametrize(("files", "expected"), DIRECTORIES, ids=[str(row) for row in range(len(DIRECTORIES))])
def test_a_directory_that_lacks_or_misnames_a_file_is_refused(files, expected, faults):
    assert faults(files) == expected


def test_other_files_are_left_alone(write):
    load_config(write({"README.md": "x", "scene.yaml": "x", ".cameras.yaml": "x", "tasks/notes.txt": "x"}))


def test_a_missing_directory_and_a_file_in_its_place_are_faults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for name, text in (
        ("none", "no such directory; give another with --config or $EDGED_CONFIG"),
        ("file", "must be a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(Path(name))
        assert str(caught.value) == f"{name}:1: {text}\n1 fault(s); nothing was started"
        assert caught.value.exit_code == 78


def test_a_pipe_does_not_block(faults, write):
    write()
    os.mkfifo("conf/edged.yaml")
    assert faults() == ["conf/edged.yaml:1: cannot be read: not a regular file"]


def test_a_file_that_may_not_be_opened_is_a_fault(faults, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(document.os, "open", refuse)
    assert faults()[0] == "conf/cameras.yaml:1: cannot be read: Permission denied; check its owner and mode"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_told_what_they_cannot_read(write):
    program = (
        "import encodings.utf_8_sig, os; from pathlib import Path; from edged.config import load_config\n"
        "os.setuid(65534)\n"
        "try: load_config(Path('conf'))\n"
        "except Exception as exc: print(exc)\n"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        directory = write()
        shutil.copytree(directory, f"{folder}/conf")
        for name in ("net.onnx", "cameras.yaml"):
            Path(f"{folder}/conf/{name}").chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, check=True, cwd=folder, env={"PYTHONPATH": str(_root())},
        )  # fmt: skip
    assert done.stdout.splitlines() == [
        "conf/cameras.yaml:1: cannot be read: Permission denied; check its owner and mode",
        "conf/tasks/lane.yaml:4: model.onnx: not readable by this user, got '../net.onnx', "
        f"which is {folder}/conf/net.onnx",
        "2 fault(s); nothing was started",
    ]


def test_reading_the_configuration_needs_no_numpy():
    program = "import sys, edged.config; print(sorted({'numpy', 'cv2', 'av', 'zmq', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=_root())
    assert done.stdout == "[]\n"


def _root() -> Path:
    return Path(__file__).parents[3]


def test_credentials_that_are_missing_are_named_by_their_line(write):
    config = load_config(
        write(
            {
                "cameras.yaml": 'cameras:\n  front: {source: "rtsp://${cred:a}@h/${cred:b}/${cred:a}"}\n',
                "edged.yaml": 'control:\n  curve: {server_secret: "${cred:key}", allowed_clients: x}\n',
            }
        )
    )
    remedy = "give it with LoadCredential={0}:… in the unit, or in secrets.yaml (mode 0600)"
    assert tuple(map(str, config.missing_credentials(Secrets({"b": "x", "keys": "y"})))) == (
        "conf/edged.yaml:2: control.curve.server_secret: credential 'key' is not there; did you mean 'keys'?; "
        + remedy.format("key"),
        "conf/cameras.yaml:2: cameras.front.source: credential 'a' is not there; " + remedy.format("a"),
    )
    assert config.missing_credentials(Secrets({"a": "x", "b": "x", "key": "y"})) == ()
