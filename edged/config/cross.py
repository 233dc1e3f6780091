"""What files say about each other: cameras and tasks that tasks name, signals that rules read, devices opened twice."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edged.config.document import Document
from edged.config.faults import Fault, Place
from edged.config.lens import ViewConfig
from edged.config.models import CAMERAS_MAX, CameraConfig
from edged.config.scalars import NAME, NAME_RULE
from edged.config.task import TaskConfig
from edged.config.text import nearest, show
from edged.expression import CHARS_MAX, WORDS, Kind, parse
from edged.lens import field_deg
from edged.signals import KINDS, OWN_MAX, RESULT_KINDS, declared_kind, kinds_with

NUMBERED = re.compile(r"/dev/video[0-9]+\Z")
ABSENT = Document("edged.yaml", {})


def cross_faults(
    camera_file: Document,
    cameras: Mapping[str, CameraConfig],
    views: Mapping[str, ViewConfig],
    camera_ids: frozenset[str] | None,
    task_files: Mapping[str, Document],
    edged_file: Document = ABSENT,
) -> Iterator[Fault]:
    """Yield every fault between files. Looks at values as read, so that one fault does not hide another.

    Args:
        camera_file: `cameras.yaml`.
        cameras: its cameras without the faulty ones.
        views: its views without the faulty ones.
        camera_ids: all ids in it, or None when it could not be read.
        task_files: every task file by task name.
        edged_file: `edged.yaml`; its `data` is None where it could not be read.
    """
    yield from _shared_devices(camera_file, cameras)
    yield from _view_faults(camera_file, cameras, views, camera_ids or frozenset())
    for document in task_files.values():
        yield from _camera_references(document, camera_ids)
        yield from _sync_faults(document, cameras, views)
    yield from _after_references(task_files)
    yield from _signal_faults(edged_file)
    kinds = _signal_kinds(edged_file)
    for document in task_files.values():
        if kinds is not None:
            yield from _rule_faults(document, "when", kinds)
        yield from _rule_faults(document, "after", RESULT_KINDS)


def _shared_devices(file: Document, cameras: Mapping[str, CameraConfig]) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for name, camera in cameras.items():
        scheme, rest = camera.source.scheme, camera.source.rest
        if scheme not in ("v4l2", "csi"):
            continue
        device = os.path.realpath(rest) if rest.startswith("/") else f"{scheme}:{rest}"
        first = seen.setdefault(device, name)
        if first != name:
            place: Place = ("cameras", name, "source")
            line = file.line(("cameras", first, "source"))
            also = "" if device in (rest, str(camera.source)) else f", which is {device},"
            text = f"device {str(camera.source)!r}{also} is camera {first!r} already, in line {line}"
            yield file.fault(place, text)


def _view_faults(
    file: Document, cameras: Mapping[str, CameraConfig], views: Mapping[str, ViewConfig], camera_ids: frozenset[str]
) -> Iterator[Fault]:
    given = (file.data or {}).get("cameras", {})
    of_views = {name for name in camera_ids if isinstance(given[name], dict) and "view_of" in given[name]}
    with_lens = {name for name, camera in cameras.items() if camera.lens}
    for name, view in views.items():
        place: Place = ("cameras", name, "view_of")
        of = view.view_of
        if of not in camera_ids:
            yield file.fault(place, f"camera {show(of)} is not in cameras.yaml{nearest(of, camera_ids - of_views)}")
        elif of in of_views:
            allowed = nearest("", with_lens) or "; no camera has a lens"
            yield file.fault(place, f"{show(of)} is a view itself, not a camera with a lens{allowed}")
        elif of in cameras and (lens := cameras[of].lens) is None:
            yield file.fault(place, f"camera {show(of)} has no lens; give it lens: {{model: …}}")
        elif of in cameras and lens is not None:
            shown = view.view(lens)
            half = field_deg(shown.lens) / 2
            if shown.off_axis_deg > half:
                away = f"{shown.off_axis_deg:.3g} degrees off the axis of camera {show(of)}"
                yield file.fault(("cameras", name), f"looks {away}, whose lens sees {half:g} at most")


def _sync_faults(
    document: Document, cameras: Mapping[str, CameraConfig], views: Mapping[str, ViewConfig]
) -> Iterator[Fault]:
    data = document.data or {}
    names = data.get("cameras")
    if data.get("sync") is None or not isinstance(names, list):
        return
    decoders = [views[name].view_of if name in views else name for name in names if isinstance(name, str)]
    fast = {name: cameras[name].pace == "fast" for name in decoders if name in cameras}
    if len({*fast.values()}) > 1:
        one = next(name for name, is_fast in fast.items() if is_fast)
        other = next(name for name, is_fast in fast.items() if not is_fast)
        text = f"camera {one} counts in its recording's time (pace: fast) and camera {other} in that of the clock: "
        yield document.fault(("sync",), text + "their frames are never of one moment")


def _camera_references(document: Document, camera_ids: frozenset[str] | None) -> Iterator[Fault]:
    names = (document.data or {}).get("cameras")
    if not isinstance(names, list) or len(names) > CAMERAS_MAX:
        return
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if not isinstance(name, str):
            continue
        first = seen.setdefault(name, index)
        if first != index:
            yield document.fault(("cameras", index), f"camera {show(name)} is listed twice, first as number {first}")
        elif camera_ids is not None and name not in camera_ids:
            yield document.fault(
                ("cameras", index), f"camera {show(name)} is not in cameras.yaml{nearest(name, camera_ids)}"
            )


def _after_references(task_files: Mapping[str, Document]) -> Iterator[Fault]:
    follows = {name: task for name, file in task_files.items() if (task := _followed(file.data))}
    for name, task in follows.items():
        document, place = task_files[name], ("after", "task")
        if task not in task_files:
            yield document.fault(place, f"there is no task {show(task)}{nearest(task, set(task_files) - {name})}")
        elif ring := _ring(name, follows):
            yield document.fault(place, f"tasks wait for each other: {' -> '.join(ring)}")


def _followed(data: Mapping[str, Any] | None) -> str | None:
    after = (data or {}).get("after")
    task = after.get("task") if isinstance(after, dict) else None
    return task if isinstance(task, str) else None


def _ring(name: str, follows: Mapping[str, str]) -> list[str]:
    """Return the way from a task back to itself, or nothing."""
    way = [name]
    while (after := follows.get(way[-1])) is not None:
        if after == name:
            return [*way, after]
        if after in way:
            return []
        way.append(after)
    return []


def _signal_faults(document: Document) -> Iterator[Fault]:
    declared = (document.data or {}).get("signals")
    if not isinstance(declared, dict):
        return
    if len(declared) > OWN_MAX:
        yield document.fault(("signals",), f"at most {OWN_MAX} signals, got {len(declared)}")
    for name, said in declared.items():
        kind = declared_kind(said)
        if not NAME.match(name):
            yield document.fault(("signals", name), f"a signal's name must be {NAME_RULE}, got {show(name)}")
        elif name in WORDS:
            yield document.fault(("signals", name), f"{show(name)} is a word of the rules; take another name")
        elif kind is not None and kind != KINDS.get(name, kind):
            yield document.fault(("signals", name), f"{show(name)} is built in, and is {KINDS[name]}")


def _signal_kinds(document: Document) -> dict[str, Kind] | None:
    """Return the kind of every signal, or None where a declaration is at fault and its kind is not known."""
    declared = {} if document.data is None else document.data.get("signals", {})
    if document.data is None or not isinstance(declared, dict):
        return None
    own = {name: kind for name, said in declared.items() if (kind := declared_kind(said))}
    return kinds_with(own) if len(own) == len(declared) else None


def _rule_faults(document: Document, word: str, kinds: Mapping[str, Kind]) -> Iterator[Fault]:
    rule = (document.data or {}).get(word)
    texts: dict[Place, Any] = {(word,): rule} if word == "when" else {}
    if isinstance(rule, dict):
        texts = {(word, key): rule.get(key) for key in ("if", "until")}
    for place, text in texts.items():
        if not isinstance(text, str) or not text.strip() or len(text) > CHARS_MAX:
            continue  # its own model says so
        try:
            parse(text, kinds)
        except ValueError as exc:
            yield document.fault(place, str(exc))


def notes_of(
    camera_file: Document,
    cameras: Mapping[str, CameraConfig],
    views: Mapping[str, ViewConfig],
    files: Mapping[str, Document],
    tasks: Mapping[str, TaskConfig],
) -> Iterator[Fault]:
    """Yield what is valid but worth a line of `check`."""
    if not cameras:
        yield camera_file.fault(("cameras",), "no camera yet; the daemon runs, and has nothing to do")
    named = {camera for task in tasks.values() for camera in task.cameras}
    used = named | {views[name].view_of for name in named if name in views}
    for camera, config in cameras.items():
        if config.source.scheme == "v4l2" and NUMBERED.match(config.source.rest):
            yield camera_file.fault(
                ("cameras", camera, "source"),
                f"{config.source} is a number, which another device may have after the next start; "
                "/dev/v4l/by-id/…, /dev/v4l/by-path/… and bus:BUS_INFO stay",
            )
        if camera not in used:
            yield camera_file.fault(("cameras", camera), "no task names this camera; it stays closed")
        elif config.lens is not None and camera not in {view.view_of for view in views.values()}:
            yield camera_file.fault(
                ("cameras", camera, "lens"), "no view is made of this camera; its lens has no effect"
            )
    for view in views:
        if view not in named:
            yield camera_file.fault(("cameras", view), "no task names this view")
    for name, task in tasks.items():
        file, engine = files[name], task.engine
        if engine.precision == "fp16" and engine.device == "cpu":
            yield file.fault(("engine", "precision"), "fp16 is for GPUs and DLAs; on the cpu it gains no speed")
        for index, camera in enumerate(task.cameras):
            gives = cameras[views[camera].view_of if camera in views else camera].rate_hz
            if gives is not None and gives < task.rate_hz:
                yield file.fault(
                    ("cameras", index),
                    f"camera {camera!r} gives {gives:g} Hz, less than rate_hz {task.rate_hz:g}",
                )
