"""What every camera source must do. A new one needs a row in SOURCES and an opening, here or in a file beside."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Container
from itertools import pairwise
from pathlib import Path

import pytest
from parts import number_of
from pictures import host_planes

from edged.camera import ORDER, SOURCES
from edged.camera.base import CameraSource, Decoded, Grab, Opening
from edged.errors import BackendUnavailable, CameraEnded, CameraError
from edged.frame import PixelFormat

FRAMES = 30
ONLY_FINITE = (
    "test_recorded_time_rises_and_is_the_streams_own",
    "test_the_end_is_said_again_and_again",
    "test_a_rewound_stream_is_the_same_again_and_its_clock_goes_on",
)
IN_PROCESS = ("pyav", "scene")  # the others need a process, a feeder, a device or a stand-in: see the files beside
COVERED = set(IN_PROCESS)


def of_every_source(*sources: str, without: Container[str] = ()) -> dict[str, Callable[..., None]]:
    """Return the tests here that take a source or its class, by name, for a module that has fixtures of its own.

    `sources` are the rows of SOURCES that its fixtures open.
    """
    COVERED.update(sources)
    return {
        name: test
        for name, test in globals().items()
        if name.startswith("test_") and name not in without
        and {"source", "source_class"} & inspect.signature(test).parameters.keys()
    }  # fmt: skip


@pytest.fixture
def openings(clip):
    """What each source opens: something finite that a test machine has."""
    path = clip(frames=FRAMES, bframes=2)
    return {
        "pyav": Opening("front", "file", str(path), str),
        "scene": Opening("front", "scene", "front_wide?seed=3", str, rate_hz=0.5),
    }


@pytest.fixture(params=IN_PROCESS)
def source_class(request):
    try:
        return SOURCES.load(request.param)
    except BackendUnavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def opening(request, openings, source_class):
    return openings[request.node.callspec.params["source_class"]]


@pytest.fixture
def source(source_class, opening):
    source = source_class(opening)
    yield source
    source.close()


def read(source: CameraSource, most: int = 10_000) -> tuple[list[Grab], list[Decoded]]:
    """Decode until the end, with what the decoder held."""
    grabs, pictures = [], []
    try:
        while len(grabs) < most:
            grabs.append(source.grab())
            pictures += source.decode(grabs[-1])
    except CameraEnded:
        pictures += source.drain()
    return grabs, pictures


def test_every_scheme_names_sources_of_the_table():
    for scheme, order in ORDER.items():
        assert order, scheme
        for name in order:
            SOURCES.check(name)


def test_every_source_of_the_table_is_covered_by_these_files():
    for beside in Path(__file__).parent.glob(f"{Path(__file__).stem}_*.py"):
        importlib.import_module(beside.stem)
    assert sorted(COVERED) == sorted(SOURCES.names())


def test_it_describes_what_it_opened(source):
    assert "Hz" in source.description
    assert "x" in source.description


def test_every_grab_gives_one_picture_and_each_knows_its_grab(source):
    grabs, pictures = read(source, 20)
    assert grabs[0].key
    taken = {grab.pts for grab in grabs}
    assert len(taken) == len(grabs)
    assert {decoded.pts for decoded in pictures} <= taken
    assert len(pictures) >= len(grabs) - 5


def test_pictures_come_in_the_order_of_their_pts(source):
    _, pictures = read(source, 20)
    order = [decoded.pts for decoded in pictures]
    assert order == sorted(set(order))


def test_a_source_that_is_not_raw_lets_packets_wait(source):
    """As a warm camera does: they are decoded later, in order."""
    if source.raw:
        assert source.grab().disposable
        return
    grabs = [source.grab() for _ in range(12)]
    pictures = [decoded for grab in grabs for decoded in source.decode(grab)]
    assert len(pictures) >= len(grabs) - 5
    assert all(grab.size_bytes > 0 for grab in grabs)
    assert all(grab.key for grab in grabs) or not any(grab.key and grab.disposable for grab in grabs)


def test_planes_are_as_large_as_the_picture_says(source):
    _, pictures = read(source, 5)
    for decoded in pictures:
        picture = decoded.picture
        planes = host_planes(picture)
        height, width = planes[0].shape[:2]
        assert (width, height) == (picture.width, picture.height)
        assert len(planes) == {"yuv": 3, "nv12": 2, "rgb": 1, "gray": 1}[PixelFormat(picture.format).value]
        assert all(plane.dtype == "uint8" for plane in planes)


def test_a_picture_stays_whole_while_more_are_decoded_and_after_the_source_closed(source_class, opening):
    source = source_class(opening)
    _, (first, *_) = read(source, 6)
    before = host_planes(first.picture)[0].copy()
    read(source, 6)
    source.close()
    assert (host_planes(first.picture)[0] == before).all()


def test_recorded_time_rises_and_is_the_streams_own(source):
    grabs, _ = read(source, 20)
    due = [grab.due_s for grab in grabs]
    assert due[0] == pytest.approx(0, abs=1e-6)
    steps = [later - sooner for sooner, later in pairwise(due)]
    assert all(step == pytest.approx(steps[0], rel=0.05) for step in steps)


def test_skipped_packets_cost_no_picture_and_decoding_goes_on_at_a_key_frame(source):
    for _ in range(3):
        source.decode(source.grab())
    source.rest()
    skipped = 0
    while skipped < 3 or not (grab := source.grab()).key:
        if skipped < 3:
            grab = source.grab()
        source.skip(grab)
        skipped += 1
    pictures = list(source.decode(grab))
    for _ in range(5):
        if pictures:
            break
        pictures += source.decode(source.grab())
    assert pictures[0].pts == grab.pts


def test_the_end_is_said_again_and_again(source):
    read(source)
    for _ in range(2):
        with pytest.raises(CameraEnded, match=r"^end of "):
            source.grab()


def test_a_rewound_stream_is_the_same_again_and_its_clock_goes_on(source):
    grabs, pictures = read(source)
    source.rewind()
    again, same = read(source)
    assert [len(grabs), len(pictures)] == [len(again), len(same)]
    assert len(pictures) == len(grabs)
    step = grabs[1].due_s - grabs[0].due_s
    assert again[0].due_s - grabs[-1].due_s == pytest.approx(step, rel=0.05)
    if grabs[0].data is None or not isinstance(grabs[0].data, int):
        assert (host_planes(same[3].picture)[0] == host_planes(pictures[3].picture)[0]).all()


def test_close_twice_is_harmless(source_class, opening):
    source = source_class(opening)
    source.grab()
    source.close()
    source.close()


@pytest.mark.parametrize(
    ("name", "opening", "text"),
    [
        ("pyav", Opening("c", "file", "/none/x.mp4", str), "no such file: /none/x.mp4"),
        ("pyav", Opening("c", "v4l2", "/dev/video177", str), "cannot open /dev/video177: No such file or directory"),
        ("scene", Opening("c", "scene", "roof", str), "the scene has no camera 'roof'"),
        ("scene", Opening("c", "scene", "front_wide?seed=x", str), "seed='x' is not a whole number"),
    ],
)
def test_what_cannot_be_opened_says_why(name, opening, text):
    with pytest.raises(CameraError) as caught:
        SOURCES.load(name)(opening)
    assert str(caught.value).startswith(text)


def test_painted_numbers_come_in_presentation_order(clip):
    for bframes in (0, 1, 3):
        source = SOURCES.load("pyav")(Opening("c", "file", str(clip(frames=FRAMES, bframes=bframes)), str))
        _, pictures = read(source)
        source.close()
        assert [number_of(decoded.picture.planes[0]) for decoded in pictures] == list(range(FRAMES))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix", "wanted"),
    [
        ("libx264", "yuv420p", ".mp4", PixelFormat.YUV),
        ("libx264", "yuv422p", ".mp4", PixelFormat.YUV),
        ("libx264", "yuv444p", ".mkv", PixelFormat.YUV),
        ("libx264", "yuv420p10le", ".mkv", PixelFormat.YUV),
        ("libx264", "nv12", ".mp4", PixelFormat.YUV),
        ("rawvideo", "gray", ".nut", PixelFormat.GRAY),
        ("mjpeg", "yuvj420p", ".avi", PixelFormat.YUV),
        ("rawvideo", "rgb24", ".avi", PixelFormat.RGB),
        ("rawvideo", "yuyv422", ".nut", PixelFormat.YUV),
        ("libx265", "yuv420p", ".mkv", PixelFormat.YUV),
        ("mpeg4", "yuv420p", ".ts", PixelFormat.YUV),
    ],
)
def test_pixel_formats_of_files(clip, codec, pix_fmt, suffix, wanted):
    path = clip(suffix, frames=8, codec=codec, pix_fmt=pix_fmt)
    source = SOURCES.load("pyav")(Opening("c", "file", str(path), str))
    _, pictures = read(source)
    source.close()
    assert {decoded.picture.format for decoded in pictures} == {wanted}
    luma = [
        decoded.picture.planes[0][..., 0] if wanted is PixelFormat.RGB else decoded.picture.planes[0]
        for decoded in pictures
    ]
    assert [number_of(plane) for plane in luma] == list(range(8))
    assert pictures[0].picture.color.full == (pix_fmt == "yuvj420p")
