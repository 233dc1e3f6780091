"""The engines in service: their workers by device, and how one set of engines takes over from another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from edged.assembly import Assembled
from edged.engines.worker import EngineHolder, EngineTable, EngineWorker
from edged.results import Result
from edged.scheduler.budget import Budget, Device, Place
from edged.scheduler.demand import CPU
from edged.scheduler.dispatch import Dispatcher, EngineLimits
from edged.supervisor import ENGINE, Supervisor

LOOK_S = 0.005


class EngineRoom:
    """Owns the engines of a configuration, the dispatcher and the budget that serve them, and their workers.

    Used by the daemon's main thread only.

    Args:
        supervisor: owner of the workers' threads.
        assembled: the engines to begin with.
        emit: takes results, from the workers' threads, and whether the sender must wait rather than drop.
    """

    def __init__(self, supervisor: Supervisor, assembled: Assembled, emit: Callable[[Result, bool], None]) -> None:
        self._supervisor, self._emit = supervisor, emit
        self._table = table_of(assembled)
        self._holder = EngineHolder(self._table)
        self.dispatcher = Dispatcher(limits_of(self._table))
        self.budget = Budget(devices_of(self._table), places_of(self._table))
        self.workers: list[EngineWorker] = []

    def start(self) -> None:
        """Start the workers that the devices need and that do not run yet."""
        for device, about in devices_of(self._holder.table).items():
            running = sum(worker.device == device for worker in self.workers)
            for number in range(running, about.workers):
                name = f"engine:{device}:{number}"
                worker = EngineWorker(name, self.dispatcher, self._holder, self._emit, self.budget.measured, device)
                self.workers.append(worker)
                self._supervisor.start(worker, ENGINE)

    def take_over(self, assembled: Assembled) -> None:
        """Serve other engines beside those in service, which `retire` then closes once no route leads to them."""
        while not self.retire():  # of the takeover before this one; its last batches are short
            time.sleep(LOOK_S)
        old, self._table = self._table, table_of(assembled)
        both = EngineTable({**old.engines, **self._table.engines}, {**old.parsers, **self._table.parsers})
        self._holder.table = both
        self.dispatcher.set_limits(limits_of(both))
        self.budget.place(devices_of(both), places_of(both))
        self.start()

    def retire(self) -> bool:
        """Close the engines that are no longer in service. Returns False while batches of them are still at work."""
        leaving = self._holder.table.engines.keys() - self._table.engines.keys()
        if not leaving and self._holder.table is self._table:
            return True
        if any(self.dispatcher.in_flight(key) for key in leaving):
            return False
        both, self._holder.table = self._holder.table, self._table
        self.dispatcher.set_limits(limits_of(self._table))
        for key in leaving:
            both.engines[key].engine.close()
        return True

    def close(self) -> None:
        """Free all engines. The workers have ended."""
        for loaded in self._holder.table.engines.values():
            loaded.engine.close()


def table_of(assembled: Assembled) -> EngineTable:
    """Return what the workers serve batches with."""
    parsers = {(task, assembled.task_engine[task]): parser.parse for task, parser in assembled.parsers.items()}
    return EngineTable(assembled.engines, parsers)


def limits_of(table: EngineTable) -> dict[str, EngineLimits]:
    """Return what the dispatcher must know of each engine."""
    return {
        key: EngineLimits(loaded.engine.max_batch, loaded.engine.workers, loaded.engine.device)
        for key, loaded in table.engines.items()
    }


def places_of(table: EngineTable) -> dict[str, Place]:
    """Return what the budget must know of each engine."""
    return {key: Place(loaded.engine.device, loaded.engine.max_batch) for key, loaded in table.engines.items()}


def devices_of(table: EngineTable) -> Mapping[str, Device]:
    """Return the devices that there is work for; the CPU is always one, for it decodes.

    The CPU's time is that of its cores. On a GPU or DLA inferences overlap, and what one of them took is the time of
    its worker, all waits included: such a device has as many seconds a second as it has workers.
    """
    workers: dict[str, int] = {CPU: 0}
    for loaded in table.engines.values():
        device = loaded.engine.device
        workers[device] = max(workers.get(device, 0), loaded.engine.workers)
    cores = len(os.sched_getaffinity(0))
    return {name: Device(float(cores if name == CPU else count), count) for name, count in workers.items()}
