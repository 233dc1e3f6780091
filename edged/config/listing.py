"""Which files of a directory are the configuration, and which names are mistakes."""

from __future__ import annotations

from pathlib import Path

from edged.config.credentials import SECRETS_FILE
from edged.config.faults import Fault
from edged.config.scalars import NAME, NAME_RULE
from edged.config.text import show
from edged.errors import did_you_mean

EDGED = "edged.yaml"
CAMERAS = "cameras.yaml"
TASKS = "tasks"
TASKS_MAX = 256


def list_files(directory: Path, faults: list[Fault]) -> dict[str, Path]:
    """Return the files to read by their key (`edged.yaml`, `cameras.yaml`, `tasks/<task>.yaml`).

    A directory that cannot be read, a missing file and a misspelt name are appended to `faults`.
    """
    names = _names_in(directory, faults)
    if names is None:
        return {}
    if not {EDGED, CAMERAS, TASKS} & names and not any(_is_yaml(name) for name in names):
        text = f"no configuration in this directory; needed: {CAMERAS} and {TASKS}/<task>.yaml"
        faults.append(Fault(str(directory), 1, (), text))
        return {}
    _misspelt(directory, names, faults)
    files = {}
    if EDGED in names:
        files[EDGED] = directory / EDGED
    if CAMERAS in names:
        files[CAMERAS] = directory / CAMERAS
    else:
        faults.append(Fault(str(directory / CAMERAS), 1, (), "required, but absent"))
    return files | _task_files(directory, names, faults)


def _is_yaml(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((".yaml", ".yml"))


def _names_in(directory: Path, faults: list[Fault]) -> set[str] | None:
    try:
        return {path.name for path in directory.iterdir()}
    except FileNotFoundError:
        text = "no such directory; give another with --config or $EDGED_CONFIG"
    except NotADirectoryError:
        text = "must be a directory"
    except (OSError, ValueError) as exc:
        text = f"cannot be listed: {getattr(exc, 'strerror', None) or exc}; check its owner and mode"
    faults.append(Fault(str(directory), 1, (), text))
    return None


def _misspelt(directory: Path, names: set[str], faults: list[Fault]) -> None:
    """Report names that are nearly those of the configuration: they would be ignored silently."""
    known = (EDGED, CAMERAS, SECRETS_FILE)
    for name in sorted(filter(_is_yaml, names.difference(known))):
        path = str(directory / name)
        if name.lower().endswith(".yml") and f"{name[:-4].lower()}.yaml" in known:
            faults.append(Fault(path, 1, (), f"rename it to {name[:-4].lower()}.yaml"))
        elif hint := did_you_mean(name, known, cutoff=0.8):
            faults.append(Fault(path, 1, (), f"is not read; {hint}"))


def _task_files(directory: Path, names: set[str], faults: list[Fault]) -> dict[str, Path]:
    folder = directory / TASKS
    if TASKS not in names:
        faults.append(
            Fault(str(folder), 1, (), f"required, but absent; it holds one {TASKS}/<task>.yaml for each task")
        )
        return {}
    found = _names_in(folder, faults)
    if found is None:
        return {}
    files: dict[str, Path] = {}
    for name in sorted(filter(_is_yaml, found)):
        stem, _, ending = name.rpartition(".")
        why = ""
        if ending != "yaml":
            why = f"rename it to {stem}.yaml"
        elif not NAME.match(stem):
            why = f"a task name must be {NAME_RULE}, got {show(stem)}"
        if why:
            faults.append(Fault(str(folder / name), 1, (), why))
        else:
            files[f"{TASKS}/{name}"] = folder / name
    if len(files) > TASKS_MAX:
        faults.append(Fault(str(folder), 1, (), f"{len(files)} tasks; at most {TASKS_MAX} are read"))
        return {}
    return files
