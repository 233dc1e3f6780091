"""What work costs and what the devices deliver, gathered from the workers; a steady picture of it for the planner."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edged.plan import DeviceShare
from edged.scheduler.capacity import Capacity, Sample
from edged.scheduler.claims import DeviceCounts
from edged.scheduler.costs import CostMeter, DecodeMeter
from edged.scheduler.demand import CPU, EngineLoad, Machine
from edged.scheduler.heat import Limit
from edged.waiting import BriefLock
from edged.work import Cost

HEADROOM = 0.9  # of a device's time that is planned for: the rest is for what is not measured
GRAIN = 0.02  # of the nominal capacity, in which it is told
DONE_WEIGHT = 0.1  # of the newest tick in the mean that is told
CLOCK_STEP = 0.02  # a smaller change of a clock is left to the measurements


@dataclass(frozen=True)
class Device:
    """A device: the seconds of work it has a second (its cores or workers), and how many workers serve it."""

    units: float
    workers: int


@dataclass(frozen=True)
class Place:
    """Where an engine runs, and the largest batch it takes."""

    device: str
    batch: int


@dataclass
class _State:
    """One device's control, and what has been done on it since the last tick."""

    device: Device
    control: Capacity
    done_s: float = 0.0
    done_mean: float = 0.0
    counts: DeviceCounts | None = None
    limit: Limit = field(default_factory=Limit)
    told: float = 0.0


