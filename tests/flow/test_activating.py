"""Activation in the real daemon: rules over signals, other tasks' results, subscriptions, commands, and bad input."""

from __future__ import annotations

import subprocess
import sys
import time

import msgpack
import numpy as np
import pytest
import zmq
from parts import edged, until

from edged.client import CommandRefused

RATE = 20
EMPTY_FROM = 64 * 48  # a painted number whose box lies below the picture: that frame has no detection
TIMEOUT_S = 0.8


@pytest.fixture(scope="module")
def running(shared_daemon, site, task, clip):
    """`seen` finds something for a second, then nothing for a second; `counts` and `scores` look at its results."""
    looped = {"source": f"file:{clip(frames=50, rate=RATE)}", "loop": True}
    turns = {"source": f"file:{clip(frames=2 * RATE, rate=RATE, first=EMPTY_FROM - RATE)}", "loop": True}
    until_above = {"if": "throttle_pct < 20", "until": "throttle_pct > 40"}
    tasks = {
        "base": task("front"),
        "slow": task("rear", when="speed_mps < 5 and gear != 'reverse'"),
        "between": task("rear", when=until_above),
        "holds": task("rear", when={"if": "brake", "min_on_s": 0.6, "min_off_s": 0.3}),
        "divides": task("rear", when="odometer_m / accel_mps2 > 10"),
        "own": task("rear", when="mode == 'city' and load_kg > 10 or trailer"),
        "outweighed": task("rear", when="wipers"),
        "seen": task("turns", active=False),
        "counts": task("rear", after={"task": "seen", "if": "count > 0"}),
        "scores": task("rear", after={"task": "seen", "if": "score < 0.5", "min_on_s": 0.5}),
        "last": task("rear", after={"task": "counts", "if": "count > 0"}),
        "asked": task("rear", active="on_subscribe"),
    }
    edged_yaml = {
        "scheduler": {"signal_timeout_s": TIMEOUT_S},
        "signals": {"mode": ["city", "highway"], "load_kg": "number", "trailer": "flag", "driver": "text"},
    }
    running = shared_daemon(site({"front": looped, "rear": looped, "turns": turns}, tasks, edged_yaml))
    until(lambda: running.task("base")["rate_hz"] > 15, what="results of base")
    return running


def put(running, **signals):
    return running.request("signal.set", signals=signals)["signals"]


def becomes(running, name, state, reason, timeout_s=3.0, renew=None):
    """Wait until a task is in a state for a reason, and renew some signals meanwhile."""
    last = {}

    def there():
        if renew:
            put(running, **renew)
        last.update(running.task(name))
        return (last["state"], last["reason"]) == (state, reason)

    until(there, timeout_s, lambda: f"{name} {state}: {reason}; but {last['state']}: {last['reason']}", 0.02)


def test_a_rule_over_signals_that_were_never_set_is_false_and_says_so(running):
    missing = "when is false: gear was never set; speed_mps was never set"
    becomes(running, "slow", "inactive", missing)
    assert running.task("divides")["reason"].count("was never set") == 2


def test_a_task_follows_its_rule_and_a_signal_that_goes_stale_ends_it(running):
    text = "speed_mps < 5 and gear != 'reverse'"
    with running.subscriber("edged/1/det/slow/") as subscriber:
        put(running, speed_mps=3, gear="drive")
        becomes(running, "slow", "active", f"when is true: {text}", renew={"speed_mps": 3})
        assert subscriber.receive(5).task == "slow"
    becomes(running, "slow", "inactive", f"when is false: {text}", renew={"gear": "reverse", "speed_mps": 3})
    becomes(running, "slow", "active", f"when is true: {text}", renew={"gear": "drive", "speed_mps": 3})
    becomes(running, "slow", "inactive", f"when is false: {text}", renew={"gear": "drive", "speed_mps": 20})
    becomes(running, "slow", "active", f"when is true: {text}", renew={"gear": "drive", "speed_mps": 4.9})
    stale = f"when is false: gear is stale: nothing for more than {TIMEOUT_S:g} s"
    becomes(running, "slow", "inactive", stale, renew={"speed_mps": 4.9})
    listed = {one["signal"]: one for one in running.request("status")["signals"]}
    assert (listed["gear"]["value"], listed["gear"]["stale"], listed["speed_mps"]["stale"]) == ("drive", True, False)
    assert listed["gear"]["age_ms"] > TIMEOUT_S * 1000
    becomes(running, "slow", "active", f"when is true: {text}", renew={"gear": "drive", "speed_mps": 4.9})


