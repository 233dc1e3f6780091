"""Takes candidates in, and makes a record of those that cover most."""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.engines.build.cover import Candidate, Space, farthest_first
from edged.engines.build.coverage import Coverage, coverage_of
from edged.engines.build.look import detail_of, look_at, same_picture
from edged.engines.build.parts import SHARES, VERIFY, deal
from edged.engines.build.record import (
    FORMAT,
    Note,
    Record,
    Seen,
    as_frame,
    pixels_sha256,
    read_picture,
    write_picture,
)
from edged.engines.preprocess import Preprocessor
from edged.engines.store import write_whole
from edged.errors import BackendUnavailable
from edged.frame import Capture, Frame, Picture
from edged.tensor import InputFormat

FRAMES_MIN = 8
FRAMES_MAX = 4000
VERIFY_SHARE = 4  # with pictures of its own for the comparison, one of so many comes from these

Count = Callable[[Sequence[Callable[[], Frame]]], list[int]]
"""Given how to read each picture, returns how many findings FP32 has in each."""


@dataclass(frozen=True)
class Pick:
    """One picture chosen for calibration."""

    camera: str
    id: str
    picture: Picture


def write_record(
    root: Path,
    task: str,
    seen: Seen,
    sources: Mapping[str, str],
    picks: Iterator[Pick],
    wanted: int = FRAMES_MAX,
    count: Count | None = None,
    verify_picks: Iterator[Pick] | None = None,
) -> Record:
    """Store those pictures of a task that cover most, in place of those it had. Holding the store is the caller's.

    Args:
        root: the store's folder.
        task: the task's name.
        seen: how its network sees pictures.
        sources: where they come from, for people.
        picks: the candidates, camera by camera in the order of time.
        wanted: how many of them are taken at most.
        count: looks for objects in them; without it none are known.
        verify_picks: candidates for the comparison alone, which then has no others.

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
        gathering = _Gathering(fresh, seen, count)
        if verify_picks is None:
            found = [gathering.take(picks, wanted, SHARES)]
        else:
            apart = max(1, wanted // VERIFY_SHARE)
            others = {part: share for part, share in SHARES.items() if part != VERIFY}
            found = [gathering.take(picks, wanted - apart, others), gathering.take(verify_picks, apart, {VERIFY: 1})]
        notes = tuple(note for taken, _ in found for note in taken)
        _refuse_few(task, notes, sum(coverage.near_duplicates for _, coverage in found))
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
    parts = {name: part for _, coverage in found for name, part in coverage.parts.items()}
    record = Record(task, seen, dict(sources), notes, digest, at, folder, replace(found[0][1], parts=parts))
    text = json.dumps({"format": FORMAT, **asdict(record), "folder": folder.name}, indent=1, ensure_ascii=False)
    write_whole(home / "record.json", text.encode())
    for old in home.iterdir():
        if old.is_dir() and old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return record


def _refuse_few(task: str, notes: Sequence[Note], near_duplicates: int) -> None:
    if len(notes) < FRAMES_MIN:
        alike = f", beside {near_duplicates} near-duplicate(s) of these" if near_duplicates else ""
        raise BackendUnavailable(
            f"task {task}: {len(notes)} calibration frame(s){alike}, at least {FRAMES_MIN} are needed"
        )


class _Gathering:
    """Keeps candidates in a folder, encoded, until it is known which are taken. In memory are descriptors alone."""

    def __init__(self, folder: Path, seen: Seen, count: Count | None) -> None:
        self._folder, self._count, self._number = folder, count, 0
        self._plain = InputFormat(fit=seen.fit, color="rgb", std=(1 / 255, 1 / 255, 1 / 255), pad=seen.pad)
        self._size = (seen.width, seen.height)

    def take(self, picks: Iterator[Pick], wanted: int, shares: Mapping[str, int]) -> tuple[list[Note], Coverage]:
        """Keep the `wanted` of these pictures that cover most, dealt out to parts, and say what they cover."""
        notes, candidates, alike = self._candidates(picks)
        if self._count is not None:
            counts = self._count([self._reader(note) for note in notes])
            notes = [replace(note, objects=found) for note, found in zip(notes, counts, strict=True)]
            candidates = [replace(one, objects=note.objects) for one, note in zip(candidates, notes, strict=True)]
        if not candidates:
            return [], Coverage.nothing()
        space = Space(candidates)
        taken = farthest_first(space, candidates, wanted)
        parts = deal(space, candidates, taken, shares)
        for place in set(range(len(notes))) - set(taken):
            (self._folder / notes[place].file).unlink()
        kept = [replace(notes[place], part=parts[place]) for place in sorted(taken)]
        return kept, coverage_of(space, candidates, taken, parts, alike)

    def _reader(self, note: Note) -> Callable[[], Frame]:
        def read() -> Frame:
            return as_frame(note.camera, int(Path(note.file).stem), _must_read(self._folder / note.file))

        return read

    def _candidates(self, picks: Iterator[Pick]) -> tuple[list[Note], list[Candidate], Counter[str]]:
        """Store every picture that is no near-duplicate of the one before it; count those that are by camera."""
        preprocessor = Preprocessor(self._size, self._plain)
        tensor = np.zeros((3, self._size[1], self._size[0]), np.float32)
        last: dict[str, NDArray[np.int64]] = {}
        alike: Counter[str] = Counter()
        notes, candidates = [], []
        for pick in picks:
            frame = Frame(pick.camera, self._number, pick.picture, Capture(0, 0, "media"), 0, 0)
            fit = preprocessor.write(frame, tensor, 0)
            rgb = np.ascontiguousarray(np.rint(tensor).transpose(1, 2, 0).astype(np.uint8))
            inner = np.ascontiguousarray(
                rgb[fit.top : fit.top + fit.inner_height, fit.left : fit.left + fit.inner_width]
            )
            detail = detail_of(inner)
            if pick.camera in last and same_picture(last[pick.camera], detail):
                alike[pick.camera] += 1
                continue
            last[pick.camera] = detail
            look = look_at(inner)
            name = f"{self._number:05d}.png"
            self._number += 1
            write_picture(self._folder / name, rgb)
            notes.append(Note(name, pick.camera, pick.id, "", look.brightness, pixels_sha256(rgb), None))
            candidates.append(Candidate(pick.camera, look))
        return notes, candidates, alike


def _must_read(path: Path) -> NDArray[np.uint8]:
    rgb = read_picture(path)
    if rgb is None:
        raise OSError(errno.EIO, "a picture that was just written cannot be read back", str(path))
    return rgb
