"""A Debian with systemd as PID 1, in a container."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from parts import children_of, until

CHECKOUT = Path(__file__).parents[2]
SITE = Path(sysconfig.get_path("purelib"))
MINOR = f"python3.{sys.version_info.minor}"
COMMAND = "#!/usr/bin/python3\nfrom edged.__main__ import entry\nentry()\n"
MAKE = "debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,passwd,python3 bookworm DIR"
OWN_CGROUP = """
umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$0" && echo $$ > "/sys/fs/cgroup/$0/cgroup.procs"
exec "$@"
"""  # on a host without systemd: the unified hierarchy alone, in a name space of its own
INSTALL = """
set -eu
cp /opt/edged/systemd/*.service /opt/edged/systemd/*.path /etc/systemd/system/
cp /opt/edged/systemd/sysusers.d/edged.conf /usr/lib/sysusers.d/
systemd-sysusers
printf '/opt/edged\\n/opt/site\\n' > /usr/lib/python3/dist-packages/edged-under-test.pth
chmod 755 /usr/bin/edged
useradd --create-home --groups edged guest
systemctl daemon-reload
"""


def why_not(root: Path | None) -> str:
    """Return what keeps this machine from booting `root` in a container, or nothing."""
    if root is None:
        packages = "systemd,systemd-sysv,dbus,procps,passwd,python3"
        return (
            f"EDGED_SYSTEMD_ROOT names no Debian root: debootstrap --variant=minbase --include={packages} bookworm DIR"
        )
    if os.geteuid() != 0:
        return "needs root"
    if not (shutil.which("systemd-nspawn") and shutil.which("nsenter")):
        return "needs the packages systemd-container and util-linux"
    if not (root / "usr/lib/systemd/systemd").exists():
        return f"EDGED_SYSTEMD_ROOT: no systemd in {root}"
    if not (root / "usr/bin" / MINOR).exists():
        return f"EDGED_SYSTEMD_ROOT: no {MINOR} in {root}, which these tests run on"
    return ""


def boot_checkout(root: Path, log: Path) -> Booted:
    """Return a machine that is thrown away afterwards, with this checkout installed in it as docs/service.md says."""
    binds = f"--bind-ro={CHECKOUT}:/opt/edged", f"--bind-ro={SITE}:/opt/site"
    booted = Booted(root, log, "--volatile=overlay", *binds)
    try:
        booted.write("/usr/bin/edged", COMMAND)
        booted.sh(INSTALL)
    except BaseException:
        booted.close()
        raise
    return booted


class Booted:
    """The booted machine. Commands run in all its name spaces, as its root.

    Args:
        root: its files.
        log: where its console is written to.
        options: more of systemd-nspawn's.
    """

    def __init__(self, root: Path, log: Path, *options: str) -> None:
        self._name = f"edged-test-{os.getpid()}"
        self._log = log
        nspawn = [
            "systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--register=no",
            "--keep-unit", f"--machine={self._name}", "--console=pipe", "--resolv-conf=off", "--timezone=off",
            "--private-network", *options,
        ]  # fmt: skip
        if not Path("/run/systemd/system").is_dir():
            nspawn = ["unshare", "--mount", "sh", "-c", OWN_CGROUP, self._name, *nspawn]
        with log.open("wb") as console:
            self._nspawn = subprocess.Popen(
                nspawn, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        try:
            self._leader = until(self._find_leader, 30, lambda: log.read_text("utf-8", "replace"))
            self.run("timeout", "30", "systemctl", "is-system-running", "--wait", check=False)
        except BaseException:
            self.close()
            raise

    def run(self, *command: str, check: bool = True, timeout_s: float = 60) -> str:
        """Run a command and return what it prints; with `check` it must succeed."""
        entered = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", *command]
        ended = subprocess.run(
            entered, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout_s, check=False
        )
        if check and ended.returncode:
            log = self.run("journalctl", "--no-pager", "-n", "60", check=False)
            raise AssertionError(f"{shlex.join(command)}: {ended.returncode}\n{ended.stdout}{ended.stderr}\n{log}")
        return ended.stdout

    def sh(self, line: str, **how: Any) -> str:
        """Run a shell line."""
        return self.run("sh", "-c", line, **how)

    def json(self, *command: str) -> Any:
        """Run a command that prints one JSON document, and return that."""
        return json.loads(self.run(*command))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, and the folders above it."""
        inside = Path(f"/proc/{self._leader}/root{path}")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)
        inside.chmod(mode)

    def show(self, name: str, unit: str = "edged.service") -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def journal(self, unit: str = "edged.service", *more: str) -> list[dict[str, Any]]:
        """Return a unit's entries since the machine was booted, or since `mark`."""
        text = self.run("journalctl", "-o", "json", "--all", "--since", f"@{self._mark}", "-u", unit, *more)
        return [json.loads(row) for row in text.splitlines()]

    _mark = 0.0

    def mark(self) -> None:
        """Forget the journal's entries up to now."""
        self._mark = time.time()

    def host_pid(self, inside: int) -> int:
        """Return the host's number of a process of the machine."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                rows = dict(row.split(":\t", 1) for row in status.read_text().splitlines() if ":\t" in row)
                if rows["NSpid"].split()[1:] == [str(inside)] and self._is_mine(int(status.parent.name)):
                    return int(status.parent.name)
        raise AssertionError(f"no process {inside}")

    def close(self) -> None:
        """Power it off."""
        if self._nspawn.poll() is None:
            with contextlib.suppress(AttributeError, subprocess.TimeoutExpired):
                self.run("systemctl", "poweroff", check=False, timeout_s=10)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        for folder in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
            for group in sorted((folder / self._name).rglob("*/"), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
            with contextlib.suppress(OSError):
                (folder / self._name).rmdir()

    def _is_mine(self, pid: int) -> bool:
        return Path(f"/proc/{pid}/ns/pid").readlink() == Path(f"/proc/{self._leader}/ns/pid").readlink()

    def _find_leader(self) -> int | None:
        if self._nspawn.poll() is not None:
            raise AssertionError(f"it did not boot:\n{self._log.read_text('utf-8', 'replace')}")
        for child in children_of(self._nspawn.pid):
            if Path(f"/proc/{child}/root/run/systemd/private").exists():
                return child
        return None