def test_between_if_and_until_a_task_stays_what_it_was(running):
    on, off = "throttle_pct < 20", "throttle_pct > 40"
    becomes(running, "between", "inactive", f"when is false: {on}", renew={"throttle_pct": 30})
    becomes(running, "between", "active", f"when is true: {on}", renew={"throttle_pct": 10})
    becomes(running, "between", "active", f"when stays true until {off}", renew={"throttle_pct": 30})
    off_now = f"when is false: {on}"
    becomes(running, "between", "inactive", off_now, renew={"throttle_pct": 50})
    becomes(running, "between", "inactive", off_now, renew={"throttle_pct": 30})


def test_a_rule_stays_on_for_its_minimum_and_off_for_its_minimum(running):
    becomes(running, "holds", "inactive", "when is false: brake", renew={"brake": False})
    time.sleep(0.35)
    put(running, brake=True)
    begin_s = time.monotonic()
    becomes(running, "holds", "active", "when is true: brake")
    put(running, brake=False)
    becomes(running, "holds", "active", "when stays true for at least 0.6 s: brake", renew={"brake": False})
    becomes(running, "holds", "inactive", "when is false: brake", renew={"brake": False})
    off_s = time.monotonic()
    assert off_s - begin_s >= 0.55
    becomes(running, "holds", "inactive", "when stays false for at least 0.3 s: brake", renew={"brake": True})
    becomes(running, "holds", "active", "when is true: brake", renew={"brake": True})
    assert time.monotonic() - off_s >= 0.2


def test_a_division_by_zero_makes_a_rule_false_and_is_told(running):
    text = "odometer_m / accel_mps2 > 10"
    becomes(running, "divides", "active", f"when is true: {text}", renew={"odometer_m": 100, "accel_mps2": 1})
    put(running, odometer_m=100, accel_mps2=0)
    until(lambda: running.task("divides")["state"] == "inactive", 2)
    assert "zero" in running.task("divides")["reason"]


def test_a_vehicles_own_signals_are_read_like_any_other(running):
    text = "mode == 'city' and load_kg > 10 or trailer"
    signals = {"mode": "city", "load_kg": 11, "trailer": False}
    becomes(running, "own", "active", f"when is true: {text}", renew=signals)
    becomes(running, "own", "inactive", f"when is false: {text}", renew={**signals, "mode": "highway"})
    becomes(running, "own", "active", f"when is true: {text}", renew={**signals, "mode": "highway", "trailer": True})
    with pytest.raises(CommandRefused, match="mode must be one of city, highway, got 'town'"):
        put(running, mode="town")


def test_a_command_outweighs_a_rule(running):
    becomes(running, "outweighed", "inactive", "when is false: wipers", renew={"wipers": False})
    running.request("task.activate", tasks=["outweighed"])
    task = running.task("outweighed")
    assert (task["state"], task["reason"]) == ("active", "activated by command, which outweighs when: wipers")
    put(running, wipers=True)
    running.request("task.deactivate", tasks=["outweighed"])
    for _ in range(10):
        put(running, wipers=True)
        task = running.task("outweighed")
        reason = "deactivated by command, which outweighs when: wipers"
        assert (task["state"], task["reason"]) == ("inactive", reason)
        time.sleep(0.02)
    done = edged("task", "auto", "outweighed", rundir=running.rundir)
    assert done.returncode == 0, done.stderr
    becomes(running, "outweighed", "active", "when is true: wipers", renew={"wipers": True})
    with pytest.raises(CommandRefused, match="no task 'outweighd'; did you mean 'outweighed'"):
        running.request("task.auto", tasks=["outweighd"])


def test_a_task_follows_the_results_of_another_and_another_follows_it(running):
    """Those results have a detection for a second, then none for a second, and so on."""
    becomes(running, "counts", "inactive", "after seen is false: seen is not running")
    becomes(running, "last", "inactive", "after counts is false: counts is not running")
    running.request("task.activate", tasks=["seen"])
    try:
        becomes(running, "counts", "active", "after seen is true: count > 0")
        becomes(running, "last", "active", "after counts is true: count > 0")
        with running.subscriber("edged/1/det/counts/") as subscriber:
            assert subscriber.receive(5) is not None
        becomes(running, "scores", "active", "after seen is true: score < 0.5")
        becomes(running, "counts", "inactive", "after seen is false: count > 0")
        becomes(running, "last", "inactive", "after counts is false: counts is not running")
        becomes(running, "counts", "active", "after seen is true: count > 0")
        becomes(running, "scores", "inactive", "after seen is false: score < 0.5")
    finally:
        running.request("task.deactivate", tasks=["seen"])
    for name in ("counts", "scores"):
        becomes(running, name, "inactive", "after seen is false: seen is not running")


