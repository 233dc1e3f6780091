"""What was read from sensors at one moment. Frozen: it crosses threads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Temperature:
    """A thermal zone. `passive_c` is where the kernel starts to lower clocks, None for a zone without such a trip."""

    zone: str
    celsius: float
    passive_c: float | None = None


@dataclass(frozen=True)
class Clock:
    """A clock: what it runs at, its cap, and the highest cap there is; None for what could not be read.

    `device` is the device of engines that it drives ("cpu", "gpu0"), "" for any other unit; `cores` share it.
    """

    name: str
    hz: float | None
    cap_hz: float | None
    highest_hz: float
    device: str = ""
    cores: int = 1


@dataclass(frozen=True)
class Rail:
    """What a power rail delivers; volts and amperes are None where only the power is measured."""

    name: str
    watts: float
    volts: float | None = None
    amperes: float | None = None


@dataclass(frozen=True)
class Load:
    """The share of its time, 0..1, that a unit such as "gpu0" or "nvdec" was `busy`, or at least `powered`.

    A unit that is powered down when it has nothing to do is busy no longer than it is powered.
    """

    unit: str
    share: float
    measure: str = "busy"


@dataclass(frozen=True)
class Memory:
    """A GPU's own memory."""

    unit: str
    used_bytes: int
    total_bytes: int


Reading = Temperature | Clock | Rail | Load | Memory


@dataclass(frozen=True)
class Telemetry:
    """All readings of one pass, at `mono_ns` (CLOCK_MONOTONIC; 0 before the first).

    `missing` names the sensors that this machine has and that gave nothing this time.
    """

    mono_ns: int = 0
    temperatures: tuple[Temperature, ...] = ()
    clocks: tuple[Clock, ...] = ()
    rails: tuple[Rail, ...] = ()
    loads: tuple[Load, ...] = ()
    memories: tuple[Memory, ...] = ()
    missing: tuple[str, ...] = ()
