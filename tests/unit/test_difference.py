"""A changed configuration as a difference, and what of the running engines it takes over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from edged.assembly import Lineup, assemble
from edged.config import Secrets, load_config
from edged.difference import Difference, Keys, difference, with_engines
from edged.publish.curve import Guarded

NO_SECRETS = Secrets({})


@pytest.fixture
def changed(site, task, clip):
    """Return (directory, a function that rewrites one of its files, and both configurations' difference)."""
    cameras = {name: {"source": f"file:{clip()}", "loop": True} for name in ("front", "rear")}
    directory = site(cameras, {"lane": task("front"), "sign": task("rear")})

    def change(file, value):
        (directory / file).write_text(json.dumps(value))

    return directory, change, cameras


def compare(directory, change, *edits):
    old = load_config(directory)
    for file, value in edits:
        change(file, value)
    return difference(old, load_config(directory), NO_SECRETS, NO_SECRETS)


def test_an_equal_configuration_is_no_difference(changed):
    directory, change, _ = changed
    found = compare(directory, change)
    assert (found.cameras, found.gone, found.words, found.restart, found.kept) == (frozenset(),) * 2 + ((), (), 4)


def test_a_changed_an_added_and_a_removed_camera_are_named(changed, task):
    directory, change, cameras = changed
    new = {"front": {**cameras["front"], "loop": False}, "side": cameras["rear"]}
    found = compare(directory, change, ("cameras.yaml", {"cameras": new}), ("tasks/sign.yaml", task("side")))
    assert (found.cameras, found.gone) == ({"front", "side"}, {"rear"})
    assert found.words == ("camera front changed", "camera rear removed", "camera side added", "task sign changed")
    assert found.kept == 1


def test_endpoints_ask_for_a_restart_and_scheduler_keys_do_not(changed):
    directory, change, _ = changed
    edged = {"publish": {"endpoints": ["tcp://127.0.0.1:5977"]}, "scheduler": {"unneeded": "cold"}}
    found = compare(directory, change, ("edged.yaml", edged))
    assert found.words == ("edged.yaml publish.endpoints", "edged.yaml scheduler.unneeded")
    assert found.restart == ("publish.endpoints",)


def test_a_camera_whose_credential_changed_is_a_changed_camera(site, task, clip):
    directory = site({"gate": {"source": "rtsp://${cred:gate}@192.0.2.7/1"}}, {"lane": task("gate")})
    config = load_config(directory)
    found = difference(config, config, Secrets({"gate": "user:old-word"}), Secrets({"gate": "user:new-word"}))
    assert found.cameras == {"gate"}


def test_an_engine_whose_model_is_the_same_file_is_taken_over_and_a_rewritten_one_is_loaded_anew(
    site, task, model, tmp_path
):
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(model().read_bytes())
    directory = site({"front": {"source": "scene:front"}}, {"lane": task("front"), "own": task("front", onnx=mine)})
    running = assemble(load_config(directory))
    again = assemble(load_config(directory), running)
    assert again.engines == running.engines
    fresh = tmp_path / "fresh.onnx"
    fresh.write_bytes(mine.read_bytes())
    fresh.replace(mine)
    third = assemble(load_config(directory), running)
    assert third.engines[third.task_engine["lane"]] is running.engines[running.task_engine["lane"]]
    assert third.task_engine["own"] not in running.engines


def test_a_task_that_is_equal_and_has_another_engine_is_named_and_not_kept():
    def served(**engines):
        return Lineup({}, {name: key for name, key in engines.items() if key}, {}, dict.fromkeys(engines, "on cpu"))

    old = served(same="a", other="a", blocked=None, changed="a", gone="a")
    new = served(same="a", other="b", blocked="a", changed="b", new="b")
    found = with_engines(Difference(frozenset(), frozenset(), ("task changed changed",), (), 7), old, new)
    assert found.words == ("task changed changed", "engine of task blocked changed", "engine of task other changed")
    assert found.kept == 5


def test_of_curve_keys_those_that_were_once_let_in_and_the_server_s_ask_for_a_restart():
    def behind(secret="s", **clients):
        return {name: Known((), secret, Path(), frozenset(keys)) for name, keys in clients.items()}

    keys = Keys(behind(publish=b"ab"))
    assert keys.follow(behind(publish=b"ab")) == ([], [])
    word, key = "keys of publish.curve.allowed_clients: {} added, {} removed", "publish.curve.allowed_clients"
    assert keys.follow(behind(publish=b"abc")) == ([word.format(1, 0)], [])
    assert keys.follow(behind(publish=b"ab")) == ([word.format(0, 1)], [key])
    assert keys.follow(behind(publish=b"ab")) == ([], [key])
    assert keys.follow(behind(publish=b"abc", control=b"d")) == ([word.format(1, 0)], [])
    secret = "publish.curve.server_secret"
    assert keys.follow(behind("t", publish=b"abc")) == ([f"key of {secret}"], [secret])
    assert keys.follow(behind("t", publish=b"abc")) == ([], [secret])
    assert keys.follow(behind(publish=b"abc")) == ([f"key of {secret}"], [])
    assert keys.follow({}) == ([], [])


@dataclass(frozen=True)
class Known(Guarded):
    """Endpoints whose clients' keys are known."""

    keys: frozenset = frozenset()

    @property
    def clients(self):
        return self.keys


def test_a_view_that_changes_leaves_its_camera_alone(changed, task):
    directory, change, cameras = changed
    roof = {**cameras["front"], "lens": {"model": "equirectangular"}}
    side = {"view_of": "roof", "fov_deg": 90, "width_px": 64, "height_px": 48}
    whole = {**cameras, "roof": roof, "side": side, "back": side}
    change("cameras.yaml", {"cameras": whole})
    turned = {**whole, "side": {**side, "yaw_deg": 5}, "more": side}
    del turned["back"]
    found = compare(directory, change, ("cameras.yaml", {"cameras": turned}))
    assert (found.cameras, found.gone) == ({"side", "more"}, {"back"})
    assert found.words == ("camera back removed", "camera more added", "camera side changed")
    assert found.kept == 5
    other = {**turned, "side": cameras["front"], "roof": {**roof, "lens": {"model": "equidistant", "fov_deg": 180}}}
    found = compare(directory, change, ("cameras.yaml", {"cameras": other}))
    assert found.words == ("camera roof changed", "camera side changed")
