"""Makes a module `tensorrt` with exactly the names of one release, from the facts in `tests/tensorrt_api/`.

A name that a release does not have is an AttributeError, for reading and for setting. What a class does is in
`tensorrt_behaviour.py`; what is there as a name only says so when it is called.
"""

from __future__ import annotations

import enum
import json
import types
from pathlib import Path
from typing import Any

import tensorrt_behaviour

FACTS = Path(__file__).parent / "tensorrt_api"
RELEASES = sorted((path.stem for path in FACTS.glob("*.json")), key=lambda name: [*map(int, name.split("."))])


def make_tensorrt(release: str, **board: Any) -> types.ModuleType:
    """Return the module of one release.

    Args:
        release: one of `RELEASES`.
        board: what the machine has, see `tensorrt_behaviour.Board`.
    """
    facts = json.loads((FACTS / f"{release}.json").read_text())
    module = types.ModuleType("tensorrt")
    module.__version__ = facts["version"]
    module._board = tensorrt_behaviour.Board(**board)
    for name, members in facts["classes"].items():
        made = _enum(name, members["enum"]) if "enum" in members else _class(module, name, members)
        setattr(module, name, made)
    if "Severity" in facts["classes"]["ILogger"]["attributes"]:
        severity = _enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])
        for one in severity:
            setattr(module.ILogger, one.name, one)
        module.ILogger.Severity = severity
    for name in facts["functions"]:
        setattr(module, name, getattr(tensorrt_behaviour, f"function_{name}", _absent(name)))
    return module


def _enum(name: str, members: list[str]) -> Any:
    """Return an enum that is no number, as pybind11's are not: `1 << flag` fails, `1 << int(flag)` does not."""
    made = enum.Enum(name, {member: number for number, member in enumerate(members)})
    made.__int__ = lambda self: self.value
    return made


def _class(module: types.ModuleType, name: str, facts: dict[str, Any]) -> type:
    behaviour = getattr(tensorrt_behaviour, name, None)
    known = {*facts["methods"], *facts["attributes"]}
    space: dict[str, Any] = {"_trt": module}
    for member in known:
        if behaviour is not None and member in vars(behaviour):
            space[member] = vars(behaviour)[member]
        elif member in facts["methods"]:
            space[member] = _absent(f"{name}.{member}")
        else:
            space[member] = None
    for member, value in vars(behaviour).items() if behaviour is not None else ():
        if member.startswith("_") and member not in ("__dict__", "__weakref__", "__module__", "__doc__"):
            space[member] = value

    def set_known(self: Any, member: str, value: Any) -> None:
        if not member.startswith("_") and type(self) is made and member not in known:
            raise AttributeError(f"{name!r} of TensorRT {module.__version__} has no attribute {member!r}")
        object.__setattr__(self, member, value)

    space["__setattr__"] = set_known
    made = type(name, (), space)
    return made


def _absent(name: str) -> Any:
    def call(*args: Any, **how: Any) -> Any:
        raise NotImplementedError(f"the stand-in has the name {name} only")

    return call
