"""Which camera belongs to which shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edged.config import Config, config_error
from edged.config.faults import Fault


def assign(config: Config, count: int, before: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the shard, from 0, of each camera; views go with their cameras.

    Cameras whose frames a task groups in time belong together. They are dealt out in the configuration's order, those
    next to each other whose tasks name the same device, so that each shard has about as many frames a second to infer,
    and none is empty while another could give. A camera keeps the shard that it has had `before`.

    Raises:
        ConfigError: a task groups cameras in time that have different shards by now.
    """
    placed = {camera: shard for camera, shard in (before or {}).items() if camera in config.cameras}
    rates, given, last = _rates(config), 0.0, -1
    total = sum(rates.values())
    groups = sorted(_groups(config), key=lambda group: _device(config, group[0]))
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        weight = sum(rates[camera] for camera in group)
        kept = {placed[camera] for camera in group if camera in placed}
        if len(kept) > 1:
            raise config_error([_apart(config, group)])
        if kept:
            shard = kept.pop()
        elif before:
            shard = _least(placed, rates, count)
        else:
            fair = int((given + weight / 2) / total * count)
            shard = last = min(max(fair, count - left), last + 1)
        given += weight
        placed |= dict.fromkeys(group, shard)
    return {camera: placed[camera] for camera in config.cameras}


def _rates(config: Config) -> dict[str, float]:
    """Return how many frames a second tasks want of each camera, and one more: a camera that rests costs something."""
    rates = dict.fromkeys(config.cameras, 1.0)
    for task in config.tasks.values():
        for camera in task.cameras:
            rates[config.decoder_of(camera)] += task.rate_hz
    return rates


def _groups(config: Config) -> list[list[str]]:
    """Return the cameras in groups that belong together, most of one camera."""
    group_of = {camera: [camera] for camera in config.cameras}
    for task in config.tasks.values():
        if task.sync is None:
            continue
        first, *others = dict.fromkeys(map(config.decoder_of, task.cameras))
        for other in others:
            if group_of[other] is not group_of[first]:
                group_of[first].extend(group_of[other])
                for camera in group_of[other]:
                    group_of[camera] = group_of[first]
    return list({id(group): group for group in group_of.values()}.values())


def _device(config: Config, camera: str) -> str:
    """Return the device that the tasks of a camera name, for the order."""
    return min(_devices(config, camera), default="")


def _devices(config: Config, camera: str) -> Iterator[str]:
    for task in config.tasks.values():
        if camera in map(config.decoder_of, task.cameras):
            yield task.engine.device


def _least(placed: Mapping[str, int], rates: Mapping[str, float], count: int) -> int:
    load = [0.0] * count
    for camera, shard in placed.items():
        load[shard] += rates[camera]
    return load.index(min(load))


def _apart(config: Config, group: list[str]) -> Fault:
    """Return the fault of the task that groups cameras of several processes."""
    task = next(
        name for name, task in config.tasks.items()
        if task.sync is not None and config.decoder_of(task.cameras[0]) in group
    )  # fmt: skip
    text = f"groups cameras that run in different processes by now ({', '.join(group)}); restart the daemon for it"
    return config.fault("task", task, "sync", text)
