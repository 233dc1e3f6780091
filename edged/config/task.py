"""What `tasks/<task>.yaml` says, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema, core_schema

from edged.config.labels import LABELS, TEXTS
from edged.config.models import CAMERAS_MAX, Unneeded
from edged.config.scalars import (
    BOOLEAN,
    EXISTING_FILE,
    EXISTING_FILES,
    EXPRESSION,
    NAME_OF_OURS,
    NAMES_IN_ORDER,
    OPTIONS,
    TABLE_NAME,
    one_of,
    real,
    triple,
    whole,
)
from edged.config.strict import Strict
from edged.config.text import nearest
from edged.tensor import ColorOrder, FitMode, InputFormat

Precision = Literal["fp32", "fp16", "int8"]
GpuFallback = Literal["never", "report", "allow"]
Active = Literal[True, False, "on_subscribe"]
DEVICES = ("auto", "cpu", "gpu", *(f"gpu{n}" for n in range(8)), "dla0", "dla1")

Triple = tuple[float, float, float]


class _Minima(Strict):
    """How long a rule stays what it became; a signal or result that is missing ends it at once all the same."""

    min_on_s: Annotated[float, real(0, 3600)] = Field(
        default=0.0, description="seconds that it stays true at least, once it is"
    )
    min_off_s: Annotated[float, real(0, 3600)] = Field(
        default=0.0, description="seconds that it stays false at least, once it was true"
    )


class WhenConfig(_Minima):
    """Activation by vehicle signals. The text EXPR alone is short for {if: EXPR}."""

    condition: Annotated[str, EXPRESSION] = Field(
        alias="if", description="expression over vehicle signals; true activates this task"
    )
    until: Annotated[str, EXPRESSION] | None = Field(
        default=None,
        description="expression that ends it, and outweighs if; without it the task ends when if is false",
    )


class AfterConfig(_Minima):
    """Activation by another task's results: score (the highest), count (of detections), lanes (their number)."""

    task: Annotated[str, NAME_OF_OURS] = Field(description="the task whose results are looked at")
    condition: Annotated[str, EXPRESSION] = Field(
        alias="if", description="expression over that task's result; true for one camera activates this task"
    )
    until: Annotated[str, EXPRESSION] | None = Field(
        default=None,
        description="expression that, true for every camera, ends it, and outweighs if; without it the task ends "
        "when if is false",
    )


class _OrText:
    """Pydantic metadata: a text stands for a map with `if` alone."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._map, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"title": "When", "anyOf": [dict(EXPRESSION.schema), handler(schema)]}

    @staticmethod
    def _map(value: Any, info: ValidationInfo) -> Any:
        return value if isinstance(value, (Mapping, WhenConfig)) else {"if": EXPRESSION.check(value, info)}


class SyncConfig(Strict):
    """Frames of several cameras that were taken at the same time go through the network together."""

    tolerance_ms: Annotated[float, real(0.1, 10_000)] = Field(
        description="largest distance in time between the frames of one group"
    )
    wait_ms: Annotated[float, real(0, 10_000)] = Field(
        default=50.0, description="longest time that a group is held for a camera that is late"
    )


class InputConfig(Strict):
    """How pictures become the network's input, where that differs from what the parser expects."""

    fit: Annotated[FitMode, one_of("letterbox", "stretch")] | None = Field(
        default=None, description="letterbox keeps the aspect ratio, stretch does not"
    )
    color: Annotated[ColorOrder, one_of("rgb", "bgr")] | None = Field(default=None, description="order of the channels")
    mean: Annotated[Triple, triple(-10, 10)] | None = Field(
        default=None, description="subtracted from pixel / 255, one number per channel"
    )
    std: Annotated[Triple, triple(0.0001, 1000)] | None = Field(
        default=None, description="divides what is left, one number per channel"
    )
    pad: Annotated[int, whole(0, 255)] | None = Field(
        default=None, description="pixel value where a letterbox is empty"
    )

    def over(self, base: InputFormat) -> InputFormat:
        """Return a parser's own input format with what the task file says put over it."""
        return InputFormat(
            fit=base.fit if self.fit is None else self.fit,
            color=base.color if self.color is None else self.color,
            mean=base.mean if self.mean is None else self.mean,
            std=base.std if self.std is None else self.std,
            pad=base.pad if self.pad is None else self.pad,
        )


