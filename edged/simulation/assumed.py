"""What a simulation takes where nothing is recorded. The command line's defaults are these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumed:
    """What is taken where nothing is recorded; `own_ms` is the daemon's work on a frame, `publish_ms` on one result."""

    camera_hz: float = 30.0
    decode_ms: float = 2.0
    own_ms: float = 0.3
    publish_ms: float = 0.6
