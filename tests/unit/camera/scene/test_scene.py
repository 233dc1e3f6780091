"""The scene is deterministic, and its truth is true."""

from __future__ import annotations

import numpy as np
import pytest

from edged.camera.scene import CAMERAS, HEIGHT_PX, LOOP_S, WEATHERS, WIDTH_PX, Scene, Truth
from edged.camera.scene import scene as scene_module
from edged.camera.scene.cameras import Eye
from edged.camera.scene.canvas import Canvas
from edged.camera.scene.painter import paint_order
from edged.camera.scene.weather import mix, weather_at


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(4, [(0.0, "clear")])


def test_same_seed_camera_and_time_give_the_same_bytes(scene: Scene):
    again = Scene(4, [(0.0, "clear")])
    first, second = scene.view("front_wide", 7.3), again.view("front_wide", 7.3)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.truth == second.truth


def test_other_seeds_and_times_give_other_pictures(scene: Scene):
    first = scene.view("front_wide", 7.3).image
    assert not np.array_equal(first, scene.view("front_wide", 7.4).image)
    assert not np.array_equal(first, Scene(5, [(0.0, "clear")]).view("front_wide", 7.3).image)


def test_the_drive_starts_again_at_its_end(scene: Scene):
    assert scene.view("rear_left", 2.0).truth == scene.view("rear_left", 2.0 + LOOP_S).truth


@pytest.mark.parametrize("camera", list(CAMERAS))
def test_truth_lies_inside_the_picture(scene: Scene, camera: str):
    for t_s in (3.0, 21.0):
        view = scene.view(camera, t_s)
        assert view.image.shape == (HEIGHT_PX, WIDTH_PX, 3)
        assert view.image.dtype == np.uint8
        for box in view.truth.boxes:
            assert 0 <= box.x1 < box.x2 <= WIDTH_PX
            assert 0 <= box.y1 < box.y2 <= HEIGHT_PX
            assert 0 < box.visible <= 1
        for lane in view.truth.lanes:
            points = np.array(lane.points)
            assert len(points) >= 2
            assert (points >= 0).all()
            assert (points <= [WIDTH_PX, HEIGHT_PX]).all()


@pytest.mark.parametrize("camera", ["front_narrow", "rear_right"])
def test_boxes_agree_with_the_drawn_pixels(scene: Scene, camera: str, monkeypatch: pytest.MonkeyPatch):
    canvases: list[Canvas] = []

    def keep() -> Canvas:
        canvases.append(Canvas())
        return canvases[-1]

    monkeypatch.setattr(scene_module, "Canvas", keep)
    checked = 0
    for t_s in np.arange(1.0, 40.0, 5.0):
        truth = scene.view(camera, float(t_s)).truth
        ids = canvases[-1].ids
        drawn = {}
        for number in np.unique(ids[ids > 0]):
            rows, cols = np.nonzero(ids == number)
            drawn[int(number)] = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
        for box in truth.boxes:
            if box.visible < 0.999:
                continue
            edges = np.array([box.x1, box.y1, box.x2, box.y2])
            nearest = min(float(np.abs(edges - other).max()) for other in drawn.values())
            assert nearest <= 1.5, (t_s, box)
            checked += 1
    assert checked > 8


def test_the_nearer_body_is_painted_later():
    # a truck along x, a person beside it on the camera's side but farther than its near end
    centres = np.array([[10.0, 5.0], [12.0, 3.0], [30.0, 0.0]])
    halves = np.array([[5.0, 1.2], [0.2, 0.2], [2.0, 1.0]])
    order = paint_order(centres, np.zeros(3), halves, np.zeros(2))
    assert order.index(0) < order.index(1)
    assert order[0] == 2


def test_all_cameras_look_at_one_world():
    # a point ahead on the left is seen by the wide and the left camera along one direction
    point = np.array([[12.0, 9.0, 1.0]])
    for name in ("front_wide", "front_left"):
        eye = Eye.of(CAMERAS[name], 0.0, 0.0, 0.0)
        x_px, y_px = eye.to_pixels(eye.to_camera(point))[0]
        assert 0 < x_px < WIDTH_PX
        assert 0 < y_px < HEIGHT_PX
    behind = Eye.of(CAMERAS["rear_right"], 0.0, 0.0, 0.0).to_camera(point)
    assert behind[0, 2] < 0
    scene = Scene(6, [(0.0, "overcast")])
    wide, narrow = scene.view("front_wide", 5.0).truth, scene.view("front_narrow", 5.0).truth
    # the same mount, another focal length and pitch: boxes map onto each other
    assert _largest_shared(wide, narrow) > 0.8


def _largest_shared(wide: Truth, narrow: Truth) -> float:
    """Return the best IoU of a whole narrow box turned into the wide camera with a wide box."""
    eyes = [Eye.of(CAMERAS[name], 0.0, 0.0, 0.0) for name in ("front_narrow", "front_wide")]
    best = 0.0
    for box in narrow.boxes:
        if box.visible < 0.9:
            continue
        corners = np.array([[box.x1, box.y1], [box.x2, box.y2]]) - [WIDTH_PX / 2, HEIGHT_PX / 2]
        rays = np.concatenate([corners / eyes[0].camera.focal_px, np.ones((2, 1))], axis=1)
        (x1, y1), (x2, y2) = eyes[1].to_pixels(rays @ eyes[0].axes @ eyes[1].axes.T)
        for other in wide.boxes:
            width = min(x2, other.x2) - max(x1, other.x1)
            height = min(y2, other.y2) - max(y1, other.y1)
            shared = max(0.0, width) * max(0.0, height)
            areas = (x2 - x1) * (y2 - y1) + (other.x2 - other.x1) * (other.y2 - other.y1)
            best = max(best, shared / (areas - shared))
    return best


def test_truth_survives_json(scene: Scene):
    truth = scene.view("front_wide", 9.0).truth
    record = truth.to_json()
    read = Truth.from_json(record)
    assert read.to_json() == record
    assert len(read.boxes) == len(truth.boxes) > 0
    assert [lane.kind for lane in read.lanes] == [lane.kind for lane in truth.lanes]


def test_weather_changes_gradually():
    schedule = [(0.0, "clear"), (4.0, "night")]
    assert weather_at(schedule, 2.0) == mix(WEATHERS["clear"], WEATHERS["night"], 0.5)
    assert weather_at(schedule, 9.0) == WEATHERS["night"]
    day = Scene(4, [(0.0, "clear")]).view("rear_left", 3.0)
    night = Scene(4, [(0.0, "night")]).view("rear_left", 3.0)
    assert night.image.mean() < 0.6 * day.image.mean()
    assert [b.label for b in night.truth.boxes] == [b.label for b in day.truth.boxes]


def test_an_unknown_camera_or_weather_is_refused(scene: Scene):
    with pytest.raises(KeyError):
        scene.view("roof", 0.0)
    with pytest.raises(KeyError):
        Scene(4, [(0.0, "hail")]).view("front_wide", 0.0)
