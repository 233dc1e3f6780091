"""What this machine has of what the daemon wants, in the order in which a person would put it right.

Libraries and drivers are tried in processes of their own: a broken one is a line of the report. No camera is opened
while a daemon runs, and no secret is read for more than its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edged.doctor import cameras, devices, libraries, machine, sandbox, service, setup
from edged.doctor.line import Line
from edged.doctor.probing import Answers, ask
from edged.doctor.who import service_user

__all__ = ["Line", "diagnose"]


def diagnose(config: Path, confined: bool = False) -> list[Line]:
    """Return the report on this machine.

    Args:
        config: the configuration directory; there need not be one.
        confined: the caller runs inside the unit's confinement: say what is out of reach there.
    """
    answers = ask(config)
    return list(_lines(config, confined, answers))


def _lines(config: Path, confined: bool, answers: Answers) -> Iterator[Line]:
    who = service_user()
    yield from machine.lines()
    yield from libraries.lines(answers)
    yield from service.lines(who, confined)
    yield from devices.lines(answers, who)
    yield from libraries.decoders(answers)
    yield from cameras.nodes(who)
    yield from setup.lines(config, answers, confined)
    yield from cameras.configured(_cameras(answers), answers, who)
    yield from setup.engines(answers)
    if confined:
        yield from sandbox.lines(answers)


def _cameras(answers: Answers) -> Sequence[dict[str, str]]:
    found: Sequence[dict[str, str]] = answers["configuration"].get("cameras", ())
    return found
