"""The files of a Debian, changed in a layer of their own above a root that stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class Files:
    """What programs change below `root` is gone with `folder`."""

    def __init__(self, below: Path, folder: Path) -> None:
        self.root = folder / "merged"
        for name in ("upper", "work", "merged"):
            (folder / name).mkdir()
        layers = f"lowerdir={below},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)], check=True)

    def change(self, *command: str, timeout_s: float = 900) -> str:
        """Run a program on them, with the host's network, and return what it printed."""
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

    def close(self) -> None:
        """Forget them."""
        subprocess.run(["umount", str(self.root)], check=True)
