"""Non-reference pictures, told from what real encoders write into real containers."""

from __future__ import annotations

import av
import pytest
from av.bitstream import BitStreamFilterContext

from edged.camera.base import Opening
from edged.camera.nal import AnnexB, H265Disposable, disposable_test, key_test
from edged.camera.pyav import PyAvSource
from edged.errors import CameraEnded


def grabs(path):
    source = PyAvSource(Opening("c", "file", str(path), str))
    found = []
    try:
        while True:
            found.append(source.grab())
    except CameraEnded:
        return found
    finally:
        source.close()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".h264"])
def test_h264_without_its_disposable_frames_decodes_to_the_same_pictures(clip, suffix):
    path = clip(suffix, frames=40, gop=20, bframes=2)
    found = grabs(path)
    spare = {grab.pts for grab in found if grab.disposable}
    assert 10 <= len([grab for grab in found if grab.disposable]) <= 30
    assert not any(grab.key for grab in found if grab.disposable)
    if suffix == ".h264":  # its packets carry no time stamps
        return
    source = PyAvSource(Opening("c", "file", str(path), str))
    whole = {one.pts: one.picture.planes[0] for grab in grabs(path) for one in source.decode(grab)}
    whole |= {one.pts: one.picture.planes[0] for one in source.drain()}
    kept = [one for grab in found if not grab.disposable for one in source.decode(grab)] + list(source.drain())
    source.close()
    assert {one.pts for one in kept} == whole.keys() - spare
    for one in kept:
        assert (one.picture.planes[0] == whole[one.pts]).all()


@pytest.mark.parametrize(("codec", "name", "fmt"), [("libx264", "h264", "h264"), ("libx265", "hevc", "hevc")])
def test_key_frames_are_told_from_their_bytes_as_ffmpeg_tells_them(clip, codec, name, fmt):
    found = grabs(clip(f".{fmt}", frames=30, gop=10, codec=codec, fmt=fmt))
    test = key_test(name)
    assert [test(bytes(grab.data)) for grab in found] == [grab.key for grab in found]
    assert any(grab.key for grab in found)
    assert not all(grab.key for grab in found)
    assert not test(b"")
    assert key_test("mjpeg") is None


def test_streams_without_b_frames_have_none(clip):
    assert not any(grab.disposable for grab in grabs(clip(frames=20)))


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_h265_has_the_same_in_every_container(clip, suffix):
    found = grabs(clip(suffix, frames=30, codec="libx265"))
    assert 5 <= sum(grab.disposable for grab in found) < 25
    assert not any(grab.key and grab.disposable for grab in found)


@pytest.mark.parametrize(("codec", "pix_fmt", "suffix"), [("mjpeg", "yuvj420p", ".avi"), ("rawvideo", "gray", ".nut")])
def test_where_every_frame_stands_alone_all_are(clip, codec, pix_fmt, suffix):
    found = grabs(clip(suffix, frames=5, codec=codec, pix_fmt=pix_fmt))
    assert all(grab.disposable and grab.key and grab.size_bytes > 0 for grab in found)


def test_a_lower_layer_of_time_is_needed_by_the_higher_one():
    """H.265, 3.132: other pictures of the *same* layer do not refer to it."""
    test = H265Disposable()
    low, high, base = bytes([0 << 1, 1]), bytes([0 << 1, 2]), bytes([1 << 1, 1])
    assert test(bytes([32 << 1, 1])) is None
    assert test(base) is False
    assert test(low) is True
    assert test(high) is True
    assert test(low) is False


def test_other_codecs_are_not_asked():
    assert disposable_test("vp9", b"") is None


@pytest.mark.parametrize("extradata", [b"", b"\x01\x64\x00\x1f\xff\xe1"])
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1", b"\0\0\1\x01", b"\0\0\0\xff", b"\xff" * 40, b"\0" * 40])
def test_a_broken_packet_is_no_reason_to_skip(extradata, data):
    test = disposable_test("h264", extradata)
    packet = av.Packet(data)
    assert test(packet) is False


@pytest.mark.parametrize(("codec", "filter_name"), [("libx264", "h264_mp4toannexb"), ("libx265", "hevc_mp4toannexb")])
def test_byte_streams_are_those_of_ffmpegs_own_filter(clip, codec, filter_name):
    """But for the order: there the parameter sets come behind messages (SEI) that may need them already."""
    with av.open(str(clip(frames=20, gop=8, codec=codec))) as container:
        stream = container.streams.video[0]
        ours = AnnexB(stream.codec_context.name, bytes(stream.codec_context.extradata))
        theirs = BitStreamFilterContext(filter_name, stream)
        for packet in container.demux(stream):
            if packet.size:
                made = ours(bytes(packet), packet.is_keyframe)
                (wanted,) = theirs.filter(packet)
                assert sorted(_units(made)) == sorted(_units(bytes(wanted)))


def _units(stream):
    return [unit.strip(b"\0") for unit in stream.split(b"\0\0\1") if unit.strip(b"\0")]


def test_a_length_beyond_its_packet_is_cut_off():
    make = AnnexB("h264", b"\x01\x64\x00\x1f\xff\xe1\x00\x02\x67\x01\x01\x00\x01\x68")
    assert make(b"\0\0\0\2\x65\x88\0\0\xff\xff\x41", True) == (
        b"\0\0\0\1\x67\x01\0\0\0\1\x68\0\0\0\1\x65\x88\0\0\0\1\x41"
    )
    assert make(b"", False) == b""


@pytest.mark.parametrize(
    ("codec", "extradata"), [("h264", b"\x01"), ("h264", b"\x01\x64\x00\x1f\xff"), ("hevc", b"\x01" * 22)]
)
def test_parameter_sets_that_end_too_early_are_named(codec, extradata):
    with pytest.raises(ValueError, match=f"^{codec}: the {len(extradata)} bytes of parameter sets end too early$"):
        AnnexB(codec, extradata)
