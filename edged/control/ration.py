"""How much of the main thread's time requests may have: what arrives on the control socket must not slow the daemon."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from edged.control.protocol import Request


class Ration:
    """Serves requests in the order they came, for so long between two calls of `renew`; then they wait.

    One thread's use, save for `len`: how many wait.

    Args:
        serve: serves one.
        seconds: the time for them; the one that is being served then is served to its end.
        clock: monotonic seconds.
    """

    def __init__(
        self, serve: Callable[[Request], None], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._serve, self._seconds, self._clock = serve, seconds, clock
        self._waiting: deque[Request] = deque()
        self._spent_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """Serve a request after those that wait."""
        self._waiting.append(request)
        self._go_on()

    def renew(self) -> None:
        """Give them their time anew."""
        self._spent_s = 0.0
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._spent_s < self._seconds:
            begin_s = self._clock()
            self._serve(self._waiting.popleft())
            self._spent_s += self._clock() - begin_s
