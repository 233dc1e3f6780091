"""What the tests build their world from: clips that carry their frame numbers, networks that read them, daemons."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BLOCK = 16  # a frame number is painted in squares of this many pixels, one for each bit
WIDTH, HEIGHT = 64, 48
BITS = (WIDTH // BLOCK) * (HEIGHT // BLOCK)
DARK, BRIGHT = 40, 210


def until(condition: Callable[[], Any], timeout_s: float = 10.0, what: Any = "", every_s: float = 0.01) -> Any:
    """Return the first true value of `condition`; fail with `what` when there is none in time."""
    end_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end_s:
            pytest.fail(f"not within {timeout_s:g} s: {(what() if callable(what) else what) or condition}")
        time.sleep(every_s)


def children_of(pid: int) -> set[int]:
    """Return the process ids of all living children of a process."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def painted(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Return the luma plane of a picture whose top left 64 x 48 pixels say `number`, one square for each bit."""
    luma = np.full((size[1], size[0]), DARK, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            row, column = divmod(bit, WIDTH // BLOCK)
            luma[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = BRIGHT
    return luma


def number_of(luma: np.ndarray) -> int:
    """Return the number that `painted` put into a luma plane."""
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, WIDTH // BLOCK)
        number |= int(luma[row * BLOCK + 8, column * BLOCK + 8] > (DARK + BRIGHT) // 2) << bit
    return number


def write_clip(
    path: Path,
    frames: int = 20,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rate: int = 25,
    gop: int = 10,
    bframes: int = 0,
    first: int = 0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fmt: str | None = None,
) -> Path:
    """Encode a clip whose pictures carry the numbers `first`, `first` + 1, … in presentation order."""
    import av

    options = {"preset": "ultrafast", "bf": str(bframes), "sc_threshold": "0"} if codec == "libx264" else {}
    with av.open(str(path), "w", format=fmt) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        container.start_encoding()
        for number in range(frames):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane, values in zip(frame.planes, (painted(first + number, size), 128, 128), strict=True):
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                rows[:, : plane.width] = values
                plane.update(rows.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_model(
    path: Path,
    *,
    batch: int | None = None,
    size: tuple[Any, Any] = (WIDTH, HEIGHT),
    channels: int = 3,
    inputs: int = 1,
    rank: int = 4,
    classes: int = 2,
    work: int = 0,
) -> Path:
    """Write a network in YOLOv8's layout that reads the painted number and answers with one box for it.

    Its centre is (number % 64 + 0.5, number // 64 + 0.5), its size 1, its first class has score 0.9. `work` adds that
    many products of 256 x 256 matrices to every image, which take time and change nothing.
    """
    import onnx
    from onnx import TensorProto as Type
    from onnx import helper as make

    shape: list[Any] = [batch or "batch", channels, size[1], size[0]][4 - rank :]
    rows = np.zeros((BITS, 4 + classes), np.float32)
    for bit in range(BITS):
        rows[bit, 0 if bit < 6 else 1] = 2.0 ** (bit % 6)
    bias = np.zeros(4 + classes, np.float32)
    bias[:4], bias[4] = (0.5, 0.5, 1, 1), 0.9
    only_first = np.zeros((1, 1, 8), np.float32)
    only_first[0, 0, 0] = 1
    constants: dict[str, Any] = {
        "half": np.float32(0.5),
        "flat": np.array([-1, BITS]),
        "rows": rows,
        "bias": bias,
        "last": np.array([2]),
        "only_first": only_first,
    }
    if rank == 3:
        constants |= {"first": np.array([0])}
    if work:
        constants |= {"zero": np.float32(0), "matrix": np.full((256, 256), 1 / 256, np.float32)}
    nodes = [
        *([make.make_node("Unsqueeze", ["images", "first"], ["pictures"])] if rank == 3 else []),
        make.make_node(
            "AveragePool", ["pictures" if rank == 3 else "images"], ["squares"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        make.make_node("ReduceMean", ["squares"], ["gray"], axes=[1], keepdims=1),
        make.make_node("Greater", ["gray", "half"], ["set"]),
        make.make_node("Cast", ["set"], ["bits"], to=Type.FLOAT),
        make.make_node("Reshape", ["bits", "flat"], ["row"]),
        make.make_node("MatMul", ["row", "rows"], ["sums"]),
        make.make_node("Add", ["sums", "bias"], ["box"]),
        make.make_node("Unsqueeze", ["box", "last"], ["column"]),
        make.make_node("Relu", ["column"], ["positive"]),  # TensorRT 8.5.3 reads wrong elements without it
        make.make_node("Mul", ["positive", "only_first"], ["found" if work else "output"]),
    ]
    if work:  # one 256 x 256 matrix for each image of the batch, multiplied again and again
        nodes += [
            make.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
            make.make_node("Mul", ["mean", "matrix"], ["product0"]),
            *(make.make_node("MatMul", [f"product{n}", "matrix"], [f"product{n + 1}"]) for n in range(work)),
            make.make_node("ReduceMean", [f"product{work}"], ["effort"], axes=[1, 2, 3], keepdims=1),
            make.make_node("Mul", ["effort", "zero"], ["nothing"]),
            make.make_node("Squeeze", ["nothing", "last"], ["flat_nothing"]),
            make.make_node("Add", ["found", "flat_nothing"], ["output"]),
        ]
    graph = make.make_graph(
        nodes,
        "numbers",
        [make.make_tensor_value_info(name, Type.FLOAT, shape) for name in ("images", "other")[:inputs]],
        [make.make_tensor_value_info("output", Type.FLOAT, [batch or "batch", 4 + classes, 8])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def number_in(detections: Any) -> int:
    """Return the painted number that the network's one box stands for; takes a message's detections."""
    (box,) = [one["box"] for one in detections]
    return round(box[0]) + 64 * round(box[1])


def schema_faults(schema: dict[str, Any], value: Any, at: str = "message") -> list[str]:
    """Return what a value has against a JSON Schema, of its keywords those that ours uses, and keys it leaves out."""
    python = {"object": dict, "array": (list, tuple), "integer": int, "number": (int, float), "string": str}
    python |= {"boolean": bool, "null": type(None)}
    known = {"title", "description", "type", "properties", "required", "additionalProperties", "items", "const", "enum"}
    known |= {"minimum", "maximum", "minItems", "maxItems"}
    faults = [f"{at}: the schema has {key}, which this test does not know" for key in schema.keys() - known]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    kind_of = {name for name, types in python.items() if isinstance(value, types)}
    if kinds and not kind_of.intersection(kinds) - ({"integer", "number"} if isinstance(value, bool) else set()):
        return [*faults, f"{at}: {value!r} is no {' or '.join(kinds)}"]
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        faults.append(f"{at}: {value!r} is not allowed")
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value) if "minimum" in schema else False:
        faults.append(f"{at}: {value!r} is out of range")
    if isinstance(value, dict):
        faults += [f"{at}: no {key}" for key in schema.get("required", ()) if key not in value]
        described = schema.get("properties", value)
        for key, one in value.items():
            below = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            faults += [f"{at}: the schema has no {key}"] if key not in described else []
            faults += schema_faults(below, one, f"{at}.{key}")
    if isinstance(value, (list, tuple)):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            faults.append(f"{at}: {len(value)} items")
        for index, one in enumerate(value):
            faults += schema_faults(schema.get("items", {}), one, f"{at}[{index}]")
    return faults


def edged(*args: str, rundir: Path | None = None, timeout_s: float = 30, **environment: str) -> Any:
    """Run one command of the command line as a process; return it with its exit code and texts."""
    variables = {**os.environ, **({"RUNTIME_DIRECTORY": str(rundir)} if rundir else {}), **environment}
    command = [sys.executable, "-m", "edged", *args]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout_s, check=False)


class Running:
    """A daemon process, the text of its log, and a client."""

    def __init__(self, config: Path, log: Path, environment: dict[str, str]) -> None:
        from edged.child import DaemonProcess

        self.config, self.log_file = config, log
        with log.open("wb") as file:
            self.child = DaemonProcess(config, file, environment)
        self.process, self.rundir = self.child.process, self.child.rundir
        self.control = self.child.client()

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def request(self, command: str, **args: Any) -> Any:
        return self.control.request(command, **args)

    def camera(self, name: str) -> dict[str, Any]:
        return {one["id"]: one for one in self.request("camera.list")["cameras"]}[name]

    def task(self, name: str) -> dict[str, Any]:
        return {one["task"]: one for one in self.request("task.list")["tasks"]}[name]

    def subscriber(self, topic: str = "edged/1/det/", queue: int = 100_000) -> Any:
        return self.child.subscriber(topic, queue)

    def stop(self) -> None:
        """Stop it, and see that it ends in time, with 0, and leaves nothing."""
        self.control.close()
        begin_s = time.monotonic()
        left = []
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            finally:
                left = [file.name for file in self.rundir.iterdir()] if self.rundir.exists() else []
        took_s = time.monotonic() - begin_s
        code = self.child.stop()
        assert (code, left) == (0, []), f"exit code {code}, left behind {left}:\n{self.log[-3000:]}"
        assert took_s < 5.0, f"took {took_s:.1f} s to stop:\n{self.log[-3000:]}"