@dataclass(frozen=True)
class EngineCounts:
    """An engine's batches so far: how many of each size, and the seconds of its device that they took."""

    batches: Mapping[int, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class _Tally:
    batches: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


class Budget:
    """Costs and capacities. Every method may be called from any thread; `tick` from one only, ten times a second."""

    def __init__(
        self,
        devices: Mapping[str, Device],
        engines: Mapping[str, Place],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = BriefLock()
        self._states: dict[str, _State] = {}
        self._engines: dict[str, Place] = {}
        self._meters: dict[str, CostMeter] = {}
        self._tallies: dict[str, _Tally] = {}
        self._decoders: dict[str, DecodeMeter] = {}
        self._ticked_s: float | None = None
        self.place(devices, engines)

    def place(self, devices: Mapping[str, Device], engines: Mapping[str, Place]) -> None:
        """Take over the engines of a new configuration. What was measured of those that stay in place is kept."""
        with self._lock:
            self._states = {name: state for name, state in self._states.items() if name in devices}
            for name, device in devices.items():
                if name in self._states and self._states[name].device.units == device.units:
                    self._states[name].device = device
                else:
                    control = Capacity(HEADROOM * device.units)
                    self._states[name] = _State(device, control, told=control.nominal)
            kept = {name for name, place in engines.items() if self._engines.get(name) == place}
            self._meters = {name: self._meters[name] if name in kept else CostMeter() for name in engines}
            self._tallies = {name: self._tallies[name] if name in kept else _Tally() for name in engines}
            self._engines = dict(engines)

    def measured(self, engine: str, pictures: int, seconds: float) -> None:
        """Take note of one inference: conversion, network and parsing. CPU time on the CPU, else the device's."""
        if pictures < 1 or not 0 < seconds < float("inf"):
            return
        with self._lock:
            place = self._engines.get(engine)
            if place is None:
                return  # it was removed by a reload while it worked
            self._meters[engine].add(pictures, seconds, self._clock())
            tally = self._tallies[engine]
            tally.batches[pictures] += 1
            tally.seconds += seconds
            if place.device in self._states:
                self._states[place.device].done_s += seconds

    def decoded(self, camera: str, seconds: float, frames: int) -> None:
        """Take note of a camera's totals: CPU seconds of its decoding, and frames its stream gave while it was hot."""
        with self._lock:
            more_s = self._decoders.setdefault(camera, DecodeMeter()).add(seconds, frames, self._clock())
            if CPU in self._states:
                self._states[CPU].done_s += more_s

    def forget(self, camera: str) -> None:
        """Drop what is known of a camera that was removed or replaced."""
        with self._lock:
            self._decoders.pop(camera, None)

    def tick(
        self, shares: Mapping[str, DeviceShare], counts: Mapping[str, DeviceCounts], limits: Mapping[str, Limit]
    ) -> None:
        """Follow what the devices delivered since the last tick.

        Args:
            shares: the plan's devices, as it was in force since then.
            counts: the dispatcher's totals by device; a missing one had no work.
            limits: what heat leaves, by device.
        """
        with self._lock:
            now_s = self._clock()
            interval_s = now_s - self._ticked_s if self._ticked_s is not None else 0.0
            self._ticked_s = now_s
            for name, state in self._states.items():
                self._reclock(name, state, limits.get(name, Limit()))
                total, before = counts.get(name, DeviceCounts()), state.counts
                share = shares.get(name, DeviceShare(state.control.level, 0.0))
                if interval_s > 0 and before is not None:
                    state.done_mean += DONE_WEIGHT * (state.done_s / interval_s - state.done_mean)
                    served = max(0, total.served - before.served)
                    lost = max(0, total.lost_for_want_of_worker - before.lost_for_want_of_worker)
                    losing = total.highest_lost(before)
                    safe = 0.0 if losing is None else share.above(losing)
                    busy = (total.busy_s - before.busy_s) / interval_s / max(1, state.device.workers)
                    sample = Sample(share.planned, share.wanted, state.done_s / interval_s, served, lost, safe, busy)
                    state.control.tick(now_s, sample, state.limit.heat)
                state.counts, state.done_s = total, 0.0
                state.told = _told(state.control, state.told)

    def engines(self) -> dict[str, EngineCounts]:
        """Return what each engine has done so far."""
        with self._lock:
            return {name: EngineCounts(dict(one.batches), one.seconds) for name, one in self._tallies.items()}

    def device(self, name: str) -> Device:
        """Return what a device is."""
        with self._lock:
            return self._states[name].device

    def done(self, name: str) -> float:
        """Return the work that was done on a device of late, in seconds per second."""
        with self._lock:
            return self._states[name].done_mean

    def costs(self) -> dict[str, Cost]:
        """Return what is known of each engine. A cost changes only when it changes by more than 5 %."""
        with self._lock:
            now_s = self._clock()
            costs = {name: meter.cost(now_s) for name, meter in self._meters.items()}
            return {name: cost for name, cost in costs.items() if cost is not None}

    def machine(self) -> Machine:
        """Return the planner's picture of the machine. Small changes do not change it."""
        costs = self.costs()
        with self._lock:
            now_s = self._clock()
            decode_s = {camera: meter.frame_s(now_s) for camera, meter in self._decoders.items()}
            return Machine(
                engines={
                    name: EngineLoad(place.device, costs[name], place.batch)
                    for name, place in self._engines.items()
                    if name in costs
                },
                decode_s={camera: seconds for camera, seconds in decode_s.items() if seconds is not None},
                capacity={name: state.told for name, state in self._states.items()},
                workers={name: state.device.workers for name, state in self._states.items()},
                notes={name: state.limit.words for name, state in self._states.items() if state.limit.words},
            )

    def _reclock(self, device: str, state: _State, limit: Limit) -> None:
        """Expect all costs of a device to change with its clock, before they are measured anew."""
        if abs(limit.clock - state.limit.clock) > CLOCK_STEP and limit.clock > 0 and state.counts is not None:
            factor = state.limit.clock / limit.clock
            for name, place in self._engines.items():
                if place.device == device:
                    self._meters[name].scale(factor)
            for decoder in self._decoders.values() if device == CPU else ():
                decoder.scale(factor)
        state.limit = limit


def _told(control: Capacity, before: float) -> float:
    """Return the capacity in grains, rounded down; only more than one grain of change is told, but for the ends."""
    grain = GRAIN * control.nominal
    if control.level >= control.nominal:
        return control.nominal
    level = int(control.level / grain) * grain
    return round(level, 4) if abs(control.level - before) > grain or level < before else before
