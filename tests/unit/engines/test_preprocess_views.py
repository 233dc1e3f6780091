"""A view read straight from the planes, beside the long way: the whole picture in RGB, remapped, then normalised."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import FORMATS, KR_KB, frame_of, picture_of, resized

from edged.engines import remap
from edged.engines.preprocess import Preprocessor
from edged.frame import Color, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.lens import Equidistant, Equirectangular, KannalaBrandt, Pinhole, View
from edged.optics import OUTSIDE, view_map
from edged.tensor import InputFormat

SOURCE = 320, 240
SIZE = 96, 64
TOLERANCE = 2.2 / 255  # 2.14 levels come from three roundings to 8 bits: 0.5 * 255 / 219 + 0.5 * 2.11 + 0.5
K = (0.02, -0.01, 0.003, -0.0005)
VIEWS = [
    View(KannalaBrandt(100, 101, 162, 118, 320, 240, K), 160, 90, 90.0, 20.0, -15.0, 10.0),
    View(Equidistant(180.0), 100, 100, 120.0, -50.0),  # reaches beyond the lens, and beyond the picture
    View(Equirectangular(), 96, 64, 70.0, 175.0, 30.0, -90.0),
]


@pytest.fixture(autouse=True)
def no_maps():
    """Forget the maps before a test, and after it."""
    remap._kept.clear()
    yield
    remap._kept.clear()


def rgb_of(planes, kind, color):
    """Return a whole (rows, columns, 3) picture in RGB, its chroma interpolated to full size, all in float64."""
    if kind == "rgb":
        return np.stack(planes, axis=-1)
    y = planes[0]
    u, v = (resized(one, y.shape[1], y.shape[0]) for one in planes[1:]) if len(planes) == 3 else (128.0, 128.0)
    kr, kb = KR_KB[color.matrix]
    luma = y if color.full else (y - 16) * 255 / 219
    cb, cr = ((one - 128) * (1 if color.full else 255 / 224) for one in (u, v))
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([red + 0 * y, green + 0 * y, blue + 0 * y], axis=-1), 0, 255)


def remapped(picture, points, pad):
    """Interpolate between pixel centres in float64; `pad` where the points are outside."""
    rows, columns = picture.shape[:2]
    x, y = (np.clip(points[..., n].astype(float), 0, limit - 1) for n, limit in ((0, columns), (1, rows)))
    left, top = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    above = picture[top, left] * (1 - fx) + picture[top, left + 1] * fx
    below = picture[top + 1, left] * (1 - fx) + picture[top + 1, left + 1] * fx
    outside = (points == OUTSIDE).all(axis=-1)[..., None]
    return np.where(outside, float(pad), above * (1 - fy) + below * fy)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: type(view.lens).__name__)
@pytest.mark.parametrize("kind", ["yuv420", "yuv422", "yuv444", "nv12", "rgb", "gray"])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=["plain", "stretch_bgr", "normalised", "0_to_255"])
def test_every_format_beside_the_long_way(view, kind, fmt):
    color = Color("bt709", full=fmt.color == "bgr")
    picture, planes = picture_of(kind, *SOURCE, color)
    out = np.full((3, SIZE[1], SIZE[0]), np.nan, np.float32)
    fit = Preprocessor(SIZE, fmt).write(frame_of(picture.through(view)), out, 0)
    assert fit == fit_frame((view.width, view.height), SIZE, fmt.fit)
    points = view_map(view, SOURCE, fit)
    if isinstance(view.lens, Equidistant):
        assert 0 < (points[..., 0] == OUTSIDE).sum() < points[..., 0].size / 2
    inner = remapped(rgb_of(planes, kind, color), points, fmt.pad)
    channels = np.moveaxis(inner if fmt.color == "rgb" else inner[..., ::-1], -1, 0)
    mean, std = (np.array(values)[:, None, None] for values in (fmt.mean, fmt.std))
    wanted = np.empty((3, SIZE[1], SIZE[0]))
    wanted[:] = (fmt.pad / 255 - mean) / std
    top, left = fit.top, fit.left
    wanted[:, top : top + fit.inner_height, left : left + fit.inner_width] = (channels / 255 - mean) / std
    scale = std if fmt.std[0] > 0.01 else np.full_like(std, 1 / 255)
    assert (np.abs(out - wanted) * scale).max() <= TOLERANCE


WHOLE = View(Pinhole(160.0, 160.0, 159.5, 119.5, 320, 240), 320, 240, 90.0)


def test_a_view_that_is_its_cameras_whole_picture_has_exactly_its_pixels():
    """Of noise, where half a pixel would be seen."""
    rng = np.random.default_rng(1)
    planes = tuple(rng.integers(0, 256, size, np.uint8) for size in ((240, 320), (240, 320), (240, 320)))
    picture = Picture(*SOURCE, PixelFormat.YUV, Color(), planes)
    found = np.empty((2, 3, 240, 320), np.float32)
    for place, one in enumerate((picture, picture.through(WHOLE))):
        Preprocessor(SOURCE, InputFormat("stretch")).write(frame_of(one), found[place], 0)
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize("kind", ["yuv420", "nv12", "rgb"])
@pytest.mark.parametrize("size", [(96, 64), (320, 240), (400, 300)], ids=str)
def test_a_view_that_is_its_cameras_whole_picture_is_resized_as_it_is(kind, size):
    """Shrunk and enlarged; both ways round to 8 bits three times."""
    picture, _ = picture_of(kind, *SOURCE, Color())
    found = np.empty((2, 3, size[1], size[0]), np.float32)
    for place, one in enumerate((picture, picture.through(WHOLE))):
        Preprocessor(size, InputFormat("stretch")).write(frame_of(one), found[place], 0)
    off = np.abs(found[0] - found[1]) * 255
    assert off.max() <= 4.3
    assert off.mean() < 0.5


def test_a_view_beside_its_camera_in_one_slot():
    """Both leave their own padding."""
    view, fmt = VIEWS[0], InputFormat()
    picture, _ = picture_of("yuv420", *SOURCE, Color())
    preprocessor, shared = Preprocessor(SIZE, fmt), np.empty((3, SIZE[1], SIZE[0]), np.float32)
    for one in (picture, picture.through(view), picture, picture.through(view)):
        alone = np.empty_like(shared)
        Preprocessor(SIZE, fmt).write(frame_of(one), alone, 0)
        preprocessor.write(frame_of(one), shared, 0)
        assert np.array_equal(shared, alone)


def test_a_map_is_made_once_for_all_slots_and_a_limit_holds(monkeypatch):
    made = []
    monkeypatch.setattr(remap, "picture_map", lambda *args: made.append(args) or _map(*args))
    picture, _ = picture_of("yuv420", *SOURCE, Color())
    out = np.empty((3, SIZE[1], SIZE[0]), np.float32)

    def write(view, source=picture):
        Preprocessor(SIZE, InputFormat()).write(frame_of(source.through(view)), out, 0)

    for _ in range(3):
        write(VIEWS[0])
    assert len(made) == 1
    write(VIEWS[0], picture_of("yuv420", 160, 120, Color())[0])  # a camera that changed its size
    assert len(made) == 2
    for _ in range(2):
        for yaw in range(10):
            write(View(Equirectangular(), 160, 90, 90.0, float(yaw)))
    assert len(made) == 12


_map = remap.picture_map


def test_what_the_lens_does_not_show_is_exactly_the_padding():
    """As a letterbox is, whatever the colours of the picture."""
    white = Picture(64, 64, PixelFormat.GRAY, Color(full=True), (np.full((64, 64), 255, np.uint8),))
    out = np.empty((3, 48, 96), np.float32)
    Preprocessor((96, 48), InputFormat(pad=77)).write(
        frame_of(white.through(View(Equidistant(90.0), 64, 64, 130.0))), out, 0
    )
    assert set(np.unique((out * 255).round(3))) == {77.0, 255.0}
    assert (out[:, 24, 48] == 1).all()
    assert (out[:, 0, 16:80] == out[0, 0, 0]).all()
