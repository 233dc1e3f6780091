"""What `edged.yaml` and `cameras.yaml` say, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_serializer, field_validator

from edged.config.credentials import CRED
from edged.config.lens import LensConfig, ViewConfig
from edged.config.scalars import (
    BOOLEAN,
    ENDPOINT,
    LISTEN,
    NAME_OF_OURS,
    NAMES_IN_ORDER,
    PATH,
    Address,
    Checked,
    SocketPath,
    is_local,
    one_of,
    real,
    whole,
)
from edged.config.sources import FINITE, RTSP, SOURCE, V4L2, Source
from edged.config.strict import Strict
from edged.config.text import show, wanted
from edged.expression import Kind
from edged.signals import declared_kind

Unneeded = Literal["warm", "parked", "cold"]
Admission = Literal["degrade", "refuse"]
LogLevel = Literal["debug", "info", "warning", "error"]

CAMERAS_MAX = 256
PROCESSES_MAX = 32
CONTROLS_MAX = 64
ENDPOINTS_MAX = 64
FOURCC = re.compile(r"[A-Z0-9]{3,4}")
CONTROL_NAME = re.compile(r"[a-z0-9_]{1,32}")
SIGNAL_TEXT_MAX = 64
STORE_DEFAULT = Path("/var/lib/edged/engines")


def _server_secret(value: Any, _: ValidationInfo) -> str:
    if not isinstance(value, str) or not CRED.fullmatch(value):
        raise ValueError('must be exactly "${cred:NAME}"; a secret key is never written in this file')
    return value


def _pixel_format(value: Any, _: ValidationInfo) -> str:
    if not isinstance(value, str) or not FOURCC.fullmatch(value):
        raise wanted("a pixel format of V4L2 by its three or four characters, such as YUYV, MJPG or NV12", value)
    return value


def _controls(value: Any, _: ValidationInfo) -> Mapping[str, int | bool]:
    if not isinstance(value, Mapping) or len(value) > CONTROLS_MAX:
        raise wanted(f"a map of at most {CONTROLS_MAX} names of controls to numbers", value)
    for name, number in value.items():
        if not isinstance(name, str) or not CONTROL_NAME.fullmatch(name):
            raise wanted("names of controls as v4l2-ctl prints them (lower-case letters, digits and _)", name)
        if not isinstance(number, int) or not -(1 << 63) <= number < 1 << 63:
            raise ValueError(f"{name} must be a whole number, true or false, got {show(number)}")
    return dict(value)


def _signal(value: Any, _: ValidationInfo) -> Kind:
    kind = value if isinstance(value, Kind) else declared_kind(value)
    if kind is None:
        raise wanted("flag, number, text, or a list of the texts that are allowed", value)
    for text in kind.allowed:
        if not 1 <= len(text) <= SIGNAL_TEXT_MAX or "'" in text or "\n" in text:
            raise wanted(f"texts of 1 to {SIGNAL_TEXT_MAX} characters without a quote or a new line", text)
        if kind.allowed.count(text) > 1:
            raise ValueError(f"{show(text)} is listed twice")
    return kind


PIXEL_FORMAT = Checked(_pixel_format, {"type": "string", "pattern": "^[A-Z0-9]{3,4}$"})
CONTROLS = Checked(
    _controls,
    {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9_]{1,32}$"},
        "additionalProperties": {"type": ["integer", "boolean"]},
        "maxProperties": CONTROLS_MAX,
    },
)
Endpoint = Annotated[str, ENDPOINT]
SignalKind = Annotated[
    Kind,
    Checked(
        _signal,
        {
            "anyOf": [
                {"enum": ["flag", "number", "text"]},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "uniqueItems": True},
            ]
        },
    ),
]
ServerSecret = Annotated[str, Checked(_server_secret, {"type": "string", "pattern": r"^\$\{cred:[^}]+\}$"})]


class CurveConfig(Strict):
    """CURVE keys: who may connect over TCP."""

    server_secret: ServerSecret = Field(description="the server's secret key, as ${cred:NAME}")
    allowed_clients: Annotated[Path, PATH] = Field(
        description="folder of public client keys; a client whose key is not there gets nothing"
    )


class _Socket(Strict):
    """A socket the daemon binds, beside its default ipc one."""

    curve: CurveConfig | None = Field(
        default=None, description="CURVE keys; needed by a TCP endpoint other than loopback"
    )
    endpoints: tuple[Endpoint, ...] = Field(
        default=(), description="endpoints beside the default ipc one: tcp://HOST:PORT or ipc:///PATH"
    )

    @field_validator("endpoints")
    @classmethod
    def _closed(cls, endpoints: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(endpoints) > ENDPOINTS_MAX:
            raise ValueError(f"at most {ENDPOINTS_MAX} endpoints, got {len(endpoints)}")
        for endpoint in endpoints:
            if endpoints.count(endpoint) > 1:
                raise ValueError(f"{endpoint!r} is listed twice")
            if "curve" in info.data and info.data["curve"] is None and not is_local(endpoint):
                raise ValueError(
                    f"{endpoint!r} can be reached from other machines and needs curve keys; "
                    "add curve: {server_secret, allowed_clients}, or use 127.0.0.1"
                )
        return endpoints


class PublishConfig(_Socket):
    """Where results are published."""


class ControlConfig(_Socket):
    """Where commands are taken."""


class SchedulerConfig(Strict):
    """How cameras follow what tasks need."""

    unneeded: Annotated[Unneeded, one_of("warm", "parked", "cold")] = Field(
        default="parked", description="what a camera falls to when no task needs it"
    )
    linger_s: Annotated[float, real(0, 86_400)] | None = Field(
        default=None, description="seconds an unneeded camera stays in that mode before it is closed; absent: for ever"
    )
    admission: Annotated[Admission, one_of("degrade", "refuse")] = Field(
        default="degrade",
        description="what `task activate` does with a task that does not fit: run it slower, or refuse it",
    )
    processes: Annotated[int, whole(1, PROCESSES_MAX)] = Field(
        default=1,
        description="processes that the cameras are shared out among; for a GPU that serves more than some thirty",
    )
    signal_timeout_s: Annotated[float, real(0.05, 3600)] = Field(
        default=1.0, description="seconds after which a vehicle signal that was not renewed is unknown"
    )
    warm_max_s: Annotated[float, real(0.1, 60)] = Field(
        default=4.0, description="most seconds of packets a warm camera keeps; with more it is parked"
    )
    warm_max_mb: Annotated[float, real(0.1, 1024)] = Field(
        default=16.0, description="most megabytes of packets a warm camera keeps; with more it is parked"
    )


class EnginesConfig(Strict):
    """Where built engines are kept."""

    store: Annotated[Path, PATH] = Field(default=STORE_DEFAULT, description="folder of built engines")


class MetricsConfig(Strict):
    """Counters for a monitoring system, over HTTP."""

    listen: Annotated[Address | SocketPath, LISTEN] | None = Field(
        default=None,
        description='where Prometheus reads metrics: "127.0.0.1:PORT" or unix:/PATH; nothing is served without it',
    )

    @field_serializer("listen")
    def _one_value(self, listen: Address | SocketPath | None) -> str | None:
        return None if listen is None else str(listen)


class LogConfig(Strict):
    """What is logged."""

    level: Annotated[LogLevel, one_of("debug", "info", "warning", "error")] = Field(
        default="info", description="least severe message that is logged"
    )


class LimitsConfig(Strict):
    """What one peer or stream may take of this machine."""

    send_queue: Annotated[int, whole(1, 100_000)] = Field(
        default=1000,
        description="messages that wait for one slow subscriber before its newest ones are dropped",
    )
    request_kb: Annotated[int, whole(1, 1024)] = Field(
        default=64, description="largest frame of a control request, in kilobytes"
    )
    picture_mpx: Annotated[float, real(0.1, 256)] = Field(
        default=36.0, description="largest picture taken from a stream, in megapixels"
    )


class EdgedConfig(Strict):
    """The file `edged.yaml`: what concerns the daemon as a whole. Every key is optional."""

    publish: PublishConfig = Field(default_factory=PublishConfig, description="where results are published")
    control: ControlConfig = Field(default_factory=ControlConfig, description="where commands are taken")
    scheduler: SchedulerConfig = Field(default_factory=SchedulerConfig, description="how cameras follow the tasks")
    engines: EnginesConfig = Field(default_factory=EnginesConfig, description="the engine store")
    metrics: MetricsConfig = Field(default_factory=MetricsConfig, description="metrics over HTTP")
    signals: Mapping[str, SignalKind] = Field(
        default_factory=dict,
        description="vehicle signals of this vehicle's own, by name: flag, number, text, or a list",
    )
    log: LogConfig = Field(default_factory=LogConfig, description="what is logged")
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="what one peer or stream may take")

    @field_validator("control")
    @classmethod
    def _apart(cls, control: ControlConfig, info: ValidationInfo) -> ControlConfig:
        publish: PublishConfig | None = info.data.get("publish")
        both = [e for e in control.endpoints if publish and e in publish.endpoints]
        if both:
            raise ValueError(f"{both[0]!r} is an endpoint of publish as well; use another port or path")
        return control


class CameraConfig(Strict):
    """One camera of the vehicle."""

    id: Annotated[str, NAME_OF_OURS] = Field(description="the camera's key in cameras.yaml")
    source: Annotated[Source, SOURCE] = Field(description="where its pictures come from: SCHEME:REST")
    backend: Annotated[tuple[str, ...], NAMES_IN_ORDER] = Field(
        default=(),
        description="back ends in the order to try, one or a list; without it the platform's own order",
    )
    loop: Annotated[bool, BOOLEAN] = Field(default=False, description="start again at the end; for file and scene")
    pace: Annotated[Literal["realtime", "fast"], one_of("realtime", "fast")] = Field(
        default="realtime",
        description="realtime: by the clock, newest frame wins; fast: every frame, as fast as it is read; "
        "for file and scene",
    )
    width_px: Annotated[int, whole(16, 16384)] | None = Field(
        default=None, description="width to ask a V4L2 or CSI camera for; with height_px"
    )
    height_px: Annotated[int, whole(16, 16384)] | None = Field(
        default=None, validate_default=True, description="height to ask a V4L2 or CSI camera for; with width_px"
    )
    rate_hz: Annotated[float, real(0.1, 1000)] | None = Field(
        default=None,
        description="frames per second to ask a V4L2 or CSI camera for; of others, what the simulator reckons with",
    )
    pixel_format: Annotated[str, PIXEL_FORMAT] | None = Field(
        default=None, description="pixel format to ask the camera for, such as YUYV or MJPG; for v4l2"
    )
    controls: Annotated[Mapping[str, int | bool], CONTROLS] = Field(
        default_factory=dict,
        description="controls to set at each opening, in this order, by the names of v4l2-ctl; for v4l2",
    )
    transport: Annotated[Literal["tcp", "udp"], one_of("tcp", "udp")] = Field(
        default="tcp", description="how RTSP media travels; for rtsp and rtsps"
    )
    clock_synced: Annotated[bool, BOOLEAN] = Field(
        default=False,
        description="its clock is kept in step with this machine's (NTP, PTP): its stamps are capture times; "
        "for rtsp and rtsps",
    )
    open_timeout_s: Annotated[float, real(0.1, 300)] = Field(
        default=5.0, description="seconds an attempt to open the camera may take"
    )
    stall_timeout_s: Annotated[float, real(0.1, 300)] = Field(
        default=1.0, description="seconds without a frame after which the camera counts as stalled"
    )
    lens: LensConfig | None = Field(default=None, description="its lens, for the views that are made of its pictures")

    @field_validator("loop", "pace")
    @classmethod
    def _finite_only(cls, value: object, info: ValidationInfo) -> object:
        return _only_for(FINITE, value, info)

    @field_validator("pixel_format", "controls")
    @classmethod
    def _v4l2_only(cls, value: object, info: ValidationInfo) -> object:
        return _only_for(V4L2, value, info)

    @field_validator("transport", "clock_synced")
    @classmethod
    def _rtsp_only(cls, value: object, info: ValidationInfo) -> object:
        return _only_for(RTSP, value, info)

    @field_validator("height_px")
    @classmethod
    def _with_width(cls, height: int | None, info: ValidationInfo) -> int | None:
        width = info.data.get("width_px", height)
        if height is None and width is not None:
            raise ValueError("required beside width_px, but absent")
        if height is not None and width is None:
            raise ValueError(f"needs width_px beside it, got {height} alone")
        return height


def _only_for(schemes: frozenset[str], value: object, info: ValidationInfo) -> object:
    source: Source | None = info.data.get("source")
    if source is not None and source.scheme not in schemes:
        raise ValueError(f"is only for {' and '.join(sorted(schemes))} sources, this is a {source.scheme} source")
    return value


class CamerasConfig(Strict):
    """The file `cameras.yaml`: every camera of the vehicle."""

    cameras: Mapping[Annotated[str, NAME_OF_OURS], CameraConfig | ViewConfig] = Field(
        description="every camera, by its id, and every view of one"
    )
