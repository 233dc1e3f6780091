"""TensorRT in tests: a stand-in for a release and a GPU, and engines built for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from cuda_double import HostDevice
from tensorrt_double import make_tensorrt

from edged.device import gpu
from edged.engines.base import EngineRequest
from edged.engines.build.order import Order
from edged.engines.store import EngineMissing, Manifest, Store
from edged.engines.tensorrt.library import open_library


@dataclass
class StandIn:
    """A machine that is not there: TensorRT's module, and one GPU, of which each `open` returns a handle of its own."""

    trt: Any
    name: str = "NVIDIA Stand-In"
    capability: str = "8.7"
    opened: list[HostDevice] = field(default_factory=list)

    def open(self, number: int) -> HostDevice:
        """Stand in for `edged.device.gpu.open_device`."""
        self.opened.append(HostDevice(number, self.name, self.capability))
        return self.opened[-1]

    @property
    def device(self) -> HostDevice:
        """Return the handle that was opened last."""
        return self.opened[-1]

    @property
    def left(self) -> list[Any]:
        """Return what was taken and not given back: memory, graphs, and devices themselves."""
        return [one for device in self.opened for one in (*device.alive, *([] if device.closed else [device]))]


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch):
    """Return a maker of machines: a release, and what `tensorrt_behaviour.Board` takes."""
    made: list[StandIn] = []

    def board(release: str, **has: Any) -> StandIn:
        machine = StandIn(make_tensorrt(release, **has))
        monkeypatch.setitem(sys.modules, "tensorrt", machine.trt)
        monkeypatch.setattr(gpu, "open_device", machine.open)
        open_library.cache_clear()
        made.append(machine)
        return machine

    yield board
    open_library.cache_clear()
    for machine in made:
        assert machine.left == []


def build_into(request: EngineRequest, checks: tuple[Any, ...] = (), records: tuple[Any, ...] = ()) -> Manifest:
    """Build what a request wants into its store, unless it is there."""
    from edged.engines.build import trt

    store = Store(request.store)
    with store.writing():
        try:
            return store.manifest(trt.wanted_key(request))
        except EngineMissing:
            return trt.build(Order(request, checks, records), store)
