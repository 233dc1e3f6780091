"""What is costly to make and is used again: kept by use, not by number or size."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

UNUSED_S = 60.0


class Kept(Generic[K, V]):
    """Things by key, for as long as they are used. One thread's use, or under a lock.

    All that is in use stays, however much that is. A limit would make each of them anew as soon as it is one too small,
    for what it kept them from is always what comes next.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._things: dict[K, V] = {}
        self._used_s: dict[K, float] = {}

    def get(self, key: K) -> V | None:
        """Return a thing, which is in use from now on for another while; None where there is none."""
        thing = self._things.get(key)
        if thing is not None:
            self._used_s[key] = self._clock()
        return thing

    def put(self, key: K, thing: V) -> Mapping[K, V]:
        """Keep a new thing, and return those that went for it: nobody has asked for them for `UNUSED_S`."""
        now_s = self._clock()
        gone = {key: self._things.pop(key) for key, used_s in self._used_s.items() if now_s - used_s > UNUSED_S}
        for one in gone:
            del self._used_s[one]
        self._things[key], self._used_s[key] = thing, now_s
        return gone

    def clear(self) -> Mapping[K, V]:
        """Keep nothing more, and return what was kept."""
        things, self._things, self._used_s = self._things, {}, {}
        return things
