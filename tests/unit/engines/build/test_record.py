"""Calibration records: the pictures as the network sees them, and nothing but those."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edged.engines.build.gather import Pick, write_record
from edged.engines.build.record import (
    CALIBRATE,
    CHOOSE,
    VERIFY,
    Frames,
    Seen,
    as_frame,
    read_record,
    records_sha256,
)
from edged.engines.preprocess import Preprocessor
from edged.errors import BackendUnavailable
from edged.frame import Capture, Color, Frame, Picture, PixelFormat
from edged.tensor import InputFormat

SEEN = Seen(64, 48, "letterbox", 114)


def picks(count=16, cameras=("a",), size=(80, 40), seed=0):
    random = np.random.default_rng(seed)
    for number in range(count):
        planes = tuple(
            random.integers(0, 256, shape, np.uint8) for shape in (size[::-1], *[(size[1] // 2, size[0] // 2)] * 2)
        )
        yield Pick(cameras[number % len(cameras)], str(number), Picture(*size, PixelFormat.YUV, Color(), planes))


def test_a_record_comes_back_as_it_was_written(tmp_path):
    written = write_record(tmp_path, "t", SEEN, {"a": "file:x.mp4"}, picks(16, ("a", "b")))
    read = read_record(tmp_path, "t")
    assert read == written
    assert read.per_camera() == {"a": 8, "b": 8}
    assert [note.id for note in read.notes] == [str(n) for n in range(16)]
    low, middle, high = read.brightness()
    assert 0 < low <= middle <= high < 255
    assert sum(len(list(read.frames(part))) for part in (CALIBRATE, CHOOSE, VERIFY)) == 16


def test_every_camera_has_a_share_in_every_part(tmp_path):
    record = write_record(tmp_path, "t", SEEN, {}, picks(16, ("a", "b")))
    for camera in ("a", "b"):
        parts = [note.part for note in record.notes if note.camera == camera]
        assert {part: parts.count(part) for part in set(parts)} == {CALIBRATE: 4, CHOOSE: 2, VERIFY: 2}


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_the_tensor_of_a_stored_picture_is_that_of_the_camera_frame(tmp_path, color, fit):
    fmt = InputFormat(fit, color, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), pad=100)
    record = write_record(tmp_path, "t", Seen(64, 48, fit, 100), {}, picks(8))
    stored = {frame.id: frame for part in (CALIBRATE, CHOOSE, VERIFY) for frame in record.frames(part)}
    direct, indirect = np.zeros((2, 3, 48, 64), np.float32)
    for number, pick in enumerate(picks(8)):
        frame = Frame("a", number, pick.picture, Capture(0, 0, "media"), 0, 0)
        Preprocessor((64, 48), fmt).write(frame, direct, 0)
        Preprocessor((64, 48), fmt).write(stored[number], indirect, 0)
        assert np.abs(direct - indirect).max() < 1e-5


def test_the_same_frames_make_the_same_record(tmp_path):
    first = write_record(tmp_path, "t", SEEN, {}, picks(seed=1))
    again = write_record(tmp_path, "t", SEEN, {}, picks(seed=1))
    assert (again.sha256, again.folder) == (first.sha256, first.folder)
    assert len(list(again.frames(VERIFY))) == 4
    other = write_record(tmp_path, "t", SEEN, {}, picks(seed=2))
    assert other.sha256 != first.sha256
    assert not first.folder.exists()  # replaced
    assert records_sha256([first, other]) == records_sha256([other, first])


def test_a_picture_that_was_changed_is_refused(tmp_path):
    record = write_record(tmp_path, "t", SEEN, {}, picks())
    path = record.folder / record.notes[0].file
    path.write_bytes((record.folder / record.notes[1].file).read_bytes())
    with pytest.raises(BackendUnavailable, match="is not the picture that was stored; run: edged engine calibrate t"):
        list(record.frames(record.notes[0].part))
    path.unlink()
    with pytest.raises(BackendUnavailable, match="is not the picture that was stored"):
        list(record.frames(record.notes[0].part))


def test_what_covers_most_is_taken_and_near_duplicates_are_not(tmp_path):
    def drive():
        for number, pick in enumerate(picks(40, seed=4)):
            for again in range(3):  # it stands still for three frames
                yield replace(pick, id=f"{number}.{again}")

    record = write_record(tmp_path, "t", SEEN, {}, drive(), 16, lambda readers: [n % 2 for n in range(len(readers))])
    assert {note.id.partition(".")[2] for note in record.notes} == {"0"}
    coverage = record.coverage
    assert (coverage.candidates, coverage.near_duplicates, len(record.notes)) == (40, 80, 16)
    assert coverage.cameras["a"].with_objects == 0.5
    assert sorted(path.name for path in record.folder.iterdir()) == [note.file for note in record.notes]
    assert read_record(tmp_path, "t") == record
    with pytest.raises(BackendUnavailable, match=r"3 calibration frame\(s\), beside 6 near-duplicate\(s\) of these"):
        write_record(tmp_path, "u", SEEN, {}, (pick for number, pick in enumerate(drive()) if number < 9))


def test_pictures_for_the_comparison_alone_are_its_only_ones(tmp_path):
    record = write_record(tmp_path, "t", SEEN, {}, picks(40, seed=4), 32, None, picks(40, ("verify",), seed=5))
    parts = Counter((note.camera, note.part) for note in record.notes)
    assert set(parts) == {("a", CALIBRATE), ("a", CHOOSE), ("verify", VERIFY)}
    assert (parts["verify", VERIFY], parts.total()) == (8, 32)
    assert record.coverage.parts[VERIFY].frames == 8
    assert len({note.file for note in record.notes}) == 32


def test_pictures_are_read_when_it_is_their_turn(tmp_path):
    record = write_record(tmp_path, "t", SEEN, {}, picks())
    frames = Frames([record, record], (VERIFY, CHOOSE))
    assert len(frames) == 2 * sum(note.part != CALIBRATE for note in record.notes)
    assert [frame.id for frame in frames] == [frame.id for frame in frames]
    one = iter(frames)
    next(one)
    for path in record.folder.iterdir():
        path.unlink()
    with pytest.raises(BackendUnavailable, match="is not the picture that was stored"):
        next(one)


def test_too_few_frames_leave_the_record_that_was_there(tmp_path):
    before = write_record(tmp_path, "t", SEEN, {}, picks())
    with pytest.raises(BackendUnavailable, match=r"task t: 7 calibration frame\(s\), at least 8"):
        write_record(tmp_path, "t", SEEN, {}, picks(7, seed=3))
    assert read_record(tmp_path, "t") == before
    assert len(list((tmp_path / "calibration" / "t").iterdir())) == 2


def test_none_and_garbage_name_the_command(tmp_path):
    with pytest.raises(
        BackendUnavailable, match="task t has no calibration frames in .*; run: edged engine calibrate t"
    ):
        read_record(tmp_path, "t")
    write_record(tmp_path, "t", SEEN, {}, picks())
    path = tmp_path / "calibration" / "t" / "record.json"
    good = json.loads(path.read_text())
    for text in ("", "[]", "{}", json.dumps({**good, "format": 9}), json.dumps({**good, "notes": [1]})):
        path.write_text(text)
        with pytest.raises(BackendUnavailable, match="run: edged engine calibrate t"):
            read_record(tmp_path, "t")


def test_as_frame_is_full_range_rgb():
    frame = as_frame("a", 3, np.zeros((4, 6, 3), np.uint8))
    assert (frame.picture.width, frame.picture.height, frame.picture.format) == (6, 4, PixelFormat.RGB)
