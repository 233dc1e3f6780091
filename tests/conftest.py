"""Fixtures of all tests: clips, networks, configurations, daemons, and a watch on what tests leave behind."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from parts import Running, children_of, write_clip, write_model

from edged.errors import EdgedError

# No example has a time limit: a loaded machine would fail it. In CI the same examples in every run, whatever release
# Hypothesis is of: what fails there was broken by the change.
# For more examples: scripts/test --hypothesis-profile search --timeout 0 tests/unit/scheduler
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("local", PATIENT)
settings.register_profile("ci", PATIENT, derandomize=True, print_blob=True)
settings.register_profile("search", PATIENT, max_examples=5000)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def fail_on_leftovers() -> Iterator[None]:
    """Fail a test that leaves a thread or a child process behind."""
    threads, children = set(threading.enumerate()), children_of(os.getpid())
    yield
    end_s = time.monotonic() + 2.0
    while True:
        left: list[Any] = [thread for thread in threading.enumerate() if thread not in threads]
        left += sorted(children_of(os.getpid()) - children)
        if not left:
            return
        if time.monotonic() > end_s:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.01)


# ---- pictures and clips ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of clips; equal ones are encoded once."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[Any, Path] = {}

    def clip(suffix: str = ".mp4", **how: Any) -> Path:
        key = (suffix, tuple(sorted(how.items())))
        if key not in made:
            made[key] = write_clip(folder / f"clip{len(made)}{suffix}", **how)
        return made[key]

    return clip


# ---- plug-ins ------------------------------------------------------------------------------------------------------


@pytest.fixture
def plug_in(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Return a maker of plug-in parsers: of a name and a module's code with a class of that name, with a capital.

    It returns the environment in which the plug-in is found.
    """

    def plug_in(name: str, code: str) -> dict[str, str]:
        info = tmp_path / "plug-ins" / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[edged.parsers]\n{name} = {name}:{name.title()}\n")
        (info.parent / f"{name}.py").write_text(dedent(code))
        return {"PYTHONPATH": os.pathsep.join([str(info.parent), os.environ.get("PYTHONPATH", "")])}

    return plug_in


# ---- networks ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of networks; equal ones are written once."""
    folder = tmp_path_factory.mktemp("models")
    made: dict[Any, Path] = {}

    def model(**how: Any) -> Path:
        key = tuple(sorted(how.items()))
        if key not in made:
            made[key] = write_model(folder / f"model{len(made)}.onnx", **how)
        return made[key]

    return model


# ---- configurations and daemons --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def task(model: Callable[..., Path]) -> Callable[..., dict[str, Any]]:
    """Return a maker of what a task file says, for the dynamic-batch network unless told otherwise."""

    def task(*cameras: str, rate_hz: float = 100, onnx: Path | None = None, **more: Any) -> dict[str, Any]:
        net = {"onnx": str(onnx or model()), "parser": "yolov8", "labels": ["a", "b"]}
        return {"cameras": list(cameras), "rate_hz": rate_hz, "model": {**net, **more.pop("net", {})}, **more}

    return task


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of configuration directories from plain values; JSON is YAML, without its aliases."""

    def site(cameras: dict[str, Any], tasks: dict[str, dict[str, Any]], edged: dict[str, Any] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("conf")
        (folder / "tasks").mkdir()
        (folder / "cameras.yaml").write_text(json.dumps({"cameras": cameras}))
        for name, values in tasks.items():
            (folder / "tasks" / f"{name}.yaml").write_text(json.dumps(values))
        if edged:
            (folder / "edged.yaml").write_text(json.dumps(edged))
        return folder

    return site


def _start_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(config: Path, *, wait: bool = True, **environment: str) -> Running:
        running = Running(config, tmp_path_factory.mktemp("log") / "edged.log", environment)
        started.append(running)
        if wait:
            try:
                running.child.wait_until_answering()
            except EdgedError as exc:
                pytest.fail(f"{exc}\n{running.log}")
        return running

    yield start
    faults = []
    for running in started:
        try:
            running.stop()
        except AssertionError as exc:
            faults.append(str(exc))
    assert not faults, "\n".join(faults)


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Return a starter of daemon processes; at the end each must stop with exit code 0 and leave nothing."""
    yield from _start_daemon(tmp_path_factory)


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Like `daemon`, for all tests of a file."""
    yield from _start_daemon(tmp_path_factory)