def test_a_task_on_subscribe_tells_its_state_to_who_asks_for_it(running):
    with running.subscriber("edged/1/task/asked/") as states:
        assert states.receive_state(2).reason == "nobody subscribes"
        with running.subscriber("edged/1/det/asked/") as subscriber:
            assert subscriber.receive(5).task == "asked"
            assert until(lambda: states.receive_state(2).reason == "somebody subscribes", 3)
        assert until(lambda: states.receive_state(2).state == "inactive", 3)


def test_unknown_tasks_are_refused_with_those_there_are(running):
    for command in ("task.activate", "task.deactivate"):
        with pytest.raises(CommandRefused) as caught:
            running.request(command, tasks=["seen", "bas"])
        assert caught.value.code == "refused"
        assert str(caught.value) == f"no task 'bas'; did you mean 'base'? there are {', '.join(sorted(tasks(running)))}"
    assert running.task("seen")["state"] == "inactive"


def tasks(running):
    return [one["task"] for one in running.request("task.list")["tasks"]]


BAD = [
    ({"signals": {"speed_mps": "fast"}}, "speed_mps must be a number from -1e12 to 1e12, got 'fast'"),
    ({"signals": {"speed_mps": True}}, "speed_mps must be a number"),
    ({"signals": {"speed_mps": float("nan")}}, "speed_mps must be a number"),
    ({"signals": {"speed_mps": float("-inf")}}, "speed_mps must be a number"),
    ({"signals": {"speed_mps": 1e13}}, "speed_mps must be a number"),
    ({"signals": {"speed_mps": None}}, "speed_mps must be a number"),
    ({"signals": {"brake": 1}}, "brake must be true or false, got 1"),
    ({"signals": {"gear": "revers"}}, "gear must be one of park, reverse, neutral, drive, got 'revers'"),
    ({"signals": {"driver": "x" * 65}}, "driver must be a text of at most 64 printable characters"),
    ({"signals": {"driver": "a\nb"}}, "driver must be a text of at most 64 printable characters"),
    ({"signals": {"sped_mps": 1}}, "no signal 'sped_mps'; did you mean 'speed_mps'?"),
    ({"signals": {}}, "signals must be a map of names to values"),
    ({"signals": ["speed_mps"]}, "signals must be a map of names to values"),
    ({}, "signals must be a map of names to values"),
    ({"signals": {"brake": True}, "mono_ns": 2**62}, "s in the future; at most 0.5 s are allowed"),
    ({"signals": {"brake": True}, "unix_ns": 2**62}, "s in the future; at most 5 s are allowed"),
    ({"signals": {"brake": True}, "mono_ns": -1}, "mono_ns must be a whole number of nanoseconds, got -1"),
    ({"signals": {"brake": True}, "mono_ns": 1.5}, "mono_ns must be a whole number of nanoseconds, got 1.5"),
    ({"signals": {"brake": True}, "mono_ns": 1}, "brake is known from"),
    (
        {"signals": {"brake": True}, "mono_nss": 1},
        "no argument 'mono_nss'; did you mean 'mono_ns'? there are signals, mono_ns, unix_ns",
    ),
]


@pytest.mark.parametrize(("args", "text"), BAD)
def test_a_bad_signal_is_refused_and_nothing_of_its_message_is_taken(running, args, text):
    put(running, brake=False, steering_deg=1)
    signals = args.get("signals")
    if isinstance(signals, dict) and signals:
        args = {**args, "signals": {"steering_deg": 2, **signals, "yaw_rate_dps": 3}}
        if "mono_ns" in args:
            args["signals"] = dict(signals)
    with pytest.raises(CommandRefused) as caught:
        running.request("signal.set", **args)
    assert caught.value.code == "refused"
    assert text in str(caught.value)
    known = {one["signal"]: one["value"] for one in running.request("signal.list")["signals"]}
    assert (known["brake"], known["steering_deg"], known["yaw_rate_dps"]) == (False, 1, None)


def test_the_commands_set_and_list_signals(running):
    done = edged("signal", "set", "speed_mps=7.5", "gear=neutral", "headlights=true", rundir=running.rundir)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row.split()[:2] for row in done.stdout.splitlines()[1:]] == [
        ["speed_mps", "7.5"],
        ["gear", "neutral"],
        ["headlights", "true"],
    ]
    listed = edged("signal", "list", rundir=running.rundir)
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = {row.split()[0]: row.split() for row in listed.stdout.splitlines()[1:]}
    assert (rows["gear"][1], rows["headlights"][1], rows["mode"][4]) == ("neutral", "true", "city|highway")
    refused = edged("signal", "set", "gear=revers", rundir=running.rundir)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "edged: gear must be one of park, reverse, neutral, drive, got 'revers'\n"


