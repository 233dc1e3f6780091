"""`edged demo`: the bundled six-camera scene, the daemon on it, and a live view."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edged.demo.schedule import SECONDS_DEFAULT, SECONDS_MIN


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("demo", help="the bundled six-camera scene, the daemon on it, and a live view")
    command.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        default=SECONDS_DEFAULT,
        help=f"length of the show, at least {SECONDS_MIN:g} (default: %(default)g)",
    )
    command.add_argument(
        "--picture",
        type=Path,
        metavar="PATH",
        default=Path("demo-mosaic.png"),
        help="where the annotated picture goes (default: %(default)s)",
    )
    command.add_argument("--plain", action="store_true", help="blocks of lines, as in a pipe, on a terminal too")
    command.set_defaults(run=demo)


def demo(args: argparse.Namespace) -> int:
    """Play the show, write the picture, print the summary. A signal ends it early, not badly."""
    import os
    import sys

    from edged.demo.bundle import demo_config
    from edged.demo.interrupt import Interrupt
    from edged.demo.picture import check_picture_path, make_picture
    from edged.demo.screen import choose_screen
    from edged.demo.show import play

    check_picture_path(args.picture)
    folder = demo_config()
    with Interrupt() as interrupt:
        screen = choose_screen(sys.stdout, args.plain, os.environ)
        played = play(folder, args.seconds, screen, interrupt)
        if played.interrupted:
            print(f"ended by {played.interrupted}")
        for line in played.tally.lines():
            print(line)
        if played.tally.received:
            make_picture(folder, played.view, args.picture)
            print(f"picture: {args.picture.resolve()}")
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not SECONDS_MIN <= seconds <= 7 * 86400:
        raise argparse.ArgumentTypeError(f"{text} is not from {SECONDS_MIN:g} s to a week")
    return seconds
