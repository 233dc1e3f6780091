"""The engine store: what is found, what is refused, and that a write is whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from edged.engines.base import EngineRequest
from edged.engines.build import order
from edged.engines.store import EngineMissing, Manifest, Store, engine_key, file_sha256, write_whole, writes
from edged.errors import BackendUnavailable, ConfigError
from edged.tensor import InputFormat

GOOD = {"t": {"drop": 0.002, "limit": 0.01, "by": "AP50"}}


@pytest.fixture
def request_of(tmp_path):
    model = tmp_path / "net.onnx"
    model.write_bytes(b"a network")
    return EngineRequest(model, InputFormat(), "int8", store=tmp_path / "store")


@pytest.fixture
def key(request_of):
    return engine_key(request_of, "onnxruntime")


@pytest.fixture
def store(request_of):
    return Store(request_of.store)


def install(store, key, tmp_path, content=b"an engine", verified=GOOD):
    built = tmp_path / "built.onnx"
    built.write_bytes(content)
    with store.writing():
        return store.install(built, Manifest(key, "", "", verified, {"took_s": 1}))


def test_what_was_installed_is_found_with_all_it_says(store, key, tmp_path):
    installed = install(store, key, tmp_path)
    file, manifest = store.find(key)
    assert file.read_bytes() == b"an engine"
    assert manifest == installed
    assert manifest.sha256 == file_sha256(file)
    assert manifest.about == {"took_s": 1}
    modes = {path.name: path.stat().st_mode & 0o777 for path in (store.root, file, store.root / f"{key.name}.json")}
    assert sorted(modes.values()) == [0o644, 0o644, 0o755]
    assert not list(store.root.glob(".part-*"))


def test_none_is_built(store, key):
    with pytest.raises(
        EngineMissing,
        match=r"int8 engine of net.onnx for onnxruntime: none is built in .*store; run: edged engine build",
    ):
        store.find(key)


def test_a_changed_model_is_named(store, key, tmp_path, request_of):
    install(store, key, tmp_path)
    request_of.onnx.write_bytes(b"another network")
    with pytest.raises(EngineMissing, match="the model has changed since it was built; run: edged engine build"):
        store.find(engine_key(request_of, "onnxruntime"))


def test_another_input_format_and_a_back_ends_own_facts_are_named(store, key, tmp_path, request_of):
    install(store, key, tmp_path)
    other = replace(request_of, input=InputFormat(color="bgr"))
    with pytest.raises(EngineMissing, match="input format has changed"):
        store.find(engine_key(other, "onnxruntime"))
    facts = {"library": "10.3"}
    install(store, engine_key(request_of, "tensorrt", facts), tmp_path)
    assert store.find(engine_key(request_of, "tensorrt", facts))
    with pytest.raises(EngineMissing, match=r"it was built for library 10.3"):
        store.find(engine_key(request_of, "tensorrt", {"library": "11.0"}))


def test_an_engine_that_was_changed_or_is_gone_is_refused(store, key, tmp_path):
    file = store.root / install(store, key, tmp_path).file
    file.write_bytes(b"another engine")
    with pytest.raises(BackendUnavailable, match="is not the file its manifest describes; run: edged engine build"):
        store.find(key)
    file.unlink()
    with pytest.raises(BackendUnavailable, match="is missing; run: edged engine build"):
        store.find(key)


@pytest.mark.parametrize("which", ["store", "engine", "manifest"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_can_write_is_refused(store, key, tmp_path, which, mode):
    manifest = install(store, key, tmp_path)
    path = {"store": store.root, "engine": store.root / manifest.file, "manifest": store.root / f"{key.name}.json"}[
        which
    ]
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(BackendUnavailable, match=rf"{path.name} can be written by others .*; run: chmod go-w {path}"):
        store.find(key)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_what_somebody_else_owns_is_refused(store, key, tmp_path):
    file = store.root / install(store, key, tmp_path).file
    os.chown(file, 12345, -1)
    with pytest.raises(BackendUnavailable, match="belongs to uid 12345, allowed are root and uid 0"):
        store.find(key)


def give_away(store, uid=12345):
    for path in (store.root, *store.root.iterdir()):
        os.chown(path, uid, -1)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_root_sees_what_the_stores_owner_may_use_and_runs_none_of_it(store, key, tmp_path):
    file = store.root / install(store, key, tmp_path).file
    give_away(store)
    looking = Store(store.root, looking=True)
    assert looking.find(key)[0] == file
    with pytest.raises(BackendUnavailable, match="belongs to uid 12345, allowed are root and uid 0"):
        store.find(key)
    os.chown(file, 54321, -1)
    with pytest.raises(BackendUnavailable, match="belongs to uid 54321"):
        looking.find(key)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_root_does_not_write_a_store_of_somebody_else(store, key, tmp_path):
    before = install(store, key, tmp_path)
    give_away(store)
    who = rf"{store.root} belongs to #12345; run it as that user: sudo -u #12345 edged engine"
    with pytest.raises(BackendUnavailable, match=who), store.writing():
        pass
    assert Store(store.root, looking=True).find(key)[1] == before


@pytest.mark.parametrize("fault", ["figures", "bytes", "trust", "manifest"])
def test_a_refused_engine_replaces_one_that_is_refused_for_its_figures_and_no_other(store, key, tmp_path, fault):
    bad = {"t": {**GOOD["t"], "drop": 0.3}}
    before = install(store, key, tmp_path, verified=bad if fault == "figures" else GOOD)
    if fault == "bytes":
        (store.root / before.file).write_bytes(b"damaged")
    elif fault == "trust":
        (store.root / before.file).chmod(0o666)
    elif fault == "manifest":
        (store.root / f"{key.name}.json").write_text("{")
    built = tmp_path / "built.onnx"
    built.write_bytes(b"a worse engine")
    text = (
        "built, but refused: for task t it loses 0.3" if fault == "figures" else "not taken: .*; what was there stays"
    )
    with pytest.raises(ConfigError, match=text), store.writing():
        order.install(store, built, Manifest(key, "", "", bad))
    assert (len(list(store.root.glob("*.onnx"))) == 2) is (fault == "figures")
    with store.writing():
        order.install(store, built, Manifest(key, "", "", GOOD))
    assert store.find(key)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", '{"format": 2}', '{"format": 1}', '{"format": 1, "key": {"model": 3}}', "\0", "[" * 9000],
)
def test_garbage_for_a_manifest_is_refused_and_can_be_built_over(store, key, tmp_path, text):
    install(store, key, tmp_path)
    (store.root / f"{key.name}.json").write_text(text)
    with pytest.raises(BackendUnavailable, match="edged engine build"):
        store.find(key)
    install(store, key, tmp_path)
    assert store.find(key)


def test_a_manifest_of_another_engine_or_that_points_elsewhere_is_refused(store, key, tmp_path):
    manifest = install(store, key, tmp_path)
    path = store.root / f"{key.name}.json"
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(b"an engine")
    path.write_text(json.dumps({**manifest.to_json(), "file": "../outside.onnx"}))
    with pytest.raises(BackendUnavailable, match="is missing"):
        store.find(key)
    path.write_text(json.dumps({**manifest.to_json(), "key": {**manifest.to_json()["key"], "precision": "fp16"}}))
    with pytest.raises(BackendUnavailable, match="describes another engine"):
        store.find(key)


@pytest.mark.parametrize(
    ("verified", "why"),
    [
        ({}, "never compared with fp32"),
        ({"t": {"drop": None, "limit": 0.01, "by": "AP50"}}, "nothing could be compared"),
        ({"t": {"drop": float("nan"), "limit": 0.01, "by": "AP50"}}, "loses nan"),
        (
            {**GOOD, "u": {"drop": 0.02, "limit": 0.01, "by": "lane F1"}},
            r"task u it loses 0.0200 lane F1 .*drop is 0.01",
        ),
    ],
)
def test_figures_that_are_not_good_enough_refuse_the_engine(store, key, tmp_path, verified, why):
    install(store, key, tmp_path, verified=verified)
    with pytest.raises(BackendUnavailable, match=why):
        store.find(key)
    assert store.file_of(store.manifest(key)).exists()  # inspect and verify still see it


def test_the_last_engine_is_kept_and_older_ones_go(store, key, tmp_path):
    names = [install(store, key, tmp_path, content).file for content in (b"one", b"two", b"three")]
    assert sorted(path.name for path in store.root.glob("*.onnx")) == sorted(names[1:])
    assert store.find(key)[0].name == names[2]


def test_a_store_that_is_being_written_is_not_written_twice(store):
    busy = "is being written by another edged engine command"
    with store.writing(), pytest.raises(BackendUnavailable, match=busy), store.writing():
        pass
    with store.writing():
        pass


def test_a_place_that_cannot_hold_a_store_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    wrong = "cannot write the engine store .*/file/store: Not a directory"
    with pytest.raises(BackendUnavailable, match=wrong), Store(tmp_path / "file" / "store").writing():
        pass


def test_a_model_that_cannot_be_read_is_a_fault(request_of):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        engine_key(replace(request_of, onnx=Path("/nonexistent/net.onnx")), "onnxruntime")


def test_a_write_that_breaks_off_leaves_the_engine_that_was_there(store, key, tmp_path):
    before = install(store, key, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    built = tmp_path / "big.onnx"
    built.write_bytes(bytes(100_000))
    with store.writing():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as good as a full disk
        try:
            with pytest.raises(BackendUnavailable, match=f"cannot write the engine store {store.root}: File too large"):
                store.install(built, Manifest(key, "", "", GOOD))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.find(key)[1] == before
    assert not list(store.root.glob(".part-*"))


def test_what_a_killed_write_left_is_swept_by_the_next_one(store, key, tmp_path):
    install(store, key, tmp_path)
    left = [store.root / ".part-abc", store.root / "calibration" / "t" / ".part-def"]
    left[1].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(bytes(1000))
    with store.writing():
        assert not any(path.exists() for path in left)
    assert store.find(key)


def test_the_bytes_that_are_used_are_those_that_were_judged(store, key, tmp_path, monkeypatch):
    install(store, key, tmp_path)
    judge = Store._refuse_untrusted

    def judged(self, path, *status):
        judge(self, path, *status)
        if path.suffix == ".onnx":
            path.unlink()
            path.write_bytes(b"somebody else's")

    monkeypatch.setattr(Store, "_refuse_untrusted", judged)
    assert store.read(key)[0] == b"an engine"


def test_no_space_left_says_what_to_do(tmp_path):
    with (
        pytest.raises(BackendUnavailable, match="No space left on device; free some space there, or set engines.store"),
        writes(tmp_path),
    ):
        raise OSError(28, os.strerror(28))


def test_a_whole_write_replaces_or_leaves(tmp_path):
    path = tmp_path / "x"
    write_whole(path, b"1")
    write_whole(path, b"22")
    assert path.read_bytes() == b"22"
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


@pytest.fixture
def as_nobody():
    """Be somebody else than root for a while."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_a_store_that_may_not_be_entered_is_unavailable(tmp_path, key, as_nobody):
    folder = Path(tempfile.mkdtemp())
    store = Store(folder / "store")
    store.root.mkdir()
    folder.chmod(0)
    try:
        for ask in (store.find, store.manifest):
            with pytest.raises(BackendUnavailable, match="cannot be looked at: Permission denied") as caught:
                ask(key)
            assert not isinstance(caught.value, EngineMissing)
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_the_folders_that_lead_to_a_new_store_can_be_entered_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        with Store(tmp_path / "new" / "deep" / "store").writing():
            pass
    finally:
        os.umask(before)
    for folder in ("new", "new/deep", "new/deep/store"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o755
