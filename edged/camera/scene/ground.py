"""Sky, ground, road and paint: everything that no body can stand behind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edged.camera.scene.cameras import CAMERAS, HEIGHT_PX, NEAR_M, WIDTH_PX, Eye, FloatArray
from edged.camera.scene.canvas import Canvas, fixed_point
from edged.camera.scene.light import Light
from edged.camera.scene.road import END_M, START_M, Road
from edged.camera.scene.weather import Weather

LINE_HALF_M = 0.075
_TILE_PX = 512
_REACH_M = np.concatenate([np.arange(-150, -40, 10), np.arange(-40, 60, 2), np.arange(60, 151, 10)]).astype(float)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rays:
    """Where the pixels of one camera look, in car axes: fixed, so worked out once.

    Attributes:
        horizon_px: first row whose pixels look at the ground.
        ground_m: (rows, 640, 2) where the pixels below the horizon meet the ground.
        distance_m: (rows, 640) how far that is from the camera.
        near: (rows, 640) contrast of the fine texture, less where pixels span more ground.
        azimuth, elevation: (horizon_px, 640) of the pixels above it, in rad.
    """

    horizon_px: int
    ground_m: Float32
    distance_m: Float32
    near: Float32
    azimuth: Float32
    elevation: Float32


@dataclass(frozen=True)
class Ground:
    """The look of one scene's ground: colours in 0..255, and where its textures start."""

    asphalt: float
    pavement: tuple[float, float, float]
    verge: tuple[float, float, float]
    patches_sd_m: tuple[tuple[float, float, float, float, float], ...]
    offset_px: tuple[float, float]

    @staticmethod
    def draw(rng: np.random.Generator, road: Road) -> Ground:
        """Draw colours, repairs in the asphalt and stains."""
        right, left = road.kerbs_m
        grey = float(rng.uniform(72, 112))
        stone = rng.uniform(128, 172)
        verge = ((92, 116, 66), (112, 104, 78), (128, 126, 120))[int(rng.integers(3))]
        tone = rng.uniform(0.8, 1.15)
        patches = [
            (
                float(s), float(rng.uniform(right, left)), float(rng.uniform(0.6, 7.0)),
                float(rng.uniform(0.06, 1.3)), float(rng.uniform(0.72, 1.12)),
            )
            for s in rng.uniform(START_M, END_M, 150)
        ]  # fmt: skip
        return Ground(
            asphalt=grey,
            pavement=(stone, stone * 0.98, stone * float(rng.uniform(0.86, 1.0))),
            verge=(verge[0] * tone, verge[1] * tone, verge[2] * tone),
            patches_sd_m=tuple(patches),
            offset_px=(float(rng.uniform(0, _TILE_PX)), float(rng.uniform(0, _TILE_PX))),
        )


@lru_cache(maxsize=8)
def rays(camera: str) -> Rays:
    """Return the rays of one camera."""
    mount = CAMERAS[camera]
    horizon = HEIGHT_PX / 2 - mount.focal_px * math.tan(math.radians(mount.pitch_deg))
    first = max(0, math.ceil(horizon + 0.5))
    x, y = np.meshgrid(np.arange(WIDTH_PX) + 0.5, np.arange(HEIGHT_PX) + 0.5)
    ahead = np.stack([(x - WIDTH_PX / 2) / mount.focal_px, (y - HEIGHT_PX / 2) / mount.focal_px, np.ones_like(x)], -1)
    seen = ahead @ mount.rotation()
    low, high = seen[first:], seen[:first]
    scale = mount.z_m / np.maximum(-low[..., 2], 1e-4)
    ground = low[..., :2] * scale[..., None] + np.array([mount.x_m, mount.y_m])
    away = np.minimum(np.hypot(low[..., 0], low[..., 1]) * scale, 2000.0)
    return Rays(
        first,
        ground.astype(np.float32),
        away.astype(np.float32),
        (0.085 * np.exp(-away * 400.0 / mount.focal_px / 11.0)).astype(np.float32),
        np.arctan2(high[..., 1], high[..., 0]).astype(np.float32),
        np.arctan2(high[..., 2], np.hypot(high[..., 0], high[..., 1])).astype(np.float32),
    )


