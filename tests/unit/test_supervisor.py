"""Threads have an owner: restart, silence, the end."""

from __future__ import annotations

import threading
import time

import pytest
from parts import until

from edged.errors import WorkerFailed
from edged.supervisor import CAMERA, ENGINE, ONCE, SERVICE, Policy, Supervisor, WorkerReport


class Work:
    """Runs until told to stop; fails, hangs or keeps silent where it is told to."""

    def __init__(self, name, fail=0, deaf=False, silent=False, order=None):
        self.name, self.fail, self.deaf, self.silent = name, fail, deaf, silent
        self.runs, self.woken, self.let_go = 0, threading.Event(), threading.Event()
        self.order = [] if order is None else order

    def run(self, stop, beat):
        self.runs += 1
        if self.runs <= self.fail:
            raise ValueError(f"failure {self.runs}")
        while not stop.is_set() or self.deaf:
            if not self.silent:
                beat()
            if self.let_go.wait(0.005):
                return
        self.order.append(self.name)

    def wake(self):
        self.woken.set()


@pytest.fixture
def supervisor():
    return Supervisor()


def test_workers_stop_in_reverse_order_and_are_woken(supervisor):
    order = []
    works = [Work(name, order=order) for name in ("publisher", "engine:0", "engine:1", "camera:a")]
    for work in works:
        supervisor.start(work, Policy())
    assert supervisor.names() == ["publisher", "engine:0", "engine:1", "camera:a"]
    assert {thread.name for thread in threading.enumerate()} >= set(supervisor.names())
    supervisor.close()
    assert (order[0], order[3]) == ("camera:a", "publisher")
    assert all(work.woken.is_set() for work in works)
    assert supervisor.names() == []


def test_a_name_is_taken_once(supervisor):
    supervisor.start(Work("a"), Policy())
    with pytest.raises(ValueError, match="^a worker named 'a' runs already$"):
        supervisor.start(Work("a"), Policy())
    supervisor.close()


def test_a_failing_worker_is_restarted_and_then_given_up(supervisor, caplog):
    lucky, hopeless = Work("lucky", fail=2), Work("hopeless", fail=99)
    policy = Policy(restarts=2, backoff_s=0.01, vital=False)
    supervisor.start(lucky, policy)
    supervisor.start(hopeless, policy)
    until(lambda: lucky.runs == 3 and hopeless.runs == 3)
    (lost,) = until(supervisor.check)
    assert str(lost.error) == "hopeless: gave up after 3 failure(s): failure 3"
    assert isinstance(lost.error.__cause__, ValueError)
    assert supervisor.check() == [], "a loss is told once"
    assert "lucky: failed, restart 2 of 2" in caplog.text
    assert supervisor.reports() == [WorkerReport("lucky", 2, lost=False), WorkerReport("hopeless", 2, lost=True)]
    supervisor.close()
    assert hopeless.runs == 3


def test_the_back_off_doubles(supervisor):
    stamps = []

    class Failing(Work):
        def run(self, stop, beat):
            stamps.append(time.monotonic())
            raise ValueError("again")

    supervisor.start(Failing("x"), Policy(restarts=3, backoff_s=0.02, vital=False))
    until(supervisor.check)
    waits = [later - sooner for sooner, later in zip(stamps, stamps[1:], strict=False)]
    assert [round(wait / 0.02) >= 2**n for n, wait in enumerate(waits)] == [True] * 3
    supervisor.close()


def test_old_failures_are_forgiven(supervisor):
    work = Work("x", fail=6)
    supervisor.start(work, Policy(restarts=1, window_s=0.001, backoff_s=0.01, vital=False))
    until(lambda: work.runs == 7)
    assert supervisor.check() == []
    supervisor.close()


def test_a_vital_worker_that_fails_ends_the_daemon(supervisor):
    supervisor.start(Work("engine:0", fail=1), Policy(restarts=0))
    with pytest.raises(WorkerFailed, match=r"^engine:0: gave up after 1 failure\(s\): failure 1$") as caught:
        until(supervisor.check)
    assert caught.value.exit_code == 70
    supervisor.close()


@pytest.mark.parametrize("vital", [True, False])
def test_a_silent_worker_is_found(supervisor, vital):
    supervisor.start(Work("quiet", silent=True), Policy(silence_s=0.05, vital=vital))
    if vital:
        with pytest.raises(WorkerFailed, match=r"^quiet: silent for 0\.\d s$"):
            until(supervisor.check)
    else:
        assert str(until(supervisor.check)[0].error).startswith("quiet: silent for ")
    supervisor.close()


def test_a_worker_that_was_silent_and_goes_on_is_lost_no_more_and_may_be_again(supervisor):
    work = Work("quiet", silent=True)
    supervisor.start(work, Policy(silence_s=0.05, vital=False))
    for _ in range(2):
        assert str(until(supervisor.check)[0].error).startswith("quiet: silent for ")
        assert supervisor.reports() == [WorkerReport("quiet", 0, lost=True)]
        work.silent = False
        until(lambda: supervisor.check() == [] and not supervisor.reports()[0].lost, what="a worker that is back")
        work.silent = True
    supervisor.close()


def test_deaf_workers_are_named_and_do_not_take_the_others_time(supervisor):
    order = []
    deaf = Work("camera:stuck", deaf=True)
    for work in (Work("publisher", order=order), Work("engine:0", order=order), deaf):
        supervisor.start(work, Policy())
    begin_s = time.monotonic()
    with pytest.raises(WorkerFailed, match=r"^still running 0\.\d s after stop: camera:stuck$"):
        supervisor.close(timeout_s=0.6)
    assert time.monotonic() - begin_s < 0.5
    assert order == ["engine:0", "publisher"]
    assert supervisor.names() == ["camera:stuck"]
    deaf.let_go.set()
    supervisor.close()


def test_a_watchdog_shortens_the_silence_of_vital_workers_only():
    assert SERVICE.under(10.0).silence_s == 5.0
    assert ENGINE.under(10.0).silence_s == 10.0
    assert SERVICE.under(1.0).silence_s == 2.0, "an idle worker beats once a second"
    assert ENGINE.under(600.0).silence_s == ENGINE.silence_s
    assert (SERVICE.under(None), CAMERA.under(1.0), ONCE.under(1.0)) == (SERVICE, CAMERA, ONCE)


def test_a_watchdog_time_is_what_workers_are_started_with():
    now_s = [0.0]
    supervisor = Supervisor(lambda: now_s[0], watchdog_s=10.0)
    supervisor.start(Work("publisher", silent=True), SERVICE)
    with pytest.raises(WorkerFailed, match=r"^publisher: silent for 6\.0 s$"):
        for now_s[0] in range(10):
            supervisor.check()
    supervisor.close()


def test_nobody_is_silent_while_nobody_listens():
    """A process that was stopped for a minute, or starved, finds its workers as late as itself."""
    now_s = [0.0]
    supervisor = Supervisor(clock=lambda: now_s[0])
    supervisor.start(Work("a", silent=True), Policy(silence_s=5.0))
    supervisor.check()
    now_s[0] = 60.0
    supervisor.check()
    for _ in range(4):
        now_s[0] += 1.0
        supervisor.check()
    now_s[0] += 1.0
    with pytest.raises(WorkerFailed, match=r"^a: silent for 6\.0 s$"):
        supervisor.check()
    now_s[0] += 1.0
    supervisor.close()
