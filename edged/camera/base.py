"""The seam of camera sources: one open stream that is grabbed from, and decoded or skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edged.errors import CameraError
from edged.frame import Capture, Picture


class CameraStalled(CameraError):
    """The stream is open, but nothing came within its time limit."""


class Undecodable(CameraError):
    """The stream is there, and its pictures are of a kind that this back end never decodes; another one may."""


@dataclass(frozen=True)
class Opening:
    """All a source needs to open its stream.

    `url` may hold a password: it never goes into a text before `redact`. Sizes, rate and pixel format are wishes and
    may be None; `controls` are a V4L2 device's, to be set in their order; `clock_synced` says that a network camera's
    clock is kept in step with ours; times are in seconds. `gpu` is the one to decode on, for sources that use one.
    """

    camera: str
    scheme: str
    url: str
    redact: Callable[[str], str]
    width_px: int | None = None
    height_px: int | None = None
    rate_hz: float | None = None
    pixel_format: str | None = None
    controls: Mapping[str, int | bool] = field(default_factory=dict)
    transport: str = "tcp"
    clock_synced: bool = False
    open_timeout_s: float = 4.0
    read_timeout_s: float = 3.0
    gpu: int = 0


@dataclass(frozen=True)
class Grab:
    """One packet, or one raw buffer, as it came in.

    `pts` orders pictures (any unit); `key` says that decoding may start here; `due_s` is its time on a recorded
    stream's own clock, None on a live one; `capture` is set where driver or sender stamp their pictures; `data` is
    the source's own. `disposable` says that no other picture refers to this one, so that it may be skipped while its
    neighbours are decoded; where that is not known it is False. `size_bytes` is what holding it costs; `lost` are the
    pictures that went missing between the one before it and this one, where the driver counts them.
    """

    data: Any
    pts: int | None
    key: bool
    due_s: float | None = None
    capture: Capture | None = None
    disposable: bool = False
    size_bytes: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Decoded:
    """One decoded picture and the `pts` of the packet it came from; `on_release` gives its memory back."""

    picture: Picture
    pts: int | None
    on_release: Callable[[], None] | None = None

    def give_back(self) -> None:
        """Give the memory back: nobody took the picture over."""
        if self.on_release is not None:
            self.on_release()


class CameraSource(Protocol):
    """One open stream. Constructing it opens it; made, used and closed by one thread, its camera's worker.

    Every call returns within the opening's time limits. Allowed order: `grab`, then exactly one of `decode` or
    `skip` for that grab; `drain` and `rewind` only after `CameraEnded`; `close` at any time, twice is harmless.
    A warm camera holds packets: unless the source is `raw`, further grabs may come before the earlier ones are
    decoded or skipped, in the order of their grabs.
    """

    raw: bool
    """Its pictures come uncompressed in the driver's few buffers: each grab is done with before the next."""

    def __init__(self, opening: Opening) -> None:
        """Open the stream. Raise `CameraError`, with no secret in its text; `Undecodable` where another may."""

    @property
    def description(self) -> str:
        """What was opened, in words: codec, size, rate."""

    def grab(self) -> Grab:
        """Wait for the next packet. Raise `CameraEnded`, `CameraStalled` or another `CameraError`."""

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Decode one packet; a decoder that reorders gives earlier pictures, or none.

        A packet that cannot be decoded gives nothing; it is the caller who counts what never came out.
        """

    def skip(self, grab: Grab) -> None:
        """Give a packet back untouched."""

    def rest(self, warm: bool = False) -> None:
        """Drop what the decoder holds: the next `decode` starts at a key frame.

        Unless the camera stays `warm` it will not be needed for a while: what the decoder costs may be given back.
        """

    def drain(self) -> Sequence[Decoded]:
        """Return the pictures that the decoder still holds at the end of a finite stream."""

    def rewind(self) -> None:
        """Start a finite stream again; its `due_s` goes on without a jump. Raise `CameraError` where it cannot."""

    def close(self) -> None:
        """Close the stream and free its decoder."""
