"""What the air, the lens and the sensor add to a finished picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edged.camera.scene.cameras import HEIGHT_PX, WIDTH_PX, Eye, FloatArray
from edged.camera.scene.light import Light

_PAD_PX = 128
_SMALL = 4

Glow = tuple[float, float, float, FloatArray]


@lru_cache(maxsize=1)
def _grain() -> npt.NDArray[np.float32]:
    """Return sensor noise of deviation 1, larger than a picture so that frames can differ."""
    rng = np.random.default_rng(123)
    white = rng.standard_normal((HEIGHT_PX + _PAD_PX, WIDTH_PX + _PAD_PX, 3), dtype=np.float32)
    return np.asarray(white, dtype=np.float32)


def finish(
    image: npt.NDArray[np.uint8], eye: Eye, light: Light, glows: list[Glow], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return the picture with glows, sun glare, rain and noise; `rng` decides the last two."""
    weather = light.weather
    work = image.astype(np.float32)
    if glows and weather.lamps > 0.05:
        work += _glow_layer(glows, weather.lamps)
    if weather.glare > 0.05:
        work += _glare_layer(eye, light) * np.float32(weather.glare)
    if weather.rain > 0.05:
        _streaks(work, weather.rain, rng)
        work = (work - 110.0) * np.float32(1.0 - 0.22 * weather.rain) + 110.0 * np.float32(1.0 - 0.12 * weather.rain)
    y, x = (int(v) for v in rng.integers(0, _PAD_PX, 2))
    work += _grain()[y : y + HEIGHT_PX, x : x + WIDTH_PX] * np.float32(weather.noise)
    return np.asarray(np.clip(work, 0, 255, out=work), dtype=np.uint8)


def _glow_layer(glows: list[Glow], strength: float) -> npt.NDArray[np.float32]:
    small = np.zeros((HEIGHT_PX // _SMALL, WIDTH_PX // _SMALL, 3), np.float32)
    for x, y, radius, colour in glows:
        centre = (round(x / _SMALL), round(y / _SMALL))
        red, green, blue = (colour * 0.55).tolist()
        cv2.circle(small, centre, max(1, round(radius / _SMALL)), (red, green, blue), -1)
    soft = cv2.GaussianBlur(small, (0, 0), 3.0) + 0.5 * cv2.GaussianBlur(small, (0, 0), 1.2)
    full = cv2.resize(soft * strength, (WIDTH_PX, HEIGHT_PX))
    return np.asarray(full, dtype=np.float32)


def _glare_layer(eye: Eye, light: Light) -> npt.NDArray[np.float32] | float:
    toward = eye.axes @ light.sun
    if toward[2] < 0.2:
        return 0.0
    x, y = eye.to_pixels(toward) / _SMALL
    cols, rows = np.meshgrid(np.arange(WIDTH_PX // _SMALL), np.arange(HEIGHT_PX // _SMALL))
    away = ((cols - x) ** 2 + (rows - y) ** 2).astype(np.float32)
    focal = np.float32(eye.camera.focal_px / _SMALL)
    veil = 210 * np.exp(-away / (0.05 * focal) ** 2) + 90 * np.exp(-away / (0.35 * focal) ** 2)
    tint = veil[..., None] * np.array([1.0, 0.88, 0.66], np.float32)
    return np.asarray(cv2.resize(tint.astype(np.float32), (WIDTH_PX, HEIGHT_PX)), dtype=np.float32)


def _streaks(work: npt.NDArray[np.float32], rain: float, rng: np.random.Generator) -> None:
    layer = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    count = int(150 * rain)
    starts = rng.uniform((0.0, -20.0), (WIDTH_PX, HEIGHT_PX), (count, 2))
    lengths = rng.uniform(8.0, 34.0, count)
    lean = rng.normal(0.12, 0.03, count)
    for (x, y), length, tilt in zip(starts, lengths, lean, strict=True):
        end = (round(x + tilt * length), round(y + length))
        cv2.line(layer, (round(x), round(y)), end, 255, 1, cv2.LINE_AA)
    work += layer[..., None].astype(np.float32) * np.float32(0.13)
