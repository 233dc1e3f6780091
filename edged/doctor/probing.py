"""Asks the probes, each in a process of its own, on half of the cores."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edged.doctor.probe import PROBES
from edged.processes import python

LIMIT_S = 30.0  # a busy machine is no broken one
CONFIGURATION = "configuration"
BUSES = "buses"


@dataclass(frozen=True)
class Answer:
    """What a probe found; `error` says why it did not, `installed` is False where its library is not there at all."""

    found: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    installed: bool = True

    def get(self, name: str, default: Any = None) -> Any:
        """Return one thing that was found."""
        return self.found.get(name, default)


Answers = Mapping[str, Answer]


def ask(config: Path) -> Answers:
    """Return what every probe says, by name. A probe that crashes or hangs is an error of its own only."""
    names = [name for name in PROBES if name != BUSES and (name != CONFIGURATION or (config / "cameras.yaml").exists())]
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)) // 2), "probe") as pool:
        engines = pool.submit(_engines, config) if CONFIGURATION in names else None
        answers = dict(zip(names, pool.map(lambda name: _probe(name, config), names), strict=True))
        configured = answers.setdefault(CONFIGURATION, Answer())
        named = any(one["place"].startswith("bus:") for one in configured.get("cameras", ()))
        answers[BUSES] = _probe(BUSES, config) if named else Answer()
        answers["engines"] = Answer() if engines is None else engines.result()
        return answers


def _probe(name: str, config: Path) -> Answer:
    ended = _run("edged.doctor.probe", name, str(config))
    if isinstance(ended, str):
        return Answer(error=ended)
    try:  # the last line is ours, whatever a library has printed before it
        said = json.loads(ended.stdout.splitlines()[-1])
        return Answer(said["found"], said["error"], said["installed"])
    except (ValueError, LookupError, TypeError):
        return Answer(error=f"fails: ended with code {ended.returncode}")


def _engines(config: Path) -> Answer:
    """Ask `edged engine list`, which knows what fits."""
    ended = _run("edged", "--config", str(config), "engine", "list", "--json")
    if isinstance(ended, str):
        return Answer(error=ended)
    try:
        return Answer(json.loads(ended.stdout))
    except ValueError:
        return Answer(error=ended.stderr.decode("utf-8", "replace").strip())


def _run(module: str, *args: str) -> subprocess.CompletedProcess[bytes] | str:
    """Return an ended process, or how it failed to end."""
    try:
        ended = subprocess.run(
            python(module, *args), stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"did not answer within {LIMIT_S:g} s"
    except OSError as exc:
        return f"cannot be tried: {exc.strerror}"
    return f"crashes: killed by signal {-ended.returncode}" if ended.returncode < 0 else ended
