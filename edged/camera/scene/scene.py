"""One drive through one made-up place, seen by six cameras, with exact truth."""

from __future__ import annotations

import math

import numpy as np

from edged.camera.scene.cameras import CAMERAS, HEIGHT_PX, WIDTH_PX, Eye, FloatArray
from edged.camera.scene.canvas import Canvas, area_px, clip_box
from edged.camera.scene.ground import Ground, light_ground, paint_road, paint_sky, shadow_mask
from edged.camera.scene.lanes import lane_truth
from edged.camera.scene.layout import LOOP_S, Body, Layout, Placement
from edged.camera.scene.lens import Glow, finish
from edged.camera.scene.light import Light
from edged.camera.scene.painter import Painted, Stand, paint_order, paint_solid, paint_sticks
from edged.camera.scene.pedestrians import Person, build_person
from edged.camera.scene.road import Road
from edged.camera.scene.shapes import Solid, Sticks
from edged.camera.scene.truth import Label, Truth, TruthBox, View
from edged.camera.scene.weather import Schedule, draw_schedule, weather_at

_MAX_BODIES = 250
_MIN_HEIGHT_PX = 6.0


class Scene:
    """A drive of `LOOP_S` seconds that starts again at its end.

    The same (seed, schedule, camera, time) gives the same bytes on one build of NumPy and OpenCV.
    Building one takes about a second, a view some tens of milliseconds. Nothing changes after
    construction, so threads may share one.
    """

    def __init__(self, seed: int, schedule: Schedule | None = None) -> None:
        """Build the place.

        Args:
            seed: decides everything: road, people, traffic, colours, weather.
            schedule: (seconds, name in `WEATHERS`) in rising order, instead of the seed's own.
        """
        rng = np.random.default_rng(seed)
        self.seed = seed
        self._road = Road.build(rng)
        self._ground = Ground.draw(rng, self._road)
        self._layout = Layout.build(rng, self._road)
        self._sun_azimuth = float(rng.uniform(-np.pi, np.pi))
        drawn = draw_schedule(rng)
        self.schedule: Schedule = tuple(schedule) if schedule is not None else drawn

    def view(self, camera: str, t_s: float) -> View:
        """Render what `camera` sees `t_s` seconds into the drive.

        Raises:
            KeyError: `camera` is not in `CAMERAS`.
        """
        mount = CAMERAS[camera]
        t_s = t_s % LOOP_S
        ego = self._layout.ego
        ego_s = ego.s_m + ego.speed_mps * t_s
        x, y, _ = self._road.at(ego_s, ego.d_m).tolist()
        eye = Eye.of(mount, x, y, float(self._road.heading_at(ego_s)))
        light = self._light(eye, np.array([x, y]), ego_s, t_s)
        placed = self._layout.at(t_s)
        near = self._in_view(eye, placed)
        stands = [self._stand(eye, placed, k) for k in near]
        shapes = [_pose(self._layout.bodies[k], float(placed.walked_m[k])) for k in near]
        canvas = Canvas()
        paint_sky(canvas, eye, light.weather, self._ground.offset_px)
        paint_road(canvas, eye, self._road, self._ground, ego_s)
        shadow = shadow_mask(eye, light, [_footprint(s, p) for s, p in zip(shapes, stands, strict=True)])
        light_ground(canvas, eye, light, shadow, self._ground.offset_px)
        bodies = [self._layout.bodies[k] for k in near]
        boxes, glows = _paint(canvas, eye, light, bodies, shapes, stands)
        lanes = lane_truth(eye, self._road, canvas.ids, ego_s)
        frame_rng = np.random.default_rng([self.seed, round(t_s * 1000), list(CAMERAS).index(camera)])
        return View(finish(canvas.image, eye, light, glows, frame_rng), Truth(tuple(boxes), lanes))

    def _light(self, eye: Eye, car_m: FloatArray, ego_s_m: float, t_s: float) -> Light:
        weather = weather_at(self.schedule, t_s)
        up = math.radians(weather.sun_elevation_deg)
        flat = np.array([math.cos(self._sun_azimuth), math.sin(self._sun_azimuth)]) * math.cos(up)
        lamps = self._layout.lamps_sd_m
        lamps = lamps[np.abs(lamps[:, 0] - ego_s_m) < 60.0]
        over_road = self._road.at(lamps[:, 0], lamps[:, 1] - np.sign(lamps[:, 1]) * 1.5)[:, :2]
        ahead = np.array([math.cos(eye.heading_rad), math.sin(eye.heading_rad)])
        return Light(weather, np.array([*flat, math.sin(up)]), car_m, ahead, over_road)

    def _in_view(self, eye: Eye, placed: Placement) -> list[int]:
        """Return the bodies that can show, the nearest `_MAX_BODIES` of them."""
        points = self._road.at(placed.s_m, placed.d_m)
        seen = eye.to_camera(points)
        away = np.hypot(*(points - eye.origin_m)[:, :2].T)
        reach = np.array([_reach_m(body) for body in self._layout.bodies])
        ranges = np.array([body.range_m for body in self._layout.bodies])
        slope = WIDTH_PX / 2 / eye.camera.focal_px
        beside = np.abs(seen[:, 0]) - slope * seen[:, 2] - reach * math.hypot(1.0, slope)
        keep = np.flatnonzero((away < ranges) & (seen[:, 2] > -reach) & (beside < 0.0))
        nearest = keep[np.argsort(away[keep], kind="stable")][:_MAX_BODIES]
        return [int(k) for k in nearest]

    def _stand(self, eye: Eye, placed: Placement, k: int) -> Stand:
        s, d = float(placed.s_m[k]), float(placed.d_m[k])
        x, y, _ = self._road.at(s, d).tolist()
        yaw = float(self._road.heading_at(s)) + float(placed.yaw_rad[k])
        away = math.hypot(x - eye.origin_m[0], y - eye.origin_m[1])
        return Stand(x, y, yaw, max(away, 0.5))


