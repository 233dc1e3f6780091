"""The bundled scene as a camera: `scene:CAMERA` or `scene:CAMERA?seed=N`, drawn while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import parse_qs

import cv2
import numpy as np

from edged.camera.base import Decoded, Grab, Opening
from edged.camera.scene import CAMERAS, HEIGHT_PX, LOOP_S, WIDTH_PX, Scene
from edged.errors import CameraEnded, CameraError
from edged.frame import Color, Picture, PixelFormat

RATE_HZ = 15.0
SEED = 1


@lru_cache(maxsize=2)
def _scene(seed: int) -> Scene:
    """All cameras of one seed look at one world."""
    return Scene(seed)


class SceneSource:
    """One camera of the scene: I420 pictures at the opening's rate, `LOOP_S` seconds long."""

    raw = True

    def __init__(self, opening: Opening) -> None:
        name, _, query = opening.url.partition("?")
        if name not in CAMERAS:
            raise CameraError(f"the scene has no camera {name!r}; it has {', '.join(CAMERAS)}")
        seed = parse_qs(query).get("seed", [str(SEED)])[0]
        if not seed.isdecimal():
            raise CameraError(f"seed={seed!r} is not a whole number")
        self._camera, self._scene = name, _scene(int(seed))
        self._rate_hz = opening.rate_hz or RATE_HZ
        self._next = self._first = 0
        self._count = int(LOOP_S * self._rate_hz)

    @property
    def description(self) -> str:
        """Size and rate."""
        return f"scene {WIDTH_PX}x{HEIGHT_PX} {self._rate_hz:g} Hz"

    def grab(self) -> Grab:
        """Return the next picture's number; it is drawn when it is decoded."""
        if self._next - self._first >= self._count:
            raise CameraEnded(f"end of scene:{self._camera}")
        number = self._next
        self._next += 1
        return Grab(number, number, key=True, due_s=number / self._rate_hz, disposable=True)

    def decode(self, grab: Grab) -> Sequence[Decoded]:
        """Draw the picture."""
        rgb = self._scene.view(self._camera, grab.data / self._rate_hz % LOOP_S).image
        i420 = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
        quarter = HEIGHT_PX // 4
        half = (HEIGHT_PX // 2, WIDTH_PX // 2)
        luma, u, v = np.split(i420, (HEIGHT_PX, HEIGHT_PX + quarter))
        planes = (luma, u.reshape(half), v.reshape(half))
        picture = Picture(WIDTH_PX, HEIGHT_PX, PixelFormat.YUV, Color("bt601"), planes)
        return [Decoded(picture, grab.pts)]

    def skip(self, grab: Grab) -> None:
        """Nothing was drawn."""

    def rest(self, warm: bool = False) -> None:
        """Nothing is held."""

    def drain(self) -> Sequence[Decoded]:
        """Nothing is held."""
        return ()

    def rewind(self) -> None:
        """Go on from the start of the drive."""
        self._first = self._next

    def close(self) -> None:
        """Nothing to free."""
