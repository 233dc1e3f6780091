"""Hand frames to edged from another process, for cameras with `source: shm:NAME`. Needs no numpy.

    from edged.feeder import Feeder

    with Feeder("front", rate_hz=30) as feeder:
        while ...:
            feeder.write([luma, chroma], 1280, 720)

`sdk/edged_shm.h` is the same for C; `docs/cameras.md` says what a feeder owes its readers.
"""

from __future__ import annotations

from edged.camera.shm.feeder import Feeder
from edged.frame import Capture, Color, PixelFormat

__all__ = ["Capture", "Color", "Feeder", "PixelFormat"]
