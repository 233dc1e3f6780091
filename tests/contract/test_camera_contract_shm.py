"""The contract of camera sources over a ring of shared memory that a feeder in another process fills."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import test_camera_contract as contract

from edged.camera import SOURCES
from edged.camera.base import Opening

FEEDER = """
import select, sys
from edged.feeder import Feeder

with Feeder(sys.argv[1], rate_hz=100) as feeder:
    number = 0
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        feeder.write([bytes([number % 256]) * (48 * 64), bytes([128]) * (24 * 64)], 64, 48)
        number += 1
        if number == 1:
            print("there", flush=True)
"""


@pytest.fixture
def source_class():
    return SOURCES.load("shm")


@pytest.fixture
def opening():
    name = f"edged-contract-{os.getpid()}"
    command = [sys.executable, "-c", FEEDER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as feeder:
        assert feeder.stdout.readline() == b"there\n"
        yield Opening("front", "shm", name, str, open_timeout_s=10, read_timeout_s=10)
        feeder.stdin.close()
        assert feeder.wait(10) == 0


@pytest.fixture
def source(source_class, opening):
    source = source_class(opening)
    yield source
    source.close()


globals().update(contract.of_every_source("shm", without=contract.ONLY_FINITE))
