"""The thread that reads the sensors: a driver that blocks holds nothing else up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edged.telemetry.readings import Telemetry
from edged.telemetry.sensors import Sensors
from edged.waiting import make_tokens

EVERY_S = 1.0
OLD_S = 10.0


class TelemetryWorker:
    """Reads all sensors once a second. `newest`, `recent` and `wake` are for any thread.

    Args:
        find: finds the sensors, in this worker's thread: a GPU's driver may take seconds to answer first.
    """

    name = "telemetry"

    def __init__(self, find: Callable[[], Sensors] = Sensors) -> None:
        self._find = find
        self._newest = Telemetry()
        self._woken = make_tokens()

    @property
    def newest(self) -> Telemetry:
        """What was read last; without any reading before the first pass."""
        return self._newest

    def recent(self) -> Telemetry:
        """Return what was read last, or no reading where that is too long ago to go by: a driver may hang for ever."""
        newest = self._newest
        return newest if time.monotonic_ns() - newest.mono_ns <= OLD_S * 1e9 else Telemetry()

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Read until `stop` is set."""
        beat()
        sensors = self._find()
        while not stop.is_set():
            beat()
            self._newest = sensors.read()
            self._woken.get(EVERY_S)

    def wake(self) -> None:
        """End the wait between two passes."""
        self._woken.put()
