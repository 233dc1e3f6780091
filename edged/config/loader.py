"""Reads a configuration directory as a whole: every fault of every file at once, or a frozen `Config`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edged.config.credentials import Secrets, cred_names
from edged.config.cross import ABSENT, cross_faults, notes_of
from edged.config.document import Document, read_document
from edged.config.faults import Fault, Place, config_error
from edged.config.lens import ViewConfig
from edged.config.listing import CAMERAS, EDGED, TASKS, list_files
from edged.config.models import CAMERAS_MAX, CameraConfig, CamerasConfig, EdgedConfig
from edged.config.scalars import NAME, NAME_RULE
from edged.config.task import TaskConfig
from edged.config.text import show
from edged.config.validate import keys_of, unknown_key, validated
from edged.lens import View


@dataclass(frozen=True)
class Config:
    """The whole configuration. Frozen; equal to another one that says the same.

    `cameras` have a source and are decoded; `views` are cut out of their pictures, and are cameras too for tasks.
    `notes` are valid but remarkable things, one `file:line: path: text` each, for `check` to print.
    """

    directory: Path
    edged: EdgedConfig
    cameras: Mapping[str, CameraConfig]
    tasks: Mapping[str, TaskConfig]
    notes: tuple[str, ...] = field(default=(), compare=False)
    documents: Mapping[str, Document] = field(default_factory=dict, compare=False, repr=False)
    views: Mapping[str, ViewConfig] = field(default_factory=dict)

    def as_values(self) -> Config:
        """Return an equal configuration that can be pickled."""
        return replace(
            self,
            cameras=dict(self.cameras),
            tasks=dict(self.tasks),
            documents=dict(self.documents),
            views=dict(self.views),
        )

    def decoder_of(self, camera: str) -> str:
        """Return the camera that is decoded for a camera or view: itself, or the one that the view is of."""
        return self.views[camera].view_of if camera in self.views else camera

    def view(self, name: str) -> View | None:
        """Return a view with the lens of its camera, None for a camera."""
        if name not in self.views:
            return None
        view = self.views[name]
        lens = self.cameras[view.view_of].lens
        return None if lens is None else view.view(lens)

    def fault(self, kind: str, name: str, path: str | Place, text: str) -> Fault:
        """Return a fault that a later stage found, with its file and line.

        Args:
            kind: "edged", "camera" or "task".
            name: the camera or task; ignored for "edged".
            path: the keys below it, as a tuple or with dots (`model.parser`).
            text: what is wrong, the value, what is allowed.
        """
        document, place = self._find(kind, name, path)
        return document.fault(place, text)

    def where(self, kind: str, name: str = "", path: str | Place = ()) -> str:
        """Return the `file:line` of a value, or of the nearest thing above it that is written in a file."""
        document, place = self._find(kind, name, path)
        return f"{document.file}:{document.line(place)}"

    def _find(self, kind: str, name: str, path: str | Place) -> tuple[Document, Place]:
        steps: Place = path if isinstance(path, tuple) else _steps(path)
        if kind == "camera":
            steps = ("cameras", name, *steps)
        key = {"edged": EDGED, "camera": CAMERAS, "task": f"tasks/{name}.yaml"}[kind]
        return self.documents.get(key) or Document(str(self.directory / key)), steps

    def missing_credentials(self, secrets: Secrets) -> tuple[Fault, ...]:
        """Return a fault for every `${cred:NAME}` that the secrets do not have."""
        return tuple(
            self.fault(kind, name, place, why)
            for kind, name, place, text in self._with_credentials()
            for cred in dict.fromkeys(cred_names(text))
            if (why := secrets.why_missing(cred))
        )

    def _with_credentials(self) -> Iterator[tuple[str, str, Place, str]]:
        for section in ("publish", "control"):
            curve = getattr(self.edged, section).curve
            if curve is not None:
                yield "edged", "", (section, "curve", "server_secret"), curve.server_secret
        for name, camera in self.cameras.items():
            yield "camera", name, ("source",), str(camera.source)


def _steps(path: str) -> Place:
    return tuple(int(step) if step.isdigit() else step for step in path.split(".") if step)


def load_config(directory: Path) -> Config:
    """Read `edged.yaml`, `cameras.yaml` and `tasks/*.yaml` of a directory. Opens no camera and no device.

    Raises:
        ConfigError: a line for each fault of all files, `file:line: path: what, the value, what is allowed`.
    """
    faults: list[Fault] = []
    files = list_files(Path(directory), faults)
    documents = {key: read_document(path, faults) for key, path in files.items()}
    edged = EdgedConfig()
    if EDGED in documents:
        edged = _edged(documents[EDGED], faults) or edged
    camera_file = documents.get(CAMERAS, Document(CAMERAS))
    cameras, views, ids = _cameras(camera_file, faults)
    task_files = {Path(key).stem: document for key, document in documents.items() if key.startswith("tasks/")}
    tasks = {name: task for name, file in task_files.items() if (task := _task(name, file, faults))}
    if ids and not task_files:
        faults.extend(_no_task(str(Path(directory) / TASKS), faults))
    faults.extend(cross_faults(camera_file, cameras, views, ids, task_files, documents.get(EDGED, ABSENT)))
    if faults:
        raise config_error(_sorted(faults, [document.file for document in documents.values()]))
    notes = tuple(str(note) for note in notes_of(camera_file, cameras, views, task_files, tasks))
    return Config(
        Path(directory),
        edged,
        MappingProxyType(cameras),
        MappingProxyType(tasks),
        notes,
        MappingProxyType(documents),
        MappingProxyType(views),
    )


def _sorted(faults: Iterable[Fault], files: list[str]) -> list[Fault]:
    """Return faults by file and line, each once."""
    order = {file: number for number, file in enumerate(files)}
    return sorted(dict.fromkeys(faults), key=lambda fault: (order.get(fault.file, -1), fault.line))


def _no_task(folder: str, faults: Iterable[Fault]) -> list[Fault]:
    """Cameras without a task are a mistake, unless it has been reported where the tasks should be."""
    if any(fault.file.startswith(folder) for fault in faults):
        return []
    return [Fault(folder, 1, (), f"no task; needed: at least one {TASKS}/<task>.yaml")]


def _edged(document: Document, faults: list[Fault]) -> EdgedConfig | None:
    return None if document.data is None else validated(EdgedConfig, document.data, document, faults)


Found = tuple[dict[str, CameraConfig], dict[str, ViewConfig], frozenset[str] | None]


def _cameras(document: Document, faults: list[Fault]) -> Found:
    """Return the cameras and views without a fault, and the ids of all of them; None when they cannot be known."""
    if document.data is None:
        return {}, {}, None
    for key in document.data:
        if key != "cameras":
            faults.append(document.fault((key,), unknown_key(key, CamerasConfig)))
    given = document.data.get("cameras")
    if document.is_bad(("cameras",)):
        return {}, {}, None
    if "cameras" not in document.data:
        faults.append(document.fault(("cameras",), "required, but absent"))
        return {}, {}, None
    if not isinstance(given, dict):
        faults.append(document.fault(("cameras",), f"must be a map of cameras by their ids, got {show(given)}"))
        return {}, {}, None
    if len(given) > CAMERAS_MAX:
        faults.append(document.fault(("cameras",), f"at most {CAMERAS_MAX} cameras, got {len(given)}"))
        return {}, {}, None
    found = {name: camera for name, values in given.items() if (camera := _camera(name, values, document, faults))}
    cameras = {name: one for name, one in found.items() if isinstance(one, CameraConfig)}
    views = {name: one for name, one in found.items() if isinstance(one, ViewConfig)}
    return cameras, views, frozenset(given)


def _camera(name: str, values: Any, document: Document, faults: list[Fault]) -> CameraConfig | ViewConfig | None:
    place: Place = ("cameras", name)
    if not NAME.match(name):
        faults.append(document.fault(place, f"a camera id must be {NAME_RULE}, got {show(name)}"))
        name = "x"
    if not isinstance(values, dict):
        if not document.is_bad(place):
            faults.append(document.fault(place, f"must be a map with a source, got {show(values)}"))
        return None
    if "id" in values:
        faults.append(document.fault((*place, "id"), unknown_key("id", CameraConfig)))
    if "view_of" in values:
        return _view(name, values, document, faults, place)
    views = [key for key in keys_of(ViewConfig) if key in values and key not in keys_of(CameraConfig)]
    for key in views:
        faults.append(document.fault((*place, key), "belongs to a view, which needs view_of: CAMERA"))
    own = {key: value for key, value in values.items() if key not in views}
    camera = validated(CameraConfig, {**own, "id": name}, document, faults, place)
    return None if views else camera


def _view(
    name: str, values: dict[str, Any], document: Document, faults: list[Fault], place: Place
) -> ViewConfig | None:
    """Return a view; keys of a camera are told apart from unknown ones, because the camera is the place for them."""
    borrowed = [key for key in keys_of(CameraConfig) if key in values and key not in keys_of(ViewConfig)]
    for key in borrowed:
        why = f"a view has no {key} of its own; give it to the camera of view_of, or leave view_of out"
        faults.append(document.fault((*place, key), why))
    own = {key: value for key, value in values.items() if key not in borrowed}
    view = validated(ViewConfig, {**own, "id": name}, document, faults, place)
    return None if borrowed else view


def _task(name: str, document: Document, faults: list[Fault]) -> TaskConfig | None:
    if document.data is None:
        return None
    if "name" in document.data:
        faults.append(document.fault(("name",), unknown_key("name", TaskConfig)))
    return validated(TaskConfig, {**document.data, "name": name}, document, faults)