class ModelConfig(Strict):
    """The network of a task and the meaning of its outputs."""

    onnx: Annotated[Path, EXISTING_FILE] = Field(description="the network, an ONNX file")
    parser: Annotated[str, TABLE_NAME] = Field(description="a parser of edged, or of an installed plug-in")
    labels: Annotated[tuple[str, ...], LABELS] = Field(
        default=(),
        description="class names in the order of their ids: a list, or a file with one name per line",
    )
    keep: Annotated[tuple[str, ...], TEXTS] = Field(default=(), description="classes to publish; all when absent")
    score_min: Annotated[float, real(0, 1)] = Field(default=0.4, description="findings with a lower score are dropped")
    iou_max: Annotated[float, real(0, 1)] = Field(
        default=0.5, description="of two boxes of one class that overlap more, the better one stays"
    )
    input: InputConfig = Field(default_factory=InputConfig, description="overrides the parser's own input format")
    options: Annotated[Mapping[str, Any], OPTIONS] = Field(
        default_factory=dict, description="the parser's own keys, checked by the parser"
    )

    @field_validator("keep")
    @classmethod
    def _known_labels(cls, keep: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        labels: tuple[str, ...] = info.data.get("labels", ())
        known = set(labels)
        for name in keep:
            if known and name not in known:
                raise ValueError(f"{name!r} is not one of the labels{nearest(name, known)}")
        return keep


class EngineConfig(Strict):
    """What runs the network."""

    backend: Annotated[tuple[str, ...], NAMES_IN_ORDER] = Field(
        default=("onnxruntime",),
        description="back ends in the order to try, one or a list; none beside these is tried",
    )
    precision: Annotated[Precision, one_of("fp32", "fp16", "int8")] = Field(
        default="fp32", description="number format of the computation"
    )
    device: Annotated[str, one_of(*DEVICES)] = Field(
        default="auto", description="where it runs: auto, cpu, gpu, gpu0 to gpu7, dla0 or dla1"
    )
    batch: Annotated[int, whole(1, 256)] = Field(
        default=1, description="largest batch across cameras; a model with a fixed batch keeps its own"
    )
    plugins: Annotated[tuple[Path, ...], EXISTING_FILES] = Field(
        default=(), description="libraries of custom layers (.so) that the network needs; for tensorrt"
    )
    gpu_fallback: Annotated[GpuFallback, one_of("never", "report", "allow")] = Field(
        default="report",
        description="layers that a DLA cannot run: refuse them, run them on the GPU and say so, or just run",
    )
    max_accuracy_drop: Annotated[float, real(0, 1)] = Field(
        default=0.01, description="largest loss of AP50 or F1 against FP32; an engine beyond it is refused"
    )

    @field_validator("device")
    @classmethod
    def _fits_backend(cls, device: str, info: ValidationInfo) -> str:
        backend, precision = info.data.get("backend"), info.data.get("precision")
        if not device.startswith("dla"):
            return device
        if backend is not None and "tensorrt" not in backend:
            raise ValueError(f"{device!r} needs tensorrt in backend, got [{', '.join(backend)}]")
        if precision == "fp32":
            raise ValueError(f"{device!r} computes in fp16 or int8 only; set precision, which is fp32")
        return device


class TaskConfig(Strict):
    """The file `tasks/<task>.yaml`: the cameras a task needs, its network, and when it runs."""

    name: Annotated[str, NAME_OF_OURS] = Field(description="the task's name, from its file's name")
    cameras: tuple[Annotated[str, NAME_OF_OURS], ...] = Field(description="ids of the cameras it needs")
    rate_hz: Annotated[float, real(0.01, 1000)] = Field(description="frames per second and camera that this task wants")
    rate_min_hz: Annotated[float, real(0, 1000)] = Field(
        default=0.0, description="below this rate it is suspended rather than slowed; at most rate_hz"
    )
    priority: Annotated[int, whole(0, 1000)] = Field(
        default=0, description="higher keeps its rate when the machine is overloaded"
    )
    deadline_ms: Annotated[float, real(1, 600_000)] | None = Field(
        default=None, description="older results are dropped, and counted; without it none is"
    )
    when: Annotated[WhenConfig, _OrText()] | None = Field(
        default=None, description="expression over vehicle signals; the task is active while it is true"
    )
    after: AfterConfig | None = Field(default=None, description="active when another task's result says so")
    active: Annotated[Active, one_of(True, False, "on_subscribe")] = Field(
        default=True,
        description="true, false, or on_subscribe (while somebody subscribes); excludes when and after",
    )
    required: Annotated[bool, BOOLEAN] = Field(default=False, description="the daemon is ready after its first result")
    unneeded: Annotated[Unneeded, one_of("warm", "parked", "cold")] | None = Field(
        default=None,
        description="what its cameras fall to when nothing needs them; without it scheduler.unneeded",
    )
    linger_s: Annotated[float, real(0, 86_400)] | None = Field(
        default=None,
        description="seconds its unneeded cameras stay in that mode before they are closed; without it "
        "scheduler.linger_s",
    )
    sync: SyncConfig | None = Field(default=None, description="group its cameras' frames in time")
    model: ModelConfig = Field(description="the network and the meaning of its outputs")
    engine: EngineConfig = Field(default_factory=EngineConfig, description="what runs the network")

    @field_validator("cameras")
    @classmethod
    def _some(cls, cameras: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(cameras) <= CAMERAS_MAX:
            raise ValueError(f"1 to {CAMERAS_MAX} cameras, got {len(cameras)}")
        return cameras

    @field_validator("rate_min_hz")
    @classmethod
    def _at_most_rate(cls, rate_min_hz: float, info: ValidationInfo) -> float:
        rate_hz: float | None = info.data.get("rate_hz")
        if rate_hz is not None and rate_min_hz > rate_hz:
            raise ValueError(f"must be at most rate_hz, got {rate_min_hz:g} with rate_hz {rate_hz:g}")
        return rate_min_hz

    @field_validator("after")
    @classmethod
    def _not_with_when(cls, after: AfterConfig, info: ValidationInfo) -> AfterConfig:
        if info.data.get("when") is not None:
            raise ValueError("when and after exclude each other; keep one of them")
        return after

    @field_validator("active")
    @classmethod
    def _not_with_a_rule(cls, active: Active, info: ValidationInfo) -> Active:
        for rule in ("when", "after"):
            if info.data.get(rule) is not None:
                raise ValueError(f"active and {rule} exclude each other; keep one of them")
        return active