@lru_cache(maxsize=4)
def noise_tile(power: float) -> Float32:
    """Return a (512, 512) tile of noise that repeats without seams: mean 0, deviation 1."""
    white = np.random.default_rng(77).standard_normal((_TILE_PX, _TILE_PX))
    freq = np.hypot(*np.meshgrid(np.fft.fftfreq(_TILE_PX), np.fft.fftfreq(_TILE_PX)))
    freq[0, 0] = 1.0
    spectrum = np.fft.fft2(white) / freq**power
    spectrum[0, 0] = 0.0
    tile = np.fft.ifft2(spectrum).real
    return np.asarray(tile / tile.std(), dtype=np.float32)


def _sample(tile: Float32, u_px: Float32, v_px: Float32) -> Float32:
    wrapped = cv2.remap(tile, u_px, v_px, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(wrapped, dtype=np.float32)


def paint_sky(canvas: Canvas, eye: Eye, weather: Weather, seed_px: tuple[float, float]) -> None:
    """Paint the sky with its clouds, and a far skyline."""
    look = rays(eye.camera.name)
    if look.horizon_px == 0:
        return
    azimuth = look.azimuth + np.float32(eye.heading_rad)
    rise = np.clip(look.elevation / 0.6, 0.0, 1.0)[..., None] ** 0.7
    low, top = np.array(weather.sky_low, np.float32), np.array(weather.sky_top, np.float32)
    sky = low + (top - low) * rise
    height = 1.0 / (look.elevation + 0.12)
    u = np.cos(azimuth) * height * 26.0 + seed_px[0]
    v = np.sin(azimuth) * height * 26.0 + seed_px[1]
    cloud = _sample(noise_tile(1.5), u.astype(np.float32), v.astype(np.float32))
    cover = np.clip(cloud + 1.6 * weather.cloud - 0.9, 0.0, 1.0)[..., None] * min(1.0, 0.3 + weather.cloud)
    tint = low * np.float32(0.92 + 0.12 * weather.sun)
    canvas.image[: look.horizon_px] = np.clip(sky + (tint - sky) * cover * 0.7, 0, 255).astype(np.uint8)
    hills = noise_tile(1.0)[7].astype(np.float64)
    columns = azimuth[-1].astype(np.float64) * 60.0 + seed_px[0]
    rough = np.interp(columns, np.arange(_TILE_PX), hills, period=_TILE_PX)
    tall = eye.camera.focal_px * (0.018 + 0.012 * np.clip(rough, -1.2, 3.0))
    xs = np.arange(WIDTH_PX) + 0.5
    ridge = np.stack([xs, look.horizon_px - tall], axis=1)
    floor = np.array([[WIDTH_PX + 1.0, look.horizon_px + 2.0], [-1.0, look.horizon_px + 2.0]])
    shade = np.array([70.0, 82.0, 74.0]) * np.array(weather.ambient) * 0.45 + np.array(weather.sky_low) * 0.55
    canvas.fill(np.concatenate([ridge, floor]), shade)


def paint_road(canvas: Canvas, eye: Eye, road: Road, ground: Ground, ego_s_m: float) -> None:
    """Paint verges, pavements, asphalt, repairs, zebra crossings and lane lines, unlit."""
    canvas.image[rays(eye.camera.name).horizon_px :] = np.array(ground.verge).astype(np.uint8)
    s = np.clip(ego_s_m + _REACH_M, START_M, END_M)
    asphalt = np.full(3, ground.asphalt) * np.array([1.0, 1.0, 1.03])
    _band(canvas, eye, road, s, road.verges_m, np.array(ground.pavement))
    right, left = road.kerbs_m
    _band(canvas, eye, road, s, (right - 0.18, left + 0.18), np.array(ground.pavement) * 0.78)
    _band(canvas, eye, road, s, (right, left), asphalt)
    near = [patch for patch in ground.patches_sd_m if abs(patch[0] - ego_s_m) < 45.0]
    if near:
        at, d, length, width, tone = np.array(near).T
        low, high = np.maximum(right, d - width / 2), np.minimum(left, d + width / 2)
        _marks_on(canvas, eye, _quads(road, at, at + length, low, high), asphalt * tone[:, None], asphalt)
    for crossing in road.crossings_m:
        if abs(crossing - ego_s_m) < 100.0:
            d = np.arange(road.edges_m[0] + 0.6, road.edges_m[1] - 0.6, 1.0)
            bars = _quads(road, np.full_like(d, crossing - 1.5), np.full_like(d, crossing + 1.5), d, d + 0.5)
            _marks_on(canvas, eye, bars, np.full((len(d), 3), 214.0), asphalt)
    for line in road.lines:
        starts, stops = _marks(road, line.kind, ego_s_m)
        side = np.full_like(starts, line.offset_m)
        quads = _quads(road, starts, stops, side - LINE_HALF_M, side + LINE_HALF_M)
        _marks_on(canvas, eye, quads, np.tile(np.array(line.colour), (len(quads), 1)), asphalt)


def _quads(road: Road, s0_m: FloatArray, s1_m: FloatArray, d0_m: FloatArray, d1_m: FloatArray) -> FloatArray:
    """Return the corners (N, 4, 3) of N marks that reach from s0 to s1 and from d0 to d1."""
    return road.at(np.stack([s0_m, s1_m, s1_m, s0_m], axis=1), np.stack([d0_m, d0_m, d1_m, d1_m], axis=1))


def _marks(road: Road, kind: str, ego_s_m: float) -> tuple[FloatArray, FloatArray]:
    """Return where the marks of one line start and stop, around the ego car."""
    low, high = max(START_M, ego_s_m - 90.0), min(END_M, ego_s_m + 110.0)
    pitch, length = (3.0, 3.0) if kind == "solid" else (road.dash_m + road.gap_m, road.dash_m)
    first = math.ceil((low - START_M) / pitch) * pitch + START_M
    starts = np.arange(first, high, pitch)
    return starts, starts + length


def _marks_on(canvas: Canvas, eye: Eye, quads_m: FloatArray, colours: FloatArray, under: FloatArray) -> None:
    """Paint quads (N, 4, 3) in colours (N, 3), fading each by how thin it is in the picture."""
    seen = eye.to_camera(quads_m)
    slope = WIDTH_PX / 2 / eye.camera.focal_px
    aside = (np.abs(seen[..., 0]) > slope * seen[..., 2]) & (seen[..., 0] * seen[:, :1, 0] > 0)
    for k in np.flatnonzero((seen[..., 2].max(axis=1) > NEAR_M) & ~aside.all(axis=1)):
        outline = eye.outline(seen[k])
        if outline is None or _outside(outline):
            continue
        x, y = outline[:, 0], outline[:, 1]
        area = abs(float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]) + x[-1] * y[0] - y[-1] * x[0])) / 2
        longest = float(np.hypot(x.max() - x.min(), y.max() - y.min()))
        share = min(1.0, max(0.12, 0.85 * area / max(longest, 1e-3)))
        canvas.fill(outline, under + (colours[k] - under) * share)


