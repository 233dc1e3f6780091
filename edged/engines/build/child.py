"""Builds in a child process of low priority, with a time limit: a running daemon does not feel it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from edged.errors import BackendUnavailable, ConfigError, EdgedError, NoAnswer, UsageError, WorkerFailed
from edged.processes import python

LIMIT_S = 1800.0
KINDS: dict[int, type[EdgedError]] = {
    WorkerFailed.exit_code: BackendUnavailable,  # what ends a daemon is for a command a device that is not there
    **{kind.exit_code: kind for kind in (UsageError, BackendUnavailable, NoAnswer, ConfigError)},
}


def error_report(error: EdgedError) -> dict[str, Any]:
    """Return what the child prints on stdout in place of a result."""
    return {"error": {"code": error.exit_code, "text": str(error)}}


def run_child(arguments: Sequence[str], what: str, limit_s: float = LIMIT_S) -> Any:
    """Run `edged` with these arguments, and return the JSON document that it prints. Its stderr is ours.

    It is told by `--parent` whose end is its own too: what nobody waits for would keep the GPU and the store's lock.

    Raises:
        NoAnswer: it took longer than `limit_s` and was ended.
        BackendUnavailable: it was killed.
        EdgedError: its own error, of the same kind; or it ended without one.
    """
    command = python("edged", *arguments, "--parent", str(os.getpid()))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as exc:
            raise NoAnswer(f"building the {what} took longer than {limit_s:g} s and was ended") from exc
        finally:
            if process.poll() is None:
                process.kill()
    try:
        report = json.loads(output)
    except ValueError as exc:
        raise _died(what, process.returncode) from exc
    if "error" in report:
        raise KINDS.get(report["error"]["code"], EdgedError)(report["error"]["text"])
    return report


def _died(what: str, code: int) -> EdgedError:
    """Return what is to be said of a process without a report: killed from outside, or by a crash in a library."""
    if code >= 0:
        return EdgedError(f"building the {what} failed: the process ended with code {code}")
    memory = "; the kernel does that where memory runs out" if -code == signal.SIGKILL else ""
    return BackendUnavailable(f"building the {what} failed: the process was killed by signal {-code}{memory}")
