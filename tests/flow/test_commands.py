"""Every command as a process: what it prints, the keys of its JSON, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import msgpack
import pytest
import zmq
from parts import edged, schema_faults, until

from edged.cli import main
from edged.client import CommandRefused
from edged.config.models import CAMERAS_MAX
from edged.publish.schema import SCHEMA


@pytest.fixture(scope="module")
def running(shared_daemon, site, task, clip):
    looped = {"source": f"file:{clip(frames=50)}", "loop": True}
    running = shared_daemon(
        site(
            {"front": looped, "gone": {"source": "file:gone.mp4"}},
            {"lane": task("front"), "pedestrian": task("front", "gone"), "spare": task("front", active=False)},
        )
    )
    until(lambda: running.task("lane")["rate_hz"] > 0, what="results")
    return running


@pytest.fixture
def command(running):
    """Run a command against the daemon; return exit code, JSON or text of stdout, and stderr."""

    def command(*args):
        ended = edged("--config", str(running.config), *args, rundir=running.rundir)
        found = json.loads(ended.stdout) if "--json" in args and ended.stdout else ended.stdout
        return ended.returncode, found, ended.stderr

    return command


def test_task_list(command):
    code, listed, stderr = command("task", "list", "--json")
    assert (code, stderr) == (0, "")
    tasks = {one["task"]: one for one in listed["tasks"]}
    assert list(tasks) == ["lane", "pedestrian", "spare"]
    for one in tasks.values():
        assert one.keys() >= {"task", "state", "active", "cameras", "rate_hz", "reason"}
    assert (tasks["lane"]["state"], tasks["lane"]["active"], tasks["lane"]["cameras"]) == ("active", True, ["front"])
    assert (tasks["spare"]["state"], tasks["spare"]["active"]) == ("inactive", False)
    assert tasks["spare"]["reason"] == "active: false"
    assert tasks["pedestrian"]["state"] == "degraded"
    assert tasks["pedestrian"]["reason"].startswith("gone ")
    assert 15 < tasks["lane"]["rate_hz"] < 35
    code, text, _ = command("task", "list")
    header, *rows = text.splitlines()
    assert code == 0
    assert header.split() == ["TASK", "STATE", "HZ", "CAMERAS", "ENGINE", "WHY"]
    assert [row.split()[0] for row in rows] == ["lane", "pedestrian", "spare"]


def test_camera_list(command, running):
    until(lambda: running.camera("gone")["state"] == "backoff", what="back-off")
    code, listed, stderr = command("camera", "list", "--json")
    assert (code, stderr) == (0, "")
    cameras = {one["id"]: one for one in listed["cameras"]}
    for one in cameras.values():
        assert one.keys() >= {"id", "mode", "state", "reason", "rate_hz", "age_ms"}
    assert (cameras["front"]["mode"], cameras["front"]["state"]) == ("hot", "running")
    assert cameras["front"]["age_ms"] < 1000
    assert 20 < cameras["front"]["rate_hz"] < 30
    assert (cameras["gone"]["mode"], cameras["gone"]["state"]) == ("hot", "backoff")
    assert cameras["gone"]["age_ms"] is None
    assert cameras["gone"]["reason"] == f"no such file: {running.config}/gone.mp4"
    code, text, _ = command("camera", "list")
    assert code == 0
    assert text.splitlines()[0].split() == ["CAMERA", "MODE", "STATE", "HZ", "AGE_MS", "BACKEND", "STREAM", "WHY"]


def test_status(command, running):
    code, state, stderr = command("status", "--json")
    assert (code, stderr) == (0, "")
    assert schema_faults(SCHEMA["status"], {"v": 1, **state}) == []
    assert state["pid"] == running.process.pid
    assert state["rss_mb"] > 20
    assert [one["backend"] for one in state["engines"]] == ["onnxruntime"]
    code, text, _ = command("status")
    assert code == 0
    assert text.startswith(f"edged {state['version']} pid {state['pid']} boot {state['boot']}: up ")
    for word in ("lane", "front", "onnxruntime", "OFFERED"):
        assert word in text


def test_activate_and_deactivate(command):
    code, listed, _ = command("task", "activate", "spare", "lane", "--json")
    assert code == 0
    assert {one["task"]: one["active"] for one in listed["tasks"]} == {"lane": True, "pedestrian": True, "spare": True}
    code, text, _ = command("task", "deactivate", "spare")
    assert code == 0
    assert "deactivated by command" in text


def test_an_unknown_task_is_refused_with_the_nearest_one_and_changes_nothing(command):
    code, out, stderr = command("task", "deactivate", "lane", "pedestrain", "--json")
    near = "no task 'pedestrain'; did you mean 'pedestrian'? there are lane, pedestrian, spare"
    assert (code, out, stderr) == (2, "", f"edged: {near}\n")
    _, listed, _ = command("task", "list", "--json")
    assert listed["tasks"][0]["active"]


def test_sub_prints_messages_with_their_topic(command, running):
    ended = edged("sub", "--count", "3", "--seconds", "5", "--json", rundir=running.rundir)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (ended.returncode, len(lines), ended.stderr) == (0, 3, "")
    for line in lines:
        topic = line.pop("topic")
        assert topic == f"edged/1/det/{line['task']}/front/"
        assert schema_faults(SCHEMA["result"], line) == []
    code, text, _ = command("sub", "--topic", "edged/1/det/lane/", "--count", "1", "--seconds", "5")
    assert code == 0
    assert text.startswith("edged/1/det/lane/front/ #")
    assert " ms: a 0.90" in text


def test_sub_for_some_seconds_prints_states_too(command):
    begin_s = time.monotonic()
    code, text, _ = command("sub", "--topic", "edged/1/task/", "--seconds", "0.5")
    assert code == 0
    assert time.monotonic() - begin_s < 3
    assert "edged/1/task/spare/ {'task': 'spare', " in text


def test_sub_without_messages_in_time_ends_with_75(command, running):
    code, out, stderr = command("sub", "--topic", "edged/1/det/spare/", "--count", "1", "--seconds", "0.3")
    wanted = f"edged: 0 message(s) of edged/1/det/spare/ from ipc://{running.rundir}/pub.sock in 0.3 s\n"
    assert (code, out, stderr) == (75, "", wanted)


def test_sub_without_a_daemon_says_so_and_waits_for_one(tmp_path):
    endpoint = f"ipc://{tmp_path}/pub.sock"
    command = [sys.executable, "-m", "edged", "sub", "--topic", "t", "--count", "1", "--connect", endpoint]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as waiting, zmq.Context() as context, context.socket(zmq.PUB) as socket:
        try:
            wanted = f"edged: no edged answers at {endpoint}; is it running (edged run)? Waiting for it\n"
            assert waiting.stderr.readline() == wanted
            socket.bind(endpoint)
            until(lambda: socket.send_multipart([b"t", msgpack.packb({"x": 1})]) or waiting.poll() is not None)
            assert (waiting.returncode, waiting.stdout.read(), waiting.stderr.read()) == (0, "t {'x': 1}\n", "")
        finally:
            waiting.kill()


def test_sub_into_a_closed_pipe_ends_quietly(running):
    command = f"exec timeout 10 {os.sys.executable} -m edged sub --connect {running.child.publish} | head -n 2"
    ended = os.popen(f"bash -c 'set -o pipefail; {command}' 2>&1")
    lines = ended.read().splitlines()
    assert ended.close() is None
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["sub", "--count", "0"], "argument --count: must be at least 1, got 0"),
        (["sub", "--seconds", "nan"], "argument --seconds: must be above 0, got nan"),
        (["sub", "--seconds", "-1"], "argument --seconds: must be above 0, got -1"),
        (["task", "activate"], "the following arguments are required: NAME"),
        (["frobnicate"], "argument COMMAND: invalid choice: 'frobnicate'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_ends_with_2(args, text):
    ended = edged(*args)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert text in ended.stderr


@pytest.mark.parametrize("args", [["status"], ["task", "list"], ["camera", "list"], ["task", "activate", "x"]])
def test_without_a_daemon_commands_end_with_69(tmp_path, args):
    ended = edged(*args, rundir=tmp_path)
    wanted = f"edged: no edged answers at ipc://{tmp_path}/control.sock; is it running (edged run)?\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (69, "", wanted)


def test_a_daemon_that_does_not_answer_in_time_is_75(daemon, site, task, clip, tmp_path):
    """One that takes the request and stays mute, and one that is stopped; asked at the same time."""
    mute_endpoint = f"ipc://{tmp_path}/control.sock"
    running = daemon(site({"a": {"source": f"file:{clip()}"}}, {"t": task("a")}))
    endpoints, ended = (mute_endpoint, running.child.control), {}

    def ask(endpoint):
        ended[endpoint] = edged("status", "--connect", endpoint)

    threads = [threading.Thread(target=ask, args=(endpoint,)) for endpoint in endpoints]
    context = zmq.Context()
    running.process.send_signal(signal.SIGSTOP)
    try:
        with context.socket(zmq.ROUTER) as mute:
            mute.bind(mute_endpoint)
            begin_s = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        assert 4.5 < time.monotonic() - begin_s < 9
    finally:
        running.process.send_signal(signal.SIGCONT)
        context.term()
    for endpoint in endpoints:
        assert (ended[endpoint].returncode, ended[endpoint].stdout) == (75, "")
        assert ended[endpoint].stderr == f"edged: status: no answer from {endpoint} in 5 s\n"


def test_check_says_what_would_run(command, running):
    code, found, stderr = command("check", "--json")
    assert (code, stderr) == (0, "")
    assert found["tasks"] == dict.fromkeys(("lane", "pedestrian", "spare"), "onnxruntime on cpu, fp32")
    assert set(found["cameras"]) == {"front", "gone"}
    code, text, _ = command("check")
    assert code == 0
    assert text.splitlines()[-1] == f"{running.config}: 3 task(s) and 2 camera(s), no fault"


def test_check_and_run_name_the_fault_by_file_and_line(site, task, clip, tmp_path):
    config = site({"a": {"source": f"file:{clip()}"}}, {"t": task("a", rate_hz=-1)})
    wanted = f"edged: {config}/tasks/t.yaml:1: rate_hz: must be a number from 0.01 to 1000, got -1\n"
    for name in ("check", "run"):
        ended = edged("--config", str(config), name, rundir=tmp_path)
        assert (ended.returncode, ended.stdout) == (78, "")
        assert ended.stderr == wanted + "1 fault(s); nothing was started\n"


def test_faults_are_one_json_document_too(site, task, clip, capsys):
    """Of the files, of what they name, and of what a later stage finds; whatever the command."""
    cameras = {"a": {"source": f"file:{clip()}"}}
    faulty = site(cameras, {"t": task("a", rate_hz=-1)})
    text = "must be a number from 0.01 to 1000, got -1"
    wanted = [{"file": f"{faulty}/tasks/t.yaml", "line": 1, "key": "rate_hz", "text": text}]
    for args in (["check"], ["engine", "list"], ["plan", "--simulate"]):
        code = main(["--config", str(faulty), *args, "--json"])
        shown = capsys.readouterr()
        assert (code, json.loads(shown.out)) == (78, {"faults": wanted})
        assert shown.err == f"edged: {faulty}/tasks/t.yaml:1: rate_hz: {text}\n1 fault(s); nothing was started\n"
    cameras["a"]["backend"] = "v4l2"
    faulty = site(cameras, {"t": task("a", net={"parser": "yolo"})})
    assert main(["--config", str(faulty), "check", "--json"]) == 78
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert [(one["file"], one["key"]) for one in faults] == [
        (f"{faulty}/cameras.yaml", "cameras.a.backend"),
        (f"{faulty}/tasks/t.yaml", "model.parser"),
    ]
    assert main(["--config", f"{faulty}/none", "check", "--json"]) == 78
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert (fault["file"], fault["key"]) == (f"{faulty}/none", None)


def test_the_configuration_directory_comes_from_the_environment(running, tmp_path):
    assert edged("check", EDGED_CONFIG=str(running.config)).returncode == 0
    ended = edged("check", EDGED_CONFIG=str(tmp_path / "none"))
    assert ended.returncode == 78
    assert str(tmp_path / "none") in ended.stderr


def test_schema_prints_the_messages_and_the_files(command):
    code, text, stderr = command("schema")
    assert (code, stderr) == (0, "")
    found = json.loads(text)
    assert found["messages"] == SCHEMA
    assert found["configuration"]


def test_the_protocols_page_has_every_command_and_what_it_answers(running):
    with pytest.raises(CommandRefused, match="^no command 'x'; there are ") as refused:
        running.request("x")
    page = (Path(__file__).parents[2] / "docs/protocol.md").read_text()
    rows = re.findall(r"^\| `([a-z.]+)` \| (.*) \| (.*) \|$", page.split("| `cmd` |")[1], re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == str(refused.value).partition("there are ")[2].split(", ")
    arguments = {"tasks": ["spare"], "signals": {"speed_mps": 3}}
    for name, args, result in rows:
        given = {key: arguments[key] for key in re.findall("`([a-z]+)`: names", args)}
        answer = running.request(name, **given)
        if keys := re.match(r"`\{(.*?)\}`", result):
            assert list(answer) == keys[1].split(", "), name
        else:
            assert schema_faults(SCHEMA["status"], {"v": 1, **answer}) == []


@pytest.mark.parametrize(
    ("command", "args", "text"),
    [
        ("status", {"x": 1}, "no argument 'x'; there are none"),
        ("task.list", {"tasks": ["lane"]}, "no argument 'tasks'; there are none"),
        ("camera.list", {"": None}, "no argument ''; there are none"),
        ("signal.list", {"signals": {}}, "no argument 'signals'; there are none"),
        ("reload", {"wait": True}, "no argument 'wait'; there are none"),
        ("task.activate", {"task": ["spare"]}, "no argument 'task'; did you mean 'tasks'? there are tasks"),
        ("task.deactivate", {"tasks": ["lane"], "until": 3}, "no argument 'until'; there are tasks"),
    ],
)
def test_an_argument_that_a_command_does_not_have_is_refused_and_nothing_done(running, command, args, text):
    with pytest.raises(CommandRefused) as refused:
        running.request(command, **args)
    assert (refused.value.code, str(refused.value)) == ("refused", text)
    assert running.task("lane")["active"]


def test_commands_at_the_same_time_are_all_answered(running):
    codes = []

    def ask():
        from edged.client import Control

        with Control(running.child.control) as control:
            for _ in range(50):
                codes.append("tasks" in control.request("task.list"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert codes == [True] * 200


def test_bench_measures_the_stages(command):
    code, found, stderr = command("bench", "--only", "stages", "--seconds", "1", "--json")
    assert (code, stderr) == (0, "")
    assert list(found) == ["stages"]
    stages = found["stages"]
    assert stages.keys() == {"cores", "decode", "convert", "infer", "parse", "convert_by", "ceiling_hz"}
    assert all(stages[name] > 0 for name in stages.keys() - {"convert_by"})


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--seconds", "0"], "argument --seconds: must be a number from 0.1 to 86400, got '0'"),
        (["--seconds", "-1"], "argument --seconds: must be a number from 0.1 to 86400, got '-1'"),
        (["--rate", "0"], "argument --rate: must be a number from 1 to 500, got '0'"),
        (["--rate", "nan"], "argument --rate: must be a number from 1 to 500, got 'nan'"),
        (["--cameras", "0"], f"argument --cameras: must be a whole number from 1 to {CAMERAS_MAX}, got '0'"),
        (["--cameras", "-2"], f"argument --cameras: must be a whole number from 1 to {CAMERAS_MAX}, got '-2'"),
        (["--cameras", "four"], f"argument --cameras: must be a whole number from 1 to {CAMERAS_MAX}, got 'four'"),
        (["--score-min", "7"], "argument --score-min: must be a number from 0 to 1, got '7'"),
    ],
)
def test_bench_refuses_what_cannot_be_measured(capsys, args, text):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *args])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_bench_refuses_a_video_that_is_none(capsys, site, task, model):
    config = site({"front": {"source": "file:cameras.yaml"}}, {"t": task("front")})
    video = config / "cameras.yaml"
    wanted = f"edged: cannot open {video}: Invalid data found when processing input\n"
    files = ["--video", str(video), "--onnx", str(model()), "--parser", "yolov8"]
    for args in (["bench", *files], ["--config", str(config), "bench", "--task", "t"]):
        assert (main(args), capsys.readouterr().err) == (2, wanted)


@pytest.mark.parametrize(
    ("bug", "said"),
    [
        ("1 / 0", "fails when it is made: ZeroDivisionError: division by zero (broken.py:8)"),
        ("raise ShapeError('odd')", "fails when it is made: ShapeError: odd (broken.py:8)"),
        ("raise SystemExit(3)", "fails when it is made: SystemExit: 3 (broken.py:8)"),
    ],
)
def test_a_bug_in_a_plug_in_is_a_fault_of_the_configuration_with_its_place(
    bug, said, site, task, clip, plug_in, tmp_path
):
    code = f"""
        from edged.errors import ShapeError
        from edged.tensor import InputFormat

        class Broken:
            input = InputFormat()
            def __init__(self, *_):
                {bug}
            def parse(self, *_): ...
    """
    environment = plug_in("broken", "\n" + dedent(code).lstrip())
    config = site({"front": {"source": f"file:{clip()}"}}, {"t": task("front", net={"parser": "broken"})})
    for command in ("check", "run"):
        ended = edged("--config", str(config), command, rundir=tmp_path / "run", **environment)
        assert (ended.returncode, ended.stdout) == (78, "")
        assert f"t.yaml:1: model: parser 'broken' of the plug-in 'broken' {said}" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert list((tmp_path / "run").iterdir()) == []
