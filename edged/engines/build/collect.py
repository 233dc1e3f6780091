"""Candidates for calibration: pictures spread evenly over a recording, over time, or over a folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from edged.engines.build.cover import spread
from edged.engines.build.gather import Pick
from edged.errors import CameraEnded, ConfigError
from edged.frame import Color, Picture, PixelFormat

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class Grabbed(Protocol):
    """One packet of a stream."""

    @property
    def pts(self) -> int | None:
        """Its place in presentation order."""

    @property
    def key(self) -> bool:
        """Whether decoding may start here."""

    @property
    def due_s(self) -> float | None:
        """Its time in a recording."""


class Shown(Protocol):
    """One decoded picture."""

    @property
    def picture(self) -> Picture:
        """The pixels."""

    @property
    def pts(self) -> int | None:
        """That of the packet it came from."""

    @property
    def on_release(self) -> Any:
        """Gives its memory back, where that is needed."""


class Reader(Protocol):
    """What is needed of a camera source."""

    def grab(self) -> Any:
        """Wait for the next packet."""

    def decode(self, grab: Any) -> Sequence[Any]:
        """Decode it."""

    def skip(self, grab: Any) -> None:
        """Pass it over."""

    def rest(self) -> None:
        """Start decoding afresh at the next key frame."""

    def drain(self) -> Sequence[Any]:
        """Return what the decoder still holds."""

    def close(self) -> None:
        """Close the stream."""


@dataclass(frozen=True)
class _Packet:
    pts: int | None
    key: bool


def shares(frames: int, cameras: int) -> list[int]:
    """Return how many frames each camera gives; the first ones give the remainder."""
    return [frames // cameras + (n < frames % cameras) for n in range(cameras)]


def from_recording(camera: str, opener: Callable[[], Reader], wanted: int, seconds: float | None) -> Iterator[Pick]:
    """Yield pictures spread over a recording, or over its first seconds: always the same ones.

    The recording is opened twice: once to count, once to decode the groups of pictures in which a chosen one lies.
    """
    with contextlib.closing(opener()) as reader:
        packets = list(_index(reader, seconds))
    order = sorted(range(len(packets)), key=lambda n: _pts(packets[n], n))
    chosen = {order[place]: place for place in spread(len(packets), wanted)}  # packet -> frame number
    by_pts = {_pts(packets[n], n): place for n, place in chosen.items()}
    runs = _runs(packets, sorted(chosen))
    decoded, until = 0, -1
    with contextlib.closing(opener()) as reader:
        for number in range(len(packets)):
            grab = reader.grab()
            if number > until:
                if number not in runs:
                    reader.skip(grab)
                    continue
                reader.rest()
                until = runs[number]
            shown = [*reader.decode(grab), *(reader.drain() if number == until else ())]
            for one in shown:
                place = by_pts.pop(decoded if one.pts is None else one.pts, None)
                decoded += 1
                if place is not None:
                    yield Pick(camera, str(place), one.picture)
                _give_back(one)


def _index(reader: Reader, seconds: float | None) -> Iterator[_Packet]:
    while True:
        try:
            grab: Grabbed = reader.grab()
        except CameraEnded:
            return
        reader.skip(grab)
        if seconds is not None and grab.due_s is not None and grab.due_s > seconds:
            return
        yield _Packet(grab.pts, grab.key)


def _pts(packet: _Packet, number: int) -> int:
    return number if packet.pts is None else packet.pts


def _runs(packets: Sequence[_Packet], chosen: Sequence[int]) -> dict[int, int]:
    """Return first packet -> last packet of the stretches to decode: from a key frame to before the next one."""
    if any(packet.pts is None for packet in packets):
        return {0: len(packets) - 1}
    keys = [number for number, packet in enumerate(packets) if packet.key]
    runs = {}
    for number in chosen:
        start = max((at for at in keys if at <= number), default=0)
        runs[start] = next((at - 1 for at in keys if at > number), len(packets) - 1)
    return runs


def from_live(camera: str, opener: Callable[[], Reader], wanted: int, seconds: float) -> Iterator[Pick]:
    """Yield pictures of a live stream at even distances in time; all of them where it has no more.

    The first one may be a second late.
    """
    with contextlib.closing(opener()) as reader:
        begin_s = time.monotonic()
        taken = number = 0
        decoding = False
        while taken < wanted and time.monotonic() - begin_s < seconds + (0.0 if taken else 1.0):
            try:
                grab = reader.grab()
            except CameraEnded:
                return
            decoding = decoding or grab.key
            if not decoding:
                reader.skip(grab)
                continue
            for one in reader.decode(grab):
                if taken < wanted and time.monotonic() - begin_s >= taken * seconds / wanted:
                    yield Pick(camera, str(number), one.picture)
                    taken += 1
                number += 1
                _give_back(one)


def from_folder(folder: Path, wanted: int, camera: str = "folder") -> Iterator[Pick]:
    """Yield pictures of a folder, spread over its files in the order of their names.

    Raises:
        ConfigError: the folder has no pictures, or a file is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ConfigError(f"{folder}: no pictures there; allowed are {', '.join(SUFFIXES)}")
    for number in spread(len(files), wanted):
        pixels = cv2.imread(str(files[number]), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ConfigError(f"{files[number]}: not a picture that OpenCV can read")
        rgb = np.asarray(pixels[:, :, ::-1], np.uint8, order="C")
        picture = Picture(rgb.shape[1], rgb.shape[0], PixelFormat.RGB, Color(full=True), (rgb,))
        yield Pick(camera, files[number].name, picture)


def _give_back(one: Shown) -> None:
    if one.on_release is not None:
        one.on_release()
