"""The daemon's end of a shard's process: what it takes for life, and how it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from parts import until

from edged.shards import process
from edged.shards.process import ShardProcess
from edged.supervisor import Policy, Supervisor

HERE = Path(__file__).parents[1]


@pytest.fixture
def supervisor():
    supervisor = Supervisor()
    yield supervisor
    supervisor.close()


def test_one_that_talks_but_makes_no_reports_has_fallen_silent(supervisor, monkeypatch):
    """Its engine workers go on, and nobody there follows plans or looks after them."""
    monkeypatch.setattr(process, "CHILD", "chatty_child")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    heard = []
    shard = ShardProcess(1, None, lambda result, wait: heard.append((result, wait)), lambda *_: None)
    try:
        supervisor.start(shard, Policy(vital=False, restarts=0, silence_s=0.5))
        until(lambda: len(heard) > 10, what="results")
        assert heard[0] == ("found", False)
        for _ in range(20):  # nothing is asked of it yet: it may say what it likes
            assert supervisor.check() == []
            time.sleep(0.05)
        shard.ask()

        def lost():
            time.sleep(0.05)
            return supervisor.check()

        (silent,) = until(lost, 5, "its silence")
        assert "shard:1: silent for" in str(silent.error)
        assert shard.report().cameras == {}
    finally:
        shard._process.kill()
        supervisor.stop([shard.name])
        shard.close()


def test_a_process_that_cannot_begin_says_how_it_ended(monkeypatch):
    monkeypatch.setattr(process, "CHILD", "no_such_module")
    shard = ShardProcess(3, None, lambda *_: None, lambda *_: None)
    try:
        with pytest.raises(process.WorkerFailed, match="shard:3: its process ended with code 1"):
            shard._hear()
    finally:
        shard.close()
