"""Where a TensorRT engine runs, and the key under which the store has it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from edged.device.base import Device
from edged.engines.base import EngineRequest
from edged.engines.store import EngineKey, engine_key, file_sha256
from edged.engines.tensorrt.library import BACKEND
from edged.errors import BackendUnavailable, ConfigError

PLACE = re.compile(r"(gpu|dla)(\d*)")


@dataclass(frozen=True)
class Place:
    """A GPU, or one of the DLA cores beside GPU 0. `dla` is the core's number, None on the GPU."""

    gpu: int
    dla: int | None = None

    def __str__(self) -> str:
        return f"gpu{self.gpu}" if self.dla is None else f"dla{self.dla}"

    @property
    def contexts(self) -> int:
        """Return how many contexts an engine has there.

        Four streams reach what a small network can have of a GPU. A DLA core does one inference at a time, and the
        second context takes its input meanwhile.
        """
        return 4 if self.dla is None else 2

    @property
    def kind(self) -> str:
        """Return what an engine is built for: any GPU of the same model is as good as another, a DLA core is not."""
        return "gpu" if self.dla is None else f"dla{self.dla}"


def place_of(request: EngineRequest) -> Place:
    """Return where a request wants to run; `auto` is the first GPU.

    Raises:
        BackendUnavailable: TensorRT does not run there.
        ConfigError: the precision is none that the place has.
    """
    name = "gpu" if request.device == "auto" else request.device
    found = PLACE.fullmatch(name)
    if found is None:
        raise BackendUnavailable(f"engine back end 'tensorrt' runs on a GPU or a DLA, not on {request.device!r}")
    number = int(found[2] or 0)
    if found[1] == "gpu":
        return Place(number)
    if request.precision == "fp32":
        raise ConfigError(f"{name} computes in fp16 or int8 only, precision is fp32")
    return Place(0, number)


def check_dla(place: Place, cores: int, release: str) -> None:
    """Raise `BackendUnavailable` for a DLA core that TensorRT does not find."""
    if place.dla is not None and place.dla >= cores:
        have = f"{cores} DLA core(s)" if cores else "no DLA: the board has none, or this release does not support it"
        raise BackendUnavailable(f"{place}: TensorRT {release} finds {have}; use device: gpu")


def key_of(request: EngineRequest, place: Place, device: Device, release: str) -> EngineKey:
    """Return the key of the engine that serves a request on this machine.

    Args:
        request: what is wanted.
        place: where it runs.
        device: that GPU, or the one that the DLA core is beside.
        release: TensorRT's.
    """
    facts = {
        "device": place.kind,
        "batch": profile_text(request, place),
        "tensorrt": release,
        "cuda": device.driver,
        "capability": device.capability,
        "gpu": device.name,
        "plugins": _plugins_digest(request),
    }
    if place.dla is not None:
        facts["gpu_fallback"] = "no" if request.gpu_fallback == "never" else "yes"
    return engine_key(request, BACKEND, facts)


def sizes_of(request: EngineRequest, place: Place) -> tuple[int, ...]:
    """Return the largest batches of the engines that serve a request at a place, the largest first.

    On a GPU one engine takes any batch. On a DLA each takes one: there the powers of two below the largest have engines
    of their own, and a batch in between takes the next larger one. One for every size would soon fill a core, which
    holds 16 loadables.
    """
    if place.dla is None:
        return (request.batch,)
    return tuple(sorted({request.batch, *(1 << n for n in range(request.batch.bit_length()))}, reverse=True))


def profile_of(request: EngineRequest, place: Place) -> tuple[int, int, int]:
    """Return one engine's least, best and greatest batch: any up to the request's on a GPU, just that on a DLA."""
    return (1 if place.dla is None else request.batch, request.batch, request.batch)


def profile_text(request: EngineRequest, place: Place) -> str:
    """Return the profile as keys have it."""
    return "/".join(map(str, profile_of(request, place)))


def _plugins_digest(request: EngineRequest) -> str:
    parts = [file_sha256(path) for path in request.plugins]
    return hashlib.sha256("".join(parts).encode()).hexdigest() if parts else "none"
