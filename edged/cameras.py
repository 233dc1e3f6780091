"""From a camera's configuration to its source and its worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from edged.camera import ORDER, SOURCES
from edged.camera.base import CameraSource, Opening
from edged.camera.counter import FrameCounter
from edged.camera.worker import CameraWorker, Sink, Traits
from edged.config import CameraConfig, Config, Secrets
from edged.errors import BackendUnavailable

NATIVE = ("v4l2", "v4l2_isolated")


def camera_worker(name: str, config: Config, secrets: Secrets, sink: Sink, counter: FrameCounter) -> CameraWorker:
    """Return the worker of one camera, closed until a plan wakes it."""
    camera, edged = config.cameras[name], config.edged
    backend, opener = source_opener(name, camera, secrets)
    traits = Traits(
        camera=name,
        loop=camera.loop,
        fast=camera.pace == "fast",
        stall_timeout_s=camera.stall_timeout_s,
        picture_max_px=int(edged.limits.picture_mpx * 1e6),
        patience_s=camera.open_timeout_s + camera.stall_timeout_s,
        warm_max_s=edged.scheduler.warm_max_s,
        warm_max_bytes=int(edged.scheduler.warm_max_mb * 1e6),
    )
    return CameraWorker(traits, backend, opener, sink, counter)


def source_opener(camera: str, config: CameraConfig, secrets: Secrets) -> tuple[str, Callable[[], CameraSource]]:
    """Return the back end that serves a camera, and how to open it.

    The camera's own order is tried, else its scheme's; the first one whose library is there is taken. Where none is,
    opening says why, each time: the library may be installed while the daemon runs.
    """
    order = config.backend or ORDER[config.source.scheme]
    special = _only_native(config)
    opening = _opening(camera, config, secrets)
    missing: list[str] = []
    for backend in order:
        if special and backend not in NATIVE:
            missing.append(f"camera backend {backend!r} knows no {special}")
            continue
        try:
            return backend, partial(_open, SOURCES.load(backend), opening, secrets)
        except BackendUnavailable as exc:
            missing.append(str(exc))
    return "none", partial(_unavailable, "; ".join(missing))


def _only_native(config: CameraConfig) -> str:
    """Return what a camera's configuration asks for that only V4L2's own back ends do."""
    bus = config.source.scheme == "v4l2" and config.source.rest.startswith("bus:")
    asked = {"bus address": bus, "pixel_format": bool(config.pixel_format), "controls": bool(config.controls)}
    return ", ".join(name for name, there in asked.items() if there)


def _opening(camera: str, config: CameraConfig, secrets: Secrets) -> Opening:
    source = config.source
    local = source.scheme in ("file", "v4l2", "scene", "csi", "shm")
    return Opening(
        camera=camera,
        scheme=source.scheme,
        url=source.rest if local else str(source),
        redact=secrets.redact,
        width_px=config.width_px,
        height_px=config.height_px,
        rate_hz=config.rate_hz,
        pixel_format=config.pixel_format,
        controls=dict(config.controls),
        transport=config.transport,
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=max(config.stall_timeout_s, 1.0) + 2.0,
    )


def _open(source_class: type[CameraSource], opening: Opening, secrets: Secrets) -> CameraSource:
    return source_class(replace(opening, url=secrets.expand(opening.url)))


def _unavailable(reason: str) -> CameraSource:
    raise BackendUnavailable(reason)
