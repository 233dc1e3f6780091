"""`edged run`: the daemon."""

from __future__ import annotations

import argparse
import signal
from typing import Any


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("run", help="the daemon, in the foreground")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the configuration, then work until SIGTERM or SIGINT.

    A signal that comes before the daemon looks for it waits, so that nothing is ever left behind half-made.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    try:
        return _run(args)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(args: argparse.Namespace) -> int:
    import faulthandler

    from edged.config import Secrets, load_config
    from edged.log import start_logging

    faulthandler.enable(2)  # a watchdog ends a daemon that hangs with SIGABRT: the journal has where each thread stood
    config = load_config(args.config)
    secrets = Secrets.from_environment(args.config)
    start_logging(config.edged.log.level)
    from edged.assembly import checked_guards
    from edged.daemon import run as run_daemon

    return run_daemon(config, secrets, checked_guards(config, secrets))