def _reach_m(body: Body) -> float:
    if isinstance(body.shape, Person):
        return 0.7
    return math.hypot(body.shape.half_length_m, body.shape.half_width_m)


def _pose(body: Body, walked_m: float) -> Solid | Sticks:
    if not isinstance(body.shape, Person):
        return body.shape
    path = body.path
    moving = path.cross_mps > 0 or path.speed_mps != 0
    phase = path.phase_rad + 2 * np.pi * walked_m / (0.82 * body.shape.height_m)
    return build_person(body.shape, phase, 1.0 if moving else 0.05)


def _label(body: Body) -> Label | None:
    if isinstance(body.shape, Person):
        return "pedestrian"
    return "vehicle" if body.vehicle else None


def _footprint(shape: Solid | Sticks, stand: Stand) -> tuple[FloatArray, float]:
    a, b = shape.half_length_m, shape.half_width_m
    corners = np.array([(a, b, 0.0), (a, -b, 0.0), (-a, -b, 0.0), (-a, b, 0.0)])
    if isinstance(shape, Sticks):
        corners *= 0.7
    return stand.to_world(corners)[:, :2], shape.height_m


def _paint(
    canvas: Canvas, eye: Eye, light: Light, bodies: list[Body], shapes: list[Solid | Sticks], stands: list[Stand]
) -> tuple[list[TruthBox], list[Glow]]:
    """Paint all bodies and measure what is left to see of each road user."""
    if not bodies:
        return [], []
    order = paint_order(
        np.array([(stand.x_m, stand.y_m) for stand in stands]),
        np.array([stand.yaw_rad for stand in stands]),
        np.array([(shape.half_length_m, shape.half_width_m) for shape in shapes]),
        eye.origin_m[:2],
    )
    users: list[tuple[int, Label, FloatArray, float]] = []
    glows: list[tuple[int, Glow]] = []
    for number, k in enumerate(order, start=1):
        shape = shapes[k]
        if isinstance(shape, Solid):
            painted = paint_solid(canvas, eye, light, shape, stands[k], number)
        else:
            painted = paint_sticks(canvas, eye, light, shape, stands[k], number)
        if painted is None:
            continue
        glows += [(number, glow) for glow in painted.glows]
        label = _label(bodies[k])
        measured = _measured(canvas, painted, number) if label is not None else None
        if label is not None and measured is not None:
            users.append((number, label, *measured))
    boxes = [_box(canvas, *user) for user in users]
    shining = [glow for number, glow in glows if _shows(canvas, number, glow)]
    return [box for box in boxes if box is not None], shining


def _measured(canvas: Canvas, painted: Painted, number: int) -> tuple[FloatArray, float] | None:
    """Return a body's box in the picture and the area in px of its whole silhouette.

    To be called just after painting it, before anything nearer covers it. None when all of it
    lies outside the picture.
    """
    if np.array_equal(clip_box(painted.box_px), painted.box_px):
        return painted.box_px, float(canvas.count(number, painted.box_px))
    rows, cols = np.nonzero(canvas.ids == number)
    if rows.size == 0:
        return None
    drawn = np.array([cols.min(), rows.min(), cols.max() + 1.0, rows.max() + 1.0])
    clipped = clip_box(painted.box_px)
    box = np.concatenate([np.maximum(drawn[:2], clipped[:2]), np.minimum(drawn[2:], clipped[2:])])
    return box, area_px(painted.outlines_px, painted.box_px)


def _box(canvas: Canvas, number: int, label: Label, box_px: FloatArray, whole_px: float) -> TruthBox | None:
    x1, y1, x2, y2 = box_px.tolist()
    seen = canvas.count(number, box_px)
    if seen == 0 or y2 - y1 < _MIN_HEIGHT_PX or x2 - x1 < 2.0:
        return None
    return TruthBox(label, x1, y1, x2, y2, min(1.0, seen / max(whole_px, 1.0)))


def _shows(canvas: Canvas, number: int, glow: Glow) -> bool:
    x, y = int(glow[0]), int(glow[1])
    inside = 0 <= x < WIDTH_PX and 0 <= y < HEIGHT_PX
    return inside and int(canvas.ids[y, x]) == number
