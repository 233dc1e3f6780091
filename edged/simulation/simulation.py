"""Runs a vehicle in simulated time: frames come, workers take batches, the plan is made ten times a second."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.plan import CameraState, Mode, Plan
from edged.scheduler.budget import Budget, Device, Frames, Place
from edged.scheduler.demand import CPU, Demand, Supply
from edged.scheduler.dispatch import Dispatcher, EngineLimits, Route, TaskCounts
from edged.scheduler.planner import make_plan
from edged.simulation.device import SharedDevice
from edged.simulation.vehicle import Order, SimCamera, Vehicle
from edged.work import Batch

TICK_S = 0.1
SAMPLES = 4  # that the budget wants of a batch size before it believes a cost
JITTER = 0.05  # of a camera's interval
NOTHING = Picture(1, 1, PixelFormat.GRAY, Color(), ())


@dataclass
class Outcome:
    """What a simulation gave: the dispatcher's own counts, and the age of each result when it was done."""

    seconds: float
    counts: dict[tuple[str, str], TaskCounts]
    ages_ms: dict[str, list[float]]
    busy: dict[str, float]
    plans: list[tuple[float, Plan]] = field(default_factory=list)
    """Every plan that differed from the one before, and when it was made."""


@dataclass(eq=False)
class _Camera:
    camera: SimCamera
    offset_s: float
    mode: Mode = Mode.COLD
    number: int = 0
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    """Frames that are due and not decoded yet, as (number, capture time): one is decoded at a time."""


