"""What every builder has in common: the order, the circumstances of a build, and how a new engine is taken in."""

from __future__ import annotations

import datetime
import getpass
import os
import platform
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edged import __version__
from edged.engines.base import EngineRequest
from edged.engines.build.compare import Comparison, TaskCheck
from edged.engines.build.record import CALIBRATE, CHOOSE, VERIFY, Frames, Record, Seen, records_sha256
from edged.engines.ort import model_spec, open_session, picture_input
from edged.engines.store import EngineKey, EngineMissing, Manifest, Store
from edged.errors import BackendUnavailable, ConfigError
from edged.tensor import ModelSpec, TensorSpec


@dataclass(frozen=True)
class Order:
    """One engine to build: for all tasks that share it, from the frames of all their records."""

    request: EngineRequest
    checks: tuple[TaskCheck, ...]
    records: tuple[Record, ...]

    def frames(self, *parts: str) -> Frames:
        """Return the pictures of some parts of all records."""
        return Frames(self.records, parts)


def seen_by(request: EngineRequest, model: ModelSpec | None = None) -> tuple[Seen, TensorSpec]:
    """Return how a model sees pictures, and its input. Raise `ConfigError` for a model that takes none.

    Args:
        request: what is wanted.
        model: its inputs; read with ONNX Runtime when absent.
    """
    model = model or model_spec(open_session(request.onnx))
    _, height, width = picture_input(model, request.onnx)
    return Seen(width, height, request.input.fit, request.input.pad), model.inputs[0]


def check_records(order: Order, seen: Seen) -> None:
    """Raise `BackendUnavailable` for calibration frames that are not as the model sees them."""
    for record in order.records:
        if record.seen != seen:
            raise BackendUnavailable(
                f"task {record.task}: its calibration frames are for {record.seen}, the model takes {seen}; "
                f"run: edged engine calibrate {record.task}"
            )


def figures(checks: Sequence[TaskCheck], comparison: Comparison, times: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a manifest says of each task's comparison; `times` are milliseconds, the same for all."""
    verified = {}
    for check in checks:
        agreement = comparison.agreements[check.task]
        verified[check.task] = {
            **asdict(agreement),
            "by": agreement.by,
            "drop": agreement.drop,
            "limit": check.limit,
            **times,
            "at": _now(),
        }
    return verified


def refuse_blind(checks: Sequence[TaskCheck], comparison: Comparison) -> None:
    """Raise `ConfigError` for frames in which FP32 finds nothing: on them every engine is as good."""
    for check in checks:
        agreement = comparison.agreements[check.task]
        if agreement.drop is None:
            raise ConfigError(
                f"task {check.task}: fp32 finds nothing in the {agreement.frames} frames kept for comparison; "
                f"calibrate with frames that show something: edged engine calibrate {check.task}"
            )


def install(store: Store, file: Path, manifest: Manifest) -> Manifest:
    """Take a built engine in.

    Raises:
        ConfigError: it loses too much; an engine that was good stays in place.
    """
    why = manifest.refusal()
    if why and (stays := _stays(store, manifest.key)):
        raise ConfigError(f"{manifest.key}: not taken: {why}; {stays}")
    installed = store.install(file, manifest)
    if why:
        remedy = "calibrate with more frames, raise max_accuracy_drop, or use fp32"
        raise ConfigError(f"{manifest.key}: built, but refused: {why}; {remedy}")
    return installed


def _stays(store: Store, key: EngineKey) -> str:
    """Return what is to be said of an engine that a refused one must not replace, or nothing."""
    try:
        manifest = store.manifest(key)
        store.file_of(manifest)
    except EngineMissing:
        return ""
    except BackendUnavailable as exc:  # who knows what it is worth
        return f"what was there stays: {exc}"
    return "" if manifest.refusal() else "the engine that was there stays in use"


def calibration(order: Order) -> dict[str, Any]:
    """Return what a manifest says of the frames."""
    parts = [note.part for record in order.records for note in record.notes]
    return {
        "sha256": records_sha256(order.records),
        "tasks": {record.task: record.sha256 for record in order.records},
        **{part: parts.count(part) for part in (CALIBRATE, CHOOSE, VERIFY)},
    }


def circumstances(begin_s: float, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return who builds, when, where, how long it took since `begin_s`, and with what."""
    return {
        "by": f"{_user()}@{socket.gethostname()}",
        "at": _now(),
        "took_s": round(time.monotonic() - begin_s, 1),
        "machine": f"{platform.machine()}, {_processor()}",
        "versions": {"edged": __version__, **versions},
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as containers have
        return f"uid {os.getuid()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
