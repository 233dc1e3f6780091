"""When a network camera says that its pictures were taken, and what of that can be believed."""

from __future__ import annotations

import time

from edged.frame import Capture, ClockName

STAMP_AGE_MAX_NS = 5_000_000_000  # a stamp further away is of a clock that is not ours
WINDOW_NS = 5_000_000_000  # two of them have the fastest packet: clocks drift, and a camera's may be set meanwhile
NEVER = 1 << 63


class SenderClock:
    """A sender's stamps on our clocks. Made and used by one thread.

    Most cameras' clocks are some seconds wrong, and nothing in the stream says so. Their stamps give the distance of
    pictures: the fastest packet of the last seconds counts as taken when it came in, and the others by their stamps.

    Args:
        synced: its clock is kept in step with ours (NTP, PTP): a stamp is the time itself.
    """

    def __init__(self, synced: bool) -> None:
        self._synced = synced
        self._wall_to_mono_ns = time.monotonic_ns() - time.time_ns()
        self._shortest_ns = (NEVER, NEVER)  # from a stamp to its packet's arrival: in the window before, and in this
        self._window_ns = 0

    def capture(self, wall_ns: int) -> Capture | None:
        """Return when the picture of a packet that has just come in was taken, None where its stamp cannot be true."""
        return self._told(wall_ns) if self._synced else self._spaced(wall_ns)

    def _told(self, wall_ns: int) -> Capture | None:
        """Believe the stamp.

        Its clock and ours are compared as ours was when the stream was opened: a step of ours changes nothing. Where
        that gives no believable age, it is compared as ours is now.
        """
        capture = captured("rtcp", time.monotonic_ns() - self._wall_to_mono_ns - wall_ns)
        if capture is None:
            self._wall_to_mono_ns = time.monotonic_ns() - time.time_ns()
            capture = captured("rtcp", time.monotonic_ns() - self._wall_to_mono_ns - wall_ns)
        return capture

    def _spaced(self, wall_ns: int) -> Capture | None:
        now_ns = time.monotonic_ns()
        took_ns = now_ns - wall_ns
        before_ns, shortest_ns = self._shortest_ns
        if now_ns - self._window_ns >= WINDOW_NS:
            self._window_ns, before_ns, shortest_ns = now_ns, shortest_ns, NEVER
        self._shortest_ns = before_ns, min(shortest_ns, took_ns)
        return captured("rtcp", took_ns - min(self._shortest_ns))


def captured(clock: ClockName, age_ns: int) -> Capture | None:
    """Return the capture time of a picture of that age, None where it cannot be true."""
    if not 0 <= age_ns < STAMP_AGE_MAX_NS:
        return None
    return Capture(time.time_ns() - age_ns, time.monotonic_ns() - age_ns, clock)
