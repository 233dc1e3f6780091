"""What is measured: a video, a network and its parser; and configurations that put them under load."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from edged.camera.base import Opening
from edged.camera.packets import PacketReader
from edged.config import Config, load_config
from edged.errors import CameraError, UsageError

TASK = "bench"


@dataclass(frozen=True)
class Load:
    """One network on one video. `model` and `engine` are the task file's own blocks, as plain values."""

    video: Path
    model: dict[str, Any]
    engine: dict[str, Any] = field(default_factory=dict)
    store: Path | None = None


def load_from_files(video: Path, onnx: Path, parser: str, score_min: float) -> Load:
    """Return a load of a user's own files. Raise `UsageError` for a file that is not there, and for one no video."""
    for path in (video, onnx):
        if not path.is_file():
            raise UsageError(f"no such file: {path}")
    return Load(_checked(video.resolve()), {"onnx": str(onnx.resolve()), "parser": parser, "score_min": score_min})


def load_of_task(config: Config, task: str) -> Load:
    """Return the load of one task of a configuration, on the first of its cameras that reads a file.

    Raises:
        UsageError: none does, or it is no video. A view does not count: its camera's whole picture is another load.
    """
    wanted = config.tasks[task]
    sources = [config.cameras[name].source for name in wanted.cameras if name in config.cameras]
    files = [source for source in sources if source.scheme == "file"]
    if not files:
        raise UsageError(f"task {task}: none of its cameras reads a file; name one with --video")
    model = wanted.model.model_dump(mode="json", exclude_defaults=True)
    engine = wanted.engine.model_dump(mode="json", exclude_defaults=True)
    return Load(_checked(Path(files[0].rest)), model, engine, config.edged.engines.store)


def _checked(video: Path) -> Path:
    """Return a video that can be opened."""
    try:
        PacketReader(Opening("bench", "file", str(video), redact=str)).close()
    except CameraError as exc:
        raise UsageError(str(exc)) from exc
    return video


@contextmanager
def configuration(
    load: Load,
    videos: list[Path],
    pace: str,
    rate_hz: float,
    loop: bool = True,
    processes: int = 1,
    **task: Any,
) -> Iterator[Path]:
    """Write a configuration directory with one camera for each video and one task on all of them."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        directory = Path(folder)
        cameras = {f"c{n}": {"source": f"file:{video}", "loop": loop, "pace": pace} for n, video in enumerate(videos)}
        wanted = {"cameras": list(cameras), "rate_hz": rate_hz, "model": load.model, **task}
        if load.engine:
            wanted["engine"] = load.engine
        edged: dict[str, Any] = {"scheduler": {"processes": processes}}
        if load.store is not None:
            edged["engines"] = {"store": str(load.store)}
        write_configuration(directory, cameras, {TASK: wanted}, edged)
        yield directory


def write_configuration(
    directory: Path, cameras: Mapping[str, Any], tasks: Mapping[str, Any], edged: Mapping[str, Any] | None = None
) -> None:
    """Write `cameras.yaml`, a file for each task and, where there is something to say, `edged.yaml`."""
    (directory / "tasks").mkdir()
    _write(directory / "cameras.yaml", {"cameras": cameras})
    for name, task in tasks.items():
        _write(directory / "tasks" / f"{name}.yaml", task)
    if edged:
        _write(directory / "edged.yaml", edged)


def resolved(load: Load) -> Config:
    """Return the load as a configuration of one camera."""
    with configuration(load, [load.video], "fast", 1000) as directory:
        return load_config(directory)


def retimed(video: Path, target: Path, rate_hz: float, frames: int, delay_s: float) -> None:
    """Copy a video's packets, without coding them again, at another rate, over and over up to `frames` frames.

    All but the first packet are `delay_s` late, which staggers cameras that are opened at the same moment.
    """
    base = Fraction(1, 90_000)
    step, delay, count = round(90_000 / rate_hz), round(90_000 * delay_s), 0
    with av.open(str(target), "w", format="mp4") as out:
        copied: Any = None
        while count < frames:
            with av.open(str(video)) as source:
                stream = source.streams.video[0]
                if copied is None:
                    copied = out.add_stream_from_template(stream)
                    copied.time_base = base
                for packet in source.demux(stream):
                    if packet.size == 0 or count >= frames:
                        continue
                    packet.time_base = base
                    packet.dts = packet.pts = count * step + (delay if count else 0)
                    packet.duration = step
                    packet.stream = copied
                    out.mux(packet)
                    count += 1


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), "utf-8")  # JSON is YAML
