"""TensorRT in tests: a stand-in for a release and a GPU, and engines built for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
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
    """A machine that is not there: TensorRT's module, and the one GPU."""

    trt: Any
    device: HostDevice

    @property
    def left(self) -> list[Any]:
        """Return what was taken from the device and not given back."""
        return self.device.alive


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch):
    """Return a maker of machines: a release, and what `tensorrt_behaviour.Board` takes."""
    made: list[StandIn] = []

    def board(release: str, **has: Any) -> StandIn:
        machine = StandIn(make_tensorrt(release, **has), HostDevice())
        monkeypatch.setitem(sys.modules, "tensorrt", machine.trt)
        monkeypatch.setattr(gpu, "open_device", lambda number: machine.device)
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
