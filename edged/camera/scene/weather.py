"""Light and weather as numbers that can be mixed, so that they can change during a drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """What the light does to the scene.

    Attributes:
        ambient: gain of everything by diffuse light, per colour.
        sun: extra gain of what faces the sun; shadows darken by it.
        sun_elevation_deg: height of the sun above the horizon.
        sky_top, sky_low: colours (0..255) overhead and at the horizon.
        cloud: 0 clear sky .. 1 covered.
        haze_m: distance at which a thing has faded to 1/e.
        rain: 0 dry .. 1 heavy: streaks, drops, wet road.
        lamps: 0 off .. 1 on: headlights, street lamps, lit windows.
        noise: standard deviation of the sensor noise in counts of 255.
        glare: strength of a low sun in the lens.
    """

    ambient: Rgb
    sun: float
    sun_elevation_deg: float
    sky_top: Rgb
    sky_low: Rgb
    cloud: float
    haze_m: float
    rain: float
    lamps: float
    noise: float
    glare: float


WEATHERS: dict[str, Weather] = {
    "clear": Weather((0.74, 0.77, 0.82), 0.42, 45, (72, 128, 205), (190, 212, 235), 0.25, 900, 0, 0, 2.0, 0),
    "overcast": Weather((0.78, 0.79, 0.81), 0.04, 60, (150, 158, 168), (196, 200, 205), 0.9, 500, 0, 0, 3, 0),
    "rain": Weather((0.56, 0.58, 0.61), 0.0, 60, (112, 118, 126), (158, 163, 168), 1.0, 170, 1, 0.3, 5.0, 0),
    "low_sun": Weather((0.60, 0.54, 0.50), 0.62, 9, (92, 128, 186), (250, 204, 140), 0.3, 420, 0, 0, 2.5, 1),
    "dusk": Weather((0.43, 0.41, 0.49), 0.03, 5, (44, 52, 98), (196, 122, 96), 0.5, 420, 0, 0.7, 5.0, 0),
    "night": Weather((0.30, 0.31, 0.36), 0.0, 30, (7, 9, 18), (34, 34, 44), 0.4, 300, 0, 1.0, 6.0, 0),
}

Schedule = Sequence[tuple[float, str]]


def mix(first: Weather, second: Weather, share: float) -> Weather:
    """Return the weather `share` (0..1) of the way from `first` to `second`."""
    values = []
    for field in fields(Weather):
        a = np.asarray(getattr(first, field.name), dtype=np.float64)
        b = np.asarray(getattr(second, field.name), dtype=np.float64)
        value = a + (b - a) * share
        values.append(tuple(value.tolist()) if value.ndim else float(value))
    return Weather(*values)  # type: ignore[arg-type]


def weather_at(schedule: Schedule, t_s: float) -> Weather:
    """Return the weather at `t_s`, mixed linearly between the entries (seconds, name) around it.

    Raises:
        KeyError: the schedule names a weather that is not in `WEATHERS`.
    """
    before = schedule[0]
    for entry in schedule:
        if entry[0] > t_s:
            span_s = entry[0] - before[0]
            share = (t_s - before[0]) / span_s if span_s > 0 else 0.0
            return mix(WEATHERS[before[1]], WEATHERS[entry[1]], max(0.0, share))
        before = entry
    return WEATHERS[before[1]]


def draw_schedule(rng: np.random.Generator) -> Schedule:
    """Draw a schedule for one drive: mostly one weather, sometimes a change on the way."""
    names = list(WEATHERS)
    first, second = (names[int(k)] for k in rng.integers(0, len(names), 2))
    if rng.uniform() < 0.6:
        return ((0.0, first),)
    start_s = float(rng.uniform(5.0, 35.0))
    return ((0.0, first), (start_s, first), (start_s + float(rng.uniform(4.0, 12.0)), second))