def _band(
    canvas: Canvas, eye: Eye, road: Road, s_m: FloatArray, sides_m: tuple[float, float], colour: FloatArray
) -> None:
    loop = np.concatenate([road.at(s_m, sides_m[0]), road.at(s_m[::-1], sides_m[1])])
    outline = eye.outline(eye.to_camera(loop))
    if outline is not None and not _outside(outline):
        canvas.fill(outline, np.clip(colour, 0, 255))


def _outside(outline_px: FloatArray) -> bool:
    low, high = outline_px.min(axis=0), outline_px.max(axis=0)
    return bool(high[0] < 0 or high[1] < 0 or low[0] > WIDTH_PX or low[1] > HEIGHT_PX)


def shadow_mask(eye: Eye, light: Light, footprints_m: list[tuple[FloatArray, float]]) -> Float32:
    """Return (360, 640) 0..1: how much of the direct and nearby light bodies take from the ground.

    A footprint is a body's corners (N, 2) in the world and its height.
    """
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    reach = min(6.0, 1.0 / math.tan(math.radians(max(light.weather.sun_elevation_deg, 5.0))))
    flat = light.sun[:2] / max(float(np.hypot(*light.sun[:2])), 1e-6)
    for direct in (True, False):
        if direct and light.weather.sun < 0.1:
            continue
        for corners, height in footprints_m:
            thrown = corners - flat * min(18.0, height * reach)
            both = np.concatenate([corners, thrown]) if direct else corners
            hull = cv2.convexHull(both.astype(np.float32))[:, 0].astype(np.float64)
            outline = eye.outline(eye.to_camera(np.concatenate([hull, np.zeros((len(hull), 1))], axis=1)))
            if outline is not None and not _outside(outline):
                cv2.fillPoly(mask, [fixed_point(outline)], 190 if direct else 255, cv2.LINE_AA, 4)
    soft = cv2.blur(mask, (3, 3)) / 255
    return np.asarray(soft, dtype=np.float32)


