"""A task's rate: which frames of a stream it takes."""

from __future__ import annotations

from dataclasses import dataclass

GATE_SLACK = 0.25  # of the wanted interval: a camera's jitter must not halve the rate of a task that wants it all


@dataclass
class Gate:
    """Lets a rate through, locked to the phase of the frames. The rate may change at any time; the phase stays.

    `last_ns` is when it should have opened last: the frame that it let through came up to a camera's interval later.
    """

    last_ns: int | None = None

    def open(self, at_ns: int, rate_hz: float) -> bool:
        """Say whether the frame captured at `at_ns` goes through, and count it as gone if so."""
        if rate_hz <= 0:
            return False
        interval_ns, last_ns = int(1e9 / rate_hz), self.last_ns
        if last_ns is None:
            self.last_ns = at_ns
            return True
        next_ns = last_ns + interval_ns
        if last_ns - interval_ns < at_ns < next_ns - int(interval_ns * GATE_SLACK):
            return False
        self.last_ns = next_ns if abs(at_ns - next_ns) <= interval_ns else at_ns
        return True

    def opens_ns(self, rate_hz: float) -> int | None:
        """Return the earliest capture time that goes through next; None where nothing is known of the phase."""
        if self.last_ns is None or rate_hz <= 0:
            return None
        return self.last_ns + int(1e9 / rate_hz * (1 - GATE_SLACK))
