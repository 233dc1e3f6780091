"""What is simulated: cameras, tasks, and what work costs on which device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edged.plan import Mode
from edged.scheduler.budget import Device
from edged.scheduler.demand import CPU, Demand, EngineLoad
from edged.scheduler.groups import Sync


@dataclass(frozen=True)
class SimCamera:
    """A camera that gives `rate_hz` frames a second, each of which takes `decode_s` of the CPU.

    With `view_of` it is a view of that camera: it is given its frames, and of the rest only `id` counts. `unneeded` and
    `linger_s` are what it falls to when no task needs it, and how long it stays there.
    """

    id: str
    rate_hz: float
    decode_s: float = 0.0
    unneeded: Mode = Mode.PARKED
    linger_s: float | None = None
    view_of: str = ""


@dataclass(frozen=True)
class Order:
    """Something that happens at a time: a task is activated or not, or a device loses part of its speed.

    `share` is what is left of the device, above 0, as when other programs or heat take the rest.
    """

    at_s: float
    task: str = ""
    active: bool = True
    device: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class Vehicle:
    """All that the simulator knows. `tasks` say by `active` whether they run at the start.

    The daemon's own work, which no budget knows of, takes `own_s` of the CPU for each frame that is decoded, and
    `publish_s` for each result.

    Raises:
        ValueError: a task names a camera or engine, a view a camera, or an engine a device, that is not there; or the
            CPU is missing.
    """

    cameras: tuple[SimCamera, ...]
    tasks: tuple[Demand, ...]
    engines: Mapping[str, EngineLoad]
    devices: Mapping[str, Device]
    syncs: Mapping[str, Sync] = field(default_factory=dict)
    own_s: float = 0.0
    publish_s: float = 0.0

    def __post_init__(self) -> None:
        cameras = {camera.id for camera in self.cameras}
        if CPU not in self.devices:
            raise ValueError(f"there is no device {CPU!r}, which decodes; there are {', '.join(self.devices)}")
        decoded = {camera.id for camera in self.cameras if not camera.view_of}
        for camera in self.cameras:
            if camera.view_of and camera.view_of not in decoded:
                raise ValueError(f"view {camera.id}: there is no camera {camera.view_of!r} that it could be of")
        for name, load in self.engines.items():
            if load.device not in self.devices or self.devices[load.device].workers < 1:
                raise ValueError(f"engine {name}: no worker serves its device {load.device!r}")
        for task in self.tasks:
            if task.engine not in self.engines:
                raise ValueError(f"task {task.task}: there is no engine {task.engine!r}")
            if missing := set(task.cameras) - cameras:
                raise ValueError(f"task {task.task}: there is no camera {', '.join(sorted(missing))}")
