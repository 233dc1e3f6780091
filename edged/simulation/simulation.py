"""Runs a vehicle in simulated time: frames come, workers take batches, the plan is made ten times a second."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from edged.cameras import FanOut, Views
from edged.lens import Equirectangular, View
from edged.plan import CameraState, Plan
from edged.scheduler.budget import Budget, Place
from edged.scheduler.costs import SAMPLES_MIN
from edged.scheduler.demand import CPU, Demand, Supply
from edged.scheduler.dispatch import Dispatcher, EngineLimits, Route, TaskCounts
from edged.scheduler.planner import make_plan
from edged.simulation.camera import CameraModel
from edged.simulation.clock import EventClock
from edged.simulation.device import SharedDevice
from edged.simulation.vehicle import Order, SimCamera, Vehicle
from edged.work import Batch

TICK_S = 0.1
ANY_VIEW = View(Equirectangular(), 1, 1, 90.0)  # there are no pixels
LOOK_NS = 1_000_000  # to the next look while a device without a free worker hides when another one is due


@dataclass
class Outcome:
    """What a simulation gave: the dispatcher's own counts, and the age of each result when it was done.

    Attributes:
        seconds: that were simulated.
        counts: frames by (task, camera), and where they went.
        ages_ms: by task, from capture to result, in the order of the results.
        busy_s: work done, by device.
        overrun: frames by camera that were due and could not be decoded in time.
        leased: frames that wait or are being inferred at the end.
        plans: every plan that differed from the one before, and when it was made.
    """

    seconds: float = 0.0
    counts: dict[tuple[str, str], TaskCounts] = field(default_factory=dict)
    ages_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    busy_s: dict[str, float] = field(default_factory=dict)
    overrun: dict[str, int] = field(default_factory=dict)
    leased: int = 0
    plans: list[tuple[float, Plan]] = field(default_factory=list)


class Simulation:
    """One vehicle. The scheduler in it is the real one; only cameras, devices and time are not.

    Args:
        vehicle: what there is.
        orders: what happens meanwhile.
        seed: of the cameras' phases and jitter. Equal seeds give equal outcomes.

    Raises:
        ValueError: an order for a task or device that is not there, or one that leaves nothing of a device.
    """

    def __init__(self, vehicle: Vehicle, orders: Iterable[Order] = (), seed: int = 1) -> None:
        self._vehicle = vehicle
        self._clock = EventClock()
        self._devices = {name: SharedDevice(one.units) for name, one in vehicle.devices.items()}
        self._free = {name: one.workers for name, one in vehicle.devices.items()}
        self._demands = {demand.task: demand for demand in vehicle.tasks}
        decoded = {one.id: one for one in vehicle.cameras if not one.view_of}
        self._supplies = [_supply(one, decoded[one.view_of or one.id]) for one in vehicle.cameras]
        self._budget = _budget(vehicle, self._clock)
        self._dispatcher = Dispatcher(_limits(vehicle), clock=lambda: self._clock.now_ns)
        rng, cpu = random.Random(seed), self._devices[CPU]
        sink = FanOut(self._dispatcher.offer, _views(vehicle))
        self._cameras = [CameraModel(one, self._clock, cpu, vehicle.own_s, sink, rng) for one in decoded.values()]
        self._plan = Plan()
        self._outcome = Outcome()
        self._clock.after(0.0, self._tick)
        for order in orders:
            self._check(order)
            self._clock.after(order.at_s, partial(self.obey, order))

    def run(self, seconds: float) -> Outcome:
        """Let the time pass. A further call goes on from there, and its outcome has the sums of both."""
        end_ns = self._clock.now_ns + int(seconds * 1e9)
        while (next_ns := self._next_ns()) <= end_ns:
            self._pass(next_ns)
            self._clock.run_due()
            self._feed_workers()
        self._pass(end_ns)
        outcome = self._outcome
        outcome.seconds = self._clock.since_start_s
        outcome.counts = self._dispatcher.counts()
        outcome.busy_s = {name: device.busy_s for name, device in self._devices.items()}
        outcome.overrun = {one.camera.id: one.overrun for one in self._cameras}
        outcome.leased = sum(one.leased for one in self._cameras)
        return outcome

    def obey(self, order: Order) -> None:
        """Have an order happen now, whatever its time."""
        self._check(order)
        if order.device:
            self._devices[order.device].parallel = self._vehicle.devices[order.device].units * order.share
        if order.task:
            self._demands[order.task] = replace(self._demands[order.task], active=order.active)
            self._replan()

    def _check(self, order: Order) -> None:
        if order.task and order.task not in self._demands:
            raise ValueError(f"no task {order.task!r}; there are {', '.join(self._demands)}")
        if order.device and order.device not in self._devices:
            raise ValueError(f"no device {order.device!r}; there are {', '.join(self._devices)}")
        if not order.share > 0:
            raise ValueError(f"share must be above 0, got {order.share:g}")

    def _next_ns(self) -> int:
        """Return when something happens next; the next tick is always known."""
        now_ns = self._clock.now_ns
        times = [self._clock.next_ns, self._look_again_ns()]
        for device in self._devices.values():
            left_s = device.next_done_s()
            times.append(None if left_s is None else now_ns + math.ceil(left_s * 1e9))
        return min(at_ns for at_ns in times if at_ns is not None)

    def _look_again_ns(self) -> int | None:
        """Return when a free worker should look for a batch although nothing else happens."""
        if not any(self._free.values()):
            return None
        again_ns, now_ns = self._dispatcher.look_again_ns(), self._clock.now_ns
        return now_ns + LOOK_NS if again_ns is not None and again_ns <= now_ns else again_ns

    def _pass(self, at_ns: int) -> None:
        seconds, self._clock.now_ns = (at_ns - self._clock.now_ns) / 1e9, at_ns
        over = [done for device in self._devices.values() for done in device.advance(seconds)]
        for done in over:
            done()

    # ---- workers ---------------------------------------------------------------------------------------------------

    def _feed_workers(self) -> None:
        for device, shared in self._devices.items():
            while self._free[device] and (batch := self._dispatcher.take(0, device)) is not None:
                self._free[device] -= 1
                seconds = self._vehicle.engines[batch.engine].cost.of(len(batch.jobs))
                shared.start(seconds, self._finisher(batch, device, seconds))

    def _finisher(self, batch: Batch, device: str, seconds: float) -> Callable[[], None]:
        begin_ns = self._clock.now_ns

        def finished() -> None:
            self._free[device] += 1
            now_ns = self._clock.now_ns
            for job in batch.jobs:
                age_ms = (now_ns - job.frame.capture.mono_ns) / 1e6
                job.frame.release()
                for task in self._dispatcher.done(job):
                    self._outcome.ages_ms[task].append(age_ms)
                    if self._vehicle.publish_s:
                        self._devices[CPU].start(self._vehicle.publish_s, _nothing)
            wall_s = (now_ns - begin_ns) / 1e9
            self._budget.measured(batch.engine, len(batch.jobs), seconds if device == CPU else wall_s)
            self._dispatcher.finished(batch, wall_s)

        return finished

    # ---- the plan --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Follow costs and losses, as the daemon's main loop does."""
        self._clock.after(TICK_S, self._tick)
        for one in self._cameras:
            self._budget.decoded(one.camera.id, one.decoded * one.camera.decode_s, one.decoded)
        self._budget.tick(self._plan.devices, self._dispatcher.devices(), {})
        self._dispatcher.set_costs(self._budget.costs())
        self._replan()

    def _replan(self) -> None:
        now_s, demands = self._clock.now_s, self._demands.values()
        plan = make_plan(demands, self._supplies, self._budget.machine(), self._plan, now_s)
        if plan == self._plan:
            return
        self._outcome.plans.append((self._clock.since_start_s, plan))
        self._plan = plan
        for one in self._cameras:
            one.mode = plan.cameras[one.camera.id].mode
        self._dispatcher.set_routes(
            {camera: tuple(map(self._route, wanted.tasks)) for camera, wanted in plan.cameras.items()}
        )

    def _route(self, name: str) -> Route:
        demand: Demand = self._demands[name]
        rate_hz, sync = self._plan.tasks[name].rate_hz, self._vehicle.syncs.get(name)
        return Route(name, demand.engine, rate_hz, demand.priority, demand.deadline_ms, sync)


