"""Any camera source in a child process: one that hangs, leaks or crashes costs a restart of that camera only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from edged.camera.base import Decoded, Grab, Opening
from edged.camera.isolation.process import SourceProcess
from edged.camera.isolation.wire import grab_of
from edged.camera.shm.ring import Ring
from edged.errors import CameraError
from edged.frame import Picture

GRACE_S = 1.0  # beyond a source's own limit, before it counts as hung
START_S = 3.0  # for an interpreter and its libraries
DECODE_S = 2.0


class IsolatedSource:
    """A source that runs in a process of its own. Derive from it and name the source.

    Pictures come through a ring of shared memory without a name; they lie there until they are released, and may
    outlive the source. A call that does not return in time ends that process: the camera's worker opens another one.
    After `ABANDONED_MAX` of them within a minute, or more where its limit is long, a restart of Argus is asked
    for, where the camera is one of its.
    """

    target: ClassVar[str]
    """`module:Class` of the source itself, imported in the child only."""

    open_extra_s: ClassVar[float] = 0.0
    """What opening may take beyond `open_timeout_s`, where a library has limits of its own."""

    def __init__(self, opening: Opening) -> None:
        self._read_s = opening.read_timeout_s + GRACE_S
        limit_s = opening.open_timeout_s + self.open_extra_s + START_S + GRACE_S
        self._process = SourceProcess(self.target, opening, limit_s)
        self._description = str(self._process.opened["description"])
        self.raw = bool(self._process.opened["raw"])
        self._ring: Ring | None = None

    @property
    def description(self) -> str:
        """What the source in the child opened."""
        return self._description

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def grab(self) -> Grab:
        """Wait for the next packet; its data stays in the child."""
        answer, _ = self._process.ask("grab", limit_s=self._read_s)
        return grab_of(answer["token"], answer["grab"])

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Decode in the child."""
        return self._pictures("decode", grab.data)

    def skip(self, grab: Grab) -> None:
        """Give a packet back; the child does not answer."""
        self._process.tell("skip", grab.data)

    def rest(self, warm: bool = False) -> None:
        """Drop what the decoder holds; the child does not answer."""
        self._process.tell("rest")

    def drain(self) -> Sequence[Decoded]:
        """Return what the decoder still holds."""
        return self._pictures("drain")

    def rewind(self) -> None:
        """Start a finite stream again."""
        self._process.ask("rewind", limit_s=self._read_s)

    def close(self) -> None:
        """End the child; pictures already handed out keep their memory."""
        self._process.close()
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _pictures(self, verb: str, *args: int) -> list[Decoded]:
        answer, fd = self._process.ask(verb, *args, limit_s=DECODE_S + GRACE_S)
        found: list[Decoded] = []
        while True:
            if fd is not None:
                self._attach(fd)
            found += [self._take(*picture) for picture in answer["pictures"]]
            if not answer["more"]:
                return found
            answer, fd = self._process.ask("more", limit_s=DECODE_S + GRACE_S)

    def _attach(self, fd: int) -> None:
        """Open the ring anew: a descriptor that was passed shares the child's locks."""
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        os.close(fd)
        old, self._ring = self._ring, Ring(own, fed=False)
        if old is not None:
            old.close()

    def _take(self, slot: int, sequence: int, pts: int | None) -> Decoded:
        claim = self._ring.claim(sequence, slot) if self._ring is not None else None
        taken = claim.take() if claim is not None else None
        if claim is None or taken is None:
            raise CameraError("the process of its source overwrote a picture")
        head, (planes, release) = claim.head, taken
        return Decoded(Picture(head.width, head.height, head.format, head.color, planes), pts, release)
