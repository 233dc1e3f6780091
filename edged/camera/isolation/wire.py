"""What travels between a camera's worker and its source's process: one msgpack map in each packet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

import msgpack

from edged.camera.base import CameraStalled, Grab, Opening
from edged.errors import BackendUnavailable, CameraEnded, CameraError, EdgedError
from edged.frame import Capture

PACKET_MAX = 64 * 1024
TEXT_MAX = 2000
KINDS: Mapping[str, type[EdgedError]] = {
    "ended": CameraEnded,
    "stalled": CameraStalled,
    "unavailable": BackendUnavailable,
    "camera": CameraError,
}


def pack(**message: Any) -> bytes:
    """Return one packet."""
    return cast("bytes", msgpack.packb(message))


def unpack(packet: bytes) -> dict[str, Any]:
    """Read one packet. Both ends are ours: it is not checked further."""
    return cast("dict[str, Any]", msgpack.unpackb(packet, use_list=False))


def opening_fields(opening: Opening) -> dict[str, Any]:
    """Return all of an opening that can travel: redaction stays with the worker."""
    return {one.name: getattr(opening, one.name) for one in fields(opening) if one.name != "redact"}


def grab_fields(grab: Grab) -> dict[str, Any]:
    """Return all of a grab but its data, which stays with the source."""
    found = {one.name: getattr(grab, one.name) for one in fields(grab) if one.name != "data"}
    capture = grab.capture
    found["capture"] = capture and (capture.unix_ns, capture.mono_ns, capture.clock, capture.media_ns)
    return found


def grab_of(token: int, found: Mapping[str, Any]) -> Grab:
    """Return the worker's side of a grab."""
    capture = found["capture"]
    return Grab(**{**found, "data": token, "capture": capture and Capture(*capture)})


def error_fields(error: Exception) -> dict[str, Any]:
    """Return an error that can travel. What is not ours is a `CameraError`."""
    kind = next((kind for kind, ours in KINDS.items() if isinstance(error, ours)), "camera")
    text = str(error) if isinstance(error, EdgedError) else f"its process failed: {type(error).__name__}: {error}"
    return {"error": kind, "text": text[:TEXT_MAX]}
