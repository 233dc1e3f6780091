"""A Debian with systemd as PID 1 in a container: booted over a root that stays as it is, and thrown away afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "EDGED_SYSTEMD_ROOT"
CGROUPS = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"))  # of a host without systemd


def skip_without_systemd_root() -> Path:
    """Return the Debian root to boot, or skip by what is missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to boot a container")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not here (apt-get install systemd-container)")
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no Debian root with systemd and python3 (debootstrap)")
    return Path(os.environ[VARIABLE])


class Machine:
    """One booted container. `change` works on its files before it is booted, `run` inside it afterwards."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._folder, self.root = folder, folder / "merged"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        for name in ("upper", "work", "merged"):
            (folder / name).mkdir()
        layers = f"lowerdir={root},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)], check=True)

    def change(self, *command: str, timeout_s: float = 900) -> str:
        """Run a program in its files, with the host's network."""
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        if own := os.environ.get("PIP_CERT"):  # the host reaches its package index behind a certificate of its own
            shutil.copy(own, self.root / "host-certificates.pem")
            variables |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE"), "/host-certificates.pem")
        enter = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={self.root}/proc", "chroot", str(self.root)]
        done = subprocess.run(
            [*enter, *command],
            env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-3000:]}"
        return done.stdout

    def boot(self) -> None:
        """Start its systemd and wait until that is up."""
        own = f"edged-test-{os.getpid()}"
        enter = ""
        for group in (one / own for one in CGROUPS if one.is_dir()):
            group.mkdir(exist_ok=True)
            enter += f"echo 0 > {group}/cgroup.procs; "
        if CGROUPS[1].is_dir():
            enter += "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; "
        nspawn = (
            "exec systemd-nspawn -q --boot --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off"
        )
        command = f"{enter}{nspawn} --private-network --machine={own} -D {self.root}"
        with (self._folder / "console").open("wb") as console:
            self._process = subprocess.Popen(
                ["setsid", "unshare", "--mount", "sh", "-c", command],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
            )  # fmt: skip
        end_s = time.monotonic() + 60
        while not self._find_leader():
            assert self._process.poll() is None and time.monotonic() < end_s, (self._folder / "console").read_text()
            time.sleep(0.1)
        self.run("systemctl", "is-system-running", "--wait", check=False, timeout_s=60)

    def _find_leader(self) -> bool:
        """Find the container's PID 1: the one process whose root is ours and that serves systemd's socket."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                here = (process / "root").samefile(self.root)
                status = (process / "status").read_text() if here else ""
            except OSError:
                continue
            inner = [line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")]
            if inner == ["1"] and (process / "root/run/systemd/private").exists():
                self._leader = int(process.name)
                return True
        return False

    def run(self, *command: str, check: bool = True, timeout_s: float = 120) -> str:
        """Run a program inside and return what it printed."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=timeout_s, check=False)
        log = ""
        if check and done.returncode != 0:
            log = self.run("journalctl", "--no-pager", "-n", "60", check=False)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{log}"
        return done.stdout

    def json(self, *command: str) -> Any:
        """Run a program inside that prints one JSON document, and return that."""
        return json.loads(self.run(*command))

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def close(self) -> None:
        """Power it off and forget it."""
        if self._process is not None:
            if self._leader:
                self.run("systemctl", "poweroff", check=False)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.kill(self._leader, 9)
                self._process.wait(10)
        subprocess.run(["umount", str(self.root)], check=True)
        for group in CGROUPS:
            for below in sorted((group / f"edged-test-{os.getpid()}").rglob("*"), reverse=True):
                if below.is_dir():
                    below.rmdir()
            if (group / f"edged-test-{os.getpid()}").is_dir():
                (group / f"edged-test-{os.getpid()}").rmdir()
