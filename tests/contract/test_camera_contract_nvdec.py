"""The contract of camera sources over NVDEC: on the stand-ins for driver and decoder, and on this machine's GPU."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from contextlib import closing

import cuda_double
import nvdec_double
import pytest
import test_camera_contract as contract
from parts import number_of
from pictures import host_planes

from edged.camera import nvdec_abilities
from edged.camera.base import Opening, Undecodable
from edged.device import gpu
from edged.device.base import DeviceError
from edged.errors import BackendUnavailable, CameraError, WorkerFailed


@pytest.fixture
def opened():
    """The devices that the stand-in handed out."""
    return []


def stand_in(monkeypatch, request):
    devices = request.getfixturevalue("opened")

    def open_device(number):
        devices.append(cuda_double.HostDevice(number))
        return devices[-1]

    monkeypatch.setattr(gpu, "open_device", open_device)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", nvdec_double.make_library())
    library = nvdec_double.DecoderLibrary()
    monkeypatch.setattr(nvdec_abilities, "library", lambda: library)


def real(monkeypatch, request):
    try:
        importlib.import_module("PyNvVideoCodec")
        gpu.open_device(0).close()
    except (ImportError, BackendUnavailable) as missing:
        pytest.skip(f"no NVDEC here ({missing})")


@pytest.fixture(params=[stand_in, real])
def source_class(request, monkeypatch):
    request.param(monkeypatch, request)
    monkeypatch.delitem(sys.modules, "edged.camera.nvdec", raising=False)
    return importlib.import_module("edged.camera.nvdec").NvdecSource


@pytest.fixture
def opening(clip):
    return Opening("front", "file", str(clip(frames=30, bframes=2)), str)


@pytest.fixture
def source(source_class, opening):
    source = source_class(opening)
    yield source
    source.close()


globals().update(contract.of_every_source("nvdec"))


def numbers(pictures):
    found = [number_of(host_planes(decoded.picture)[0]) for decoded in pictures]
    for decoded in pictures:
        decoded.on_release()
    return found


@pytest.mark.parametrize("bframes", [0, 2])
def test_painted_numbers_come_in_order_and_at_once_where_nothing_is_reordered(source_class, clip, bframes):
    source = source_class(Opening("front", "file", str(clip(frames=12, bframes=bframes)), str))
    found, late = [], 0
    for grabbed in range(12):
        found += numbers(source.decode(source.grab()))
        late = max(late, grabbed + 1 - len(found))
    found += numbers(source.drain())
    source.close()
    assert found == list(range(12))
    assert late == 0 if bframes == 0 else late <= 8


def test_a_surface_is_written_to_again_only_when_it_was_given_back(source_class, clip):
    """Twelve pictures are held, and looked at when all are decoded; then their memory serves the next twelve."""
    source = source_class(Opening("front", "file", str(clip(frames=24, gop=24)), str))
    held = [decoded for _ in range(12) for decoded in source.decode(source.grab())]
    assert len({decoded.picture.planes[0].pointer for decoded in held}) == 12
    first = {decoded.picture.planes[0].pointer for decoded in held}
    assert numbers(held) == list(range(12))
    again = [decoded for _ in range(12) for decoded in source.decode(source.grab())]
    assert {decoded.picture.planes[0].pointer for decoded in again} == first
    assert numbers(again) == list(range(12, 24))
    source.close()


def test_a_camera_that_is_parked_has_no_decoder_and_one_that_is_warm_keeps_it(source_class, opened, clip):
    source = source_class(Opening("front", "file", str(clip(frames=20, gop=10)), str))
    nvdec_double.Decoder.alive.clear()
    for decoded in source.decode(source.grab()):
        decoded.on_release()
    standing_in = bool(nvdec_double.Decoder.alive)
    source.rest(warm=True)
    assert source._decoder is not None
    source.rest()
    assert source._decoder is None
    assert not nvdec_double.Decoder.alive
    while not (grab := source.grab()).key:
        source.skip(grab)
    found = numbers(source.decode(grab)) + numbers(source.drain())
    assert found == [10]
    source.close()
    if standing_in:
        assert [thing for device in opened for thing in device.alive] == []
        assert all(device.closed for device in opened)


def test_opening_and_closing_leaves_no_device_memory_behind(source_class, opened, clip):
    def cycle(times):
        for _ in range(times):
            source = source_class(Opening("front", "file", path, str))
            for decoded in source.decode(source.grab()):
                decoded.on_release()
            source.close()

    path = str(clip(frames=5, size=(1280, 720)))
    cycle(1)
    if opened:
        assert [thing for device in opened for thing in device.alive] == []
        return
    pynvml = pytest.importorskip("pynvml")
    pynvml.nvmlInit()
    with closing(gpu.open_device(0)):  # holds the context, so that only decoders come and go
        cycle(3)
        before = held_mb(pynvml)
        cycle(20)
        assert held_mb(pynvml) - before < 8


def held_mb(pynvml):
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))
    held = [one.usedGpuMemory for one in processes if one.pid == os.getpid()]
    if held in ([], [None]):
        pytest.skip("NVML does not tell what a process holds here")
    return held[0] / 1e6


def test_what_it_cannot_decode_names_another_back_end(source_class, clip):
    path = clip(frames=5, codec="mpeg4")
    with pytest.raises(CameraError, match=r"is mpeg4; nvdec decodes h264, hevc, av1, vp9; use backend: pyav$"):
        source_class(Opening("front", "file", str(path), str))


def test_an_error_of_the_library_costs_the_stream_and_no_surface(source_class, clip, monkeypatch, opened):
    source = source_class(Opening("front", "file", str(clip(frames=5)), str))
    if not opened:
        source.close()
        pytest.skip("only the stand-in fails on demand")
    monkeypatch.setattr(nvdec_double.Decoder, "fails", "Decode error")
    with pytest.raises(CameraError, match=r"^nvdec: .*\.mp4: Decode error$"):
        source.decode(source.grab())
    source.close()
    assert [thing for device in opened for thing in device.alive] == []


def test_a_broken_context_ends_the_process_and_a_full_memory_does_not(source_class, clip, monkeypatch, opened):
    source = source_class(Opening("front", "file", str(clip(frames=5)), str))
    if not opened:
        source.close()
        pytest.skip("only the stand-in fails on demand")
    monkeypatch.setattr(nvdec_double.Decoder, "fails", "CUDA_ERROR_ILLEGAL_ADDRESS")
    opened[0].broken = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(WorkerFailed, match=r"^nvdec: .*\.mp4: CUDA: CUDA_ERROR_ILLEGAL_ADDRESS$"):
        source.decode(source.grab())
    opened[0].broken = ""
    source.close()
    monkeypatch.setattr(nvdec_double.Decoder, "fails", "")
    source = source_class(Opening("front", "file", str(clip(frames=5)), str))
    monkeypatch.setattr(opened[1], "allocate", lambda nbytes: _fail("CUDA: CUDA_ERROR_OUT_OF_MEMORY"))
    with pytest.raises(CameraError, match="OUT_OF_MEMORY"):
        source.decode(source.grab())
    source.close()
    assert [thing for device in opened for thing in device.alive] == []


def _fail(text):
    raise DeviceError(text)


def test_pictures_that_are_not_nv12_are_refused(source_class, clip, monkeypatch, opened):
    source = source_class(Opening("front", "file", str(clip(frames=5)), str))
    if not opened:
        source.close()
        pytest.skip("only the stand-in gives other pictures")
    monkeypatch.setattr(nvdec_double.DecodedFrame, "GetPtrToPlane", lambda frame, number: 1000 + number * 2 * 64 * 48)
    with pytest.raises(CameraError, match=r"not 8 bit 4:2:0; use backend: pyav$"):
        source.decode(source.grab())
    source.close()
    assert [thing for device in opened for thing in device.alive] == []


def test_an_unprobed_stream_may_reorder(source_class, clip, monkeypatch):
    monkeypatch.setattr(source_class, "_context", _Unprobed)
    source = source_class(Opening("front", "file", str(clip(frames=5)), str))
    assert source._reorders
    source.close()


class _Unprobed:
    name, pix_fmt, has_b_frames, extradata, width, height = "vp9", None, False, b"", 0, 0


def test_the_names_of_ffmpegs_decoders_lead_to_codecs(source_class, clip):
    path = clip(".webm", frames=5, codec="libvpx-vp9", size=(256, 192))
    source = source_class(Opening("front", "file", str(path), str))
    assert source._codec.name == "VP9"
    found = [number for _ in range(5) for number in numbers(source.decode(source.grab()))]
    assert found + numbers(source.drain()) == list(range(5))
    source.close()


def test_a_decoder_that_tells_nothing_leads_to_another_back_end(source_class, clip, monkeypatch):
    library = nvdec_double.DecoderLibrary()
    library.fails = 801
    monkeypatch.setattr(nvdec_abilities, "library", lambda: library)
    monkeypatch.setattr(nvdec_abilities, "_known", {})
    wanted = r"\.mp4: NVDEC of NVIDIA .* tells nothing: libnvcuvid\.so\.1 answers with error 801 of CUDA$"
    with pytest.raises(Undecodable, match=wanted):
        source_class(Opening("front", "file", str(clip(frames=5)), str))


def test_a_machine_without_its_library_leads_to_another_back_end(source_class, clip, monkeypatch):
    monkeypatch.setattr(nvdec_abilities, "library", lambda: ctypes.CDLL("libnowhere.so.1"))
    monkeypatch.setattr(nvdec_abilities, "_known", {})
    with pytest.raises(Undecodable, match=r"\.mp4: NVDEC of NVIDIA .* tells nothing: libnowhere\.so\.1: cannot open"):
        source_class(Opening("front", "file", str(clip(frames=5)), str))


def test_the_librarys_answers_are_those_of_pynvvideocodec(source_class):
    if not hasattr(sys.modules["PyNvVideoCodec"], "GetDecoderCaps"):
        pytest.skip("only the real one answers in both ways")
    nvc = sys.modules["PyNvVideoCodec"]
    with closing(gpu.open_device(0)) as device:
        for codec in ("H264", "HEVC", "VP9", "AV1"):
            number = getattr(nvc.cudaVideoCodec, codec)
            can, other = nvdec_abilities.abilities(device, int(number)), nvc.GetDecoderCaps(0, number)
            assert can.supported == bool(other["supported"])
            assert can.least == (other["width_min"], other["height_min"])
            assert can.largest == (other["width_max"], other["height_max"])


def test_a_size_beyond_the_decoder_leads_to_another_back_end(source_class, clip):
    sizes = r"128x128 to 8192x8192, at most 262144 macroblocks$"
    with pytest.raises(Undecodable, match=r"is 64x48; NVDEC of NVIDIA .* decodes .*vp9 from " + sizes):
        source_class(Opening("front", "file", str(clip(".webm", frames=5, codec="libvpx-vp9")), str))
