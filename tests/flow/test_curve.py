"""Endpoints behind CURVE: who has a key hears the results, who has none hears nothing, and a bad key is found early."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
import zmq
import zmq.auth
from parts import edged, until

from edged.client import CommandRefused, Control, CurveKeys, Subscriber
from edged.errors import BackendUnavailable, NoAnswer

pytestmark = pytest.mark.side_by_side


@pytest.fixture
def guarded(site, task, clip, tmp_path):
    """Return a maker of a configuration with CURVE on free ports, those ports, and the keys of two clients."""
    keys = tmp_path / "keys"
    (keys / "allowed").mkdir(parents=True)

    def pair(name):
        public, secret = zmq.auth.create_certificates(keys, name)
        return (public, *(text.decode() for text in zmq.auth.load_certificate(secret)))

    known, unknown, server = pair("known"), pair("unknown"), pair("server")
    (keys / "allowed" / "known.key").write_bytes((keys / "known.key").read_bytes())
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])

    def make(secret=server[2], allowed=keys / "allowed"):
        config = site(
            {"front": {"source": f"file:{clip(frames=100, rate=20)}", "loop": True}},
            {"near": task("front")},
            {
                name: {
                    "endpoints": [f"tcp://127.0.0.1:{port}"],
                    "curve": {"server_secret": "${cred:curve}", "allowed_clients": str(allowed)},
                }
                for name, port in zip(("publish", "control"), ports, strict=True)
            },
        )
        secrets = config / "secrets.yaml"
        secrets.touch(0o600)
        secrets.write_text(f"curve: '{secret}'\n")
        return config

    clients = [CurveKeys(server[1], one[1], one[2]) for one in (known, unknown)]
    return make, [f"tcp://127.0.0.1:{port}" for port in ports], clients


def test_a_known_key_hears_and_commands_an_unknown_one_and_none_do_not(guarded, daemon):
    make, (publish, control), (known, unknown) = guarded
    running = daemon(make())
    with (
        Subscriber(publish, curve=known) as friend,
        Subscriber(publish, curve=unknown) as stranger,
        Subscriber(publish) as plain,
    ):
        assert friend.receive(10) is not None
        assert stranger.receive(1.0) is None
        assert plain.receive(0.5) is None
    with running.subscriber() as local:  # the ipc endpoint needs no key
        assert local.receive(10) is not None
    with Control(control, curve=known) as friend:
        assert friend.request("task.list")["tasks"][0]["task"] == "near"
        with pytest.raises(CommandRefused, match="no task 'far'"):
            friend.request("task.activate", tasks=["far"])
    with Control(control, 1.5, curve=unknown) as stranger, pytest.raises((NoAnswer, BackendUnavailable)):
        stranger.request("task.list")
    until(lambda: running.task("near")["rate_hz"] > 15, what="the daemon goes on")


def test_commands_connect_with_keys_from_files(guarded, daemon, tmp_path):
    make, (publish, control), (known, _) = guarded
    running = daemon(make())
    until(lambda: running.task("near")["rate_hz"] > 5, what="results")
    server = f"--server-key={known.server_public}"  # which may begin with a dash
    keys = [server, "--client-key", str(tmp_path / "keys" / "known.key_secret")]
    heard = edged("sub", "--connect", publish, *keys, "--count", "3", "--seconds", "10")
    assert (heard.returncode, heard.stdout.count("edged/1/det/near/front")) == (0, 3), heard.stderr
    listed = edged("task", "list", "--json", "--connect", control, *keys)
    assert json.loads(listed.stdout)["tasks"][0]["task"] == "near", listed.stderr
    stream = [sys.executable, "-m", "edged", "signal", "stream", "--connect", control, *keys]
    assert subprocess.run(stream, input="speed_mps=3\n", text=True, timeout=30, check=False).returncode == 0
    stranger = [server, "--client-key", str(tmp_path / "keys" / "unknown.key_secret")]
    assert edged("sub", "--connect", publish, *stranger, "--seconds", "1").returncode == 75
    for given in (keys, ["--connect", publish, server], ["--connect", publish, *keys[1:]]):
        refused = edged("sub", *given, "--seconds", "1")
        assert (refused.returncode, refused.stderr) == (
            2,
            "edged: an endpoint behind CURVE needs --connect, --server-key and --client-key, all three\n",
        )


def test_a_reload_lets_new_clients_in_and_those_who_were_taken_away_no_longer(guarded, daemon, tmp_path):
    make, (publish, control), (known, unknown) = guarded
    keys = tmp_path / "keys"
    running = daemon(make())
    with Control(control, curve=known) as friend, Subscriber(publish, curve=known) as before:
        assert friend.request("task.list")["tasks"][0]["task"] == "near"
        assert before.receive(10) is not None
        (keys / "allowed" / "known.key").unlink()
        (keys / "allowed" / "unknown.key").write_bytes((keys / "unknown.key").read_bytes())
        done = friend.request("reload")
        assert done["changed"] == [
            f"keys of {name}.curve.allowed_clients: 1 added, 1 removed" for name in ("publish", "control")
        ]
        assert done["restart"] == ["publish.curve.allowed_clients", "control.curve.allowed_clients"]
        assert friend.request("task.list"), "who is connected stays, which is what a restart is named for"
    with Subscriber(publish, curve=unknown) as new, Subscriber(publish, curve=known) as old:
        assert new.receive(10) is not None
        assert old.receive(1.0) is None
    with Control(control, curve=unknown) as new:
        assert new.request("reload")["restart"] == done["restart"], "it is said until there was one"
    other = zmq.curve_keypair()[1].decode()
    (running.config / "secrets.yaml").write_text(f"curve: '{other}'\n")
    secrets = [f"{name}.curve.server_secret" for name in ("publish", "control")]
    done = running.request("reload")
    assert done["changed"] == [f"key of {one}" for one in secrets]
    assert set(secrets) < set(done["restart"])
    assert "known.key" not in running.log
    assert other not in running.log


def test_a_bad_key_or_an_empty_folder_is_refused_by_check_and_run_with_its_line(guarded, tmp_path):
    make, _, _ = guarded
    empty = tmp_path / "empty"
    empty.mkdir()
    for config, said in (
        (make(secret="%" * 40), "publish.curve.server_secret: is no CURVE secret key"),
        (make(secret="planted-secret"), "publish.curve.server_secret: is no CURVE secret key"),
        (make(allowed=empty), f"publish.curve.allowed_clients: {empty} has no *.key file: "),
        (make(allowed=tmp_path / "none"), f"publish.curve.allowed_clients: {tmp_path / 'none'}: "),
    ):
        for command in ("check", "run"):
            done = edged("--config", str(config), command, rundir=tmp_path / "run")
            assert done.returncode == 78, done.stderr
            assert f"{config / 'edged.yaml'}:1: {said}" in done.stderr
            assert "planted-secret" not in done.stderr
