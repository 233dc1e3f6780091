"""A task's calibration record: pictures at the network's size, and where they come from.

Stored are the pictures as the network would see them, RGB and without normalisation, so that one record serves
every precision and back end. Each picture has a part: from `CALIBRATE` ranges are taken, on `CHOOSE` recipes are
compared, and `VERIFY` is looked at once, to say how good the engine is.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engines.preprocess import Preprocessor
from edged.engines.store import write_whole
from edged.errors import BackendUnavailable
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.tensor import FitMode, InputFormat

FORMAT = 1
CALIBRATE, CHOOSE, VERIFY = "calibrate", "choose", "verify"
PARTS = (CALIBRATE, CALIBRATE, CHOOSE, VERIFY)  # of each camera's frames in turn
FRAMES_MIN = 8


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
    """Where one picture comes from. `id` counts a camera's frames in presentation order, or names a file."""

    file: str
    camera: str
    id: str
    part: str
    brightness: float
    sha256: str


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

    def frames(self, part: str) -> Iterator[Frame]:
        """Yield the pictures of one part as frames. Raise `BackendUnavailable` for one that was changed."""
        for number, note in enumerate(self.notes):
            if note.part == part:
                yield as_frame(note.camera, number, self._pixels(note))

    def _pixels(self, note: Note) -> NDArray[np.uint8]:
        path = self.folder / note.file
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.parent == self.folder and path.is_file() else None
        rgb = None if pixels is None else np.asarray(pixels[:, :, ::-1], np.uint8, order="C")
        if rgb is None or _sha256(rgb) != note.sha256:
            raise BackendUnavailable(
                f"{path} is not the picture that was stored; run: edged engine calibrate {self.task}"
            )
        return rgb

    def per_camera(self) -> dict[str, int]:
        """Return how many frames each camera gave."""
        return dict(Counter(note.camera for note in self.notes))

    def brightness(self) -> tuple[float, float, float]:
        """Return the least, middle and greatest mean brightness of a frame, in 0..255."""
        low, middle, high = np.percentile([note.brightness for note in self.notes], (0, 50, 100))
        return round(float(low), 1), round(float(middle), 1), round(float(high), 1)


@dataclass(frozen=True)
class Pick:
    """One picture chosen for calibration."""

    camera: str
    id: str
    picture: Picture


def as_frame(camera: str, number: int, rgb: NDArray[np.uint8]) -> Frame:
    """Return a frame of (rows, columns, 3) pixels."""
    height, width = rgb.shape[:2]
    picture = Picture(width, height, PixelFormat.RGB, Color(full=True), (rgb,))
    return Frame(camera, number, picture, Capture(0, 0, "media"), 0, 0)


def write_record(root: Path, task: str, seen: Seen, sources: Mapping[str, str], picks: Iterator[Pick]) -> Record:
    """Store the pictures of a task in place of those it had. Holding the store is the caller's.

    Raises:
        BackendUnavailable: there are too few pictures.
        OSError: the store cannot be written.
    """
    home = root / "calibration" / task
    home.mkdir(parents=True, exist_ok=True)
    for left_over in home.glob(".new-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(dir=home, prefix=".new-"))
    try:
        fresh.chmod(0o755)
        notes = tuple(_store_pictures(fresh, seen, picks))
        _refuse_few(task, notes)
        rows = [[note.camera, note.id, note.part, note.sha256] for note in notes]
        digest = hashlib.sha256(json.dumps([asdict(seen), rows]).encode()).hexdigest()
        folder = home / digest[:16]
        if folder.exists():  # the same frames as before
            shutil.rmtree(folder)
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    record = Record(task, seen, dict(sources), notes, digest, at, folder)
    text = json.dumps({"format": FORMAT, **asdict(record), "folder": folder.name}, indent=1, ensure_ascii=False)
    write_whole(home / "record.json", text.encode())
    for old in home.iterdir():
        if old.is_dir() and old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return record


def _refuse_few(task: str, notes: Sequence[Note]) -> None:
    if len(notes) < FRAMES_MIN:
        raise BackendUnavailable(f"task {task}: {len(notes)} calibration frame(s), at least {FRAMES_MIN} are needed")


def _store_pictures(folder: Path, seen: Seen, picks: Iterator[Pick]) -> Iterator[Note]:
    plain = InputFormat(fit=seen.fit, color="rgb", std=(1 / 255, 1 / 255, 1 / 255), pad=seen.pad)
    preprocessor = Preprocessor((seen.width, seen.height), plain)
    tensor = np.zeros((3, seen.height, seen.width), np.float32)
    turns: Counter[str] = Counter()
    for number, pick in enumerate(picks):
        frame = Frame(pick.camera, number, pick.picture, Capture(0, 0, "media"), 0, 0)
        fit = preprocessor.write(frame, tensor, 0)
        rgb = np.ascontiguousarray(np.rint(tensor).transpose(1, 2, 0).astype(np.uint8))
        inner = rgb[fit.top : fit.top + fit.inner_height, fit.left : fit.left + fit.inner_width]
        done, png = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))
        if not done:
            raise OSError(0, "OpenCV cannot write a PNG picture")
        name = f"{number:05d}.png"
        (folder / name).write_bytes(png.tobytes())
        part = PARTS[turns[pick.camera] % len(PARTS)]
        turns[pick.camera] += 1
        yield Note(name, pick.camera, pick.id, part, round(float(inner.mean()), 2), _sha256(rgb))


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
        return Record(**data)
    except FileNotFoundError as exc:
        raise BackendUnavailable(f"task {task} has no calibration frames in {root}; {remedy}") from exc
    except OSError as exc:
        raise BackendUnavailable(f"{home}/record.json: cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise BackendUnavailable(f"{home}/record.json is not a calibration record ({exc!r}); {remedy}") from exc


def records_sha256(records: Sequence[Record]) -> str:
    """Return one SHA-256 for the records an engine is calibrated from."""
    return hashlib.sha256("".join(sorted(record.sha256 for record in records)).encode()).hexdigest()


def _sha256(rgb: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.array(rgb.shape, "<i4").tobytes() + rgb.tobytes()).hexdigest()
