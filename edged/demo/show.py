"""The show itself: a daemon as a child, what it says on the screen, tasks switched by the clock."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edged.child import DaemonProcess
from edged.client import Control, Subscriber
from edged.config import Config, load_config
from edged.demo.interrupt import Interrupt
from edged.demo.render import render
from edged.demo.schedule import active_tasks
from edged.demo.screen import Screen
from edged.demo.summary import Tally
from edged.demo.view import View, all_answered
from edged.errors import BackendUnavailable, EdgedError, NoAnswer
from edged.publish.wire import PREFIX

SILENCE_S = 15.0
POLL_S = 0.1
LOG_LINES = 12
LINGER_S = 2.0  # the picture waits so long for a camera that came back last: it starts at its next key frame


@dataclass(frozen=True)
class Played:
    """What is left of a show: the last view, the tally, and the signal that ended it early."""

    view: View
    tally: Tally
    interrupted: str


def play(folder: Path, seconds: float, screen: Screen, interrupt: Interrupt) -> Played:
    """Run the daemon on a configuration directory for `seconds` of results, and switch its tasks as it goes.

    Raises:
        BackendUnavailable: the daemon ended, or a clip is missing; the end of its log is in the text.
        NoAnswer: no result came for `SILENCE_S`; likewise.
    """
    _check_clips(load_config(folder))
    logs = Path(tempfile.mkdtemp(prefix="edged-demo-"))
    log = logs / "edged.log"
    try:
        with log.open("wb") as out, DaemonProcess(folder, out) as daemon, screen:
            played = _Show(daemon, seconds, screen, interrupt).play()
    except (BackendUnavailable, NoAnswer) as exc:
        raise type(exc)(f"{exc}\nthe daemon's log, {log}, ends with:\n{_tail(log)}") from exc
    except BaseException:
        shutil.rmtree(logs, ignore_errors=True)
        raise
    shutil.rmtree(logs, ignore_errors=True)
    return played


class _Show:
    """One run of the daemon, seen through its sockets only."""

    def __init__(self, daemon: DaemonProcess, seconds: float, screen: Screen, interrupt: Interrupt) -> None:
        self._daemon, self._seconds, self._screen, self._interrupt = daemon, seconds, screen, interrupt
        self._view, self._tally = View(), Tally()
        self._began_s = self._last_result_s = time.monotonic()
        self._first_s: float | None = None
        self._on: frozenset[str] | None = None
        self._awaited: dict[str, float] = {}

    def play(self) -> Played:
        """Follow the daemon until the time is over or a signal came."""
        try:
            self._wait_for_sockets()
            if not self._interrupt.name:
                with self._daemon.subscriber(PREFIX, queue=0) as results, self._daemon.client() as control:
                    self._follow(results, control)
        except EdgedError:
            if not self._interrupt.name:  # Ctrl-C reaches the daemon too: that it ends is no failure
                raise
        return Played(self._view, self._tally, self._interrupt.name)

    def _wait_for_sockets(self) -> None:
        sockets = [self._daemon.rundir / name for name in ("pub.sock", "control.sock")]
        while not self._interrupt.name and not all(socket.exists() for socket in sockets):
            self._check_alive()
            time.sleep(0.01)

    def _follow(self, results: Subscriber, control: Control) -> None:
        self._say(f"from another terminal: RUNTIME_DIRECTORY={self._daemon.rundir} edged status")
        next_draw_s = self._began_s + self._screen.period_s
        while not self._interrupt.name and not self._over():
            self._check_alive()
            self._switch(control)
            received = results.receive_message(POLL_S)
            if received is not None:
                self._take(*received)
            if time.monotonic() >= next_draw_s and self._view.cameras:
                next_draw_s = time.monotonic() + self._screen.period_s
                self._draw()
        if self._view.cameras:
            self._draw()

    def _take(self, topic: str, message: dict[str, object]) -> None:
        now_s = time.monotonic()
        self._view = self._view.updated(topic, message, now_s)
        if not topic.startswith(f"{PREFIX}det/"):
            return
        self._tally.add(message)
        self._last_result_s = now_s
        task, camera = str(message["task"]), str(message["camera"])
        if self._first_s is None:
            self._first_s = now_s
            self._say(f"first result {now_s - self._began_s:.1f} s after the daemon was started")
        elif task in self._awaited:
            self._say(f"{task}: first result after {(now_s - self._awaited[task]) * 1e3:.0f} ms, from {camera}")
        self._awaited.pop(task, None)

    def _switch(self, control: Control) -> None:
        """Bring the task set to what the schedule wants now, and say what that did to the cameras."""
        wanted = active_tasks(self._seconds, self._elapsed_s())
        if self._on == wanted:
            return
        now = View().with_status(control.request("status"))
        on_now = frozenset(task for task, row in now.tasks.items() if row.on)
        off, on = sorted(on_now - wanted), sorted(wanted - on_now)
        asked_s = time.monotonic()
        for command, tasks in (("task.deactivate", off), ("task.activate", on)):
            if tasks:
                control.request(command, tasks=tasks)
        self._view = self._view.with_status(control.request("status"))
        self._awaited = dict.fromkeys(on, asked_s)
        if self._on is None:
            self._say(f"starts with {', '.join(sorted(wanted))}: {changed(View(), self._view)}")
        else:
            self._say(f"{_switched(off, on)}: {changed(now, self._view)}")
        self._on = wanted

    def _check_alive(self) -> None:
        code = self._daemon.process.poll()
        if self._interrupt.name:
            return
        if code is not None:
            raise BackendUnavailable(f"the daemon ended with exit code {code}")
        if time.monotonic() - self._last_result_s > SILENCE_S:
            raise NoAnswer(f"no result came for {SILENCE_S:g} s")

    def _over(self) -> bool:
        late_s = self._elapsed_s() - self._seconds
        return late_s > LINGER_S or (late_s > 0 and all_answered(self._view))

    def _elapsed_s(self) -> float:
        return 0.0 if self._first_s is None else time.monotonic() - self._first_s

    def _say(self, text: str) -> None:
        self._screen.event(f"{self._elapsed_s():6.1f} s  {text}")

    def _draw(self) -> None:
        self._screen.show(render(self._view, time.monotonic(), self._elapsed_s(), self._seconds))


def changed(before: View, after: View) -> str:
    """Say what became of the cameras: `front_left, front_right parked`."""
    modes: dict[str, list[str]] = {}
    for name, row in after.cameras.items():
        had = before.cameras.get(name)
        if had is None or had.mode != row.mode:
            modes.setdefault(row.mode, []).append(name)
    said = [f"{', '.join(cameras)} {mode}" for mode, cameras in modes.items()]
    return "; ".join(said) or "no camera changes"


def _switched(off: Sequence[str], on: Sequence[str]) -> str:
    return ", ".join([f"{task} off" for task in off] + [f"{task} on" for task in on])


def _check_clips(config: Config) -> None:
    for camera in config.cameras.values():
        if camera.source.scheme == "file" and not Path(camera.source.rest).is_file():
            raise BackendUnavailable(f"the bundled clip {camera.source.rest} is missing")


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (nothing)"
