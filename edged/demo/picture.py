"""From the last view to the picture on disk."""

from __future__ import annotations

import os
from pathlib import Path

from edged.config import load_config
from edged.demo.view import View, choose_moment
from edged.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg")


def check_picture_path(path: Path) -> None:
    """Refuse, before the show, a path that no picture can be written to.

    Raises:
        UsageError: another suffix, no such folder, or no permission.
    """
    folder = path.parent
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--picture {path}: the name must end in {', '.join(SUFFIXES)}")
    if not folder.is_dir():
        raise UsageError(f"--picture {path}: there is no folder {folder}")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"--picture {path}: cannot be written here; name another place")


def make_picture(folder: Path, view: View, path: Path) -> None:
    """Draw every camera's newest complete frame, decoded from its clip, and write the picture.

    Raises:
        UsageError: the file cannot be written.
    """
    from edged.demo.clips import frame_at
    from edged.demo.mosaic import Tile, draw_mosaic, write_picture

    tiles = []
    for name, camera in load_config(folder).cameras.items():
        moment = choose_moment(view, name)
        image = frame_at(Path(camera.source.rest), moment.frame_id or 0) if camera.source.scheme == "file" else None
        tiles.append(Tile(moment, image))
    on = ", ".join(task for task, row in view.tasks.items() if row.on)
    write_picture(draw_mosaic(tiles, f"edged demo: {on or 'no task'} on"), path)
