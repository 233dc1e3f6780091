"""A changed configuration as a difference: what is kept, what changes, what needs a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from edged.assembly import Lineup
from edged.config import Config, EdgedConfig, Secrets
from edged.publish.curve import Guarded

RESTART = (
    "publish", "control", "metrics", "limits", "scheduler.processes", "scheduler.warm_max_s", "scheduler.warm_max_mb",
)  # fmt: skip
"""Keys of `edged.yaml` that sockets, camera workers and processes are made with: only a new daemon can follow them."""
FOLLOWED = ("publish.curve.allowed_clients", "control.curve.allowed_clients")
"""Those below them that `Keys` follows."""


@dataclass(frozen=True)
class Difference:
    """What is new in a configuration. Everything that is not named is equal, and goes on as it runs.

    `cameras` are added or changed and `gone` removed; `words` names every change for people; `restart` the changed
    keys that are not followed; `kept` counts the cameras and tasks that are equal.
    """

    cameras: frozenset[str]
    gone: frozenset[str]
    words: tuple[str, ...]
    restart: tuple[str, ...]
    kept: int


class Keys:
    """Compares the CURVE keys of each new configuration with those that the sockets were opened with.

    Args:
        guards: the endpoints behind CURVE at the start.
    """

    def __init__(self, guards: Mapping[str, Guarded]) -> None:
        self._started = self._now = guards
        self._admitted = {name: one.clients for name, one in guards.items()}

    def follow(self, guards: Mapping[str, Guarded]) -> tuple[list[str], list[str]]:
        """Take over the keys of a new configuration.

        Returns:
            What has changed, in words, and the keys of `edged.yaml` of which some is as before until a restart: the
            server's secret, and clients that were once let in and are not to be any more, for they may be connected.
        """
        words: list[str] = []
        restart: list[str] = []
        for name, new in guards.items():
            if name not in self._started:
                continue  # the socket has no such endpoints, which its own keys tell
            secret, clients = f"{name}.curve.server_secret", f"{name}.curve.allowed_clients"
            old = self._now.get(name, self._started[name])
            if new.secret_key != old.secret_key:
                words.append(f"key of {secret}")
            if new.clients != old.clients:
                added, removed = len(new.clients - old.clients), len(old.clients - new.clients)
                words.append(f"keys of {clients}: {added} added, {removed} removed")
            if new.secret_key != self._started[name].secret_key:
                restart.append(secret)
            if self._admitted[name] - new.clients:
                restart.append(clients)
            self._admitted[name] |= new.clients
        self._now = guards
        return words, restart


def difference(
    old: Config, new: Config, old_secrets: Secrets, new_secrets: Secrets, started_with: EdgedConfig | None = None
) -> Difference:
    """Compare two configurations. A camera whose credentials changed is a changed camera; views are cameras here.

    Needs a restart: what differs from what the process was `started_with`, the old configuration by default.
    """
    before, after = {**old.cameras, **old.views}, {**new.cameras, **new.views}
    gone = frozenset(before) - frozenset(after)
    changed = frozenset(
        name
        for name, camera in after.items()
        if before.get(name) != camera
        or (name in new.cameras and _expanded(old, name, old_secrets) != _expanded(new, name, new_secrets))
    )
    tasks = {name for name in {*old.tasks, *new.tasks} if old.tasks.get(name) != new.tasks.get(name)}
    keys = tuple(_changed_keys(_values(old.edged), _values(new.edged)))
    words = [
        *(_word("camera", name, name in before, name in after) for name in sorted(changed | gone)),
        *(_word("task", name, name in old.tasks, name in new.tasks) for name in sorted(tasks)),
        *(f"edged.yaml {key}" for key in keys),
    ]
    kept = len(set(after) - changed) + len(set(new.tasks) - tasks)
    stale = _changed_keys(_values(started_with or old.edged), _values(new.edged))
    return Difference(changed, gone, tuple(words), tuple(key for key in stale if _needs_restart(key)), kept)


def with_engines(found: Difference, old: Lineup, new: Lineup) -> Difference:
    """Add the tasks that are equal and served by another engine: a file was replaced or built, or its device is new."""
    others = [
        name
        for name in sorted(old.chosen.keys() & new.chosen.keys())
        if old.task_engine.get(name) != new.task_engine.get(name) and f"task {name} changed" not in found.words
    ]
    words = (f"engine of task {name} changed" for name in others)
    return replace(found, words=(*found.words, *words), kept=found.kept - len(others))


def _expanded(config: Config, camera: str, secrets: Secrets) -> str:
    return secrets.expand(str(config.cameras[camera].source))


def _needs_restart(key: str) -> bool:
    return key not in FOLLOWED and any(key == fixed or key.startswith(f"{fixed}.") for fixed in RESTART)


def _word(kind: str, name: str, was: bool, is_now: bool) -> str:
    return f"{kind} {name} " + ("changed" if was and is_now else "added" if is_now else "removed")


def _values(model: BaseModel) -> dict[str, Any]:
    return model.model_dump()


def _changed_keys(old: Any, new: Any, above: str = "") -> Iterator[str]:
    """Yield every key, with dots, whose value differs."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield above
        return
    for key in sorted({*old, *new}, key=str):
        yield from _changed_keys(old.get(key), new.get(key), f"{above}.{key}" if above else str(key))
