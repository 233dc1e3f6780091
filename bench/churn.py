"""What must not wear out: tasks that come and go, cameras that are lost and return, a clock that is set.

    python bench/churn.py tasks [--count 1000 --seconds 600]     random activations on the demo's six cameras
    python bench/churn.py cameras [--count 100]                  RTSP cameras killed and restored, one at a time
    python bench/churn.py network [--count 6]                    their network swallows everything for 30 s
    python bench/churn.py mute [--count 6]                       what accepts and never sends in their place for 30 s
    python bench/churn.py clock               its wall clock stepped by an hour both ways

The RTSP cameras need GStreamer's server for the system's Python (python3-gi, gir1.2-gst-rtsp-server-1.0); `network`
needs root.
"""

import argparse
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "system")]

from far_end import FarEnd
from parts import children_of

from edged.bench.load import write_configuration
from edged.child import DaemonProcess
from edged.demo.bundle import demo_config

AWAY_S = 30.0  # how long a network or a camera is away
STEPPED = """
import os, time
real_time, real_time_ns = time.time, time.time_ns
def offset_s():
    with open({file!r}) as file:
        return int(file.read() or 0)
time.time = lambda: real_time() + offset_s()
time.time_ns = lambda: real_time_ns() + offset_s() * 1_000_000_000
"""  # what a process sees whose wall clock is set


def footprint(daemon):
    pid = daemon.process.pid
    counts = {what: len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("task", "fd")}
    return {**counts, "children": len(children_of(pid)), "MB": round(daemon.rss_mb(), 1)}


