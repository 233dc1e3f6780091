"""The service: its user, its directories, systemd, and whether a daemon runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edged.doctor.line import Line, line
from edged.doctor.who import SERVICE_USER, Who
from edged.rundir import control_endpoint, runtime_directory, somebody_listens

GROUP = "service"
SYSTEMD_MIN = 249
FREE_MIN_MB = 500
LIMIT_S = 3.0


def daemon_runs() -> bool:
    """Tell whether a daemon serves this runtime directory, or the service's."""
    folders = {runtime_directory(), Path("/run/edged")}
    return any(somebody_listens(control_endpoint(folder)) for folder in folders)


def lines(who: Who, confined: bool) -> Iterator[Line]:
    """Yield what the service stands on; systemd itself cannot be asked from inside a confinement."""
    groups = f"permissions are those of user {who.name}"
    remedy = "systemd-sysusers systemd/sysusers.d/edged.conf"
    yield line(GROUP, "user", groups, "" if who.exists else f"no user {SERVICE_USER}", remedy, needed=False)
    state = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/edged").partition(":")[0])
    yield _folder("state", state, who, "made by systemd with the unit's StateDirectory=")
    if not confined:
        yield from _systemd()
    yield line(GROUP, "daemon", "runs: cameras are not opened here" if daemon_runs() else "none runs")


def _folder(name: str, path: Path, who: Who, remedy: str) -> Line:
    if not path.is_dir():
        return line(GROUP, name, "", f"{path} is not there", remedy, needed=False)
    if not who.may(path, os.R_OK | os.W_OK | os.X_OK):
        return line(GROUP, name, "", f"{path} cannot be written by {who.name}", f"chown -R {who.name} {path}")
    free_mb = shutil.disk_usage(path).free / 1e6
    wrong = "" if free_mb >= FREE_MIN_MB else f"{path} has {free_mb:.0f} MB free: too little to build engines"
    return line(GROUP, name, f"{path}, {free_mb / 1000:.1f} GB free", wrong, "free some space", needed=free_mb < 10)


def _systemd() -> Iterator[Line]:
    if not Path("/run/systemd/system").is_dir():
        text = "this machine was not booted with systemd"
        yield line(GROUP, "systemd", "", text, "`edged run` works in the foreground, without restarts", needed=False)
        return
    version = _run("systemctl", "--version").split()
    number = version[1].partition(".")[0] if len(version) > 1 else ""
    old = number.isdigit() and int(number) < SYSTEMD_MIN
    wrong = "" if number and not old else f"systemd {number or 'does not answer'}"
    yield line(GROUP, "systemd", number, wrong, f"the unit needs systemd {SYSTEMD_MIN} or newer")
    shown = dict(row.split("=", 1) for row in _run("systemctl", "show", "edged.service").splitlines() if "=" in row)
    loaded = shown.get("LoadState") == "loaded"
    found = f"edged.service {shown.get('ActiveState', '')} ({shown.get('SubState', '')}), {shown.get('UnitFileState')}"
    remedy = "docs/service.md: cp systemd/*.service systemd/*.path /etc/systemd/system; systemctl daemon-reload"
    yield line(GROUP, "unit", found, "" if loaded else "edged.service is not installed", remedy, needed=False)


def _run(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout
