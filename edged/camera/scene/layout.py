"""Who and what is where: everything that stands or moves along the road, as arrays over bodies."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edged.camera.scene.cameras import FloatArray
from edged.camera.scene.pedestrians import Person
from edged.camera.scene.road import END_M, LANE_M, START_M, Road
from edged.camera.scene.scenery import build_building, build_furniture, build_lamp_post, build_tree
from edged.camera.scene.shapes import Solid, Sticks
from edged.camera.scene.vehicles import build_vehicle

LOOP_S = 60.0
CAR_KINDS = ("saloon", "saloon", "hatchback", "hatchback", "suv", "suv", "van", "truck", "bus")


@dataclass(frozen=True)
class Path:
    """How one body moves, in road coordinates.

    s = s_m + speed_mps * t + sway_m * sin(sway_rad_s * t + phase_rad). With `cross_mps` above 0
    it walks across the road instead, to and fro between d_m and d_far_m.
    """

    s_m: float
    d_m: float
    yaw_rad: float = 0.0
    speed_mps: float = 0.0
    sway_m: float = 0.0
    sway_rad_s: float = 0.0
    phase_rad: float = 0.0
    cross_mps: float = 0.0
    d_far_m: float = 0.0


@dataclass(frozen=True, eq=False)
class Body:
    """One thing to draw: a fixed shape, or a person whose shape is posed for each picture."""

    path: Path
    shape: Solid | Sticks | Person
    range_m: float
    vehicle: bool = False


@dataclass(frozen=True, eq=False)
class Placement:
    """Where all bodies are at one moment, in body order: s, d, yaw on the road and travelled way."""

    s_m: FloatArray
    d_m: FloatArray
    yaw_rad: FloatArray
    walked_m: FloatArray


@dataclass(frozen=True, eq=False)
class Layout:
    """All bodies of a scene, the ego car's path, and the street lamps (L, 2) as (s, d)."""

    bodies: tuple[Body, ...]
    ego: Path
    lamps_sd_m: FloatArray
    _table: FloatArray = field(repr=False)

    @staticmethod
    def build(rng: np.random.Generator, road: Road) -> Layout:
        """Furnish `road`."""
        lane = -(rng.integers(road.lanes_ahead) + 0.5) * LANE_M
        ego = Path(0.0, float(lane), speed_mps=float(rng.uniform(7.0, 13.0)))
        lamps = _lamp_posts(rng, road)
        bodies = [
            *_traffic(rng, road, ego), *_parked(rng, road), *_walkers(rng, road), *_crossers(rng, road, ego),
            *_furniture(rng, road), *_greenery(rng, road), *_houses(rng, road), *lamps,
        ]  # fmt: skip
        table = np.array(
            [
                (p.s_m, p.d_m, p.yaw_rad, p.speed_mps, p.sway_m, p.sway_rad_s, p.phase_rad, p.cross_mps, p.d_far_m)
                for p in (body.path for body in bodies)
            ]
        )
        return Layout(tuple(bodies), ego, np.array([(b.path.s_m, b.path.d_m) for b in lamps]), table)

    def at(self, t_s: float) -> Placement:
        """Return where every body is at `t_s` (0..LOOP_S)."""
        s0, d0, yaw, speed, sway, rate, phase, cross, far = self._table.T
        s = s0 + speed * t_s + sway * np.sin(rate * t_s + phase)
        span = np.maximum(np.abs(far - d0), 1e-6)
        way = cross * t_s + phase * (cross > 0)
        turn = (way / span) % 2.0
        share = np.where(turn < 1.0, turn, 2.0 - turn)
        d = np.where(cross > 0, d0 + (far - d0) * share, d0)
        toward = np.sign(far - d0) * np.where(turn < 1.0, 1.0, -1.0) * np.pi / 2
        return Placement(s, d, np.where(cross > 0, toward, yaw), np.where(cross > 0, way, np.abs(s - s0)))


def _kind(rng: np.random.Generator) -> str:
    return CAR_KINDS[int(rng.integers(len(CAR_KINDS)))]


def _traffic(rng: np.random.Generator, road: Road, ego: Path) -> list[Body]:
    """Return moving vehicles: some in the ego car's lane, others beside it and towards it."""
    bodies = []
    for lane in range(-road.lanes_ahead, road.lanes_oncoming):
        d = (lane + 0.5) * LANE_M
        own, ahead = abs(d - ego.d_m) < 0.1, lane < 0
        share = rng.uniform(0.3, 1.0)
        speed = ego.speed_mps if own else rng.uniform(0.75, 1.2) * ego.speed_mps * (1 if ahead else -1)
        s = -150.0 if ahead else -140.0
        while s < (160.0 if own else 480.0 if ahead else END_M + 300.0):
            s += rng.uniform(16.0, 60.0) if own else rng.uniform(14.0, 70.0)
            if rng.uniform() > share or (own and -15.0 < s < 14.0):
                continue
            path = Path(
                s_m=s, d_m=d + float(rng.uniform(-0.3, 0.3)), yaw_rad=0.0 if ahead else np.pi,
                speed_mps=float(speed), sway_m=float(rng.uniform(0.0, 3.0)), sway_rad_s=0.25,
                phase_rad=float(rng.uniform(0.0, 6.28)),
            )  # fmt: skip
            bodies.append(Body(path, build_vehicle(rng, _kind(rng)), 130.0, vehicle=True))
    return bodies


