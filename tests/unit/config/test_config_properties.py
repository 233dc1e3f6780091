"""Whatever is written in the files: they load, or one `ConfigError` names lines. Nothing else is ever raised."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.config import Secrets, load_config
from edged.errors import ConfigError
from edged.expression import WORDS
from edged.signals import KINDS

LINE = re.compile(r"^.+:[1-9][0-9]*: .+", re.MULTILINE)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
sources = st.one_of(
    st.integers(0, 99).map(lambda n: f"csi:{n}"),
    st.from_regex(r"v4l2:/dev/video[0-9]{1,3}", fullmatch=True),
    st.from_regex(r"rtsp://192\.0\.2\.[0-9]{1,2}(:554)?/[a-z0-9]{0,8}", fullmatch=True),
    st.from_regex(r"file:[a-z0-9_]{1,20}\.mp4", fullmatch=True),
    st.from_regex(r"shm:[a-z0-9_]{1,20}", fullmatch=True),
)
backends = st.one_of(names, st.lists(names, min_size=1, max_size=4, unique=True))


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


def cameras_file() -> st.SearchStrategy[dict[str, Any]]:
    camera = st.fixed_dictionaries(
        {"source": sources},
        optional={"backend": backends, "rate_hz": st.floats(0.1, 1000), "open_timeout_s": st.integers(1, 300)},
    )
    cameras = st.dictionaries(names, camera, min_size=1, max_size=6)
    return cameras.filter(_devices_differ).map(lambda found: {"cameras": found})


def _devices_differ(cameras: dict[str, Any]) -> bool:
    devices = [c["source"] for c in cameras.values() if c["source"].startswith(("csi", "v4l2"))]
    return len(devices) == len(set(devices))


@st.composite
def task_file(draw: st.DrawFn, cameras: list[str]) -> dict[str, Any]:
    rate_hz = draw(st.floats(0.01, 1000))
    task = draw(
        some(
            rate_min_hz=st.floats(0, rate_hz),
            priority=st.integers(0, 1000),
            deadline_ms=st.integers(1, 600_000),
            required=st.booleans(),
            unneeded=st.sampled_from(["warm", "parked", "cold"]),
            sync=st.fixed_dictionaries({"tolerance_ms": st.floats(0.1, 10_000)}),
            engine=some(
                backend=backends,
                batch=st.integers(1, 256),
                precision=st.sampled_from(["fp32", "fp16", "int8"]),
                device=st.sampled_from(["auto", "cpu", "gpu", "gpu7"]),
            ),
        )
    )
    rule = draw(
        st.one_of(
            st.just({}),
            st.sampled_from([True, False, "on_subscribe"]).map(lambda active: {"active": active}),
            st.just({"when": "speed_mps < 20 and gear != 'reverse'"}),
            st.fixed_dictionaries(
                {"when": st.just({"if": "speed_mps < 5"}) | st.just({"if": "brake", "until": "speed_mps > 8"})}
            ),
        )
    )
    chosen = draw(st.lists(st.sampled_from(cameras), min_size=1, unique=True))
    return {"cameras": chosen, "rate_hz": rate_hz, "model": {"onnx": "../net.onnx", "parser": "p"}, **task, **rule}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    cameras = draw(cameras_file())
    tasks = draw(st.dictionaries(names, task_file(list(cameras["cameras"])), min_size=1, max_size=3))
    edged = draw(
        some(
            scheduler=some(linger_s=st.floats(0, 3600), warm_max_s=st.floats(0.1, 60)),
            signals=st.dictionaries(
                names, st.sampled_from(["flag", "number", "text"]) | st.just(["a", "b"]).map(list), max_size=3
            ).filter(lambda own: not own.keys() & (KINDS.keys() | WORDS)),
            log=some(level=st.sampled_from(["debug", "info", "warning", "error"])),
            limits=some(send_queue=st.integers(1, 100_000)),
        )
    )
    return {"edged.yaml": edged, "cameras.yaml": cameras} | {f"tasks/{name}.yaml": task for name, task in tasks.items()}


def write(folder: Path, texts: dict[str, str | bytes]) -> Path:
    (folder / "tasks").mkdir()
    (folder / "net.onnx").touch()
    for name, text in texts.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def dumped(files: dict[str, dict[str, Any]]) -> dict[str, str | bytes]:
    return {name: yaml.safe_dump(data, allow_unicode=True, sort_keys=False) for name, data in files.items()}


def check_loads_or_names_lines(texts: dict[str, str | bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name), texts)
        try:
            load_config(folder).missing_credentials(Secrets())
        except ConfigError as exc:
            *lines, last = str(exc).split("\n")
            assert lines
            assert all(LINE.match(line) for line in lines)
            assert last == f"{len(lines)} fault(s); nothing was started"
            str(exc).encode()


@FEW
@given(configurations())
def test_what_the_rules_allow_loads(files):
    with tempfile.TemporaryDirectory() as name:
        config = load_config(write(Path(name), dumped(files)))
        assert config.tasks.keys() == {Path(file).stem for file in files if file.startswith("tasks/")}
        for task in config.tasks.values():
            assert task.rate_hz == files[f"tasks/{task.name}.yaml"]["rate_hz"]
        assert load_config(Path(name)) == config


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), sources),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=6,
)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value."""
    pairs = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    return [(data, key) for key, _ in pairs] + [place for _, value in pairs for place in places(value)]


@settings(FEW, max_examples=80)
@given(configurations(), st.data())
def test_one_value_changed_loads_or_is_named(files, data):
    file = data.draw(st.sampled_from(sorted(files)))
    where = places(files[file])
    if where:
        container, key = data.draw(st.sampled_from(where))
        container[key] = data.draw(anything)
    else:
        files[file] = data.draw(anything)
    check_loads_or_names_lines(dumped(files))


@settings(FEW, max_examples=80)
@given(configurations(), st.data())
def test_text_damaged_anywhere_loads_or_is_named(files, data):
    texts = dumped(files)
    file = data.draw(st.sampled_from(sorted(texts)))
    raw = str(texts[file]).encode()
    at = data.draw(st.integers(0, len(raw)))
    cut = data.draw(st.integers(0, 5))
    marks = [b"\t", b"&a ", b"*a", b"<<: ", b"!!x ", b"---\n", b"[", b"{", b"'", b'"', b": ", b"%", b"\xff", b"\0"]
    put = data.draw(st.one_of(st.binary(max_size=5), st.sampled_from(marks), st.text(max_size=5).map(str.encode)))
    texts[file] = raw[:at] + put + raw[at + cut :]
    check_loads_or_names_lines(texts)


@FEW
@given(st.binary(max_size=300))
def test_any_bytes_at_all_load_or_are_named(raw):
    for file in ("edged.yaml", "cameras.yaml", "tasks/a.yaml"):
        check_loads_or_names_lines({"cameras.yaml": b"cameras: {a: {source: 'csi:0'}}", "tasks/b.yaml": b"", file: raw})


@FEW
@given(st.text(min_size=4, max_size=40).filter(str.isprintable), st.text(max_size=40), st.text(max_size=40))
def test_a_secret_is_never_left_in_redacted_text(secret, before, after):
    said = Secrets({"a": secret}).redact(f"{before}{secret}{after}")
    assert secret not in said or secret in f"{before}***{after}" or secret in "***"


@pytest.mark.parametrize("size", [10, 80, 81, 5000])
def test_a_value_of_any_length_is_shortened(size, faults):
    (line,) = faults({"edged.yaml": f"log: {{level: {'x' * size}}}"})
    shown = line.rpartition("got ")[2]
    assert len(shown) == min(size + 2, 80)
