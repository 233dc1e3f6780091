"""Where engines go when a machine has several places for them: GPUs, and the DLA cores beside one.

Placed one after the other, the highest priority first, each goes where its inferences are over soonest: in the time
measured there, stretched by what those before it have taken. So a lower priority never moves a higher one. A busy GPU
gives way to a DLA core this way as soon as waiting for it takes longer than the slower core does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
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
    """Return where each wish goes, by its name.

    The same wishes in another order give the same answer. A place that no measurement is known of comes after those
    with one; what fits into no place's time goes where it overloads least.

    Args:
        wishes: every engine, also those that can run at one place only: they take their share of it.
        rooms: the places there are, in the order to prefer where all else is equal.
    """
    taken: dict[str, float] = dict.fromkeys(rooms, 0.0)
    used: dict[str, Counter[str]] = {place: Counter() for place in rooms}
    order = {place: number for number, place in enumerate(rooms)}
    found = {}
    for wish in sorted(wishes, key=lambda one: (-one.priority, one.name)):
        there = [place for place in wish.ms if place in rooms]
        full = {place: _full(wish, place, rooms[place], used[place]) for place in there}

        def rank(place: str, wish: Wish = wish, full: Mapping[str, str] = full) -> tuple[bool, bool, bool, float, int]:
            measured, load = wish.ms[place], wish.load(place)
            fits = taken[place] + load <= 1
            cost = (measured or 0.0) / (1 - taken[place]) if fits and taken[place] < 1 else taken[place] + load
            return bool(full[place]), measured is None, not fits, cost, order[place]

        ranked = sorted(there, key=rank)
        if not ranked:
            continue
        first = ranked[0]
        found[wish.name] = Placed(tuple(ranked), _words(wish, ranked, taken, full))
        taken[first] += wish.load(first)
        used[first].update(wish.takes.get(first, {}))
    return found


def _full(wish: Wish, place: str, room: Room, used: Mapping[str, int]) -> str:
    """Return what there is not enough left of, in words, or nothing."""
    for what, count in wish.takes.get(place, {}).items():
        if what in room and used.get(what, 0) + count > room[what]:
            return f"takes {count} {what}, {room[what] - used.get(what, 0)} of {room[what]} are left"
    return ""


def _words(wish: Wish, ranked: list[str], taken: Mapping[str, float], full: Mapping[str, str]) -> str:
    """Return the places with their times, the one taken first; nothing where there was no choice."""
    if len(ranked) < 2:
        return ""

    def words(place: str) -> str:
        measured = wish.ms[place]
        time = "not measured" if measured is None else f"{measured:.2f} ms"
        busy = f" while {taken[place]:.0%} is taken before it" if taken[place] >= 0.005 else ""
        return f"{place} {full[place] or time + busy}"

    return ", ".join(map(words, ranked))
