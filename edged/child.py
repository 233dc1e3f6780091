"""A daemon as a child process with a runtime directory of its own: for the demo, the bench and the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edged.client import Control, Subscriber
from edged.errors import BackendUnavailable, NoAnswer
from edged.processes import python
from edged.rundir import control_endpoint, publish_endpoint

CLOCK_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class DaemonProcess:
    """Starts `edged run` on a configuration directory; as a context manager it stops it again.

    Args:
        config: the configuration directory.
        log: where its log goes; this process's stderr by default.
        environment: variables to add.
    """

    def __init__(
        self, config: Path, log: IO[bytes] | int | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edged-")
        self.rundir = Path(self._folder.name) / "run"
        self.publish = publish_endpoint(self.rundir)
        self.control = control_endpoint(self.rundir)
        self.process = subprocess.Popen(
            python("edged", "--config", str(config), "run"),
            env={**os.environ, **(environment or {}), "RUNTIME_DIRECTORY": str(self.rundir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )

    def __enter__(self) -> DaemonProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def client(self, timeout_s: float = 5.0) -> Control:
        """Return a client of its control socket."""
        return Control(self.control, timeout_s)

    def subscriber(self, topic: str = "edged/1/det/", queue: int = 1000) -> Subscriber:
        """Return a subscriber to its results."""
        return Subscriber(self.publish, topic, queue)

    def wait_until_answering(self, timeout_s: float = 15.0) -> None:
        """Return when it answers commands.

        Raises:
            BackendUnavailable: it ended instead; the exit code is in the text.
            NoAnswer: it did neither in time.
        """
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            code = self.process.poll()
            if code is not None:
                raise BackendUnavailable(f"edged run ended with exit code {code}")
            try:
                with self.client(1.0) as control:
                    control.request("task.list")
                    return
            except (BackendUnavailable, NoAnswer):
                time.sleep(0.02)
        raise NoAnswer(f"edged run did not answer in {timeout_s:g} s")

    def cpu_s(self) -> float:
        """Return the CPU seconds that it and its processes have used, in user and kernel."""
        return sum(int(fields[11]) + int(fields[12]) for fields in self.family().values()) * CLOCK_TICK_S

    def rss_mb(self) -> float:
        """Return the megabytes of memory that it and its processes hold."""
        return sum(int(fields[21]) for fields in self.family().values()) * PAGE_BYTES / 1e6

    def family(self) -> dict[int, list[str]]:
        """Return what the kernel says of the daemon and of all that it has started, by process id.

        The fields are those after the name: state, parent, and so on (man 5 proc_pid_stat).
        """
        stats: dict[int, list[str]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                stats[int(path.parent.name)] = path.read_text("utf-8", "replace").rpartition(")")[2].split()
        found = [self.process.pid]
        if self.process.pid not in stats:
            raise ProcessLookupError(f"process {self.process.pid} has ended")
        for parent in found:
            found += [pid for pid, fields in stats.items() if int(fields[1]) == parent]
        return {pid: stats[pid] for pid in found if pid in stats}

    def status(self) -> dict[str, Any]:
        """Return what it says of itself."""
        with self.client() as control:
            status: dict[str, Any] = control.request("status")
            return status

    def stop(self, timeout_s: float = 10.0) -> int:
        """Stop it with SIGTERM, after `timeout_s` with SIGKILL, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._folder.cleanup()
        return self.process.returncode
