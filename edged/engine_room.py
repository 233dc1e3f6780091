"""The engines in service: their workers by device, and how one set of engines takes over from another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from edged.assembly import NOTHING, Assembled
from edged.engines.base import EngineFacts
from edged.engines.worker import EngineHolder, EngineTable, EngineWorker, LoadedEngine, StageCpu
from edged.results import Result
from edged.scheduler.budget import Device, Place
from edged.scheduler.demand import CPU
from edged.scheduler.dispatch import Dispatcher, EngineLimits
from edged.supervisor import ENGINE, Supervisor


class EngineRoom:
    """Owns the engines in service, the dispatcher that leads frames to them, and their workers. Empty at first.

    Used by its process's main thread only.

    Args:
        supervisor: owner of the workers' threads.
        emit: takes results, from the workers' threads, and whether the sender must wait rather than drop.
        measured: told what each batch took, from the workers' threads; see `EngineWorker`.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        emit: Callable[[Result, bool], None],
        measured: Callable[[str, int, float], None],
    ) -> None:
        self._supervisor, self._emit, self._measured = supervisor, emit, measured
        self._table = table_of(NOTHING)
        self._holder = EngineHolder(self._table)
        self.dispatcher = Dispatcher({})
        self._workers: list[EngineWorker] = []
        self._leaving: list[tuple[str, LoadedEngine]] = []  # out of service, and not closed yet; by key

    def stages(self) -> StageCpu:
        """Return the CPU seconds that all workers have spent in each stage."""
        return StageCpu.total(worker.cpu() for worker in self._workers)

    def notes(self) -> dict[str, str]:
        """Return how each engine runs, in words; see `Engine.note`."""
        return {key: loaded.engine.note for key, loaded in self._table.engines.items()}

    def take_over(self, assembled: Assembled) -> None:
        """Serve other engines beside those in service, which `retire` then closes once no route leads to them."""
        self.retire()  # of the takeover before this one, what is done by now
        held, self._table = self._holder.table, table_of(assembled)
        known = {id(one.engine) for one in (*self._table.engines.values(), *(one for _, one in self._leaving))}
        self._leaving += [(key, one) for key, one in held.engines.items() if id(one.engine) not in known]
        self._serve(EngineTable({**held.engines, **self._table.engines}, {**held.parsers, **self._table.parsers}))
        self._start()

    def retire(self) -> None:
        """Close the engines that are no longer in service, and forget parsers likewise; not while a batch needs them.

        A batch may take as long as a plug-in wants: nobody waits for it here.
        """
        held, now = self._holder.table, self._table
        if not self._leaving and held.parsers.keys() == now.parsers.keys():
            return
        busy = {key for key in held.engines if self.dispatcher.in_flight(key)}
        engines = {key: one for key, one in held.engines.items() if key in now.engines or key in busy}
        parsers = {at: parse for at, parse in held.parsers.items() if at in now.parsers or at[1] in busy}
        if len(engines) < len(held.engines) or len(parsers) < len(held.parsers):
            self._serve(EngineTable(engines, parsers))
        done = [one for key, one in self._leaving if key not in busy]
        self._leaving = [(key, one) for key, one in self._leaving if key in busy]
        for one in done:
            one.engine.close()

    def close(self) -> None:
        """Free all engines. The workers have ended."""
        left = (*self._holder.table.engines.values(), *(one for _, one in self._leaving))
        for engine in {id(one.engine): one.engine for one in left}.values():
            engine.close()

    def _serve(self, table: EngineTable) -> None:
        self._holder.table = table
        self.dispatcher.set_limits(limits_of(table))

    def _start(self) -> None:
        """Start the workers that the devices need and that do not run yet."""
        for device, needed in workers_of(self._holder.table.facts()).items():
            running = sum(worker.device == device for worker in self._workers)
            for number in range(running, needed):
                name = f"engine:{device}:{number}"
                worker = EngineWorker(name, self.dispatcher, self._holder, self._emit, self._measured, device)
                self._workers.append(worker)
                self._supervisor.start(worker, ENGINE)


def table_of(assembled: Assembled) -> EngineTable:
    """Return what the workers serve batches with."""
    parsers = {(task, assembled.task_engine[task]): parser.parse for task, parser in assembled.parsers.items()}
    return EngineTable(assembled.engines, parsers)


def limits_of(table: EngineTable) -> dict[str, EngineLimits]:
    """Return what the dispatcher must know of each engine."""
    return {key: EngineLimits(one.max_batch, one.workers, one.device) for key, one in table.facts().items()}


def places_of(engines: Mapping[str, EngineFacts]) -> dict[str, Place]:
    """Return what the budget must know of each engine."""
    return {key: Place(one.device, one.max_batch) for key, one in engines.items()}


def workers_of(engines: Mapping[str, EngineFacts]) -> dict[str, int]:
    """Return how many workers each device needs in a process that has these engines."""
    workers: dict[str, int] = {}
    for one in engines.values():
        workers[one.device] = max(workers.get(one.device, 0), one.workers)
    return workers


def devices_of(processes: Iterable[Mapping[str, EngineFacts]]) -> Mapping[str, Device]:
    """Return the devices that there is work for, given the engines of each process; the CPU is always one: it decodes.

    The CPU's time is that of its cores. On a GPU or DLA inferences overlap, and what one of them took is the time of
    its worker, all waits included: such a device has as many seconds a second as it has workers.
    """
    workers = Counter({CPU: 0})
    for engines in processes:
        workers.update(workers_of(engines))
    cores = len(os.sched_getaffinity(0))
    return {name: Device(float(cores if name == CPU else count), count) for name, count in workers.items()}