def print_slopes(prints):
    """Print how threads, descriptors and memory went after the first tenth: least, most, last, and the slope."""
    prints = prints[len(prints) // 10 :]
    hours = [at_s / 3600 for at_s, _ in prints]
    for what in prints[0][1]:
        values = [seen[what] for _, seen in prints]
        slope = statistics.linear_regression(hours, values).slope
        print(f"{what}: {min(values)} to {max(values)}, at the end {values[-1]}; {slope:+.2f} an hour")


def with_keeper(folder):
    """Copy the demo's configuration, and add a task that wants every frame of one camera all the time."""
    root = Path(folder) / "demo"
    shutil.copytree(demo_config(), root)
    wanted = (root / "tasks/vehicle.yaml").read_text().splitlines()
    wanted = [line for line in wanted if not line.startswith(("cameras", "rate_hz", "priority"))]
    (root / "tasks/keeper.yaml").write_text(
        "\n".join(["cameras: [rear_left]", "rate_hz: 15", "priority: 100", *wanted]) + "\n"
    )
    return root


def settled(state, active):
    """Return what differs between the plan and what is asked for, and between reality and the plan."""
    wrong = []
    needed = {camera for task in state["tasks"] if task["active"] for camera in task["cameras"]}
    for task in state["tasks"]:
        if task["active"] != (task["task"] in active):
            wrong.append(f"task {task['task']} is {task['state']}: {task['reason']}")
    for camera in state["cameras"]:
        if (camera["mode"] == "hot") != (camera["id"] in needed):
            wrong.append(f"camera {camera['id']} is {camera['mode']}")
        if camera["state"] != "running":
            wrong.append(f"camera {camera['id']} is {camera['state']}")
    return wrong


def tasks(args):
    rng, names = random.Random(args.seed), ("pedestrian", "lane", "vehicle")
    with tempfile.TemporaryDirectory() as folder, DaemonProcess(with_keeper(folder), subprocess.DEVNULL) as daemon:
        daemon.wait_until_answering()
        with daemon.client() as control, daemon.subscriber("edged/1/det/keeper/", queue=0) as mine:
            mine.receive(20)
            active, wrong, frames, prints = {"keeper", *names}, [], [], []
            begin_s = time.monotonic()
            for number in range(args.count):
                name = rng.choice(names)
                active ^= {name}
                control.request("task.activate" if name in active else "task.deactivate", tasks=[name])
                until_s = begin_s + (number + 1) * args.seconds / args.count
                while (left_s := until_s - time.monotonic()) > 0:
                    result = mine.receive(left_s)
                    if result is not None:
                        frames.append(result.frame_id)
                wrong += [f"after order {number}: {fault}" for fault in settled(control.request("status"), active)]
                if number % max(1, args.count // 200) == 0:
                    prints.append((time.monotonic() - begin_s, footprint(daemon)))
            state = control.request("status")
    keeper = next(task for task in state["tasks"] if task["task"] == "keeper")["frames"]["rear_left"]
    holes = sum(after - before - 1 for before, after in zip(frames, frames[1:], strict=False))
    print(f"{args.count} orders in {time.monotonic() - begin_s:.0f} s; plan or reality differed {len(wrong)} times")
    for line in wrong[:10]:
        print(f"  {line}")
    print(f"the camera that stayed hot: {len(frames)} frames, {holes} missing between them; {keeper}")
    print_slopes(prints)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Camera:
    """An RTSP camera with a process of its own, on loopback or at a far end, with one address for good."""

    def __init__(self, end=None):
        self.port = free_port()
        at = f"{end.address if end else '127.0.0.1'}:{self.port}"
        command = ["/usr/bin/python3", str(TESTS / "system/rtsp_server.py"), at, "640x360", "15"]
        self._command = end.inside(*command) if end else command
        self.url = f"rtsp://{at}/cam"
        self.start()

    def start(self):
        """Start it, and return when it takes connections."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        self._process.stdout.readline()

    def close(self):
        self._process.kill()
        self._process.communicate()


class Mute:
    """Takes a camera's port and every connection to it, and never sends a byte."""

    def __init__(self, port):
        self.port, self._held = port, []
        self._server = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self):
        with suppress(OSError):  # it is shut down
            while True:
                self._held.append(self._server.accept()[0])

    def leave(self):
        """Give the port back, and keep the connections."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def hang_up(self):
        for connection in self._held:
            connection.close()


class Watch:
    """Follows a daemon's messages: the state of each camera's task, and how long the untouched give no result."""

    def __init__(self, daemon, mine, names):
        self._daemon, self._mine, self._begin_s = daemon, mine, time.monotonic()
        self._states, self._last_s = dict.fromkeys(names, ""), {}
        self._touched, self._gap_s, self._prints = set(), 0.0, []

    def touch(self, names):
        """From now on these cameras are those that may give no results."""
        self._touched = set(names)
        for name in names:  # when it is left alone again its gaps begin with its next result
            self._last_s.pop(name, None)

    def rest(self, seconds):
        self._follow(lambda: False, seconds)

    def until(self, names, state, limit_s=30):
        """Wait until the tasks of these cameras are in a state, and return when each was."""
        at_s = {}

        def there():
            now_s = time.monotonic()
            at_s.update({name: now_s for name in names if self._states[name] == state and name not in at_s})
            return len(at_s) == len(names)

        if not self._follow(there, limit_s):
            raise SystemExit(f"not within {limit_s:g} s: {self._states}")
        return at_s

    def _follow(self, until, limit_s):
        end_s = time.monotonic() + limit_s
        while not (met := until()) and (left_s := end_s - time.monotonic()) > 0:
            received, now_s = self._mine.receive_message(min(left_s, 0.5)), time.monotonic()
            if now_s - self._begin_s > 2 * len(self._prints):
                self._prints.append((now_s, footprint(self._daemon)))
            if received is None:
                continue
            topic, message = received
            if "/task/" in topic:
                self._states[message["task"][2:]] = message["state"]
            elif "/det/" in topic:
                camera = message["camera"]
                if camera not in self._touched:
                    self._gap_s = max(self._gap_s, now_s - self._last_s.get(camera, now_s))
                    self._last_s[camera] = now_s
        return met

    def report(self):
        now_s = time.monotonic()
        for name in self._states.keys() - self._touched:
            if name not in self._last_s:
                raise SystemExit(f"{name}, which was not touched, has given no result")
            self._gap_s = max(self._gap_s, now_s - self._last_s[name])
        print(f"longest gap between two results of a camera that was not touched: {self._gap_s:.2f} s")
        print_slopes(self._prints)
        tenths = self._prints[:: max(1, len(self._prints) // 10)]
        print("MB, from tenth to tenth:", *(seen["MB"] for _, seen in tenths))


@contextmanager
def watched(cameras, **more):
    """Run a daemon with a task for each camera, and yield a watch of it when all of them are active."""
    net = {"onnx": str(demo_config() / "models/lane_lines.onnx"), "parser": "lane_mask", "labels": ["line"]}
    with tempfile.TemporaryDirectory() as folder:
        every = {**cameras, **more}
        tasks = {f"t_{name}": {"cameras": [name], "rate_hz": 15, "model": net} for name in every}
        write_configuration(Path(folder), every, tasks)
        with (
            DaemonProcess(Path(folder), subprocess.DEVNULL) as daemon,
            daemon.subscriber("edged/1/", queue=0) as mine,
        ):
            daemon.wait_until_answering()
            watch = Watch(daemon, mine, every)
            watch.until(cameras, "active")
            yield watch


class Times:
    """How long things took, by what they are."""

    def __init__(self):
        self._took_s = defaultdict(list)

    def add(self, what, since_s, at_s):
        """Take what happened to each camera at its moment; {} stands for the camera's name."""
        for name, one_s in at_s.items():
            self._took_s[what.format(name)].append(one_s - since_s)

    def report(self):
        for what, took_s in self._took_s.items():
            middle, slowest = statistics.median(took_s), max(took_s)
            print(f"{what}: median {middle:.2f} s, slowest {slowest:.2f} s of {len(took_s)}")


def cameras(args):
    rng, times = random.Random(args.seed), Times()
    with ExitStack() as stack:
        servers = {f"c{number}": stack.enter_context(closing(Camera())) for number in range(3)}
        watch = stack.enter_context(watched({name: {"source": one.url} for name, one in servers.items()}))
        for _ in range(args.count):
            name = rng.choice(list(servers))
            watch.touch([name])
            servers[name].close()
            times.add("lost to `degraded`", time.monotonic(), watch.until([name], "degraded"))
            watch.rest(rng.uniform(0, 1))
            servers[name].start()
            times.add("return to `active`", time.monotonic(), watch.until([name], "active"))
    times.report()
    watch.report()


def network(args):
    """Cut two networks, each with a camera over TCP and one over UDP; every third time again while they open."""
    rng, times = random.Random(args.seed), Times()
    with ExitStack() as stack:
        ends = {kind: stack.enter_context(closing(FarEnd(kind == "routed"))) for kind in ("local", "routed")}
        far = {f"{kind}_{transport}": {"source": stack.enter_context(closing(Camera(end))).url, "transport": transport}
               for kind, end in ends.items() for transport in ("tcp", "udp")}  # fmt: skip
        near = stack.enter_context(closing(Camera()))
        watch = stack.enter_context(watched({**far, "near": {"source": near.url}}))
        watch.touch(far)

        def away(seconds):
            for end in ends.values():
                end.cut()
            since_s = time.monotonic()
            at_s = watch.until(far, "degraded")
            watch.rest(since_s + seconds - time.monotonic())
            for end in ends.values():
                end.heal()
            return since_s, at_s

        for number in range(args.count):
            watch.rest(rng.uniform(0, 3))
            times.add("{} lost to `degraded`", *away(AWAY_S + rng.uniform(0, 4)))
            if number % 3 == 2:
                watch.rest(rng.uniform(0, 1.5))
                away(AWAY_S)
            times.add("{} healed to `active`", time.monotonic(), watch.until(far, "active"))
    times.report()
    watch.report()


def mute(args):
    """Two cameras at once: of one the connections are cut when it returns, of the other nobody ever hears again.

    A third one is mute all the time, and given up three times as soon as others: for growth.
    """
    rng, times = random.Random(args.seed), Times()
    with ExitStack() as stack:
        servers = {name: stack.enter_context(closing(Camera())) for name in ("reset", "left", "near")}
        never = Mute(free_port())
        stack.callback(never.hang_up)
        stack.callback(never.leave)
        third = {"source": f"rtsp://127.0.0.1:{never.port}/cam", "open_timeout_s": 0.2}
        cameras = {name: {"source": one.url} for name, one in servers.items()}
        watch = stack.enter_context(watched(cameras, never=third))
        away = ("reset", "left")
        watch.touch(away)
        for _ in range(args.count):
            watch.rest(rng.uniform(0, 2))
            for name in away:
                servers[name].close()
            since_s, mutes = time.monotonic(), {name: Mute(servers[name].port) for name in away}
            times.add("{} lost to `degraded`", since_s, watch.until(away, "degraded"))
            watch.rest(AWAY_S + rng.uniform(0, 4))
            for one in mutes.values():
                one.leave()
            mutes["reset"].hang_up()
            back_s = {}
            for name in away:
                servers[name].start()
                back_s[name] = time.monotonic()
            at_s = watch.until(away, "active")
            for name in away:
                times.add("{} back to `active`", back_s[name], {name: at_s[name]})
            mutes["left"].hang_up()
    times.report()
    watch.report()


def clock(args):
    with tempfile.TemporaryDirectory() as folder:
        offset = Path(folder) / "offset"
        offset.write_text("0")
        (Path(folder) / "sitecustomize.py").write_text(STEPPED.format(file=str(offset)))
        print(
            "| wall clock | results/s | least latency, ms | longest gap, ms | wall - monotonic, s |\n|" + " --- |" * 5
        )
        with (
            DaemonProcess(demo_config(), subprocess.DEVNULL, {"PYTHONPATH": folder}) as daemon,
            daemon.subscriber(queue=0) as mine,
        ):
            mine.receive(20)
            for step in ("0", "3600", "-3600", "0"):
                offset.write_text(step)
                rate, least, gap, apart = window(mine, args.seconds / 4)
                print(f"| {int(step):+d} s | {rate:.1f} | {least:.2f} | {gap:.0f} | {apart:+.0f} |", flush=True)


def window(mine, seconds):
    """Return results a second, the least latency, the longest gap, and how far the clocks have come apart."""
    begin_s = last_s = time.monotonic()
    base_ns, count, least, gap_s, apart = time.time_ns() - time.monotonic_ns(), 0, 1e9, 0.0, 0.0
    while time.monotonic() - begin_s < seconds:
        result = mine.receive(1)
        if result is None:
            continue
        count += 1
        least = min(least, *result.latency_ms.values())
        gap_s, last_s = max(gap_s, time.monotonic() - last_s), time.monotonic()
        apart = (result.capture_ns - result.mono_ns - base_ns) / 1e9
    return count / seconds, least, 1000 * gap_s, apart


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tasks", "cameras", "network", "mute", "clock"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.count = args.count or {"tasks": 1000, "cameras": 100, "network": 6, "mute": 6}.get(args.part, 0)
    args.seconds = args.seconds or {"tasks": 600, "clock": 60}.get(args.part, 0)
    {"tasks": tasks, "cameras": cameras, "network": network, "mute": mute, "clock": clock}[args.part](args)


if __name__ == "__main__":
    sys.exit(main())
