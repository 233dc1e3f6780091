"""Which operators of a network are quantised: rules on the graph alone, so that they hold for any network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

WEIGHTED = ("Conv", "Gemm", "MatMul")
QUANTISED = (
    *WEIGHTED,
    *("Add", "Mul", "Concat", "MaxPool", "Resize", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Pad"),
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather", "Flatten"),
)
"""Operators for which ONNX Runtime has integer kernels on the CPU, or that only move elements. ConvTranspose is not
among them: quantised, it is computed in float between two conversions."""
BLOCKS = 8
RangesBy = Literal["minmax", "average"]


@dataclass(frozen=True)
class Recipe:
    """One way to quantise a network.

    `ranges` is how activations' ranges come from the frames: `minmax` over all of them, or `average` of each frame's.
    `stem_float` keeps the first weighted layers in float, `heads_float` that many of the last before each output.
    `blocks_float` are further stretches of weighted layers, of `BLOCKS` in all, that stay float.
    """

    ranges: RangesBy = "minmax"
    stem_float: bool = False
    heads_float: int = 0
    blocks_float: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = [f"ranges {self.ranges}"]
        if self.stem_float:
            parts.append("first layers float")
        if self.heads_float:
            parts.append("last layers float")
        if self.blocks_float:
            parts.append(f"blocks {','.join(map(str, self.blocks_float))} of {BLOCKS} float")
        return ", ".join(parts)


FIRST_RECIPES = tuple(Recipe("minmax", stem, heads) for heads in (0, 1) for stem in (False, True))


class Graph:
    """An ONNX graph as needed here: who makes and who reads each tensor. Every node has a name of its own."""

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        constants = {tensor.name for tensor in graph.initializer}
        self.inputs = [tensor.name for tensor in graph.input if tensor.name not in constants]
        self.outputs = [tensor.name for tensor in graph.output]
        self._maker = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def kept_float(self, recipe: Recipe) -> list[str]:
        """Return the names of the nodes that a recipe does not quantise, among those that could be.

        What follows the last weighted layer of an output is float always: box decoding, scores and mask resizing
        put values of very different size into one tensor, and cost little.
        """
        kept = set(self._before_outputs(recipe.heads_float))
        if recipe.stem_float:
            kept.update(self._stem())
        weighted = [node.name for node in self.nodes if node.op_type in WEIGHTED]
        for block in recipe.blocks_float:
            kept.update(weighted[block * len(weighted) // BLOCKS : (block + 1) * len(weighted) // BLOCKS])
        return sorted(kept)

    def _before_outputs(self, layers: int) -> Iterator[str]:
        """Walk from the outputs back through `layers` weighted layers and all that is not weighted."""
        reached: dict[str, int] = {}
        todo = [(name, 0) for name in self.outputs]
        while todo:
            tensor, passed = todo.pop()
            node = self._maker.get(tensor)
            if node is None or reached.get(node.name, layers + 1) <= passed:
                continue
            passed += node.op_type in (*WEIGHTED, "ConvTranspose")
            if passed > layers:
                continue
            reached[node.name] = passed
            todo += [(name, passed) for name in node.input]
        return iter(reached)

    def _stem(self) -> Iterator[str]:
        """Walk from the inputs to the first weighted layers."""
        todo, seen = list(self.inputs), set()
        while todo:
            for node in self._readers.get(todo.pop(), []):
                if node.name not in seen:
                    seen.add(node.name)
                    if node.op_type not in WEIGHTED:
                        todo += node.output
        return iter(seen)

    def operators(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many operators of each type of a quantised network are computed in integers, and in float."""
        integer: Counter[str] = Counter()
        floating: Counter[str] = Counter()
        for node in self.nodes:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Constant"):
                continue
            first = self._maker.get(node.input[0]) if node.input else None
            reads = first is not None and first.op_type == "DequantizeLinear"
            writes = any(self._is_rounded(name) for name in node.output)
            kind = integer if reads and writes and node.op_type in QUANTISED else floating
            kind[node.op_type] += 1
        return dict(sorted(integer.items())), dict(sorted(floating.items()))

    def _is_rounded(self, tensor: str) -> bool:
        """Say whether a tensor is quantised, at once or after an activation that becomes part of it."""
        readers = self._readers.get(tensor, [])
        if any(node.op_type == "QuantizeLinear" for node in readers):
            return True
        return any(
            node.op_type in ("Relu", "Clip") and any(self._is_rounded(name) for name in node.output) for node in readers
        )