def _supply(camera: SimCamera, decoder: SimCamera) -> Supply:
    return Supply(
        camera.id,
        CameraState.RUNNING,
        "",
        decoder.unneeded,
        decoder.linger_s,
        rate_hz=decoder.rate_hz,
        of=camera.view_of,
    )


def _views(vehicle: Vehicle) -> Views:
    views: dict[str, list[tuple[str, View]]] = {}
    for one in vehicle.cameras:
        if one.view_of:
            views.setdefault(one.view_of, []).append((one.id, ANY_VIEW))
    return views


def _nothing() -> None:
    """What follows the publishing of a result."""


def _limits(vehicle: Vehicle) -> dict[str, EngineLimits]:
    return {
        engine: EngineLimits(load.batch, vehicle.devices[load.device].workers, load.device)
        for engine, load in vehicle.engines.items()
    }


def _budget(vehicle: Vehicle, clock: EventClock) -> Budget:
    """Return the budget of a daemon that has run these engines before: it knows their costs."""
    budget = Budget(
        vehicle.devices,
        {engine: Place(load.device, load.batch) for engine, load in vehicle.engines.items()},
        clock=lambda: clock.now_s,
    )
    for engine, load in vehicle.engines.items():
        for pictures in sorted({1, load.batch}):
            for _ in range(1 + SAMPLES_MIN):  # the first one is taken for a warm-up
                budget.measured(engine, pictures, load.cost.of(pictures))
    return budget
