"""What a device must do for frames in its memory: on the stand-in, and on this machine's GPU where there is one."""

from __future__ import annotations

from contextlib import ExitStack, closing

import cuda_double
import numpy as np
import pytest
from pictures import FORMATS, Uploaded, frame_of, picture_of, reference

from edged.device.gpu import open_device
from edged.engines.preprocess import Preprocessor
from edged.engines.preprocess_device import ROW, DevicePreprocessor
from edged.engines.tensorrt.entries import MOST, Entries
from edged.errors import BackendUnavailable, ShapeError
from edged.frame import Color, Picture, PixelFormat
from edged.geometry import fit_frame
from edged.lens import Equidistant, KannalaBrandt, View
from edged.tasks.entries import entries, picking_of
from edged.tensor import InputFormat

HALF_EPSILON = 2**-11  # relative rounding of float16


@pytest.fixture(params=["stand-in", "gpu"])
def device(request):
    if request.param == "gpu":
        try:
            made = open_device(0)
        except BackendUnavailable as why:
            pytest.skip(str(why))
    elif cuda_double.COMPILER is None:
        pytest.skip(cuda_double.NO_COMPILER)
    else:
        made = cuda_double.HostDevice()
    with closing(made), made.active():
        yield made
    assert getattr(made, "alive", []) == []


def convert(device, pictures, fmt, size, dtype="float32", capacity=None):
    """Return the (N, 3, height, width) input that the kernel makes of host pictures, and their fits."""
    with ExitStack() as undo:
        stream = device.stream()
        undo.callback(stream.free)
        count = capacity or len(pictures)
        converter = DevicePreprocessor(device, size, fmt, dtype, count)
        undo.callback(converter.free)
        host = device.pinned((count, 3, size[1], size[0]), dtype)
        out = device.allocate(host.nbytes)
        undo.callback(out.free)
        fits = []
        for index, picture in enumerate(pictures):
            uploaded = Uploaded(device, picture)
            undo.callback(uploaded.free)
            fits.append(converter.describe(index, frame_of(uploaded.picture)))
        for index in range(len(pictures), count):
            converter.leave_out(index)
        converter.enqueue(count, out, stream)
        device.copy_out(host, out, stream)
        stream.synchronize()
        return host.copy(), fits


@pytest.mark.parametrize("kind", ["nv12", "yuv420", "yuv422", "yuv444", "rgb", "gray"])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
@pytest.mark.parametrize("source", [(64, 48), (97, 61), (160, 90), (33, 200)], ids=str)
def test_every_format_beside_float64_and_beside_the_cpu(device, kind, fmt, source):
    """At most 1 of 255 from the float64 computation, and 3 of 255 from what the CPU path makes of it."""
    size, scale = (80, 56), 255 * np.array(fmt.std)[:, None, None]
    color = Color("bt709" if source[0] > 90 else "bt601", full=fmt.color == "bgr")
    picture, planes = picture_of(kind, *source, color)
    out, (fit,) = convert(device, [picture], fmt, size)
    assert fit == fit_frame(source, size, fmt.fit)
    assert (np.abs(out[0] - reference(kind, planes, color, fmt, size, fit)) * scale).max() <= 1
    on_cpu = np.empty((3, size[1], size[0]), np.float32)
    Preprocessor(size, fmt).write(frame_of(picture), on_cpu, 0)
    assert (np.abs(out[0] - on_cpu) * scale).max() <= 3


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_random_samples_of_every_colour_matrix(device, matrix, full, order):
    """At any size, saturated colours included."""
    rng = np.random.default_rng(3)
    luma, chroma = rng.integers(0, 256, (61, 97)).astype(np.uint8), rng.integers(0, 256, (31, 49, 2)).astype(np.uint8)
    color, fmt = Color(matrix, full), InputFormat("stretch", order)
    out, (fit,) = convert(device, [Picture(97, 61, PixelFormat.NV12, color, (luma, chroma))], fmt, (60, 44))
    planes = [luma.astype(float), chroma[..., 0].astype(float), chroma[..., 1].astype(float)]
    assert np.abs(out[0] - reference("nv12", planes, color, fmt, (60, 44), fit)).max() <= 1 / 255


def test_a_network_whose_size_fits_no_block_is_written_to_its_end_and_not_beyond(device):
    size, fmt = (61, 45), InputFormat()
    made = [picture_of("nv12", 90 + n, 50, Color(), seed=n) for n in range(3)]
    out, fits = convert(device, [picture for picture, _ in made], fmt, size)
    for image, (_, planes), fit in zip(out, made, fits, strict=True):
        assert np.abs(image - reference("nv12", planes, Color(), fmt, size, fit)).max() <= 1 / 255


def test_rows_of_the_kernel_s_table_are_as_long_on_the_host_as_on_the_device():
    assert ROW.size % 16 == 0, "the struct there is aligned to 16 bytes"


def test_each_image_of_a_batch_is_its_own_and_what_is_left_out_is_padding(device):
    kinds = ["nv12", "rgb", "yuv420", "gray"]
    made = [picture_of(kind, 40 + 17 * n, 90 - 13 * n, Color(), seed=n) for n, kind in enumerate(kinds)]
    out, fits = convert(device, [picture for picture, _ in made], InputFormat(), (80, 56), capacity=6)
    for image, kind, (_, planes), fit in zip(out, kinds, made, fits, strict=False):
        assert np.abs(image - reference(kind, planes, Color(), InputFormat(), (80, 56), fit)).max() <= 1 / 255
    assert np.abs(out[4:] - 114 / 255).max() < 1e-6