def light_ground(canvas: Canvas, eye: Eye, light: Light, shadow: Float32, offset_px: tuple[float, float]) -> None:
    """Apply texture, shadows, lamps and haze to the painted ground, in place."""
    look = rays(eye.camera.name)
    first = look.horizon_px
    cos, sin = np.float32(math.cos(eye.heading_rad)), np.float32(math.sin(eye.heading_rad))
    x, y = look.ground_m[..., 0], look.ground_m[..., 1]
    wx, wy = x * cos - y * sin, x * sin + y * cos
    grain = _grain(look, wx, wy, light.car_m + np.array(offset_px))
    weather = light.weather
    direct = weather.sun * math.sin(math.radians(weather.sun_elevation_deg)) * 1.1
    coarse_grid = np.stack([wx[::8, ::8], wy[::8, ::8]], axis=-1) + light.car_m
    gains = light.gain_at(coarse_grid).astype(np.float32)
    base: Float32 = np.asarray(cv2.resize(gains, (WIDTH_PX, len(wx))), dtype=np.float32)
    shade = shadow[first:]
    base *= ((1.0 - 0.4 * shade) * grain)[..., None]
    if direct > 0.0:
        base += (direct * (1.0 - shade) * grain)[..., None]
    lit = base * canvas.image[first:]
    haze = np.exp(-look.distance_m / np.float32(weather.haze_m))
    wet = np.float32(0.3 * weather.rain) * (1.0 - np.exp(-look.distance_m / np.float32(25.0)))
    keep = (haze * (1.0 - wet))[..., None]
    lit *= keep
    lit += np.array(weather.sky_low, np.float32) * (1.0 - keep)
    canvas.image[first:] = np.clip(lit, 0, 255, out=lit)


def _grain(look: Rays, x_m: Float32, y_m: Float32, start_m: FloatArray) -> Float32:
    """Return the ground's texture as a gain around 1; `start_m` moves it under the car."""
    fine_px, coarse_px = np.mod(start_m * 44.0, _TILE_PX), np.mod(start_m * 5.0, _TILE_PX)
    fine = _sample(noise_tile(0.6), x_m * 44 + np.float32(fine_px[0]), y_m * 44 + np.float32(fine_px[1]))
    coarse = _sample(noise_tile(1.0), x_m * 5 + np.float32(coarse_px[0]), y_m * 5 + np.float32(coarse_px[1]))
    fine *= look.near
    fine += coarse * np.float32(0.045)
    fine += 1.0
    return fine
