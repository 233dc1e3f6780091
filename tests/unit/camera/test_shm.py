"""Rings of shared memory: a feeder and a reader, in one process and in two, in Python and in C."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edged.camera.base import CameraStalled, Opening
from edged.camera.shm import layout
from edged.camera.shm.ring import open_ring
from edged.camera.shm.source import ShmSource
from edged.errors import BackendUnavailable, CameraError
from edged.feeder import Capture, Color, Feeder, PixelFormat

ROOT = Path(__file__).parents[3]
SIZES = {"nv12": [48 * 64, 24 * 64], "yuv": [48 * 64, 24 * 32, 24 * 32], "rgb": [48 * 64 * 3], "gray": [48 * 64]}


@pytest.fixture
def name(request):
    name = f"edged-test-{os.getpid()}-{request.node.name[:20]}".translate(str.maketrans("[]", "__"))
    yield name
    Path(layout.FOLDER, name).unlink(missing_ok=True)


@pytest.fixture
def feeder(name):
    with Feeder(name, rate_hz=25) as feeder:
        yield feeder


def opened(name, **more):
    return ShmSource(Opening("front", "shm", name, str, **{"open_timeout_s": 2.0, "read_timeout_s": 2.0, **more}))


@pytest.fixture
def source(feeder, name):
    write(feeder, 0)
    source = opened(name)
    yield source
    source.close()


def write(feeder, value, pixel_format="nv12", **more):
    planes = [bytes([value % 256]) * size for size in SIZES[pixel_format]]
    return feeder.write(planes, 64, 48, PixelFormat(pixel_format), **more)


def read(source):
    """Return the next picture, its sequence and its release."""
    grab = source.grab()
    (decoded,) = source.decode(grab)
    return decoded


def values(picture):
    return {int(value) for plane in picture.planes for value in (plane.min(), plane.max())}


@pytest.mark.parametrize("pixel_format", SIZES)
def test_every_format_arrives_as_it_was_written(feeder, source, pixel_format):
    rng = np.random.default_rng(3)
    planes = [rng.integers(0, 256, size, np.uint8) for size in SIZES[pixel_format]]
    color = Color("bt2020", full=True)
    source.skip(source.grab())
    assert feeder.write(planes, 64, 48, PixelFormat(pixel_format), color)
    picture = read(source).picture
    assert (picture.width, picture.height, picture.format.value, picture.color) == (64, 48, pixel_format, color)
    for plane, written in zip(picture.planes, planes, strict=True):
        assert (plane.reshape(-1) == written).all()


def test_the_source_says_what_it_reads(source):
    assert source.description == "shm nv12 64x48 25 Hz, in place"


def test_odd_sizes_round_chroma_up(feeder, source):
    source.skip(source.grab())
    feeder.write([bytes(7 * 5), bytes(3 * 4 * 2)], 7, 5)
    assert [plane.shape for plane in read(source).picture.planes] == [(5, 7), (3, 4, 2)]


def test_the_newest_picture_wins(feeder, source):
    for value in range(1, 20):
        assert write(feeder, value)
    read(source)  # the one that opening waited for
    decoded = read(source)
    assert (decoded.pts, values(decoded.picture)) == (20, {19})


def test_pictures_lie_in_the_ring_until_they_are_released(feeder, source):
    kept = [read(source)]
    for value in range(1, 40):
        assert write(feeder, value)
        kept.append(read(source))
    in_place = [decoded for decoded in kept if decoded.on_release is not None]
    assert len(in_place) == 3  # of 6 slots, three stay with the feeder
    assert [values(decoded.picture) for decoded in kept] == [{value} for value in range(40)]
    for decoded in in_place:
        decoded.on_release()
        decoded.on_release()
    write(feeder, 77)
    assert read(source).on_release is not None


def test_a_leased_picture_outlives_the_source_and_the_feeder(feeder, name):
    write(feeder, 5)
    source = opened(name)
    decoded = read(source)
    source.close()
    source.close()
    for value in range(20):
        write(feeder, value)
    assert feeder.readers == 1  # its lease is announced still
    feeder.close()
    assert values(decoded.picture) == {5}
    decoded.on_release()


def test_released_from_other_threads_while_it_reads(feeder, source):
    def late(decoded):
        time.sleep(0.001)
        assert len(values(decoded.picture)) == 1
        decoded.on_release and decoded.on_release()

    threads = []
    for value in range(200):
        write(feeder, value)
        threads.append(threading.Thread(target=late, args=(read(source),)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert source._ring._holds._held == 0


def test_a_feeder_sees_its_readers(feeder, name):
    assert feeder.readers == 0
    write(feeder, 0)
    sources = [opened(name) for _ in range(3)]
    assert feeder.readers == 3
    for source in sources:
        source.close()
    assert feeder.readers == 0


def test_a_reader_too_many_copies(feeder, name):
    write(feeder, 9)
    sources = [opened(name) for _ in range(layout.READERS + 1)]
    assert feeder.readers == layout.READERS + 1
    assert sources[-1].description.endswith("copied")
    decoded = read(sources[-1])
    assert (decoded.on_release, values(decoded.picture)) == (None, {9})
    for source in sources:
        source.close()


def test_a_copy_that_was_overwritten_meanwhile_is_nothing(feeder, name):
    write(feeder, 1)
    others = [opened(name) for _ in range(layout.READERS)]
    source = opened(name)
    for one in others:
        one.skip(one.grab())
    grab = source.grab()
    for value in range(2, 12):
        write(feeder, value)
    assert source.decode(grab) == ()
    assert values(read(source).picture) == {11}
    for one in (source, *others):
        one.close()


def test_readers_together_leave_the_feeder_room(feeder, name):
    write(feeder, 0)
    sources = [opened(name) for _ in range(4)]
    kept = []
    for value in range(1, 40):
        kept += [read(source) for source in sources]
        assert write(feeder, value)
    assert len({decoded.pts for decoded in kept if decoded.on_release is not None}) == 3
    assert [values(decoded.picture) for decoded in kept[::4]] == [{value} for value in range(39)]
    for source in sources:
        source.close()
    for decoded in kept:
        decoded.on_release and decoded.on_release()


def test_pictures_are_dropped_while_every_slot_is_being_looked_at(name):
    with Feeder(name, slots=3) as feeder:
        write(feeder, 0)
        sources = [opened(name)]
        write(feeder, 1)
        sources.append(opened(name))
        assert write(feeder, 2)
        assert not write(feeder, 3)
        assert [values(read(source).picture) for source in sources] == [{0}, {1}]
        assert write(feeder, 4)
        for source in sources:
            source.close()


def test_a_smaller_and_a_larger_picture_in_mid_stream(feeder, source):
    kept = read(source)
    last = kept.pts
    for width, height in ((32, 24), (640, 480), (16, 16), (1920, 1080), (64, 48)):
        feeder.write([bytes(width * height), bytes(width * height // 2)], width, height)
        decoded = read(source)
        assert (decoded.picture.width, decoded.picture.height) == (width, height)
        assert decoded.pts > last
        last = decoded.pts
        decoded.on_release and decoded.on_release()
    assert values(kept.picture) == {0}


def test_capture_times_of_the_feeder_are_taken_where_they_can_be_true(feeder, source):
    source.skip(source.grab())
    mono_ns, unix_ns = time.monotonic_ns() - 20_000_000, time.time_ns() - 20_000_000
    for capture in (Capture(unix_ns, mono_ns, "driver"), Capture(unix_ns, mono_ns, "rtcp")):
        write(feeder, 1, capture=capture)
        assert source.grab().capture == capture
    for wrong in (mono_ns + 60_000_000_000, mono_ns - 60_000_000_000, 0):
        write(feeder, 1, capture=Capture(unix_ns, wrong, "driver"))
        assert source.grab().capture is None
    write(feeder, 1)
    assert source.grab().capture is None


def test_a_ring_without_a_feeder_and_one_without_pictures(name):
    with pytest.raises(CameraError, match=f"^/dev/shm/{name}: no feeder has made it$"):
        opened(name)
    sign = r"nothing came for 0.2 s; its feeder's last sign was 0\.\d s"
    with Feeder(name), pytest.raises(CameraStalled, match=sign):
        opened(name, open_timeout_s=0.2)


def test_a_quiet_feeder_is_a_stall_and_a_closed_one_an_error(feeder, name):
    write(feeder, 0)
    source = opened(name, read_timeout_s=0.1)
    read(source)
    with pytest.raises(CameraStalled, match=r"nothing came for 0\.1 s"):
        source.grab()
    feeder.close()
    with pytest.raises(CameraError, match=f"its feeder \\(process {os.getpid()}\\) is gone"):
        source.grab()
    source.close()
    assert not Path(layout.FOLDER, name).exists()


def test_a_block_that_fails_publishes_nothing(feeder, source):
    read(source)
    with pytest.raises(ZeroDivisionError), feeder.picture(64, 48) as planes:
        planes[0][:100] = bytes(100)
        print(1 / 0)
    write(feeder, 4)
    assert values(read(source).picture) == {4}


@pytest.mark.parametrize(
    ("planes", "size", "text"),
    [
        ([b"x"], (64, 48), "1 planes; nv12 has 2"),
        ([b"x", b"y"], (64, 48), "plane 0 has 1 bytes; 64x48 needs 3072"),
        ([b"x", b"y"], (0, 48), "0x48: sides of 1 to 16384 pixels are allowed"),
        ([b"x", b"y"], (64, 20_000), "64x20000: sides of 1 to 16384 pixels are allowed"),
    ],
)
def test_a_feeder_refuses_planes_that_do_not_fit(feeder, planes, size, text):
    with pytest.raises(ValueError, match=text):
        feeder.write(planes, *size)


@pytest.mark.parametrize(("how", "text"), [({"name": "a/b"}, "name='a/b'"), ({"slots": 2}, "slots=2: 3 to 64")])
def test_a_feeder_refuses_names_and_counts_out_of_range(name, how, text):
    with pytest.raises(ValueError, match=text):
        Feeder(**{"name": name, **how})


def test_one_feeder_a_name(feeder, name):
    with pytest.raises(BackendUnavailable, match="is fed by another process"):
        Feeder(name)
    write(feeder, 3)
    source = opened(name)
    assert values(read(source).picture) == {3}
    source.close()


def test_the_feeder_needs_no_numpy():
    code = "import sys, edged.feeder; print(sorted({'numpy', 'pydantic', 'av', 'cv2'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# ---- two processes ----------------------------------------------------------------------------------------------

PYTHON_FEEDER = """
import sys, time
from edged.feeder import Feeder
width, height, rate = (int(text) for text in sys.argv[2:5])
with Feeder(sys.argv[1], rate) as feeder:
    print("ready", flush=True)
    number = 1
    while True:
        time.sleep(1 / rate)
        if feeder.readers:
            planes = [bytes([number % 256]) * (width * height), bytes([number % 256]) * (width * height // 2)]
            number += feeder.write(planes, width, height)
"""


@pytest.fixture(scope="session")
def c_feeder(tmp_path_factory):
    """Return the C feeder, compiled as its first lines say."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here; apt-get install gcc libc6-dev")
    program = tmp_path_factory.mktemp("sdk") / "feeder_example"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    source = ROOT / "sdk" / "feeder_example.c"
    subprocess.run([compiler, "-std=gnu11", "-O2", *warnings, "-o", program, source], check=True)
    return [str(program)]


@pytest.fixture(params=["python", "c"])
def command(request):
    return [sys.executable, "-c", PYTHON_FEEDER] if request.param == "python" else request.getfixturevalue("c_feeder")


def started(command, name, *args):
    process = subprocess.Popen([*command, name, *args], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_frames_of_another_process(command, name):
    process = started(command, name, "640", "480", "200")
    source = opened(name)
    seen = []
    for _ in range(50):
        decoded = read(source)
        assert values(decoded.picture) == {decoded.pts % 256}
        seen.append(decoded.pts)
        decoded.on_release and decoded.on_release()
    assert seen == sorted(set(seen))
    source.close()
    ended(process)


def test_a_reader_that_was_killed_holds_nothing(name):
    code = (
        "import sys, time; from edged.camera.shm.source import ShmSource; from edged.camera.base import Opening\n"
        "source = ShmSource(Opening('c', 'shm', sys.argv[1], str))\n"
        "kept = [source.decode(source.grab())]\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    with Feeder(name, slots=3) as feeder:
        write(feeder, 1)
        process = started([sys.executable, "-c", code], name)
        assert feeder.readers == 1
        ended(process)
        assert feeder.readers == 0
        assert all(write(feeder, value) for value in range(10))


def test_no_torn_picture_when_the_feeder_is_killed_a_hundred_times(c_feeder, name):
    """Large pictures at a high rate: most kills come in the middle of one."""
    rng = random.Random(5)
    pictures = 0
    for _ in range(100):
        process = started(c_feeder, name, "1280", "720", "3000")
        source = opened(name)
        kept = []
        killer = threading.Timer(rng.uniform(0.001, 0.02), process.kill)
        killer.start()
        with pytest.raises(CameraError, match="is gone"):
            while True:
                decoded = read(source)
                assert values(decoded.picture) == {decoded.pts % 256}
                pictures += 1
                kept.append(decoded)
                if len(kept) > 2 and (old := kept.pop(0)):
                    assert values(old.picture) == {old.pts % 256}
                    old.on_release and old.on_release()
        killer.join()
        source.close()
        for decoded in kept:
            assert values(decoded.picture) == {decoded.pts % 256}
            decoded.on_release and decoded.on_release()
        ended(process)
        with pytest.raises(CameraError, match=r"its feeder \(process \d+\) is gone"):
            open_ring(Path(layout.FOLDER, name))
    assert pictures >= 100
