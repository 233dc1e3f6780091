"""Sockets and their wake-up: many wakes are one, none is lost, and nothing is written or removed after the end."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import zmq
import zmq.auth

from edged.errors import BackendUnavailable, ConfigError
from edged.publish.curve import Guarded, guard_fault
from edged.publish.sockets import Doors


@pytest.fixture
def doors(tmp_path):
    doors = Doors(zmq.ROUTER, {zmq.LINGER: 0}, [f"ipc://{tmp_path}/a.sock"])
    yield doors
    doors.close()


@pytest.fixture
def keys(tmp_path):
    """Return a folder with one client's public key, and the server's secret one."""
    folder = tmp_path / "allowed"
    folder.mkdir()
    zmq.auth.create_certificates(folder, "client")
    (folder / "client.key_secret").unlink()
    return folder, zmq.curve_keypair()[1].decode()


def test_wakes_before_a_wait_are_one_and_end_it(doors):
    for _ in range(5):
        doors.wake()
    assert doors.wait(5000) == []
    assert doors.wait(0) is None


def test_what_is_put_down_before_a_wake_is_always_seen(doors):
    box, seen = [], []

    def put():
        for number in range(3000):
            box.append(number)
            doors.wake()

    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(seen) < 9000:
        assert doors.wait(5000) is not None, "a wake was lost"
        while box:
            seen.append(box.pop())
    for thread in threads:
        thread.join()


def test_a_rest_ends_with_a_wake_that_the_next_wait_sees(doors):
    timer = threading.Timer(0.05, doors.wake)
    timer.start()
    begin_s = time.monotonic()
    doors.rest(30)
    timer.join()
    assert time.monotonic() - begin_s < 25
    assert doors.wait(0) == []


def test_a_wait_names_the_socket_that_has_messages(doors, tmp_path):
    context = zmq.Context()
    with context.socket(zmq.DEALER) as client:
        client.connect(f"ipc://{tmp_path}/a.sock")
        client.send(b"x")
        assert doors.wait(5000) == [0]
        assert doors.sockets[0].recv_multipart()[-1] == b"x"
    context.term()


def test_a_late_wake_writes_to_nobody_elses_descriptor(doors):
    number = doors._wakeup
    doors.close()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(20)]
    try:
        assert number in others, "the number was not given away, so this shows nothing"
        doors.wake()
        for other in others:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(other)
    finally:
        for other in others:
            os.close(other)


def test_closing_twice_leaves_the_next_ones_file_alone(doors, tmp_path):
    doors.close()
    assert not (tmp_path / "a.sock").exists()
    after = Doors(zmq.ROUTER, {}, [f"ipc://{tmp_path}/a.sock"])
    doors.close()
    assert (tmp_path / "a.sock").exists()
    after.close()


def test_an_endpoint_that_cannot_be_had_leaves_nothing_open(doors, tmp_path):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="another program listens there"):
            Doors(zmq.ROUTER, {}, [f"ipc://{tmp_path}/b.sock", f"ipc://{tmp_path}/a.sock"])
    assert descriptors() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sock"]


def test_the_folder_of_keys_is_read_once(keys, tmp_path):
    folder, secret = keys
    guarded = Guarded((f"ipc://{tmp_path}/g.sock",), secret, folder)
    assert guard_fault(guarded) is None
    shutil.rmtree(folder)
    doors = Doors(zmq.ROUTER, {}, [f"ipc://{tmp_path}/a.sock"], guarded)
    assert len(doors.sockets) == 2
    doors.close()


def test_a_key_file_without_a_key_is_a_fault_that_names_it(keys, tmp_path):
    folder, secret = keys
    (folder / "empty.key").touch()
    guarded = Guarded((f"ipc://{tmp_path}/g.sock",), secret, folder)
    assert guard_fault(guarded) == ("allowed_clients", f"No public key found in {folder}/empty.key")
    with pytest.raises(ConfigError, match=r"^curve\.allowed_clients: No public key found"):
        Doors(zmq.ROUTER, {}, [], guarded)
