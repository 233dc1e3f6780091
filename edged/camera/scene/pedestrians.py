"""Pedestrians: jointed figures of rounded sticks that walk, wait and carry things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edged.camera.scene.shapes import Sticks
from edged.camera.scene.weather import Rgb

SKINS: tuple[Rgb, ...] = ((236, 196, 168), (214, 164, 128), (168, 116, 82), (112, 74, 52), (78, 52, 40))
HAIRS: tuple[Rgb, ...] = ((30, 24, 20), (72, 48, 30), (150, 112, 62), (120, 118, 116), (196, 60, 40))
CLOTHES: tuple[Rgb, ...] = (
    (28, 30, 36), (60, 64, 72), (110, 112, 116), (226, 226, 222), (176, 36, 40), (38, 70, 142), (34, 104, 72),
    (222, 178, 52), (226, 112, 36), (120, 60, 122), (96, 72, 50), (196, 170, 136), (90, 150, 190), (214, 120, 150),
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """How one pedestrian looks. Lengths in metres, colours in 0..255."""

    height_m: float
    build: float
    skin: Rgb
    hair: Rgb
    top: Rgb
    legs: Rgb
    shoes: Rgb
    bag: Rgb | None
    coat: bool

    @staticmethod
    def draw(rng: np.random.Generator) -> Person:
        """Draw a person; one in six is a child."""
        child = rng.uniform() < 0.17
        height_m = rng.uniform(1.05, 1.45) if child else rng.uniform(1.52, 1.95)

        def pick(table: tuple[Rgb, ...]) -> Rgb:
            shade = rng.uniform(0.8, 1.12)
            red, green, blue = (min(245.0, c * shade) for c in table[int(rng.integers(len(table)))])
            return red, green, blue

        return Person(
            height_m=float(height_m),
            build=float(rng.uniform(0.85, 1.25)),
            skin=pick(SKINS),
            hair=pick(HAIRS),
            top=pick(CLOTHES),
            legs=pick(CLOTHES[:7] + CLOTHES[10:12]),
            shoes=pick(CLOTHES[:4]),
            bag=pick(CLOTHES) if rng.uniform() < 0.3 else None,
            coat=bool(rng.uniform() < 0.25),
        )


def build_person(person: Person, phase_rad: float, swing: float) -> Sticks:
    """Pose a person at the origin, facing +x.

    Args:
        person: how they look.
        phase_rad: where in the walking cycle; one turn is two steps.
        swing: 0 standing .. 1 a full stride.
    """
    h, wide = person.height_m, person.build
    bob = 0.012 * h * swing * np.cos(2 * phase_rad)
    hip_z, shoulder_z = 0.5 * h + bob, 0.8 * h + bob
    sticks: list[tuple[tuple[float, ...], tuple[float, ...], float, float, Rgb]] = []
    for side, turn in ((1.0, phase_rad), (-1.0, phase_rad + np.pi)):
        thigh = 0.5 * swing * np.sin(turn)
        knee = thigh - (0.12 + 0.55 * max(0.0, -np.cos(turn))) * swing
        y = side * 0.055 * h * wide
        hip = (0.0, y, hip_z)
        knee_at = (0.25 * h * np.sin(thigh), y, hip_z - 0.25 * h * np.cos(thigh))
        foot = (knee_at[0] + 0.22 * h * np.sin(knee), y, knee_at[2] - 0.22 * h * np.cos(knee))
        toe = (foot[0] + 0.08 * h, y, max(0.015 * h, foot[2] - 0.01 * h))
        sticks.append((hip, knee_at, 0.05 * h * wide, 0.038 * h, person.legs))
        sticks.append((knee_at, foot, 0.036 * h, 0.026 * h, person.legs))
        sticks.append((foot, toe, 0.022 * h, 0.018 * h, person.shoes))
        arm = -0.45 * swing * np.sin(turn)
        shoulder = (0.0, side * 0.115 * h * wide, shoulder_z)
        elbow = (0.17 * h * np.sin(arm), side * 0.13 * h * wide, shoulder_z - 0.17 * h * np.cos(arm))
        hand = (elbow[0] + 0.15 * h * np.sin(arm + 0.35 * swing), elbow[1], elbow[2] - 0.15 * h)
        sticks.append((shoulder, elbow, 0.034 * h, 0.028 * h, person.top))
        sticks.append((elbow, hand, 0.026 * h, 0.02 * h, person.top if person.coat else person.skin))
        hem = hip_z - (0.16 * h if person.coat else 0.0)
        waist = (0.0, side * 0.045 * h * wide, hem)
        breast = (0.0, side * 0.065 * h * wide, shoulder_z - 0.015 * h)
        sticks.append((waist, breast, 0.055 * h * wide, 0.055 * h * wide, person.top))
    sticks.append(((0.0, 0.0, hip_z), (0.0, 0.0, shoulder_z), 0.075 * h * wide, 0.06 * h * wide, person.top))
    neck, head = (0.0, 0.0, shoulder_z + 0.03 * h), (0.012 * h, 0.0, 0.925 * h + bob)
    sticks.append((neck, head, 0.03 * h, 0.03 * h, person.skin))
    sticks.append((head, (0.015 * h, 0.0, 0.905 * h + bob), 0.055 * h, 0.05 * h, person.skin))
    crown = (-0.012 * h, 0.0, 0.94 * h + bob)
    sticks.append((crown, (-0.02 * h, 0.0, 0.92 * h + bob), 0.057 * h, 0.055 * h, person.hair))
    if person.bag is not None:
        back = -0.1 * h * wide
        sticks.append(((back, 0.0, 0.6 * h), (back, 0.0, 0.74 * h), 0.07 * h, 0.06 * h, person.bag))
    ends = np.array([(a, b) for a, b, _, _, _ in sticks])
    radii = np.array([(ra, rb) for _, _, ra, rb, _ in sticks])
    return Sticks.of(ends, radii, [colour for *_, colour in sticks])