class Simulation:
    """One vehicle. The scheduler in it is the real one; only cameras, devices and time are not.

    Args:
        vehicle: what there is.
        orders: what happens meanwhile.
        seed: of the cameras' phases and jitter.
    """

    def __init__(self, vehicle: Vehicle, orders: Iterable[Order] = (), seed: int = 1) -> None:
        self._vehicle = vehicle
        self._rng = random.Random(seed)
        self._now_ns = 1_000_000_000
        self._serial = itertools.count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._devices = {name: SharedDevice(one.parallel) for name, one in vehicle.devices.items()}
        self._free = {name: one.workers for name, one in vehicle.devices.items()}
        self._wishes = {demand.task: demand for demand in vehicle.tasks}
        self._active = {demand.task: demand.active for demand in vehicle.tasks}
        self._budget = Budget(
            {name: Device(one.parallel, one.workers) for name, one in vehicle.devices.items()},
            {engine: Place(load.device, load.batch) for engine, load in vehicle.engines.items()},
            clock=lambda: self._now_ns / 1e9,
        )
        self._dispatcher = Dispatcher(self._limits(), clock=lambda: self._now_ns)
        self._cameras = {camera.id: self._new_camera(camera) for camera in vehicle.cameras}
        self._plan = Plan()
        self._outcome = Outcome(0.0, {}, defaultdict(list), {})
        self._decoded: dict[str, int] = defaultdict(int)
        for engine, load in vehicle.engines.items():
            for pictures in {1, load.batch} if load.cost.of(1) > 0 else ():
                for _ in range(SAMPLES):
                    self._budget.measured(engine, pictures, load.cost.of(pictures))
        for order in orders:
            self._at(self._now_ns + int(order.at_s * 1e9), partial(self._obey, order))

    def run(self, seconds: float) -> Outcome:
        """Let the time pass."""
        end_ns = self._now_ns + int(seconds * 1e9)
        if not self._outcome.plans:
            self._tick()
        while (next_ns := self._next_ns()) <= end_ns:
            self._pass(next_ns)
            while self._events and self._events[0][0] <= self._now_ns:
                heapq.heappop(self._events)[2]()
            self._feed_workers()
        self._pass(end_ns)
        outcome = self._outcome
        outcome.seconds += seconds
        outcome.counts = self._dispatcher.counts()
        outcome.busy = {name: device.busy_s for name, device in self._devices.items()}
        return outcome

    def _at(self, at_ns: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_ns, next(self._serial), what))

    def _next_ns(self) -> int:
        times = [self._events[0][0]] if self._events else []
        for device in self._devices.values():
            left_s = device.next_done_s()
            if left_s is not None:
                times.append(self._now_ns + max(1, round(left_s * 1e9)))
        again_ns = self._dispatcher.look_again_ns()
        if again_ns is not None:
            times.append(max(again_ns, self._now_ns + 1))
        return min(times)

    def _pass(self, at_ns: int) -> None:
        seconds, self._now_ns = (at_ns - self._now_ns) / 1e9, at_ns
        over = [done for device in self._devices.values() for done in device.advance(seconds)]
        for done in over:
            done()

    # ---- cameras ---------------------------------------------------------------------------------------------------

    def _new_camera(self, camera: SimCamera) -> _Camera:
        one = _Camera(camera, self._rng.random() / camera.rate_hz)
        self._at(self._now_ns + int(one.offset_s * 1e9), partial(self._frame_due, one))
        return one

    def _frame_due(self, one: _Camera) -> None:
        """A picture was taken; it is decoded if the plan wants it, after those before it."""
        interval_s = 1 / one.camera.rate_hz
        jitter_s = interval_s * JITTER * self._rng.uniform(-1, 1)
        self._at(self._now_ns + int((interval_s + jitter_s) * 1e9), partial(self._frame_due, one))
        number, one.number = one.number, one.number + 1
        if one.mode is Mode.HOT:
            one.waiting.append((number, self._now_ns))
            if len(one.waiting) == 1:
                self._decode(one)

    def _decode(self, one: _Camera) -> None:
        begin_ns = self._now_ns

        def decoded() -> None:
            number, captured_ns = one.waiting.popleft()
            self._decoded[one.camera.id] += 1
            self._offer(one.camera.id, number, captured_ns, begin_ns)
            if one.waiting:
                self._decode(one)

        self._devices[CPU].start(one.camera.decode_s, decoded)

    def _offer(self, camera: str, number: int, captured_ns: int, begin_ns: int) -> None:
        capture = Capture(captured_ns, captured_ns, "driver")
        self._dispatcher.offer(Frame(camera, number, NOTHING, capture, self._now_ns - begin_ns, self._now_ns))

    # ---- workers ---------------------------------------------------------------------------------------------------

    def _feed_workers(self) -> None:
        for device, shared in self._devices.items():
            while self._free[device]:
                batch = self._dispatcher.take(0, device)
                if batch is None:
                    break
                self._free[device] -= 1
                seconds = self._vehicle.engines[batch.engine].cost.of(len(batch.jobs))
                shared.start(seconds, self._finisher(batch, device, seconds))

    def _finisher(self, batch: Batch, device: str, seconds: float) -> Callable[[], None]:
        begin_ns = self._now_ns

        def finished() -> None:
            self._free[device] += 1
            for job in batch.jobs:
                age_ms = (self._now_ns - job.frame.capture.mono_ns) / 1e6
                for task in self._dispatcher.done(job):
                    self._outcome.ages_ms[task].append(age_ms)
                job.frame.release()
            self._dispatcher.finished(batch, (self._now_ns - begin_ns) / 1e9)
            self._budget.measured(batch.engine, len(batch.jobs), seconds)

        return finished

    def _limits(self) -> dict[str, EngineLimits]:
        devices = self._vehicle.devices
        return {
            engine: EngineLimits(load.batch, devices[load.device].workers, load.device)
            for engine, load in self._vehicle.engines.items()
        }

    # ---- the plan --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._at(self._now_ns + int(TICK_S * 1e9), self._tick)
        for camera, frames in self._decoded.items():
            self._budget.decoded(camera, frames * self._cameras[camera].camera.decode_s, frames)
        delivered = {
            name: Frames(counts.served, counts.lost_for_want_of_worker, counts.lost_by_priority)
            for name, counts in self._dispatcher.devices().items()
        }
        self._budget.tick(self._plan.devices, delivered, {})
        self._dispatcher.set_costs(self._budget.costs())
        self._replan()

    def _obey(self, order: Order) -> None:
        if order.task:
            self._active[order.task] = order.active
            self._replan()
        if order.device:
            self._devices[order.device].parallel = self._vehicle.devices[order.device].parallel * order.share

    def _replan(self) -> None:
        now_s = self._now_ns / 1e9
        plan = make_plan(self._demands(), self._supplies(), self._budget.machine(), self._plan, now_s)
        if plan == self._plan:
            return
        self._outcome.plans.append((now_s - 1.0, plan))
        self._plan = plan
        for name, wanted in plan.cameras.items():
            self._cameras[name].mode = wanted.mode
        self._dispatcher.set_routes(
            {camera: tuple(map(self._route, wanted.tasks)) for camera, wanted in plan.cameras.items()}
        )

    def _demands(self) -> list[Demand]:
        return [replace(demand, active=self._active[demand.task]) for demand in self._vehicle.tasks]

    def _supplies(self) -> list[Supply]:
        return [
            Supply(camera.id, CameraState.RUNNING, "", camera.unneeded, rate_hz=camera.rate_hz)
            for camera in self._vehicle.cameras
        ]

    def _route(self, name: str) -> Route:
        demand = self._wishes[name]
        rate_hz = self._plan.tasks[name].rate_hz
        sync = self._vehicle.syncs.get(name)
        return Route(name, demand.engine, rate_hz, demand.priority, demand.deadline_ms, sync)
