"""Which format, size and rate serves a wish."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.camera.v4l2.choice import PREFERRED, Choice, Intervals, Menu, Sizes, Span, Wish, choose, listing
from edged.errors import CameraError


def at(*rates_hz):
    return [
        Intervals(1 / Fraction(rate).limit_denominator(1001), 1 / Fraction(rate).limit_denominator(1001))
        for rate in rates_hz
    ]


def menu(formats, current=(640, 480)):
    """Return the menu of a device from {format: {size: rates in Hz}}."""
    sizes = {
        fourcc: [Sizes(Span(width, width), Span(height, height)) for width, height in found]
        for fourcc, found in formats.items()
    }
    return Menu("/dev/video0", sizes, lambda fourcc, *size: at(*formats[fourcc].get(size, ())), current)


WEBCAM = {
    "MJPG": {(640, 480): [30, 15], (1920, 1080): [30]},
    "YUYV": {(640, 480): [30, 15], (1280, 720): [10], (1920, 1080): [5]},
    "H264": {(1920, 1080): [30]},
}


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        (Wish(), Choice("YUYV", 640, 480, None)),
        (Wish(size=(640, 480), rate_hz=15), Choice("YUYV", 640, 480, Fraction(1, 15))),
        (Wish(size=(1920, 1080)), Choice("MJPG", 1920, 1080, None)),  # raw reaches 5 Hz only
        (Wish(size=(1920, 1080), rate_hz=30), Choice("MJPG", 1920, 1080, Fraction(1, 30))),
        (Wish(size=(1920, 1080), rate_hz=5), Choice("YUYV", 1920, 1080, Fraction(1, 5))),
        (Wish(size=(1280, 720)), Choice("YUYV", 1280, 720, None)),
        (Wish("H264"), Choice("H264", 1920, 1080, None)),  # it has no 640x480
        (Wish("MJPG", rate_hz=15), Choice("MJPG", 640, 480, Fraction(1, 15))),
    ],
)
def test_what_a_webcam_is_asked_for(wish, found):
    assert choose(menu(WEBCAM), wish) == found


def test_a_rate_is_met_within_a_hundredth():
    ntsc = menu({"NV12": {(640, 480): [29.97]}})
    assert choose(ntsc, Wish(rate_hz=30)).interval == Fraction(100, 2997)
    with pytest.raises(CameraError):
        choose(ntsc, Wish(rate_hz=29))


def test_planes_as_they_lie_come_before_packed_ones_and_grey_last():
    same = {(640, 480): [30]}
    assert choose(menu(dict.fromkeys(["GREY", "H264", "YUYV", "NV12"], same)), Wish()).fourcc == "NV12"
    assert choose(menu(dict.fromkeys(["GREY", "MJPG", "H264"], same)), Wish()).fourcc == "MJPG"
    assert choose(menu({"GREY": same}), Wish()).fourcc == "GREY"


def test_a_range_of_sizes_and_rates():
    sizes = {"NV12": [Sizes(Span(320, 1920, 16), Span(240, 1080, 2))]}
    ranges = [Intervals(Fraction(1, 60), Fraction(1, 2))]
    device = Menu("/dev/video0", sizes, lambda *_: ranges, (640, 480))
    assert choose(device, Wish(size=(1280, 720), rate_hz=24)) == Choice("NV12", 1280, 720, Fraction(1, 24))
    with pytest.raises(CameraError, match=r"gives no 1281x720; it gives NV12: 320x240 to 1920x1080 at 2 to 60 Hz$"):
        choose(device, Wish(size=(1281, 720)))
    with pytest.raises(CameraError, match=r"gives no 90 Hz; "):
        choose(device, Wish(rate_hz=90))


def test_a_driver_that_lists_nothing_is_asked_for_what_is_wished():
    device = Menu("/dev/video0", {"UYVY": []}, lambda *_: [], (1920, 1208))
    assert choose(device, Wish()) == Choice("UYVY", 1920, 1208, None)
    assert choose(device, Wish(size=(640, 480), rate_hz=25)) == Choice("UYVY", 640, 480, Fraction(1, 25))


def test_an_error_lists_what_there_is_and_what_is_not_read():
    device = menu({**WEBCAM, "BA81": {(640, 480): [30]}, "Y16": {}})
    with pytest.raises(CameraError) as caught:
        choose(device, Wish("NV12", (640, 480), 30))
    assert str(caught.value) == (
        "/dev/video0 gives no NV12 640x480 30 Hz; it gives "
        "YUYV: 640x480 at 30, 15 Hz, 1280x720 at 10 Hz, 1920x1080 at 5 Hz; "
        "MJPG: 640x480 at 30, 15 Hz, 1920x1080 at 30 Hz; H264: 1920x1080 at 30 Hz; not read here: BA81, Y16"
    )
    with pytest.raises(CameraError, match="gives no picture; it gives nothing that is read here; not read here: BA81$"):
        choose(menu({"BA81": {(640, 480): [30]}}), Wish())


def test_a_long_list_is_cut():
    many = {(16 * n, 16 * n): [n, n + 1, n + 2] for n in range(1, 400)}
    assert len(listing(menu({"YUYV": many, "MJPG": many}))) < 1400


FORMATS = st.dictionaries(
    st.sampled_from([*PREFERRED, "BA81"]),
    st.dictionaries(
        st.tuples(st.sampled_from([320, 640, 1280]), st.sampled_from([240, 480])),
        st.lists(st.sampled_from([5, 10, 15, 30, 60]), unique=True, max_size=3),
        max_size=4,
    ),
    max_size=5,
)


@given(
    FORMATS,
    st.sampled_from([None, "YUYV", "MJPG"]),
    st.sampled_from([None, (640, 480), (320, 240)]),
    st.sampled_from([None, 15, 30]),
)
def test_what_is_chosen_is_on_the_menu_and_what_is_refused_is_not(formats, pixel_format, size, rate_hz):
    wish = Wish(pixel_format, size, rate_hz)
    served = [
        (fourcc, one)
        for fourcc, sizes in formats.items()
        for one, rates in (sizes or {(size or (640, 480)): []}).items()
        if fourcc in PREFERRED and pixel_format in (None, fourcc)
        if size in (None, one) and (rate_hz is None or not rates or rate_hz in rates)
    ]
    try:
        choice = choose(menu(formats), wish)
    except CameraError:
        # without a size only the current or the largest size of each format is looked at
        assert not served or size is None
        return
    assert (choice.fourcc, (choice.width, choice.height)) in served
