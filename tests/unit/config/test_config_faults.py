"""Faults between files, many faults at once, and texts of any length."""

from __future__ import annotations

import pytest
from config_texts import CAMERAS, EDGED, ID_RULE, TASK, camera, model, task

from edged.config import load_config
from edged.errors import ConfigError
from edged.expression import Kind


def test_all_faults_of_all_files_come_at_once_in_the_order_of_files_and_lines(faults):
    lines = faults(
        {
            "tasks/b.yaml": "cameras: [up]\nrate_hz: 0\nmodel: {onnx: ../net.onnx, parser: x}\n",
            "tasks/a.yaml": "rate_hz: 1\ncameras: [front\n",
            "edged.yaml": "publish:\n  endpoint: []\nlog: {level: x}\n",
            "cameras.yaml": "cameras:\n  front: {source: 'csi:0'}\n  rear: {source: 'csi:0', zoom: 1}\n  left: {}\n",
        }
    )
    assert [line.split(": ")[0] for line in lines] == [
        "conf/edged.yaml:2",
        "conf/edged.yaml:3",
        "conf/cameras.yaml:3",
        "conf/cameras.yaml:4",
        "conf/tasks/a.yaml:3",
        "conf/tasks/b.yaml:1",
        "conf/tasks/b.yaml:2",
    ]


def test_two_cameras_on_one_device_name_both_lines(faults, tmp_path):
    (tmp_path / "node").touch()
    (tmp_path / "link").symlink_to("node")
    node, link = tmp_path / "node", tmp_path / "link"
    text = (
        f"cameras:\n  front: {{source: 'v4l2:{node}'}}\n  rear:\n    source: 'v4l2:{link}'\n"
        "  left: {source: 'csi:1'}\n  right: {source: 'csi:1'}\n"
        "  one: {source: 'v4l2:bus:usb-1'}\n  two: {source: 'v4l2:bus:usb-1'}\n"
    )
    assert faults({"cameras.yaml": text}) == [
        f"conf/cameras.yaml:4: cameras.rear.source: device 'v4l2:{link}', which is {node}, is camera 'front' already, "
        "in line 2",
        "conf/cameras.yaml:6: cameras.right.source: device 'csi:1' is camera 'left' already, in line 5",
        "conf/cameras.yaml:8: cameras.two.source: device 'v4l2:bus:usb-1' is camera 'one' already, in line 7",
    ]


def test_tasks_that_wait_for_each_other_are_all_named(faults):
    text = task('after: {{task: {}, if: "score < 1"}}')
    assert faults({f"tasks/{a}.yaml": text.format(b) for a, b in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"))}) == [
        "conf/tasks/a.yaml:6: after.task: tasks wait for each other: a -> b -> c -> a",
        "conf/tasks/b.yaml:6: after.task: tasks wait for each other: b -> c -> a -> b",
        "conf/tasks/c.yaml:6: after.task: tasks wait for each other: c -> a -> b -> c",
    ]


def test_a_label_file_is_faulted_by_its_own_line(faults, tmp_path):
    lines = faults({"tasks/names.txt": "person\n\ncar\n", TASK: model("labels: names.txt")})
    assert lines == [
        f"conf/tasks/lane.yaml:6: model.labels: {tmp_path}/conf/tasks/names.txt:2: must be a name of 1 to 128 "
        "characters, got ''; a class id is the number of its line, so none may be left out"
    ]


OWN = "signals: {trailer: flag, load_kg: number, mode: [city, highway], gear: [park, reverse, neutral, drive]}\n"


def test_rules_read_the_signals_that_edged_yaml_declares(write, faults):
    rule = task("when: \"trailer and load_kg > 100 and mode == 'city' and gear == 'park'\"")
    assert load_config(write({EDGED: OWN, TASK: rule})).edged.signals["mode"] == Kind("text", ("city", "highway"))
    assert faults({EDGED: OWN, TASK: task("when: \"mode == 'citty' or trailr\"")}) == [
        "conf/tasks/lane.yaml:6: when: column 9: it is never 'citty'; did you mean 'city'?"
    ]


def test_a_signal_with_a_name_that_cannot_be_is_a_fault_in_its_line(faults):
    text = "signals:\n  speed_mps: flag\n  and: flag\n  Speed: number\n  brake: flag\n"
    assert faults({EDGED: text}) == [
        "conf/edged.yaml:2: signals.speed_mps: 'speed_mps' is built in, and is a number",
        "conf/edged.yaml:3: signals.and: 'and' is a word of the rules; take another name",
        f"conf/edged.yaml:4: signals.Speed: a signal's name must be {ID_RULE}, got 'Speed'",
    ]


def test_a_faulty_declaration_does_not_make_its_rules_faulty(faults):
    assert faults({EDGED: "signals: {trailer: flg}\n", TASK: task('when: "trailer"')}) == [
        "conf/edged.yaml:1: signals.trailer: must be flag, number, text, or a list of the texts that are allowed, "
        "got 'flg'"
    ]


def test_too_many_signals_are_a_fault(faults):
    text = "signals:\n" + "".join(f"  s{number}: flag\n" for number in range(257))
    assert faults({EDGED: text}) == ["conf/edged.yaml:1: signals: at most 256 signals, got 257"]


def test_a_faulty_camera_does_not_make_its_tasks_faulty(faults):
    assert faults({CAMERAS: camera("source: 'csi:x'")}) == [
        "conf/cameras.yaml:2: cameras.front.source: must be csi:N with N from 0 to 99, got 'csi:x'"
    ]


def test_a_thousand_unknown_keys_are_a_thousand_lines(faults):
    text = camera("source: 'csi:0'") + "".join(f"key_{n}: 1\n" for n in range(998))
    lines = faults({CAMERAS: text, EDGED: "a: 1\nb: 2\n"})
    assert len(lines) == 1000
    assert lines[-1] == "conf/cameras.yaml:1000: key_997: unknown key; allowed: cameras"


def test_more_than_a_thousand_faults_are_counted_and_not_all_shown(write):
    directory = write({EDGED: "".join(f"key_{n}: 1\n" for n in range(1500))})
    with pytest.raises(ConfigError) as caught:
        load_config(directory)
    lines = str(caught.value).split("\n")
    assert len(lines) == 1002
    assert lines[-2:] == ["and 500 more", "1500 fault(s); nothing was started"]


def test_long_and_strange_values_stay_readable(faults):
    lines = faults({EDGED: 'log: {level: "Grüße\\e[31m' + "ä" * 200 + '"}\n"a\u202eb": 1\n'})
    assert lines[0].startswith("conf/edged.yaml:1: log.level: control characters are not allowed, got 'Grüße\\x1b[31m")
    assert lines[1].startswith("conf/edged.yaml:2: a\\u202eb: unknown key")
    assert all(len(line) < 200 for line in lines)
