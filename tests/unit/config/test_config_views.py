"""Lenses and views in `cameras.yaml`: every way to get them wrong, with the whole message, and what they become."""

from __future__ import annotations

import pytest
from config_texts import CAMERAS, TASK, Row, camera, expected

from edged.config import json_schema, load_config
from edged.lens import Circle, Equidistant, Equirectangular, KannalaBrandt, Pinhole, View

SOURCE = 'source: "csi:0"'
KEYS = "fov_deg, height_px, pitch_deg, roll_deg, view_of, width_px, yaw_deg"
CALIBRATION = "fx_px: 300, fy_px: 301, cx_px: 400, cy_px: 299.5, width_px: 800, height_px: 600"


def lens(text: str) -> str:
    """Return `cameras.yaml` whose camera `front`, in line 2, has a lens with these keys."""
    return camera(f"{SOURCE}, lens: {{{text}}}")


def view(text: str, base: str = "lens: {model: equirectangular}", more: str = "") -> str:
    """Return `cameras.yaml` with the view `side`, in line 3, of `front`."""
    return camera(f"{SOURCE}{', ' if base else ''}{base}") + f"  side: {{{text}}}\n{more}"


SHAPE = "fov_deg: 90, width_px: 640, height_px: 480"
SIDE = f"view_of: front, {SHAPE}"

TABLE: list[Row] = [
    (camera(f"{SOURCE}, lens: fisheye"), ["2: cameras.front.lens: must be a map of keys to values, got 'fisheye'"]),
    (
        lens("model: fisheye"),
        ["2: cameras.front.lens.model: must be pinhole, kannala_brandt, equidistant or equirectangular, got 'fisheye'"],
    ),
    (lens("fx_px: 1"), ["2: cameras.front.lens.model: required, but absent"]),
    (
        lens("model: kannala_brandt"),
        [
            f"2: cameras.front.lens.{key}: required for the model kannala_brandt, but absent"
            for key in ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px")
        ],
    ),
    (
        lens(f"model: kannala_brandt, {CALIBRATION}, k: [0, 0, 0, 0, 0]"),
        ["2: cameras.front.lens.k: must be [k1, k2, k3, k4] for kannala_brandt, got 5 numbers"],
    ),
    (
        lens(f"model: pinhole, {CALIBRATION}, k: [0, 0, 0, 0]"),
        ["2: cameras.front.lens.k: must be [k1, k2, p1, p2, k3] for pinhole, got 4 numbers"],
    ),
    (
        lens(f"model: pinhole, {CALIBRATION}, k: 0.1"),
        ["2: cameras.front.lens.k: must be a list of 4 to 5 numbers from -1000 to 1000, got 0.1"],
    ),
    (
        lens(f"model: pinhole, {CALIBRATION}, fov_deg: 100"),
        ["2: cameras.front.lens.fov_deg: is only for kannala_brandt, equidistant; this is pinhole"],
    ),
    (
        lens("model: equirectangular, width_px: 3840"),
        ["2: cameras.front.lens.width_px: is only for pinhole, kannala_brandt, equidistant; this is equirectangular"],
    ),
    (lens("model: equidistant"), ["2: cameras.front.lens.fov_deg: required for the model equidistant, but absent"]),
    (
        lens("model: equidistant, fov_deg: 361"),
        ["2: cameras.front.lens.fov_deg: must be a number from 1 to 360, got 361"],
    ),
    (
        lens("model: equidistant, fov_deg: 185, cx_px: 400, cy_px: 300"),
        [
            "2: cameras.front.lens: cx_px, cy_px, radius_px, width_px, height_px go together; "
            "absent: radius_px, width_px, height_px"
        ],
    ),
    (
        lens("model: equidistant, fov_deg: 185, radius: 400"),
        ["2: cameras.front.lens.radius: unknown key; did you mean 'radius_px'?"],
    ),
    # views
    (
        view("yaw_deg: 3"),
        [
            "3: cameras.side.yaw_deg: belongs to a view, which needs view_of: CAMERA",
            "3: cameras.side.source: required, but absent",
        ],
    ),
    (
        view("view_of: front"),
        [f"3: cameras.side.{key}: required, but absent" for key in ("fov_deg", "width_px", "height_px")],
    ),
    (
        view(f"view_of: frond, {SHAPE}"),
        ["3: cameras.side.view_of: camera 'frond' is not in cameras.yaml; did you mean 'front'?"],
    ),
    (
        view(SIDE, more=f"  back: {{view_of: side, {SHAPE}}}\n"),
        ["4: cameras.back.view_of: 'side' is a view itself, not a camera with a lens; allowed: front"],
    ),
    (
        view(f"view_of: side, {SHAPE}", base=""),
        ["3: cameras.side.view_of: 'side' is a view itself, not a camera with a lens; no camera has a lens"],
    ),
    (view(SIDE, base=""), ["3: cameras.side.view_of: camera 'front' has no lens; give it lens: {model: …}"]),
    (
        view(f"{SIDE}, source: 'csi:1', rate_hz: 30"),
        [
            f"3: cameras.side.{key}: a view has no {key} of its own; "
            "give it to the camera of view_of, or leave view_of out"
            for key in ("source", "rate_hz")
        ],
    ),
    (view(f"{SIDE}, zoom: 2"), [f"3: cameras.side.zoom: unknown key; allowed: {KEYS}"]),
    (view(f"{SIDE}, yaw: 2"), ["3: cameras.side.yaw: unknown key; did you mean 'yaw_deg'?"]),
    (
        view("view_of: front, fov_deg: 180, width_px: 8, height_px: 5000"),
        [
            "3: cameras.side.fov_deg: must be a number from 1 to 170, got 180",
            "3: cameras.side.width_px: must be a whole number from 16 to 4096, got 8",
            "3: cameras.side.height_px: must be a whole number from 16 to 4096, got 5000",
        ],
    ),
    (
        view(f"{SIDE}, yaw_deg: 181, pitch_deg: -91, roll_deg: .inf"),
        [
            "3: cameras.side.yaw_deg: must be a number from -180 to 180, got 181",
            "3: cameras.side.pitch_deg: must be a number from -90 to 90, got -91",
            "3: cameras.side.roll_deg: must be a number from -180 to 180, got inf",
        ],
    ),
    (
        view(f"{SIDE}, yaw_deg: 100", base="lens: {model: equidistant, fov_deg: 185}"),
        ["3: cameras.side: looks 100 degrees off the axis of camera 'front', whose lens sees 92.5 at most"],
    ),
]


