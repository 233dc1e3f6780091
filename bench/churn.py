"""What must not wear out: tasks that come and go, cameras that are lost and return, a clock that is set.

    python bench/churn.py tasks [--count 1000 --seconds 600]     random activations on the demo's six cameras
    python bench/churn.py cameras [--count 100]                  RTSP cameras killed and restored, one at a time
    python bench/churn.py clock               its wall clock stepped by an hour both ways

`cameras` needs GStreamer's RTSP server for the system's Python (python3-gi, gir1.2-gst-rtsp-server-1.0).
"""

import argparse
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edged.bench.load import write_configuration
from edged.child import DaemonProcess
from edged.demo.bundle import demo_config

SERVER = Path(__file__).parents[1] / "tests/system/rtsp_server.py"
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
    return {what: len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("task", "fd")} | {"MB": daemon.rss_mb()}


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(port):
    server = subprocess.Popen(
        ["/usr/bin/python3", str(SERVER), str(port), "640x360", "15"], stdout=subprocess.PIPE, text=True
    )
    server.stdout.readline()
    return server


def cameras(args):
    ports = {f"c{number}": free_port() for number in range(3)}
    servers = {name: serve(port) for name, port in ports.items()}
    net = {"onnx": str(demo_config() / "models/lane_lines.onnx"), "parser": "lane_mask", "labels": ["line"]}
    rng, degraded, active, others = random.Random(args.seed), [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sources = {name: {"source": f"rtsp://127.0.0.1:{port}/cam"} for name, port in ports.items()}
        wanted = {f"t_{name}": {"cameras": [name], "rate_hz": 15, "model": net} for name in ports}
        write_configuration(root, sources, wanted)
        with DaemonProcess(root, subprocess.DEVNULL) as daemon, daemon.subscriber("edged/1/", queue=0) as mine:
            daemon.wait_until_answering()
            states = dict.fromkeys(ports, "")
            listen(mine, states, lambda: set(states.values()) == {"active"}, 20, ())
            for _ in range(args.count):
                name = rng.choice(list(ports))
                rest = [other for other in ports if other != name]
                servers[name].kill()
                servers[name].wait()
                took_s, gap_s = listen(mine, states, lambda name=name: states[name] == "degraded", 10, rest)
                degraded.append(took_s)
                others = max(others, gap_s)
                time.sleep(rng.uniform(0, 1))
                servers[name] = serve(ports[name])
                took_s, gap_s = listen(mine, states, lambda name=name: states[name] == "active", 20, rest)
                active.append(took_s)
                others = max(others, gap_s)
    for server in servers.values():
        server.kill()
        server.wait()
    for what, took in (("lost to `degraded`", degraded), ("return to `active`", active)):
        took.sort()
        print(f"{what}: median {took[len(took) // 2]:.2f} s, slowest {took[-1]:.2f} s of {len(took)}")
    print(f"longest gap between two results of a camera that was not touched: {others:.2f} s")


def listen(mine, states, until, timeout_s, watched):
    """Follow messages until a condition holds. Return the seconds that took, and the longest gap of the watched."""
    begin_s, gap_s = time.monotonic(), 0.0
    last = dict.fromkeys(watched, begin_s)
    while not until():
        if time.monotonic() - begin_s > timeout_s:
            raise SystemExit(f"not within {timeout_s:g} s: {states}")
        received = mine.receive_message(0.5)
        if received is None:
            continue
        topic, message = received
        if "/task/" in topic:
            states[message["task"][2:]] = message["state"]
        elif "/det/" in topic and message["camera"] in last:
            gap_s = max(gap_s, time.monotonic() - last[message["camera"]])
            last[message["camera"]] = time.monotonic()
    return time.monotonic() - begin_s, gap_s


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
    parser.add_argument("part", choices=("tasks", "cameras", "clock"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.count = args.count or {"tasks": 1000, "cameras": 100}.get(args.part, 0)
    args.seconds = args.seconds or {"tasks": 600, "clock": 60}.get(args.part, 0)
    {"tasks": tasks, "cameras": cameras, "clock": clock}[args.part](args)


if __name__ == "__main__":
    sys.exit(main())
