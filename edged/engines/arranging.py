"""What a back end with several places is asked, and answers: where the engines of a configuration run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edged.engines.base import EngineRequest
from edged.engines.store import EngineKey


@dataclass(frozen=True)
class Want:
    """One engine that tasks want: the highest of their priorities, and how often they want each camera's frames."""

    request: EngineRequest
    priority: int
    rates_hz: Mapping[str, float]


@dataclass(frozen=True)
class Arranged:
    """The devices to serve a request on, in the order to try, and in words why the first one, or why none."""

    devices: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Target:
    """One engine to build for a request.

    `request` has its device and batch pinned, `place` names where it runs. A `twin` only stands in for another. One
    that is not `needed` may turn out to be impossible: another place serves then.
    """

    request: EngineRequest
    key: EngineKey
    place: str
    twin: bool = False
    needed: bool = True


class Arranger(Protocol):
    """Finds places for engines. Constructing it looks at the machine: `BackendUnavailable` where that has none."""

    def __init__(self) -> None: ...

    def arrange(self, wants: Sequence[Want]) -> Mapping[EngineRequest, Arranged]:
        """Return where each request is to be served."""
