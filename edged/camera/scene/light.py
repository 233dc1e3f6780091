"""How bright things are where they stand: daylight, headlights, street lamps, haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edged.camera.scene.cameras import FloatArray
from edged.camera.scene.weather import Weather

_WARM = np.array([1.0, 0.9, 0.68])
_COLD = np.array([1.0, 0.98, 0.92])


@dataclass(frozen=True, eq=False)
class Light:
    """The light of one moment around the ego car.

    Attributes:
        weather: what the sky gives.
        sun: (3,) unit vector towards the sun, in the world.
        car_m, ahead: (2,) the ego car's place and direction in the world.
        lamps_m: (L, 2) street lamps nearby, in the world.
    """

    weather: Weather
    sun: FloatArray
    car_m: FloatArray
    ahead: FloatArray
    lamps_m: FloatArray

    def gain_at(self, points_m: FloatArray) -> FloatArray:
        """Return the gain (..., 3) of a thing at world points (..., 2), without the sun's share."""
        gain: FloatArray = np.zeros((*points_m.shape[:-1], 3)) + np.array(self.weather.ambient)
        if self.weather.lamps <= 0.0:
            return gain
        away = points_m - self.car_m
        forward = away @ self.ahead
        sideways = np.abs(away[..., 0] * -self.ahead[1] + away[..., 1] * self.ahead[0])
        beam = np.clip(forward / 3.0 - 0.3, 0.0, 1.0) / (1.0 + (forward / 26.0) ** 2)
        beam = beam * np.exp(-((sideways / (2.2 + 0.3 * np.maximum(forward, 0.0))) ** 2))
        pool = np.zeros(points_m.shape[:-1])
        for lamp in self.lamps_m:
            apart = ((points_m - lamp) ** 2).sum(axis=-1)
            pool += np.exp(-apart / 90.0)
        share = self.weather.lamps * (1.0 - 0.6 * min(1.0, sum(self.weather.ambient) / 3))
        gain += share * (0.85 * beam[..., None] * _COLD + 0.45 * np.minimum(pool, 1.5)[..., None] * _WARM)
        return gain

    def through_air(self, colours: FloatArray, distance_m: FloatArray | float) -> FloatArray:
        """Fade lit colours (..., 3) into the haze over a distance."""
        clear: FloatArray = np.exp(-np.asarray(distance_m, dtype=np.float64) / self.weather.haze_m)[..., None]
        faded: FloatArray = colours * clear + np.array(self.weather.sky_low) * (1.0 - clear)
        return faded
