"""Which engines serve where: `device: auto`, and the twin on the GPU that each engine on a DLA has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from edged.device import gpu
from edged.device.base import Device
from edged.engines.arranging import Arranged, Target, Want
from edged.engines.base import EngineRequest
from edged.engines.placing import Placed, Wish, place_engines
from edged.engines.store import Manifest, Store
from edged.engines.tensorrt.board import Board, open_board
from edged.engines.tensorrt.place import check_dla, key_of, place_of, sizes_of
from edged.errors import BackendUnavailable


class TrtArranger:
    """See `Arranger`. It knows this board, and what the manifests in the store say of times."""

    def __init__(self) -> None:
        self._board = open_board()

    def arrange(self, wants: Sequence[Want]) -> Mapping[EngineRequest, Arranged]:
        """Return where each request is to be served, from what was measured when the engines were built."""
        with closing(gpu.open_device(0)) as device:
            wishes = {want.request: _wish(want, self._board, device) for want in wants}
        placed = place_engines(wishes.values(), self._board.rooms)
        return {request: self._arranged(request, placed.get(wish.name)) for request, wish in wishes.items()}

    def _arranged(self, request: EngineRequest, placed: Placed | None) -> Arranged:
        if request.device != "auto":
            return self._chosen_by_the_user(request)
        if placed is None:
            return Arranged(("gpu0",), "")  # nothing is built: its error says so
        reason = placed.reason or ("" if request.precision == "fp32" else self._board.no_dla)
        return Arranged(placed.places, reason)

    def _chosen_by_the_user(self, request: EngineRequest) -> Arranged:
        devices = devices_for(request, self._board)
        try:
            check_dla(place_of(request), self._board.dla_cores, self._board.release)
        except BackendUnavailable as exc:
            return Arranged(devices[1:], str(exc))
        return Arranged(devices, "")


def devices_for(request: EngineRequest, board: Board) -> tuple[str, ...]:
    """Return the places where a request may be served.

    For `auto` all of the board, for fp32 its GPU. For a DLA core that core, and after it its twin on GPU 0, unless the
    task says that nothing of it may run there (`gpu_fallback: never`).
    """
    if request.device == "auto":
        return ("gpu0",) if request.precision == "fp32" else tuple(board.rooms)
    place = place_of(request)
    if place.dla is None or request.gpu_fallback == "never":
        return (str(place),)
    return (str(place), "gpu0")


def targets_of(request: EngineRequest, board: Board, own_batch: int | None) -> tuple[Target, ...]:
    """Return the engines to build for a request; those of one place with the largest batch first.

    Args:
        request: as a task has it.
        board: the machine.
        own_batch: the model's own batch where that is fixed.
    """
    found = []
    devices = devices_for(request, board)
    for name in devices:
        place = place_of(replace(request, device=name))
        free = request.device == "auto"
        twin = name != devices[0] and not free
        with closing(gpu.open_device(place.gpu)) as device:
            for size in sizes_of(request, place) if own_batch is None else (request.batch,):
                pinned = replace(request, device=name, batch=size)
                found.append(
                    Target(
                        pinned, key_of(pinned, place, device, board.release), name, twin, not free or place.dla is None
                    )
                )
    return tuple(found)


def _wish(want: Want, board: Board, device: Device) -> Wish:
    """Return what a request wants of each place that has an engine for it, in inferences as large as come together."""
    request = want.request
    ms: dict[str, float | None] = {}
    takes: dict[str, dict[str, int]] = {}
    pictures = min(request.batch, max(len(want.rates_hz), 1))
    for name in devices_for(request, board):
        if ms and request.device != "auto":
            break  # a twin only stands in
        manifests = _built(replace(request, device=name), device, board) if name in board.rooms else {}
        if request.batch not in manifests:
            continue  # the engine with the largest batch must be there
        ms[name] = _ms(manifests, pictures)
        if name.startswith("dla"):
            takes[name] = {"loadables": sum(one.about.get("layers", {}).get(name, 1) for one in manifests.values())}
    return Wish(str(request), want.priority, sum(want.rates_hz.values()) / pictures, ms, takes)


def _built(request: EngineRequest, device: Device, board: Board) -> dict[int, Manifest]:
    """Return the manifests of the engines that may be used, by batch."""
    found: dict[int, Manifest] = {}
    place = place_of(request)
    if request.store is None:
        return found
    store = Store(request.store, looking=True)
    for size in sizes_of(request, place):
        try:
            found[size] = store.find(key_of(replace(request, batch=size), place, device, board.release))[1]
        except BackendUnavailable:
            continue
    return found


def _ms(manifests: Mapping[int, Manifest], pictures: int) -> float | None:
    """Return the milliseconds that so many pictures take, in as few inferences as there are sizes for."""
    measured = {int(size): float(ms) for one in manifests.values() for size, ms in one.about.get("ms", {}).items()}
    if not measured:
        return None
    size = min((size for size in measured if size >= pictures), default=max(measured))
    return measured[size] * math.ceil(pictures / size)
