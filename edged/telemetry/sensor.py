"""What a sensor is: what it measures, a name to complain of, and a way to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edged.telemetry.readings import Reading


@dataclass
class Sensor:
    """One sensor of this machine.

    `measures` is what it tells ("clock gpu0"): of two sensors that measure the same, the first that was found is read.
    `name` says where it is read. `read` returns None when it gives nothing now.
    """

    measures: str
    name: str
    read: Callable[[], Reading | None]
    told: bool = False
    slow: int = 0  # slow reads in a row
