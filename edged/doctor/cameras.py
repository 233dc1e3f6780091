"""Camera nodes of this machine, and what the configuration's cameras stand on. None is opened here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edged.camera import check_backend, order_of
from edged.doctor.line import Line, line
from edged.doctor.probing import Answers
from edged.doctor.who import Who
from edged.errors import ConfigError

GROUP = "cameras"
ARGUS = Path("/tmp/argus_socket")  # noqa: S108 - where NVIDIA's daemon listens
NEED = {"nvdec": "nvdec", "pyav": "av", "gstreamer": "gstreamer", "jetson_utils": "jetson_utils"}


def video_nodes(root: Path = Path("/dev")) -> list[Path]:
    """Return the V4L2 nodes, by number."""
    found = [path for path in root.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name[5:]))


def nodes(who: Who, root: Path = Path("/")) -> Iterator[Line]:
    """Yield every V4L2 node with the names it keeps however devices are plugged, and whether it may be opened."""
    found = video_nodes(root / "dev")
    if not found:
        text = "no /dev/video*"
        yield line(GROUP, "v4l2", "", text, "plug one in, or load its driver; network cameras need none", needed=False)
    for path in found:
        lasting = [str(link) for link in _links(root / "dev/v4l/by-path", path)]
        label = f"{_label(root, path)}; {', '.join(lasting) or 'no by-path name'}"
        wrong = "" if who.may(path, os.R_OK | os.W_OK) else f"{label}; {who.name} may not open it"
        yield line(GROUP, str(path), label, wrong, who.lacks_group(path))


def configured(cameras: Sequence[Mapping[str, str]], answers: Answers, who: Who) -> Iterator[Line]:
    """Yield the configuration's cameras: node, file, ring or daemon behind each, and the library that reads it."""
    for camera in cameras:
        place, scheme = camera["place"], camera["scheme"]
        names = camera["backend"] or order_of(scheme)
        usable = [name for name in names if name not in NEED or not answers[NEED[name]].error]
        if fault := _fault(names, scheme):
            wrong, remedy = fault, "see backend in docs/cameras.md"
        elif not usable:
            wrong, remedy = f"no back end of {', '.join(names)} works", "see decoders above, or libraries"
        else:
            wrong, remedy = _place(scheme, place, answers, who)
        found = f"{scheme}:{place} through {usable[0]}" if usable and place else f"{scheme} through {', '.join(usable)}"
        yield line(GROUP, f"camera {camera['id']}", found, wrong, remedy)


def _fault(names: Sequence[str], scheme: str) -> str:
    """Return what is wrong with a camera's own order."""
    try:
        for name in names:
            check_backend(name, scheme)
    except ConfigError as exc:
        return str(exc)
    return ""


def _place(scheme: str, place: str, answers: Answers, who: Who) -> tuple[str, str]:
    """Return what is wrong with a place, and the remedy."""
    if scheme == "csi":
        if not ARGUS.exists():
            return f"{ARGUS} is not there: Argus does not run, or cannot be seen", "systemctl start nvargus-daemon"
        return ("", "") if who.may(ARGUS, os.W_OK) else (f"{who.name} may not use {ARGUS}", who.lacks_group(ARGUS))
    if scheme == "v4l2" and place.startswith("bus:"):
        buses = answers["buses"]
        if buses.get("held"):  # a daemon has the cameras, and looks for this one itself
            return "", ""
        if place not in buses.get("nodes", {}):
            return buses.error or buses.get("errors", {}).get(place, ""), "see the names above, or the cable"
        place = buses.found["nodes"][place]
    path = Path("/dev/shm", place) if scheme == "shm" else Path(place)  # noqa: S108
    if scheme not in ("v4l2", "file", "shm"):
        return "", ""
    if not path.exists():
        return f"{path} is not there", {"shm": "start its feeder"}.get(scheme, "see the names above, or the cable")
    if not who.may(path, os.R_OK):
        return f"{who.name} may not read {path}", who.lacks_group(path)
    return "", ""


def _links(folder: Path, node: Path) -> list[Path]:
    try:
        return sorted(link for link in folder.iterdir() if link.resolve() == node.resolve())
    except OSError:
        return []


def _label(root: Path, node: Path) -> str:
    try:
        return (root / "sys/class/video4linux" / node.name / "name").read_text("utf-8", "replace").strip()
    except OSError:
        return "name unknown"
