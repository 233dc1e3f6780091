"""From a camera's configuration to its source, its worker, and the views of its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from edged.assembly import Lineup
from edged.camera import ON_DEVICE, SOURCES, beyond, order_of
from edged.camera.base import CameraSource, Opening
from edged.camera.counter import FrameCounter
from edged.camera.opener import Opener
from edged.camera.worker import CameraWorker, Sink, Traits
from edged.config import CameraConfig, Config, Secrets
from edged.errors import BackendUnavailable
from edged.frame import Frame
from edged.lens import View
from edged.scheduler.demand import CPU

Views = Mapping[str, Sequence[tuple[str, View]]]
"""By camera: the id of each of its views, and the view."""


class FanOut:
    """Between the cameras and the dispatcher: hands a camera's frame on as one frame for each of its views, and itself.

    A view's frame has the camera's number, times and pixels, and holds a lease of its frame: the pixels go back to the
    source when the last of them is released. Frames that nobody claims are given back by the dispatcher. Any thread
    may call it; `views` is replaced as a whole.
    """

    def __init__(self, sink: Sink, views: Views) -> None:
        self._sink = sink
        self.views = views

    def __call__(self, frame: Frame, wait: bool = False) -> None:
        """Take over one frame and its lease. With `wait`, return only when all of them have a place."""
        views = self.views.get(frame.camera, ())
        if views:
            frame.retain(len(views))
        for name, view in views:
            picture = frame.picture.through(view)
            again = Frame(name, frame.id, picture, frame.capture, frame.decode_ns, frame.decoded_ns, frame.release)
            self._sink(again, wait)
        self._sink(frame, wait)


def views_of(config: Config) -> Views:
    """Return the views of each camera that has some."""
    views: dict[str, tuple[tuple[str, View], ...]] = {}
    for name, one in config.views.items():
        if (view := config.view(name)) is not None:
            views[one.view_of] = (*views.get(one.view_of, ()), (name, view))
    return views


def camera_worker(
    name: str, config: Config, secrets: Secrets, sink: Sink, counter: FrameCounter, gpu: int | None = None
) -> CameraWorker:
    """Return the worker of one camera, closed until a plan wakes it. `gpu` is as `gpu_of` says."""
    camera, edged = config.cameras[name], config.edged
    opener = source_opener(name, camera, secrets, gpu)
    traits = Traits(
        camera=name,
        loop=camera.loop,
        fast=camera.pace == "fast",
        stall_timeout_s=camera.stall_timeout_s,
        picture_max_px=int(edged.limits.picture_mpx * 1e6),
        patience_s=2 * camera.open_timeout_s + camera.stall_timeout_s,
        blind_max_s=_silence_s(camera),
        warm_max_s=edged.scheduler.warm_max_s,
        warm_max_bytes=int(edged.scheduler.warm_max_mb * 1e6),
        redact=secrets.redact,
    )
    return CameraWorker(traits, opener, sink, counter)


def gpu_of(camera: str, config: Config, lineup: Lineup) -> int | None:
    """Return the GPU that alone has engines which read a camera's frames, so that they may stay in its memory.

    None where the CPU reads some of them, where two GPUs do, and where nobody does.
    """
    readers = {
        lineup.engines[lineup.task_engine[name]].device
        for name, task in config.tasks.items()
        if name in lineup.task_engine and any(config.decoder_of(one) == camera for one in task.cameras)
    }
    if not readers or CPU in readers:
        return None
    gpus = {int(device.removeprefix("gpu")) if device.startswith("gpu") else 0 for device in readers}
    return gpus.pop() if len(gpus) == 1 else None  # a DLA is beside GPU 0


def source_opener(camera: str, config: CameraConfig, secrets: Secrets, gpu: int | None = None) -> Opener:
    """Return how a camera is opened.

    The camera's own order is tried, else its scheme's; the first one whose library is there, and whose pictures the
    camera's engines can read, is taken, and the next such one where it cannot decode the stream. Where none is, opening
    says why, each time.
    """
    order = config.backend or order_of(config.source.scheme)
    opening = replace(_opening(camera, config, secrets), gpu=gpu or 0)
    missing: list[str] = []
    usable: list[tuple[str, Callable[[], CameraSource]]] = []
    for backend in order:
        if unknown := beyond(backend, config):
            missing.append(f"camera backend {backend!r} knows no {unknown}")
            continue
        if backend in ON_DEVICE and gpu is None:
            missing.append(
                f"camera backend {backend!r} keeps pictures on a GPU, where no engine of its tasks reads them"
            )
            continue
        try:
            usable.append((backend, partial(_open, SOURCES.load(backend), opening, secrets)))
        except BackendUnavailable as exc:
            missing.append(str(exc))
    return Opener(camera, usable or [("none", partial(_unavailable, "; ".join(missing)))])


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
        clock_synced=config.clock_synced,
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=_silence_s(config),
    )


def _silence_s(config: CameraConfig) -> float:
    """Return how long a stream may give nothing before it is opened anew."""
    return max(config.stall_timeout_s, 1.0) + 2.0


def _open(source_class: type[CameraSource], opening: Opening, secrets: Secrets) -> CameraSource:
    return source_class(replace(opening, url=secrets.expand(opening.url)))


def _unavailable(reason: str) -> CameraSource:
    raise BackendUnavailable(reason)
