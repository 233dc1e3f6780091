"""A task's calibration record: pictures at the network's size, and where they come from.

Stored are the pictures as the network would see them, RGB and without normalisation, so that one record serves
every precision and back end. Each picture has a part: from `CALIBRATE` ranges are taken, on `CHOOSE` recipes are
compared, and `VERIFY` is looked at once, to say how good the engine is. Pictures stay on the disk until somebody goes
through them, and then one after the other: a record of thousands takes no more memory than one of eight.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engines.build.coverage import Coverage
from edged.engines.build.parts import CALIBRATE, CHOOSE, VERIFY
from edged.engines.store import EngineMissing
from edged.errors import BackendUnavailable
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.tensor import FitMode

__all__ = ["CALIBRATE", "CHOOSE", "FORMAT", "VERIFY", "Frames", "Note", "Record", "Seen", "as_frame", "read_record"]

FORMAT = 2


@dataclass(frozen=True)
class Seen:
    """How a network sees pictures before they are normalised: its size, and how they are put into it."""

    width: int
    height: int
    fit: FitMode
    pad: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.fit}, pad {self.pad}"


@dataclass(frozen=True)
class Note:
    """Where one picture comes from. `id` counts a camera's frames in presentation order, or names a file.

    `objects` is how many findings FP32 has in it, None where nobody counted.
    """

    file: str
    camera: str
    id: str
    part: str
    brightness: int
    sha256: str
    objects: int | None


@dataclass(frozen=True)
class Record:
    """The calibration frames of one task. `sha256` is that of all pixels with their cameras and parts."""

    task: str
    seen: Seen
    sources: Mapping[str, str]
    notes: tuple[Note, ...]
    sha256: str
    at: str
    folder: Path
    coverage: Coverage

    def frames(self, *parts: str) -> Frames:
        """Return the pictures of some parts as frames."""
        return Frames([self], parts)

    def read(self, number: int) -> Frame:
        """Return one picture as a frame. Raise `BackendUnavailable` for one that was changed."""
        note = self.notes[number]
        path = self.folder / note.file
        rgb = read_picture(path) if path.parent == self.folder and path.is_file() else None
        if rgb is None or pixels_sha256(rgb) != note.sha256:
            raise BackendUnavailable(
                f"{path} is not the picture that was stored; run: edged engine calibrate {self.task}"
            )
        return as_frame(note.camera, number, rgb)

    def per_camera(self) -> dict[str, int]:
        """Return how many frames each camera gave."""
        return dict(Counter(note.camera for note in self.notes))

    def brightness(self) -> tuple[float, float, float]:
        """Return the least, middle and greatest mean brightness of a frame, in 0..255."""
        low, middle, high = np.percentile([note.brightness for note in self.notes], (0, 50, 100))
        return round(float(low), 1), round(float(middle), 1), round(float(high), 1)


class Frames:
    """The pictures of some parts of some records, read from the disk each time they are gone through."""

    def __init__(self, records: Sequence[Record], parts: Sequence[str]) -> None:
        self._places = [
            (record, number)
            for part in parts
            for record in records
            for number, note in enumerate(record.notes)
            if note.part == part
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Frame]:
        return (record.read(number) for record, number in self._places)

    def first(self) -> Frame:
        """Return one of them, to try something on."""
        record, number = self._places[0]
        return record.read(number)


def as_frame(camera: str, number: int, rgb: NDArray[np.uint8]) -> Frame:
    """Return a frame of (rows, columns, 3) pixels."""
    height, width = rgb.shape[:2]
    picture = Picture(width, height, PixelFormat.RGB, Color(full=True), (rgb,))
    return Frame(camera, number, picture, Capture(0, 0, "media"), 0, 0)


def write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (rows, columns, 3) pixels as PNG."""
    done, png = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))
    if not done:
        raise OSError(0, "OpenCV cannot write a PNG picture")
    path.write_bytes(png.tobytes())


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """Return what was written, None where that is no picture any more."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if pixels is None else np.asarray(pixels[:, :, ::-1], np.uint8, order="C")


def read_record(root: Path, task: str) -> Record:
    """Return a task's record. Raise `BackendUnavailable` where there is none, with the command that makes one."""
    home = root / "calibration" / task
    remedy = f"run: edged engine calibrate {task}"
    try:
        data = json.loads((home / "record.json").read_bytes())
        if data.pop("format") != FORMAT:
            raise BackendUnavailable(f"{home}/record.json is of another version of edged; {remedy}")
        data["seen"], data["folder"] = Seen(**data["seen"]), home / data["folder"]
        data["notes"] = tuple(Note(**note) for note in data["notes"])
        data["coverage"] = Coverage.from_json(data["coverage"])
        return Record(**data)
    except FileNotFoundError as exc:
        raise BackendUnavailable(f"task {task} has no calibration frames in {root}; {remedy}") from exc
    except OSError as exc:
        raise BackendUnavailable(f"{home}/record.json: cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise BackendUnavailable(f"{home}/record.json is not a calibration record ({exc!r}); {remedy}") from exc


def next_of(missing: EngineMissing, root: Path, sharers: Sequence[str]) -> EngineMissing:
    """Return why an int8 engine is missing, with the command that is next: without frames none can be built.

    Args:
        missing: what the store says of it.
        root: the store's folder.
        sharers: the tasks that share the engine; the frames of one are enough.
    """
    for task in sharers:
        with suppress(BackendUnavailable):
            read_record(root, task)
            return missing
    return EngineMissing(missing.why, f"edged engine calibrate {sharers[0]}")


def records_sha256(records: Sequence[Record]) -> str:
    """Return one SHA-256 for the records an engine is calibrated from."""
    return hashlib.sha256("".join(sorted(record.sha256 for record in records)).encode()).hexdigest()


def pixels_sha256(rgb: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of pixels and their shape."""
    return hashlib.sha256(np.array(rgb.shape, "<i4").tobytes() + rgb.tobytes()).hexdigest()
