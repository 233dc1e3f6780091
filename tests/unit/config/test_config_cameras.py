"""Every way to get `cameras.yaml` wrong, with the whole message."""

from __future__ import annotations

import pytest
from config_texts import CAMERAS, ID_RULE, Row, camera, expected, source

URL = "URL whose ${…} are all ${cred:NAME} (letters, digits, _, - or ., at most 64)"
CAMERA_KEYS = (
    "backend, clock_synced, controls, height_px, lens, loop, open_timeout_s, pace, pixel_format, rate_hz, source, "
    "stall_timeout_s, transport, width_px"
)

TABLE: list[Row] = [
    # cameras.yaml: the file
    ("", ["1: cameras: required, but absent"]),
    ("cameras: []", ["1: cameras: must be a map of cameras by their ids, got []"]),
    ("cameras: [front]", ["1: cameras: must be a map of cameras by their ids, got ['front']"]),
    ("cameras:", ["1: cameras: has no value; give one, or leave the key out"]),
    ("- front", ["1: must be a map of keys to values, got ['front']"]),
    ("front", ["1: must be a map of keys to values, got 'front'"]),
    (camera('source: "csi:0"') + "camera: 1", ["3: camera: unknown key; did you mean 'cameras'?"]),
    # cameras.yaml: one camera
    ("cameras:\n  front: file", ["2: cameras.front: must be a map with a source, got 'file'"]),
    (camera(""), ["2: cameras.front.source: required, but absent"]),
    (
        camera('sorce: "csi:0"'),
        [
            "2: cameras.front.source: required, but absent",
            "2: cameras.front.sorce: unknown key; did you mean 'source'?",
        ],
    ),
    (camera('source: "csi:0", zoom: 2'), [f"2: cameras.front.zoom: unknown key; allowed: {CAMERA_KEYS}"]),
    (camera('source: "csi:0", id: front'), [f"2: cameras.front.id: unknown key; allowed: {CAMERA_KEYS}"]),
    (
        'cameras:\n  front: {source: "csi:0"}\n  Bad-Ä: {source: "csi:1"}',
        [f"3: cameras.Bad-Ä: a camera id must be {ID_RULE}, got 'Bad-Ä'"],
    ),
    (
        camera('source: "csi:0"') + f"  {'x' * 33}: {{source: 'csi:1'}}",
        [f"3: cameras.{'x' * 33}: a camera id must be {ID_RULE}, got '{'x' * 33}'"],
    ),
    (
        camera('source: "csi:0", loop: true'),
        ["2: cameras.front.loop: is only for file and scene sources, this is a csi source"],
    ),
    (
        camera('source: "rtsp://h/1", pace: fast'),
        ["2: cameras.front.pace: is only for file and scene sources, this is a rtsp source"],
    ),
    (
        camera('source: "tcp://h:9001", transport: udp'),
        ["2: cameras.front.transport: is only for rtsp and rtsps sources, this is a tcp source"],
    ),
    (
        camera('source: "tcp://h:9001", clock_synced: true'),
        ["2: cameras.front.clock_synced: is only for rtsp and rtsps sources, this is a tcp source"],
    ),
    (camera('source: "rtsp://h/1", clock_synced: 1'), ["2: cameras.front.clock_synced: must be true or false, got 1"]),
    (camera('source: "file:a", loop: 1'), ["2: cameras.front.loop: must be true or false, got 1"]),
    (
        camera('source: "file:a", pace: fats'),
        ["2: cameras.front.pace: must be realtime or fast, got 'fats'; did you mean 'fast'?"],
    ),
    (
        camera('source: "csi:0", height_px: 720'),
        ["2: cameras.front.height_px: needs width_px beside it, got 720 alone"],
    ),
    (
        camera('source: "csi:0", width_px: 720'),
        ["2: cameras.front.height_px: required beside width_px, but absent"],
    ),
    (
        camera('source: "csi:0", width_px: 15, height_px: 16385'),
        [
            "2: cameras.front.width_px: must be a whole number from 16 to 16384, got 15",
            "2: cameras.front.height_px: must be a whole number from 16 to 16384, got 16385",
        ],
    ),
    (
        camera('source: "csi:0", rate_hz: .nan'),
        ["2: cameras.front.rate_hz: must be a number from 0.1 to 1000, got nan"],
    ),
    (
        camera('source: "csi:0", rate_hz: -.inf'),
        ["2: cameras.front.rate_hz: must be a number from 0.1 to 1000, got -inf"],
    ),
    (
        camera('source: "csi:0", rate_hz: 1e999'),
        ["2: cameras.front.rate_hz: must be a number from 0.1 to 1000, got inf"],
    ),
    (
        camera('source: "csi:0", rate_hz: "30"'),
        ["2: cameras.front.rate_hz: must be a number from 0.1 to 1000, got '30'"],
    ),
    (
        camera('source: "csi:0", stall_timeout_s: 0'),
        ["2: cameras.front.stall_timeout_s: must be a number from 0.1 to 300, got 0"],
    ),
    (
        camera('source: "csi:0", backend: []'),
        ["2: cameras.front.backend: must be a name, or a list of 1 to 16 names in the order to try, got []"],
    ),
    (
        camera('source: "csi:0", backend: [a, b, a]'),
        ["2: cameras.front.backend: 'a' is listed twice, got ['a', 'b', 'a']"],
    ),
    (
        camera('source: "csi:0", backend: [a, 3]'),
        [
            "2: cameras.front.backend: must be a name (a letter, then letters, digits, _, - or ., at most 64 in all), "
            "got 3"
        ],
    ),
    # sources
    (
        source("/dev/video0"),
        ["2: cameras.front.source: must be SCHEME:REST, got '/dev/video0'; for a path write 'v4l2:' in front of it"],
    ),
    (
        source("front.mp4"),
        ["2: cameras.front.source: must be SCHEME:REST, got 'front.mp4'; for a path write 'file:' in front of it"],
    ),
    (
        camera("source: 5"),
        ['2: cameras.front.source: must be a source such as "rtsp://192.0.2.7/stream1" or "v4l2:/dev/video0", got 5'],
    ),
    (
        source("rtps://192.0.2.7/1"),
        [
            "2: cameras.front.source: must be a source with a known scheme, got 'rtps://192.0.2.7/1'; "
            "did you mean 'rtsps'?"
        ],
    ),
    (
        source("gopher://192.0.2.7/1"),
        [
            "2: cameras.front.source: must be a source with a known scheme, got 'gopher://192.0.2.7/1'; "
            "allowed: csi, file, http, https, rtsp, rtsps, scene, shm, srt, tcp, udp, v4l2"
        ],
    ),
    (source("csi:01"), ["2: cameras.front.source: must be csi:N with N from 0 to 99, got 'csi:01'"]),
    (
        source("v4l2:video0"),
        ["2: cameras.front.source: must be v4l2:/dev/…, an absolute path, or v4l2:bus:BUS_INFO, got 'v4l2:video0'"],
    ),
    (
        source("v4l2:bus:usb-1#x"),
        [
            "2: cameras.front.source: must be v4l2:/dev/…, an absolute path, or v4l2:bus:BUS_INFO, "
            "got 'v4l2:bus:usb-1#x'"
        ],
    ),
    # what is set at a V4L2 device
    (
        camera('source: "v4l2:/dev/video0", pixel_format: yuyv'),
        [
            "2: cameras.front.pixel_format: must be a pixel format of V4L2 by its three or four characters, such as "
            "YUYV, MJPG or NV12, got 'yuyv'"
        ],
    ),
    (
        camera('source: "csi:0", pixel_format: NV12, controls: {gain: 1}'),
        [
            "2: cameras.front.pixel_format: is only for v4l2 sources, this is a csi source",
            "2: cameras.front.controls: is only for v4l2 sources, this is a csi source",
        ],
    ),
    (
        camera('source: "v4l2:/dev/video0", controls: {gain: 1.5}'),
        ["2: cameras.front.controls: gain must be a whole number, true or false, got 1.5"],
    ),
    (
        camera('source: "v4l2:/dev/video0", controls: {Exposure Time: 1}'),
        [
            "2: cameras.front.controls: must be names of controls as v4l2-ctl prints them (lower-case letters, digits "
            "and _), got 'Exposure Time'"
        ],
    ),
    (
        camera('source: "v4l2:/dev/video0", controls: [gain]'),
        ["2: cameras.front.controls: must be a map of at most 64 names of controls to numbers, got ['gain']"],
    ),
    (
        source("shm:a b"),
        ["2: cameras.front.source: must be shm:NAME (letters, digits, _, - or ., at most 64), got 'shm:a b'"],
    ),
    (source("scene: "), ["2: cameras.front.source: must be scene:NAME, got 'scene: '"]),
    (source("file:"), ["2: cameras.front.source: must be file:PATH, got 'file:'"]),
    (
        source("file:~/a.mp4"),
        ["2: cameras.front.source: must be a path in full; ~ and variables are not replaced, got '~/a.mp4'"],
    ),
    (
        source("file:${cred:a}.mp4"),
        [
            "2: cameras.front.source: must be a file source without ${cred:…}, got 'file:${cred:a}.mp4'; "
            "credentials are for network sources"
        ],
    ),
    (
        source("rtsp:192.0.2.7"),
        ["2: cameras.front.source: must be rtsp://HOST[:PORT][/PATH] without blanks, got 'rtsp:192.0.2.7'"],
    ),
    (
        source("rtsp:///stream"),
        ["2: cameras.front.source: must be rtsp://HOST[:PORT][/PATH], got 'rtsp:///stream'"],
    ),
    (
        source("http://h:99999/"),
        [
            "2: cameras.front.source: must be http://HOST[:PORT][/PATH] with a port from 1 to 65535, "
            "got 'http://h:99999/'"
        ],
    ),
    (source("rtsp://${cred}@h/"), [f"2: cameras.front.source: must be a {URL}, got 'rtsp://***@h/'"]),
    (
        source("rtsp://admin:hunter2@h/1"),
        [
            "2: cameras.front.source: must not hold a password, got 'rtsp://***@h/1'; "
            "put the password into a credential and write ${cred:NAME} in its place"
        ],
    ),
    (
        source("rtsp://admin:${cred:a}hunter2@h/1"),
        [
            "2: cameras.front.source: must not hold a password, got 'rtsp://***@h/1'; "
            "put the password into a credential and write ${cred:NAME} in its place"
        ],
    ),
    (
        source("srt://h:9000?passphrase=hunter2hunter2"),
        [
            "2: cameras.front.source: must not hold a password, got 'srt://h:9000?passphrase=***'; "
            "put the password into a credential and write ${cred:NAME} in its place"
        ],
    ),
]


@pytest.mark.parametrize(("text", "lines"), TABLE, ids=[str(row) for row in range(len(TABLE))])
def test_a_wrong_value_is_named_by_line_path_value_and_what_is_allowed(text, lines, faults):
    assert faults({CAMERAS: text}) == expected(CAMERAS, lines)