@pytest.mark.parametrize(("text", "lines"), TABLE, ids=[str(row) for row in range(len(TABLE))])
def test_a_wrong_value_is_named_by_line_path_value_and_what_is_allowed(text, lines, faults):
    assert faults({CAMERAS: text}) == expected(CAMERAS, lines)


@pytest.mark.parametrize(
    ("text", "lens"),
    [
        ("model: equirectangular", Equirectangular()),
        ("model: equidistant, fov_deg: 185", Equidistant(185.0)),
        (
            "model: equidistant, fov_deg: 200, cx_px: 1, cy_px: 0, radius_px: 3, width_px: 16, height_px: 17",
            Equidistant(200.0, Circle(1.0, 0.0, 3.0, 16, 17)),
        ),
        (
            f"model: kannala_brandt, {CALIBRATION}, k: [1, 2, 3, 4], fov_deg: 190",
            KannalaBrandt(300.0, 301.0, 400.0, 299.5, 800, 600, (1.0, 2.0, 3.0, 4.0), 190.0),
        ),
        (f"model: kannala_brandt, {CALIBRATION}", KannalaBrandt(300.0, 301.0, 400.0, 299.5, 800, 600)),
        (
            f"model: pinhole, {CALIBRATION}, k: [1, 2, 3, 4, 5]",
            Pinhole(300.0, 301.0, 400.0, 299.5, 800, 600, (1.0, 2.0, 3.0, 4.0, 5.0)),
        ),
        (f"model: pinhole, {CALIBRATION}", Pinhole(300.0, 301.0, 400.0, 299.5, 800, 600)),
    ],
)
def test_every_lens_and_its_view(text, lens, write):
    whole = view(f"{SIDE}, yaw_deg: 10, pitch_deg: -20, roll_deg: 5", base=f"lens: {{{text}}}")
    config = load_config(write({CAMERAS: whole, TASK: TASK_ON_SIDE}))
    assert set(config.cameras) == {"front"}
    assert config.view("side") == View(lens, 640, 480, 90.0, 10.0, -20.0, 5.0)
    assert config.view("front") is None
    assert (config.decoder_of("side"), config.decoder_of("front")) == ("front", "front")
    assert config.notes == ()
    assert config.where("camera", "side", "yaw_deg") == "conf/cameras.yaml:3"


TASK_ON_SIDE = "cameras: [side]\nrate_hz: 10\nmodel:\n  onnx: ../net.onnx\n  parser: yolov8\n"


def test_what_has_no_effect_and_what_is_too_slow_is_noted(write):
    slow = camera(f"{SOURCE}, rate_hz: 5, lens: {{model: equirectangular}}")
    text = slow + f"  side: {{view_of: front, {SHAPE}}}\n  back: {{view_of: front, {SHAPE}}}\n"
    notes = load_config(write({CAMERAS: text, TASK: TASK_ON_SIDE})).notes
    assert notes == (
        "conf/cameras.yaml:4: cameras.back: no task names this view",
        "conf/tasks/lane.yaml:1: cameras.0: camera 'side' gives 5 Hz, less than rate_hz 10",
    )
    alone = camera(f"{SOURCE}, lens: {{model: equirectangular}}")
    notes = load_config(write({CAMERAS: alone, TASK: TASK_ON_SIDE.replace("side", "front")})).notes
    assert notes == ("conf/cameras.yaml:2: cameras.front.lens: no view is made of this camera; its lens has no effect",)


def test_a_configuration_whose_view_differs_is_another_one(write):
    first = load_config(write({CAMERAS: view(SIDE)}))
    assert first == load_config(write({CAMERAS: view(SIDE)}))
    assert first != load_config(write({CAMERAS: view(f"{SIDE}, yaw_deg: 1")}))


def test_the_schema_has_cameras_and_views():
    cameras = json_schema()["cameras.yaml"]["properties"]["cameras"]
    kinds = [one["$ref"].rpartition("/")[2] for one in next(iter(cameras["patternProperties"].values()))["anyOf"]]
    assert kinds == ["CameraConfig", "ViewConfig"]
    assert json_schema()["cameras.yaml"]["$defs"]["ViewConfig"]["required"] == [
        "view_of",
        "fov_deg",
        "width_px",
        "height_px",
    ]
    assert json_schema()["cameras.yaml"]["$defs"]["LensConfig"]["required"] == ["model"]
