"""The user that the daemon runs as, and what that one may open."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

SERVICE_USER = "edged"


@dataclass(frozen=True)
class Who:
    """A user with all groups. `exists` is False where root asks and the service's user is not there yet."""

    name: str
    uid: int
    groups: frozenset[int]
    exists: bool = True

    def may(self, path: Path, mode: int) -> bool:
        """Tell whether the user may use a path in `mode` (`os.R_OK`, `os.W_OK`, `os.X_OK` together)."""
        try:
            if self.uid == os.geteuid():
                return os.access(path, mode, effective_ids=True)
            status = path.stat()
        except (OSError, NotImplementedError):
            return False
        if self.uid == 0:
            return True
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.groups else 0
        return stat.S_IMODE(status.st_mode) >> shift & mode == mode

    def lacks_group(self, path: Path) -> str:
        """Return what lets the user use a path: its group, where the user is not in it."""
        try:
            group = grp.getgrgid(path.stat().st_gid).gr_name
        except (OSError, KeyError):
            group = ""
        if not group or group == "root":
            return f"a udev rule that gives {path} to a group of {self.name}"
        return f"usermod -aG {group} {self.name}, then start the daemon again"


def service_user() -> Who:
    """Return the user that permissions are checked for: whoever asks, or for root the service's own."""
    if os.geteuid() != 0:
        try:
            name = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            name = str(os.geteuid())
        return Who(name, os.geteuid(), frozenset((os.getegid(), *os.getgroups())))
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return Who("root", 0, frozenset((0,)), exists=False)
    return Who(SERVICE_USER, entry.pw_uid, frozenset(os.getgrouplist(SERVICE_USER, entry.pw_gid)))
