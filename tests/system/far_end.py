"""A network at the far end of a wire, which can swallow everything that is sent through it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess

TRIAL = "ip link add near type veth peer name port && ip link add lan type bridge"


def why_not() -> str:
    """Return what keeps this machine from having one, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for a network namespace"
    if not all(map(shutil.which, ("ip", "bridge", "unshare", "nsenter"))):
        return "needs the packages iproute2 and util-linux"
    tried = subprocess.run(["unshare", "--net", "sh", "-c", TRIAL], capture_output=True, text=True, check=False)
    return f"no network namespace here: {tried.stderr.strip()}" if tried.returncode else ""


class FarEnd:
    """A network namespace with one `address`, behind a bridge. It is gone with `close`, or with us.

    While it is `cut` the bridge's port is closed: what is sent is lost both ways, nobody is told, and the link stays
    up. Then nobody says either where the address is, and connecting to it fails after some seconds; `routed` it is as
    behind a router, which is still there, and connecting waits.
    """

    def __init__(self, routed: bool = False) -> None:
        number = random.randrange(1 << 15)  # runs beside each other keep apart
        network = f"198.{18 + (number >> 14)}.{number >> 6 & 255}"  # the addresses that are reserved for benchmarks
        first = (number & 63) * 4
        self.address, near = f"{network}.{first + 2}", f"far{number}"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo made; exec cat"],  # cat ends with our end of its pipe
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._holder.stdout.readline()
        self._run(f"ip link add {near} type veth peer name port netns {self._holder.pid}")
        self._run(f"ip address add {network}.{first + 1}/30 dev {near}")
        self._run(f"ip link set {near} up")
        self._run("ip link add lan address 02:00:00:00:00:01 type bridge", far=True)
        self._run("ip link set port master lan up", far=True)
        self._run(f"ip address add {self.address}/30 dev lan", far=True)
        self._run("ip link set lan up", far=True)
        if routed:
            self._run(f"ip neighbour replace {self.address} lladdr 02:00:00:00:00:01 dev {near} nud permanent")

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs another one there."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]

    def cut(self) -> None:
        """Swallow everything."""
        self._run("bridge link set dev port state 0", far=True)

    def heal(self) -> None:
        """Let everything through."""
        self._run("bridge link set dev port state 3", far=True)

    def close(self) -> None:
        """Forget it."""
        self._holder.communicate()

    def _run(self, command: str, far: bool = False) -> None:
        subprocess.run(self.inside(*command.split()) if far else command.split(), check=True)
