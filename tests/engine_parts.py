"""Networks that are worth quantising, small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CELL = 16
COLUMNS, ROWS = 4, 3


def write_blobs(path: Path, *, loud: float = 1.0, batch: int | None = None, opset: int = 17, seed: int = 1) -> Path:
    """Write a convolutional detector in YOLOv8's layout: a box of class 0 on every bright 16 x 16 cell of 64 x 48.

    The first layer has a channel that is `loud` times as strong as the one that counts and that the rest ignores:
    with 1000, eight bits for both together leave nothing of the one that counts.
    """
    from onnx import helper as make

    random = np.random.default_rng(seed)
    first = random.uniform(0, 1e-3, (8, 3, CELL, CELL)).astype(np.float32) / CELL
    first[0] = 1 / (3 * CELL * CELL)
    first[1] = loud * first[0]
    second = random.normal(0, 0.01, (8, 8, 1, 1)).astype(np.float32)
    second[:, 1] = 0
    second[0] = 0
    second[0, 0] = 1
    head = np.zeros((6, 8, 1, 1), np.float32)
    head[4, 0] = 1
    constants: dict[str, Any] = {
        "w1": first, "w2": second, "w3": head, "place": _places(), "flat": np.array([0, 6, -1]),
    }  # fmt: skip
    nodes = [
        make.make_node("Conv", ["images", "w1"], ["a"], strides=[CELL, CELL]),
        make.make_node("Relu", ["a"], ["b"]),
        make.make_node("Conv", ["b", "w2"], ["c"]),
        make.make_node("Relu", ["c"], ["d"]),
        make.make_node("Conv", ["d", "w3"], ["e"]),
        make.make_node("Reshape", ["e", "flat"], ["f"]),
        make.make_node("Add", ["f", "place"], ["output"]),
    ]
    return _write(path, nodes, constants, batch, opset)


def write_extremes(path: Path) -> Path:
    """Write a detector like that of `write_blobs`: class 0 on every very dark cell, class 1 on every very bright one.

    All of it hangs on one channel, the mean of a cell: with its range taken from dark pictures no cell is bright.
    """
    from onnx import helper as make

    head = np.zeros((6, 2, 1, 1), np.float32)
    head[4, 0] = head[5, 1] = 1
    constants = {
        "w1": np.full((1, 3, CELL, CELL), 1 / (3 * CELL * CELL), np.float32),
        "w2": np.array([-5, 2], np.float32).reshape(2, 1, 1, 1), "b2": np.array([1, -1], np.float32),
        "w3": head, "place": _places(), "flat": np.array([0, 6, -1]),
    }  # fmt: skip
    nodes = [
        make.make_node("Conv", ["images", "w1"], ["a"], strides=[CELL, CELL]),
        make.make_node("Relu", ["a"], ["b"]),
        make.make_node("Conv", ["b", "w2", "b2"], ["c"]),
        make.make_node("Relu", ["c"], ["d"]),
        make.make_node("Conv", ["d", "w3"], ["e"]),
        make.make_node("Reshape", ["e", "flat"], ["f"]),
        make.make_node("Add", ["f", "place"], ["output"]),
    ]
    return _write(path, nodes, constants, None, 17)


def _places() -> Any:
    """Return the box of every cell in the rows that YOLOv8 has boxes in."""
    place = np.zeros((1, 6, ROWS * COLUMNS), np.float32)
    for cell in range(ROWS * COLUMNS):
        row, column = divmod(cell, COLUMNS)
        place[0, :4, cell] = (column + 0.5) * CELL, (row + 0.5) * CELL, CELL, CELL
    return place


def _write(path: Path, nodes: list[Any], constants: dict[str, Any], batch: int | None, opset: int) -> Path:
    import onnx
    from onnx import TensorProto as Type
    from onnx import helper as make

    graph = make.make_graph(
        nodes,
        "blobs",
        [make.make_tensor_value_info("images", Type.FLOAT, [batch or "batch", 3, ROWS * CELL, COLUMNS * CELL])],
        [make.make_tensor_value_info("output", Type.FLOAT, [batch or "batch", 6, ROWS * COLUMNS])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", opset)], ir_version=8), path)
    return path