def _parked(rng: np.random.Generator, road: Road) -> list[Body]:
    """Return vehicles parked along the kerbs and, at any angle, on plots beside the road."""
    bodies = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        share = rng.uniform(0.2, 0.8) if road.parking_m[side] else 0.0
        for s in np.arange(START_M, END_M - 10.0, 7.5):
            near_crossing = min(abs(s - c) for c in road.crossings_m) < 7.0
            if rng.uniform() < share and not near_crossing:
                d = road.edges_m[side] + sign * (0.4 + road.parking_m[side] / 2)
                yaw = (0.0 if rng.uniform() < 0.8 else np.pi) + (np.pi if sign > 0 else 0.0)
                kind = CAR_KINDS[int(rng.integers(7))]
                path = Path(s, float(d), yaw_rad=yaw + float(rng.normal(0.0, 0.02)))
                bodies.append(Body(path, build_vehicle(rng, kind), 100.0, vehicle=True))
        for s in np.arange(START_M, END_M, 24.0):
            if rng.uniform() < 0.22:
                d = road.verges_m[side] + sign * rng.uniform(3.0, 6.0)
                path = Path(s + float(rng.uniform(-8, 8)), float(d), yaw_rad=float(rng.uniform(0.0, 6.28)))
                bodies.append(Body(path, build_vehicle(rng, CAR_KINDS[int(rng.integers(8))]), 100.0, vehicle=True))
    return bodies


def _walkers(rng: np.random.Generator, road: Road) -> list[Body]:
    """Return pedestrians on the pavements, alone or in twos, walking or standing."""
    bodies = []
    for side in (0, 1):
        near, far = sorted((road.kerbs_m[side], road.verges_m[side]))
        density = rng.uniform(13.0, 36.0)
        s = START_M
        while s < END_M:
            s += rng.exponential(density) + 0.8
            speed = 0.0 if rng.uniform() < 0.2 else float(rng.uniform(0.7, 1.9)) * (1 if rng.uniform() < 0.5 else -1)
            d = float(rng.uniform(near + 0.3, far - 0.3))
            yaw = float(rng.uniform(0.0, 6.28)) if speed == 0.0 else (0.0 if speed > 0 else np.pi)
            for k in range(2 if rng.uniform() < 0.12 else 1):
                phase = float(rng.uniform(0.0, 6.28))
                path = Path(s + 0.3 * k, d + 0.75 * k, yaw_rad=yaw, speed_mps=speed, phase_rad=phase)
                bodies.append(Body(path, Person.draw(rng), 75.0))
    return bodies


def _crossers(rng: np.random.Generator, road: Road, ego: Path) -> list[Body]:
    """Return pedestrians who cross the road, none of whom meets the ego car."""
    bodies = []
    right, left = road.verges_m[0] + 0.8, road.verges_m[1] - 0.8
    spots = [c + float(rng.uniform(-1.2, 1.2)) for c in road.crossings_m for _ in range(2)]
    spots += rng.uniform(10.0, END_M - 50.0, 18).tolist()
    clock = np.arange(0.0, LOOP_S, 0.1)
    for s in spots:
        speed = float(rng.uniform(0.9, 1.8))
        phase = float(rng.uniform(0.0, 2 * (left - right)))
        turn = ((speed * clock + phase) / (left - right)) % 2.0
        d = right + (left - right) * np.where(turn < 1.0, turn, 2.0 - turn)
        gap = s - ego.speed_mps * clock
        if np.any((np.abs(gap - 1.0) < 5.5) & (np.abs(d - ego.d_m) < 1.6)):
            continue
        path = Path(s, right, phase_rad=phase, cross_mps=speed, d_far_m=left)
        bodies.append(Body(path, Person.draw(rng), 75.0))
    return bodies


def _furniture(rng: np.random.Generator, road: Road) -> list[Body]:
    bodies = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        for s in np.arange(START_M, END_M, 9.0):
            if rng.uniform() < 0.5:
                d = rng.choice([road.kerbs_m[side] + sign * 0.45, road.verges_m[side] - sign * 0.2])
                path = Path(s + float(rng.uniform(-4, 4)), float(d), yaw_rad=float(rng.uniform(0, 6.28)))
                bodies.append(Body(path, build_furniture(rng), 80.0))
    return bodies


def _greenery(rng: np.random.Generator, road: Road) -> list[Body]:
    bodies = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        density = rng.uniform(0.2, 0.8)
        for s in np.arange(START_M, END_M, 8.0):
            if rng.uniform() < density:
                d = road.verges_m[side] + sign * rng.uniform(0.4, 9.0)
                bodies.append(Body(Path(s + float(rng.uniform(-3, 3)), float(d)), build_tree(rng), 110.0))
    return bodies


def _houses(rng: np.random.Generator, road: Road) -> list[Body]:
    bodies = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        density = rng.uniform(0.3, 0.95)
        s = START_M
        while s < END_M:
            length, depth = float(rng.uniform(8.0, 20.0)), float(rng.uniform(8.0, 12.0))
            height = float(rng.uniform(4.0, 15.0))
            if rng.uniform() < density:
                d = road.verges_m[side] + sign * (depth / 2 + rng.uniform(7.5, 12.0))
                shape = build_building(rng, (length, depth, height))
                bodies.append(Body(Path(s + length / 2, float(d)), shape, 150.0))
            s += length + float(rng.uniform(1.0, 9.0))
    return bodies


def _lamp_posts(rng: np.random.Generator, road: Road) -> list[Body]:
    pitch = float(rng.uniform(26.0, 40.0))
    bodies = []
    for side, sign in ((0, -1.0), (1, 1.0)):
        for s in np.arange(START_M + (pitch / 2 if side else 0.0), END_M, pitch):
            path = Path(s, road.kerbs_m[side] + sign * 0.3, yaw_rad=-sign * np.pi / 2)
            bodies.append(Body(path, build_lamp_post(), 110.0))
    return bodies