def test_half_precision_is_rounded_once(device):
    picture, _ = picture_of("nv12", 64, 48, Color())
    (single,), _ = convert(device, [picture], InputFormat(), (64, 48))
    (half,), _ = convert(device, [picture], InputFormat(), (64, 48), "float16")
    assert half.dtype == np.float16
    assert np.abs(half.astype(np.float32) - single).max() <= HALF_EPSILON


@pytest.mark.parametrize("fmt", [InputFormat(), InputFormat("stretch", "bgr", pad=0)], ids=["letterbox", "stretch"])
@pytest.mark.parametrize("lens", [Equidistant(185.0), KannalaBrandt(80, 80, 95, 70, 192, 144, (0.03, -0.01, 0, 0))])
def test_a_view_is_what_the_cpu_makes_of_it(device, lens, fmt):
    """Both read the same map; pixels that the lens does not show are padding in both."""
    view = View(lens, 160, 90, 100, yaw_deg=35, pitch_deg=-20)
    pictures = [picture_of("nv12", 192, 144, Color(), seed=n)[0].through(view) for n in range(2)]
    out, fits = convert(device, [*pictures, picture_of("nv12", 192, 144, Color())[0]], fmt, (96, 80))
    for image, picture, fit in zip(out, pictures, fits, strict=False):
        on_cpu = np.empty((3, 80, 96), np.float32)
        assert Preprocessor((96, 80), fmt).write(frame_of(picture), on_cpu, 0) == fit
        assert np.abs(image - on_cpu).max() <= 3 / 255


def test_a_frame_of_the_host_or_of_another_device_is_refused(device):
    converter = DevicePreprocessor(device, (8, 8), InputFormat(), "float32", 1)
    picture, _ = picture_of("nv12", 8, 8, Color())
    elsewhere = Picture(8, 8, PixelFormat.NV12, Color(), (), device=device.number + 1)
    try:
        for wrong in (picture, elsewhere):
            with pytest.raises(ShapeError, match=rf" is not on GPU {device.number}$"):
                converter.describe(0, frame_of(wrong))
    finally:
        converter.free()


def test_a_stream_waits_for_an_event_of_another_one(device):
    first, second, event = device.stream(), device.stream(1.0), device.event()
    sent, back = device.pinned((1000,), np.int32), device.pinned((1000,), np.int32)
    one, two = device.allocate(sent.nbytes), device.allocate(sent.nbytes)
    sent[:] = np.arange(1000)
    device.copy_in(one, sent, first)
    event.record(first)
    second.wait(event.handle)
    device.copy(two.pointer, one.pointer, sent.nbytes, second)
    device.copy_out(back, two, second)
    second.synchronize()
    assert (back == sent).all()
    for thing in (event, first, second, one, two):
        thing.free()
        thing.free()


def picked_from(device, output, picking):
    """Return what the kernel picks of each image of an output, twice with the same memory."""
    with ExitStack() as undo:
        stream, memory = device.stream(), device.allocate(output.nbytes)
        undo.callback(stream.free)
        undo.callback(memory.free)
        host = device.pinned(output.shape, output.dtype)
        host[:] = output
        device.copy_in(memory, host, stream)
        picked = Entries(device, picking, output.shape, output.dtype.name)
        undo.callback(picked.free)
        for _ in range(2):
            picked.enqueue(len(output), memory, stream)
            stream.synchronize()
        return [picked.of(index) for index in range(len(output))]


def surely(positions, values, picking, threshold):
    """Return the entries that a parser takes of those it looks at; of one with NaN it takes nothing."""
    taken = values[:, picking.first : picking.end].max(axis=1, initial=-1) >= np.float32(threshold)
    return positions[taken], values[taken]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("channels_last", "first", "end"), [(False, 4, None), (False, 0, 1), (True, 4, 5), (True, 5, 9)]
)
def test_entries_are_picked_as_numpy_does(device, dtype, channels_last, first, end):
    """A batch of three, thresholds at values that occur, nothing and NaN among them."""
    rng = np.random.default_rng(2)
    shape = (3, 500, 12) if channels_last else (3, 12, 20, 25)
    output = rng.uniform(0, 1, shape).astype(dtype) ** 3
    output[1] = 0
    output[2].flat[::7] = np.nan
    for threshold in (0.0, float(output[0].flat[77]), 0.9, 2.0):
        picking = picking_of("o", first, end, threshold, channels_last=channels_last)
        for index, found in enumerate(picked_from(device, output, picking)):
            wanted = entries({"o": output}, picking, index)
            assert found[1].dtype == wanted[1].dtype == np.float32
            for one, other in zip(surely(*found, picking, threshold), surely(*wanted, picking, threshold), strict=True):
                assert np.array_equal(one, other, equal_nan=True)


def test_where_too_many_entries_are_looked_at_none_are_picked(device):
    output = np.ones((2, 6, MOST + 1), np.float32)
    output[1, :, 1:] = 0
    crowded, (positions, values) = picked_from(device, output, picking_of("o", 4, None, 0.5))
    assert crowded is None
    assert (positions.tolist(), values.tolist()) == ([0], [[1.0] * 6])
