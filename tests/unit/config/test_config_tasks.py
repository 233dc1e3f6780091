"""Every way to get a task file wrong, with the whole message."""

from __future__ import annotations

import pytest
from config_texts import ID_RULE, TASK, Row, engine, expected, model, task

from edged.signals import KINDS

SIGNALS = ", ".join(sorted(KINDS))

TABLE: list[Row] = [
    # tasks: cameras and rates
    ("rate_hz: 1", ["1: cameras: required, but absent", "1: model: required, but absent"]),
    (task("", cameras="[]"), ["1: cameras: 1 to 256 cameras, got 0"]),
    (task("", cameras="front"), ["1: cameras: must be a list, got 'front'"]),
    (task("", cameras="[frnt]"), ["1: cameras.0: camera 'frnt' is not in cameras.yaml; did you mean 'front'?"]),
    (
        task("", cameras="[xyz]"),
        ["1: cameras.0: camera 'xyz' is not in cameras.yaml; allowed: front, rear"],
    ),
    (
        task("", cameras="[front, rear, front]"),
        ["1: cameras.2: camera 'front' is listed twice, first as number 0"],
    ),
    (task("", rate="0"), ["2: rate_hz: must be a number from 0.01 to 1000, got 0"]),
    (task("", rate="true"), ["2: rate_hz: must be a number from 0.01 to 1000, got true"]),
    (
        task("", rate="1_0"),
        ["2: rate_hz: '1_0' is not a plain decimal number; write it as one, or quote it if it is a text"],
    ),
    (
        task("", rate="1:30"),
        ["2: rate_hz: 1:30 is a number in base 60 to some YAML versions; write it as one number, or quote it"],
    ),
    (
        task("", rate="010"),
        ["2: rate_hz: '010' is not a plain decimal number; write it as one, or quote it if it is a text"],
    ),
    (task("", rate="2024-01-02"), ["2: rate_hz: '2024-01-02' is a date in YAML; quote it"]),
    (task("rate_min_hz: 11"), ["6: rate_min_hz: must be at most rate_hz, got 11 with rate_hz 10"]),
    (task("priority: 1.5"), ["6: priority: must be a whole number from 0 to 1000, got 1.5"]),
    (task("deadline_ms: 0"), ["6: deadline_ms: must be a number from 1 to 600000, got 0"]),
    (task("sync: {}"), ["6: sync.tolerance_ms: required, but absent"]),
    (task("required: 'yes'"), ["6: required: must be true or false, got 'yes'"]),
    (
        task("name: lane"),
        [
            "6: name: unknown key; allowed: active, after, cameras, deadline_ms, engine, linger_s, model, priority, "
            "rate_hz, rate_min_hz, required, sync, unneeded, when"
        ],
    ),
    # tasks: activation
    (
        task("active: on"),
        ["6: active: on is a truth value to YAML 1.1 and a text to 1.2; write true or false, or quote the text"],
    ),
    (
        task("active: on_subscrib"),
        ["6: active: must be true, false or on_subscribe, got 'on_subscrib'; did you mean 'on_subscribe'?"],
    ),
    (task("active: 1"), ["6: active: must be true, false or on_subscribe, got 1"]),
    (
        task('when: "speed_mps < 2"\nactive: on_subscribe'),
        ["7: active: active and when exclude each other; keep one of them"],
    ),
    (
        task('active: true\nafter: {task: lane, if: "score > 1"}'),
        [
            "6: active: active and after exclude each other; keep one of them",
            "7: after.task: tasks wait for each other: lane -> lane",
        ],
    ),
    (
        task('when: "x"\nafter: {task: lan, if: "score > 1"}'),
        [
            f"6: when: column 1: there is no 'x'; there are {SIGNALS}",
            "7: after: when and after exclude each other; keep one of them",
            "7: after.task: there is no task 'lan'",
        ],
    ),
    (
        task('when: " "\nafter: {task: 3}'),
        [
            "6: when: must be an expression in quotes, such as \"speed_mps < 20\", got ' '",
            f"7: after.task: must be a name ({ID_RULE}), got 3",
            "7: after.if: required, but absent",
        ],
    ),
    (
        task(f'when: "{"x" * 10_001}"'),
        [f"6: when: must be an expression of at most 1000 characters, got '{'x' * 78}…"],
    ),
    (
        task("when: \"sped_mps < 20 and gear != 'reverse'\""),
        ["6: when: column 1: there is no 'sped_mps'; did you mean 'speed_mps'?"],
    ),
    (
        task("when: \"gear == 'revers'\""),
        ["6: when: column 9: it is never 'revers'; did you mean 'reverse'?"],
    ),
    (task('when: "speed_mps"'), ["6: when: column 1: the whole must be true or false, and is a number; compare it"]),
    (task("when: true"), ['6: when: must be an expression in quotes, such as "speed_mps < 20", got true']),
    (
        task('when:\n  if: "speed_mps < true"\n  until: "brake &&"\n  min_on_s: -1'),
        [
            "7: when.if: column 13: '<' is for numbers, and this is a flag",
            "8: when.until: column 7: '&&' is not allowed; write and",
            "9: when.min_on_s: must be a number from 0 to 3600, got -1",
        ],
    ),
    (
        task('when: {until: "brake", iff: "brake"}'),
        ["6: when.if: required, but absent", "6: when.iff: unknown key; did you mean 'if'?"],
    ),
    (
        task('after:\n  task: other\n  if: "scor < 1"\n  until: "lanes"\n  min_off_s: 3601'),
        [
            "7: after.task: there is no task 'other'",
            "8: after.if: column 1: there is no 'scor'; did you mean 'score'?",
            "9: after.until: column 1: the whole must be true or false, and is a number; compare it",
            "10: after.min_off_s: must be a number from 0 to 3600, got 3601",
        ],
    ),
    (task('after: "score > 1"'), ["6: after: must be a map of keys to values, got 'score > 1'"]),
    # tasks: model
    (
        "cameras: [front]\nrate_hz: 1\nmodel: lane.onnx",
        ["3: model: must be a map of keys to values, got 'lane.onnx'"],
    ),
    (
        "cameras: [front]\nrate_hz: 1\nmodel: {onnx: no.onnx}",
        [
            "3: model.onnx: no such file, got 'no.onnx', which is CONF/tasks/no.onnx",
            "3: model.parser: required, but absent",
        ],
    ),
    (
        "cameras: [front]\nrate_hz: 1\nmodel: {onnx: .., parser: yolov8}",
        ["3: model.onnx: not a regular file, got '..', which is CONF"],
    ),
    (
        model("labels: no.txt"),
        ["6: model.labels: no such file, got 'no.txt', which is CONF/tasks/no.txt"],
    ),
    (
        model("labels: {a: 1}"),
        ["6: model.labels: must be a list of class names, or a file with one name per line, got {a: 1}"],
    ),
    (model("labels: [car, 3]"), ["6: model.labels: must be a text of one line, got 3"]),
    (
        model("labels: [person, car]\n  keep: [person, cat]"),
        ["7: model.keep: 'cat' is not one of the labels; did you mean 'car'?"],
    ),
    (model("keep: person"), ["6: model.keep: must be a list of at most 10000 names, got 'person'"]),
    (model("score_min: 40"), ["6: model.score_min: must be a number from 0 to 1, got 40"]),
    (
        model("input: {mean: [1, 2], std: 3, pad: 256, fit: crop}"),
        [
            "6: model.input.fit: must be letterbox or stretch, got 'crop'",
            "6: model.input.mean: must be a list of three numbers from -10 to 10, got [1, 2]",
            "6: model.input.std: must be a list of three numbers from 0.0001 to 1000, got 3",
            "6: model.input.pad: must be a whole number from 0 to 255, got 256",
        ],
    ),
    (
        model("input: {std: [1, 1, 0]}"),
        ["6: model.input.std: must be a number from 0.0001 to 1000, got 0"],
    ),
    (model("options: [1]"), ["6: model.options: must be a map of keys to values, got [1]"]),
    (
        model("options: {a: {b: [1, .nan]}}"),
        ["6: model.options: a.b.1 must be finite, got nan"],
    ),
    # tasks: engine
    (
        engine("device: dla0"),
        ["6: engine.device: 'dla0' needs tensorrt in backend, got [onnxruntime]"],
    ),
    (
        engine("backend: tensorrt, device: dla1"),
        ["6: engine.device: 'dla1' computes in fp16 or int8 only; set precision, which is fp32"],
    ),
    (
        engine("device: dla2"),
        [
            "6: engine.device: must be auto, cpu, gpu, gpu0, gpu1, gpu2, gpu3, gpu4, gpu5, gpu6, gpu7, dla0 or dla1, "
            "got 'dla2'; did you mean 'dla1'?"
        ],
    ),
    (engine("batch: 0"), ["6: engine.batch: must be a whole number from 1 to 256, got 0"]),
    (
        engine("gpu_fallback: false"),
        ["6: engine.gpu_fallback: must be never, report or allow, got false"],
    ),
    (
        engine("max_accuracy_drop: 1%"),
        ["6: engine.max_accuracy_drop: must be a number from 0 to 1, got '1%'"],
    ),
    (engine("devcie: cpu"), ["6: engine.devcie: unknown key; did you mean 'device'?"]),
]


@pytest.mark.parametrize(("text", "lines"), TABLE, ids=[str(row) for row in range(len(TABLE))])
def test_a_wrong_value_is_named_by_line_path_value_and_what_is_allowed(text, lines, faults):
    assert faults({TASK: text}) == expected(TASK, lines)
