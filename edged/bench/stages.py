"""The ceilings: what each stage costs alone, on every core at once, with nothing of the daemon around it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from edged.assembly import assemble
from edged.bench.load import TASK, Load, resolved
from edged.camera.base import Opening
from edged.camera.pyav import PyAvSource
from edged.engines.ort import OrtEngine
from edged.errors import CameraEnded, UsageError
from edged.frame import Capture, Frame

FRAMES = 64  # more pictures than the caches hold, so that each is read from memory as in real life


@dataclass(frozen=True)
class Stages:
    """CPU milliseconds of one frame in each stage, with all cores at it, and the frames a second they allow."""

    cores: int
    decode: float
    convert: float
    infer: float
    parse: float
    convert_by: dict[str, float]

    @property
    def frame_ms(self) -> float:
        """CPU milliseconds of one frame in all stages, with the cheapest conversion."""
        return self.decode + min(self.convert, *self.convert_by.values()) + self.infer + self.parse

    @property
    def ceiling_hz(self) -> float:
        """Frames a second if nothing else took any time: cores / (decode + convert + infer + parse)."""
        return 1000 * self.cores / self.frame_ms


def measure_stages(load: Load, seconds: float) -> Stages:
    """Run each stage by itself for about `seconds`, one thread on each core."""
    config = resolved(load)
    assembled = assemble(config)
    if TASK not in assembled.parsers:
        raise UsageError(assembled.blocked[TASK])
    engine = assembled.engines[assembled.task_engine[TASK]].engine
    if not isinstance(engine, OrtEngine):
        raise UsageError(f"the ceilings are measured for the CPU's engine, not for {engine.backend}")
    parser = assembled.parsers[TASK]
    frames = _frames(load)
    slots = [slot for _ in range(engine.workers) if (slot := engine.reserve(1.0)) is not None]
    outputs, fits = [], []
    for frame in frames:
        fits.append(slots[0].fill(0, frame))
        slots[0].submit(1)
        outputs.append({name: np.array(value) for name, value in slots[0].complete().items()})

    def fill(core: int, turn: int) -> None:
        slots[core].fill(0, frames[turn % len(frames)])

    def infer(core: int, _: int) -> None:
        slots[core].submit(1)
        dict(slots[core].complete())

    def parse(_: int, turn: int) -> None:
        parser.parse(outputs[turn % len(outputs)], 0, fits[turn % len(fits)])

    cores = len(os.sched_getaffinity(0))
    height, width = engine.model.inputs[0].shape[2:]
    return Stages(
        cores=cores,
        decode=_decode_ms(load, seconds, cores),
        convert=_each_ms(fill, seconds, cores),
        infer=_each_ms(infer, seconds, cores),
        parse=_each_ms(parse, seconds, cores),
        convert_by=_usual_conversions(load, (int(width or 0), int(height or 0)), seconds, cores),
    )


def _source(load: Load) -> PyAvSource:
    return PyAvSource(Opening("bench", "file", str(load.video), redact=str))


def _frames(load: Load) -> list[Frame]:
    source, frames = _source(load), list[Frame]()
    try:
        while len(frames) < FRAMES:
            for one in source.decode(source.grab()):
                frames.append(Frame("bench", len(frames), one.picture, Capture(0, 0, "media"), 0, 0))
    except CameraEnded:
        if not frames:
            raise UsageError(f"too few pictures in {load.video}") from None
    return frames


def _decode_ms(load: Load, seconds: float, cores: int) -> float:
    sources = [_source(load) for _ in range(cores)]
    counts = [0] * cores

    def decode(core: int, _: int) -> None:
        try:
            counts[core] += len(sources[core].decode(sources[core].grab()))
        except CameraEnded:
            counts[core] += len(sources[core].drain())
            sources[core].rewind()

    _, cpu_s = _spend(decode, seconds, cores)
    return 1000 * cpu_s / max(1, sum(counts))


def _usual_conversions(load: Load, size: tuple[int, int], seconds: float, cores: int) -> dict[str, float]:
    """Return what the usual ways to a network's input cost: through swscale, and through OpenCV's blobFromImage."""
    pictures = [_pictures(load) for _ in range(cores)]  # a picture caches its own scaler: none is shared
    scalers = [VideoReformatter() for _ in range(cores)]
    targets = [np.empty((3, size[1], size[0]), np.float32) for _ in range(cores)]

    def swscale(core: int, turn: int) -> None:
        picture = pictures[core][turn % len(pictures[core])]
        small = scalers[core].reformat(picture, *size, format="gbrp", interpolation="BILINEAR")
        for plane, target in zip(small.planes, targets[core], strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            np.multiply(rows, np.float32(1 / 255), out=target)

    def blob(core: int, turn: int) -> None:
        picture = pictures[core][turn % len(pictures[core])]
        cv2.dnn.blobFromImage(picture.to_ndarray(format="bgr24"), 1 / 255, size)

    return {
        "swscale to planar RGB": _each_ms(swscale, seconds, cores, whole_process=True),
        "swscale to BGR, blobFromImage": _each_ms(blob, seconds, cores, whole_process=True),
    }


def _pictures(load: Load) -> list[av.VideoFrame]:
    with av.open(str(load.video)) as container:
        return [frame for frame, _ in zip(container.decode(video=0), range(FRAMES), strict=False)]


def _each_ms(work: Callable[[int, int], None], seconds: float, cores: int, whole_process: bool = False) -> float:
    turns, cpu_s = _spend(work, seconds, cores, whole_process)
    return 1000 * cpu_s / turns


def _spend(
    work: Callable[[int, int], None], seconds: float, cores: int, whole_process: bool = False
) -> tuple[int, float]:
    """Do `work(core, turn)` over and over in one thread for each core. Return all turns, and the CPU seconds.

    With `whole_process` threads that a library starts by itself are counted too.
    """
    turns, spent = [0] * cores, [0.0] * cores

    def run(core: int) -> None:
        work(core, 0)
        until_s, cpu_s = time.monotonic() + seconds, time.thread_time()
        while time.monotonic() < until_s:
            work(core, turns[core])
            turns[core] += 1
        spent[core] = time.thread_time() - cpu_s

    threads = [threading.Thread(target=run, args=(core,)) for core in range(cores)]
    cpu_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(turns), time.process_time() - cpu_s if whole_process else sum(spent)
