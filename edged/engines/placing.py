"""Where engines go when a machine has several places for them: GPUs, and the DLA cores beside one.

Placed one after the other, the highest priority first, each goes where its inferences are over soonest: in the time
measured there, stretched by what those before it have taken. So a lower priority never moves a higher one. A busy GPU
gives way to a DLA core this way as soon as waiting for it takes longer than the slower core does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Room = Mapping[str, int]
"""How much there is of what is limited at a place, by name; what is not named is not limited."""


@dataclass(frozen=True)
class Wish:
    """An engine that wants a place.

    `name` tells it from all others. `rate_hz` is how many inferences a second are wanted of it. `ms` has what one takes
    at each place where it could run, None where nobody measured; `takes` what it uses up there of what is limited.
    """

    name: str
    priority: int
    rate_hz: float
    ms: Mapping[str, float | None]
    takes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def load(self, place: str) -> float:
        """Return the share of a place's time that it takes."""
        return self.rate_hz * (self.ms[place] or 0.0) / 1000


@dataclass(frozen=True)
class Placed:
    """Where an engine goes, where else it could, the best first, and the comparison in words."""

    places: tuple[str, ...]
    reason: str


def place_engines(wishes: Iterable[Wish], rooms: Mapping[str, Room]) -> dict[str, Placed]:
    """Return where each wish goes, by its name; a wish that could run at none of the places is left out.

    The same wishes in another order give the same answer. A place that no measurement is known of comes after those
    with one; what fits into no place's time goes where it overloads least.

    Args:
        wishes: every engine, also those that can run at one place only: they take their share of it.
        rooms: the places there are, in the order to prefer where all else is equal.
    """
    ledger = _Ledger(rooms)
    found = {}
    for wish in sorted(wishes, key=lambda one: (-one.priority, one.name)):
        places = sorted((place for place in rooms if place in wish.ms), key=lambda place: ledger.rank(wish, place))
        if places:
            found[wish.name] = Placed(tuple(places), ledger.words(wish, places))
            ledger.take(wish, places[0])
    return found


class _Ledger:
    """What the wishes placed so far have taken of each place."""

    def __init__(self, rooms: Mapping[str, Room]) -> None:
        self._rooms = rooms
        self._time = dict.fromkeys(rooms, 0.0)
        self._used: dict[str, Counter[str]] = {place: Counter() for place in rooms}

    def take(self, wish: Wish, place: str) -> None:
        """Note that a wish goes there."""
        self._time[place] += wish.load(place)
        self._used[place].update(wish.takes.get(place, {}))

    def rank(self, wish: Wish, place: str) -> tuple[bool, bool, bool, float]:
        """Return what the least of is best: room, a measurement, time enough, and then how soon it is done there."""
        taken, ms = self._time[place], wish.ms[place]
        after = taken + wish.load(place)
        in_time = after <= 1 and taken < 1
        return bool(self._full(wish, place)), ms is None, not in_time, (ms or 0.0) / (1 - taken) if in_time else after

    def words(self, wish: Wish, places: Sequence[str]) -> str:
        """Return the places with their times; nothing where there is no choice."""
        return ", ".join(f"{place} {self._about(wish, place)}" for place in places) if len(places) > 1 else ""

    def _about(self, wish: Wish, place: str) -> str:
        if full := self._full(wish, place):
            return full
        ms, taken = wish.ms[place], self._time[place]
        busy = f" while {taken:.0%} is taken before it" if taken >= 0.005 else ""
        return "not measured" if ms is None else f"{ms:.2f} ms{busy}"

    def _full(self, wish: Wish, place: str) -> str:
        """Return what there is not enough left of, in words, or nothing."""
        for what, count in wish.takes.get(place, {}).items():
            most = self._rooms[place].get(what)
            left = None if most is None else most - self._used[place][what]
            if left is not None and count > left:
                return f"takes {count} {what}, {left} of {most} are left"
        return ""
