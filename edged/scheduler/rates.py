"""Rates in steps: how far the claims on one device must come down until they fit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import ceil, floor, log, log10

from edged.scheduler.ledger import EPSILON_S, Claim, Part

STEP = 1.05  # rates fall and rise in steps of this ratio, so that they do not follow every breath of the machine
LEAST_HZ = 0.1  # a task that would get less is suspended


def steps_down(parts: Sequence[Part], left: float, claims: Sequence[Claim], before: int) -> int:
    """Return the fewest steps by which all claims must be lowered to fit into what is left of their device.

    A rate that was lower, by `before` steps, rises only when half a step more would fit too.
    """
    most = max((ceil(log(claim.wanted_hz / claim.least_hz, STEP)) for claim in claims), default=0)

    def fits(steps: float) -> bool:
        return sum(part.work(STEP**-steps) for part in parts) <= left + EPSILON_S

    fewest = bisect_left(range(most), True, key=fits)
    if fewest == 0 or fewest >= before:
        return fewest
    return min(before, bisect_left(range(most), True, key=lambda steps: fits(steps - 0.5)))


def steps_to(claim: Claim, rate_hz: float) -> int:
    """Return the fewest steps by which a claim must be lowered to get no more than a rate, or than its least."""
    rate_hz = min(max(rate_hz, claim.least_hz), claim.wanted_hz)
    steps = max(0, floor(log(claim.wanted_hz / rate_hz, STEP)) - 1)  # digits are cut off rates: no formula is exact
    while lowered_hz(claim, STEP**-steps) > rate_hz:
        steps += 1
    return steps


def granted_hz(claim: Claim, factors: Mapping[str, float]) -> float:
    """Return a claim's rate, lowered by its device's factor."""
    return lowered_hz(claim, factors.get(claim.device or "", 1.0))


def lowered_hz(claim: Claim, factor: float) -> float:
    """Return a claim's rate, lowered by a factor: three digits, rounded down, not below its least."""
    if factor == 1.0:
        return claim.wanted_hz
    rate_hz = factor * claim.wanted_hz
    scale = 10.0 ** (2 - floor(log10(rate_hz)))
    return max(claim.least_hz, float(f"{floor(rate_hz * scale + 1e-6) / scale:.6g}"))
