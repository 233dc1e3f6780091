"""What work the plan has given out so far, and what more would take: rate x cost, in seconds per second and device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf
from operator import itemgetter
from typing import NamedTuple

from edged.scheduler.clusters import Cluster
from edged.scheduler.demand import CPU, Demand, EngineLoad

EPSILON_S = 1e-9
ALL: Mapping[str, float] = {}  # no device is short of time


@dataclass
class Claim:
    """A running task's part in the budget: the clusters of its cameras, what it wants, and the least it takes.

    `load` is None where its inferences cost nothing that is known.
    """

    position: int
    demand: Demand
    load: EngineLoad | None
    least_hz: float
    clusters: list[int]

    def __post_init__(self) -> None:
        self.wanted_hz = self.demand.rate_hz
        self.device = self.load.device if self.load else None


class Part(NamedTuple):
    """The work that claims on one engine would add, for any common factor on their rates.

    Each term is (wanted rate, least rate, stream's rate, rate inferred anyway) -> cameras.
    """

    device: str
    picture_s: float
    terms: Mapping[tuple[float, float, float, float], int]

    def work(self, factor: float) -> float:
        """Return the seconds per second at max(least, factor x wanted), as far as the stream goes."""
        pictures = 0.0
        for (wanted, least, stream, anyway), cameras in self.terms.items():
            rate = factor * wanted
            rate = least if rate < least else rate
            rate = stream if rate > stream else rate
            if rate > anyway:
                pictures += cameras * (rate - anyway)
        return pictures * self.picture_s


class Load(NamedTuple):
    """The work that some claims would add: inferences, and decoding that no slower rate would save."""

    parts: Sequence[Part]
    decode: float
    decoding: Mapping[int, float]  # cluster -> how much faster it must be decoded

    def work(self, factors: Mapping[str, float] = ALL) -> dict[str, float]:
        """Return the seconds per second by device, with a common factor on the rates of each device, 1 unless given."""
        total = {CPU: self.decode} if self.decode else {}
        for part in self.parts:
            total[part.device] = total.get(part.device, 0.0) + part.work(factors.get(part.device, 1.0))
        return total

    def least(self) -> dict[str, float]:
        """Return the seconds per second by device at the least rates."""
        return self.work({part.device: 0.0 for part in self.parts})

    def on(self, device: str) -> list[Part]:
        """Return the parts of one device."""
        return [part for part in self.parts if part.device == device]


@dataclass
class Ledger:
    """Adds up what is given out. A picture is inferred once for all tasks of its engine, and decoded once for all."""

    clusters: Sequence[Cluster]
    capacity: Mapping[str, float]
    used: dict[str, float] = field(default_factory=dict)
    inferred: dict[str, dict[int, float]] = field(default_factory=dict)  # engine -> cluster -> rate; parts are replaced
    cameras: dict[str, int] = field(default_factory=dict)  # how many each engine serves: what its batches can hold
    decoded: dict[int, float] = field(default_factory=dict)  # cluster -> rate

    def __post_init__(self) -> None:
        self._streams = [cluster.stream_hz for cluster in self.clusters]
        self._counts = [cluster.counted for cluster in self.clusters]
        self._unpaid = {number for number, cluster in enumerate(self.clusters) if cluster.decode_s > 0}

    def copy(self) -> Ledger:
        """Return one that can be written on without consequence."""
        return replace(
            self,
            used=dict(self.used),
            inferred=dict(self.inferred),
            cameras=dict(self.cameras),
            decoded=dict(self.decoded),
        )

    def left(self, device: str) -> float:
        """Return the seconds per second that a device has left; infinite without a limit."""
        return max(0.0, self.capacity.get(device, inf) - self.used.get(device, 0.0))

    def lacking(self, work: Mapping[str, float], margin: float = 1.0) -> str | None:
        """Return the first device that cannot take such work, None if all can."""
        for device in sorted(work):
            if work[device] > 0 and work[device] * margin > self.left(device) + EPSILON_S:
                return device
        return None

    def anyway_hz(self, claim: Claim) -> float:
        """Return the rate at which others have each of the claim's pictures inferred already."""
        rates = self.inferred.get(claim.demand.engine)
        return min([rates.get(cluster, 0.0) for cluster in claim.clusters], default=0.0) if rates else 0.0

    def load(self, claims: Sequence[Claim]) -> Load:
        """Return what the claims would add to what is given out."""
        decoding = self._decoding(claims)
        decode = sum([hz * self.clusters[number].decode_s for number, hz in decoding.items()])
        return Load([self._part(engine, load, group) for (engine, load, group) in by_engine(claims)], decode, decoding)

    def give(self, claims: Sequence[Claim], load: Load, rates: Mapping[int, float], work: Mapping[str, float]) -> None:
        """Write down the rates granted to the claims, by position, and the work that they add to their load."""
        for device, seconds in work.items():
            self.used[device] = self.used.get(device, 0.0) + seconds
        for number, more_hz in load.decoding.items():
            self.decoded[number] = self.decoded.get(number, 0.0) + more_hz
        self._unpaid.difference_update([number for number in load.decoding if self._streams[number] < inf])
        for engine, _, group in by_engine(claims):
            new = _highest([(rates[claim.position], claim.clusters) for claim in group])
            old = self.inferred.get(engine)
            if old:
                new.update([(number, old[number]) for number in old if old[number] > new.get(number, -1.0)])
            self.inferred[engine] = new
            self.cameras[engine] = sum([self._counts[number] for number in new])

    def _part(self, engine: str, load: EngineLoad, claims: Sequence[Claim]) -> Part:
        streams, counts, anyway = self._streams, self._counts, self.inferred.get(engine, {})
        wanted = _highest([(claim.wanted_hz, claim.clusters) for claim in claims])
        least = _highest([(claim.least_hz, claim.clusters) for claim in claims])
        terms: dict[tuple[float, float, float, float], int] = {}
        for number, rate in wanted.items():
            key = (rate, least[number], streams[number], anyway.get(number, 0.0) if anyway else 0.0)
            terms[key] = terms.get(key, 0) + counts[number]
        cameras = self.cameras.get(engine, 0) + sum([counts[number] for number in wanted.keys() - anyway.keys()])
        batch = max(1, min(load.batch, cameras))
        return Part(load.device, load.cost.of(batch) / batch, terms)

    def _decoding(self, claims: Sequence[Claim]) -> dict[int, float]:
        """Return by cluster how much faster it must be decoded: at the stream's rate, else the claims'."""
        more: dict[int, float] = {}
        numbers = self._unpaid.intersection(chain.from_iterable([claim.clusters for claim in claims]))
        wanted: dict[int, float] | None = None
        for number in sorted(numbers):
            rate = self._streams[number]
            if rate == inf:
                wanted = wanted or _highest([(claim.wanted_hz, claim.clusters) for claim in claims])
                rate = wanted[number]
            if rate > self.decoded.get(number, 0.0):
                more[number] = rate - self.decoded.get(number, 0.0)
        return more


def by_engine(claims: Iterable[Claim]) -> list[tuple[str, EngineLoad, list[Claim]]]:
    """Group the claims whose inferences have a cost."""
    groups: dict[str, tuple[str, EngineLoad, list[Claim]]] = {}
    for claim in claims:
        engine = claim.demand.engine
        if engine in groups:
            groups[engine][2].append(claim)
        elif claim.load is not None:
            groups[engine] = (engine, claim.load, [claim])
    return list(groups.values())


def _highest(rates: list[tuple[float, list[int]]]) -> dict[int, float]:
    """Return the highest rate of each cluster, from (rate, its clusters)."""
    if len(rates) == 1:
        return dict.fromkeys(rates[0][1], rates[0][0])
    highest: dict[int, float] = {}
    for rate, clusters in sorted(rates, key=itemgetter(0)):
        highest.update(dict.fromkeys(clusters, rate))
    return highest
