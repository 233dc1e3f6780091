"""The vehicle signals that every configuration knows, and the names of a result that `after` may read.

Meanings, signs and units follow COVESA's Vehicle Signal Specification (VSS, branches given below `Vehicle.`), with
three differences: speed is in m/s and not km/h, a choice is written in lower case and may be coarser, and what VSS has
once for each lamp or door is one signal here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edged.expression import FLAG, NUMBER, TEXT, Kind

OWN_MAX = 256


@dataclass(frozen=True)
class Signal:
    """One signal: its name, kind, unit ("" for none), meaning, and where VSS has it."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    vss: str


def _choice(*allowed: str) -> Kind:
    return Kind("text", allowed)


_TABLE = (
    Signal("speed_mps", NUMBER, "m/s", "speed over ground, never negative", "Speed"),
    Signal(
        "gear",
        _choice("park", "reverse", "neutral", "drive"),
        "",
        "selected gear; every forward gear is drive",
        "Powertrain.Transmission.SelectedGear",
    ),
    Signal("steering_deg", NUMBER, "deg", "steering wheel angle, positive to the left", "Chassis.SteeringWheel.Angle"),
    Signal("yaw_rate_dps", NUMBER, "deg/s", "turning rate, positive to the left", "AngularVelocity.Yaw"),
    Signal("accel_mps2", NUMBER, "m/s2", "acceleration along the vehicle", "Acceleration.Longitudinal"),
    Signal("accel_lateral_mps2", NUMBER, "m/s2", "acceleration to the left", "Acceleration.Lateral"),
    Signal("brake", FLAG, "", "the brake pedal is pressed", "Chassis.Brake.IsBrakePedalPressed"),
    Signal("throttle_pct", NUMBER, "%", "accelerator pedal, 0 to 100", "Chassis.Accelerator.PedalPosition"),
    Signal("parking_brake", FLAG, "", "the parking brake is engaged", "Chassis.ParkingBrake.IsEngaged"),
    Signal(
        "indicator",
        _choice("off", "left", "right", "hazard"),
        "",
        "direction indicators or hazard lights",
        "Body.Lights.DirectionIndicator, Body.Lights.Hazard",
    ),
    Signal("headlights", FLAG, "", "low or high beam is on", "Body.Lights.Beam"),
    Signal("wipers", FLAG, "", "the front wipers are on", "Body.Windshield.Front.Wiping.Mode"),
    Signal("rain_pct", NUMBER, "%", "rain intensity, 0 to 100", "Body.Raindetection.Intensity"),
    Signal(
        "ignition",
        _choice("off", "accessory", "on", "start"),
        "",
        "supply of the control units; locked is off",
        "LowVoltageSystemState",
    ),
    Signal("ambient_c", NUMBER, "C", "temperature of the air outside", "Exterior.AirTemperature"),
    Signal("latitude_deg", NUMBER, "deg", "WGS 84, positive to the north", "CurrentLocation.Latitude"),
    Signal("longitude_deg", NUMBER, "deg", "WGS 84, positive to the east", "CurrentLocation.Longitude"),
    Signal("heading_deg", NUMBER, "deg", "0 north, 90 east, 180 south, 270 west", "CurrentLocation.Heading"),
    Signal("odometer_m", NUMBER, "m", "distance travelled in the vehicle's life", "TraveledDistance"),
    Signal("door_open", FLAG, "", "a door is open", "Cabin.Door.*.*.IsOpen"),
    Signal("autonomy", FLAG, "", "the vehicle drives itself", "ADAS.ActiveAutonomyLevel"),
)

SIGNALS: Mapping[str, Signal] = MappingProxyType({signal.name: signal for signal in _TABLE})
"""The built-in signals by name."""

KINDS: Mapping[str, Kind] = MappingProxyType({signal.name: signal.kind for signal in _TABLE})
"""The kind of each built-in signal."""

RESULT_KINDS: Mapping[str, Kind] = MappingProxyType({"score": NUMBER, "count": NUMBER, "lanes": NUMBER})
"""What `after` reads of a result: highest score of its detections and lanes (0 without), numbers of both."""


def kinds_with(own: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the kind of every signal: the built-in ones, and a configuration's own."""
    return {**own, **KINDS}


def declared_kind(said: Any) -> Kind | None:
    """Return the kind that a declaration says (flag, number, text, or a list of texts), or None where it says none."""
    if isinstance(said, (list, tuple)):
        return Kind("text", tuple(said)) if said and all(isinstance(text, str) for text in said) else None
    return {"flag": FLAG, "number": NUMBER, "text": TEXT}.get(said) if isinstance(said, str) else None