def test_a_stream_of_lines_keeps_a_rule_true(running):
    """A hundred lines a second; one of them is wrong, which is told without a word about the others."""
    command = [sys.executable, "-m", "edged", "signal", "stream", "--connect", running.child.control]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    text = "speed_mps < 5 and gear != 'reverse'"
    with subprocess.Popen(command, **pipes) as stream:
        states = []
        for number in range(200):
            stream.stdin.write("speed_mps=fast\n" if number == 150 else "speed_mps=1 gear=drive\n")
            stream.stdin.flush()
            time.sleep(0.01)
            if number == 120:
                becomes(running, "slow", "active", f"when is true: {text}")
            if number > 120 and number % 10 == 0:
                states.append(running.task("slow")["state"])
        out, told = stream.communicate(timeout=10)
    assert set(states) == {"active"}
    wanted = "edged: an earlier line was refused: speed_mps must be a number from -1e12 to 1e12, got 'fast'\n"
    assert (stream.returncode, out, told) == (2, "", wanted)


def test_orders_without_an_id_are_answered_only_when_they_are_refused(running):
    context = zmq.Context()
    try:
        with context.socket(zmq.DEALER) as client:
            client.setsockopt(zmq.LINGER, 0)
            client.connect(running.child.control)
            for value in (1, 2, "three", 4):
                client.send(msgpack.packb({"v": 1, "cmd": "signal.set", "args": {"signals": {"rain_pct": value}}}))
            assert client.poll(2000)
            refused = msgpack.unpackb(client.recv())
            assert (refused["id"], refused["ok"], refused["error"]["code"]) == (None, False, "refused")
            assert "rain_pct" in refused["error"]["message"]
            assert not client.poll(300)
    finally:
        context.term()
    known = {one["signal"]: one["value"] for one in running.request("signal.list")["signals"]}
    assert known["rain_pct"] == 4


def test_results_flow_while_random_signals_flood_in(running):
    """10,000 messages as fast as they are taken: right and wrong ones, with and without an id and a time."""
    rng = np.random.default_rng(11)
    names = ["speed_mps", "gear", "brake", "throttle_pct", "mode", "sped", "odometer_m", "accel_mps2", "", "trailer"]
    values = [0, 1.5, -3, 30, True, False, "drive", "reverse", "city", "x" * 100, None, float("nan"), [1], {"a": 1}]
    values += [float("inf"), 2**63, b"\xff", "\u202e"]

    def message():
        signals = {names[rng.integers(len(names))]: values[rng.integers(len(values))] for _ in range(rng.integers(4))}
        args = {"signals": signals}
        if rng.random() < 0.2:
            args["mono_ns"] = int(time.monotonic_ns() + rng.integers(-(10**9), 10**9))
        if rng.random() < 0.1:
            args["unix_ns"] = ["now", -5, 2**64 - 1, time.time_ns()][rng.integers(4)]
        return {"v": 1, "cmd": "signal.set", "args": args, **({"id": 7} if rng.random() < 0.3 else {})}

    context = zmq.Context()
    answers = []
    try:
        with context.socket(zmq.DEALER) as client, running.subscriber("edged/1/det/base/") as subscriber:
            client.setsockopt(zmq.LINGER, 0)
            client.setsockopt(zmq.SNDTIMEO, 10_000)
            client.connect(running.child.control)
            first = subscriber.receive(5)
            begin_s = time.monotonic()
            for _ in range(10_000):
                client.send(msgpack.packb(message()))
                while client.poll(0):
                    answers.append(msgpack.unpackb(client.recv()))
            assert running.task("base")["active"]
            took_s = time.monotonic() - begin_s
            seqs = []
            while (result := subscriber.receive(0)) is not None:
                seqs.append(result.message["seq"])
    finally:
        context.term()
    assert seqs == list(range(first.message["seq"] + 1, first.message["seq"] + 1 + len(seqs)))
    assert len(seqs) > 0.5 * RATE * took_s - 2, f"{len(seqs)} results in {took_s:.1f} s"
    assert len(answers) > 100
    assert {answer["ok"] for answer in answers} == {True, False}
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} == {"refused"}
    assert "Traceback" not in running.log
    text = "speed_mps < 5 and gear != 'reverse'"
    becomes(running, "slow", "active", f"when is true: {text}", renew={"speed_mps": 1, "gear": "drive"})
