"""What is given up when the machine cannot do it all, and what batches are worth.

    python bench/overload.py load [--seconds 15]      two tasks of different priority beside greedy programs
    python bench/overload.py demand [--seconds 15]    the same two; a third wants the whole machine, and leaves
    python bench/overload.py batch                    four cameras, the demo's network: batch 4 beside batch 1
    python bench/overload.py simulator                the simulator beside the real daemon, same load

All of it runs on the demo's clips and networks.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from edged.bench.load import write_configuration
from edged.child import DaemonProcess
from edged.demo.bundle import demo_config

CLIPS = ("front_wide", "front_narrow", "front_left", "front_right")
USERS = {"onnx": "models/road_users.onnx", "parser": "yolov8", "labels": ["pedestrian", "vehicle"]}
LANES = {"onnx": "models/lane_lines.onnx", "parser": "lane_mask", "labels": ["line"]}
COPIES = 3
BURN = "while True: pass"


def directory(folder, copies, tasks, pace="realtime", **edged):
    """Write a configuration on `copies` cameras for each of the four front clips."""
    demo = demo_config()
    root = Path(tempfile.mkdtemp(dir=folder))
    cameras = {
        f"{clip}_{number}": {"source": f"file:{demo / 'clips' / clip}.mp4", "loop": True, "pace": pace}
        for number in range(copies)
        for clip in CLIPS
    }
    wanted = {
        name: {"cameras": list(cameras), **how, "model": {**how["model"], "onnx": str(demo / how["model"]["onnx"])}}
        for name, how in tasks.items()
    }
    write_configuration(root, cameras, wanted, edged)
    return root


def watch(daemon, mine, seconds, deadline_ms, tasks):
    """Print a row a second: results by task, those later than the deadline, and the rates the plan grants."""
    rows, until_s, second = [], time.monotonic() + seconds, time.monotonic()
    counts = Counter()
    while time.monotonic() < until_s:
        result = mine.receive(0.1)
        if result is not None:
            counts[result.task] += 1
            if (time.monotonic_ns() - result.mono_ns) / 1e6 > deadline_ms:
                counts[result.task, "late"] += 1
        if time.monotonic() - second >= 1.0:
            second += 1.0
            granted = {task["task"]: task.get("granted_hz", 0) for task in daemon.status()["tasks"]}
            rows.append([(counts[task], counts[task, "late"], granted.get(task, 0)) for task in tasks])
            counts.clear()
    return rows


def show(phase, rows, tasks):
    for number, row in enumerate(rows):
        cells = " | ".join(f"{count} | {late} | {granted:g}" for count, late, granted in row)
        print(f"| {phase} | {number + 1} | {cells} |", flush=True)


def two_tasks(args, begin, end, more=None):
    """Run the phases before, during and after a load, and print rates by second and the accounts of the high task."""
    tasks = {
        "high": {"rate_hz": 7, "priority": 10, "deadline_ms": args.deadline, "model": USERS},
        "low": {"rate_hz": 6, "rate_min_hz": 0.5, "priority": 1, "deadline_ms": 200, "model": LANES},
        **(more or {}),
    }
    names = list(tasks)
    head = "".join(f" {name} results/s | late | granted Hz |" for name in names)
    with tempfile.TemporaryDirectory() as folder:
        config = directory(folder, COPIES, tasks)
        with DaemonProcess(config, subprocess.DEVNULL) as daemon, daemon.subscriber(queue=0) as mine:
            daemon.wait_until_answering()
            print(f"{4 * COPIES} cameras at 15 Hz; deadline of high {args.deadline:g} ms\n")
            print(f"| phase | second |{head}\n|" + " --- |" * (2 + 3 * len(names)))
            mine.receive(20)
            watch(daemon, mine, 4, args.deadline, names)
            show("before", watch(daemon, mine, 4, args.deadline, names), names)
            before = accounts(daemon.status(), "high")
            load = begin(daemon)
            show("load", watch(daemon, mine, args.seconds, args.deadline, names), names)
            share = daemon.status()["devices"][0]
            after = accounts(daemon.status(), "high")
            end(daemon, load)
            show("after", watch(daemon, mine, 5, args.deadline, names), names)
    spent = {key: after[key] - before[key] for key in after}
    due = spent["served"] + spent["superseded"] + spent["late"] + spent["failed"]
    print(f"\nwanted under load: {share['wanted']:.2f} s/s; {share['parallel']:g} cores")
    print(f"high during the load: {spent}; in time {100 * spent['served'] / due:.2f} % of the frames due to it")


def accounts(state, name):
    """Sum a task's frame counts over its cameras."""
    task = next(task for task in state["tasks"] if task["task"] == name)
    sums = Counter()
    for frames in task["frames"].values():
        sums.update(frames)
    return {key: sums[key] for key in ("offered", "served", "rate", "superseded", "late", "stopped", "failed")}


def load(args):
    def begin(_):
        return [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(args.burn)]

    def end(_, burning):
        for process in burning:
            process.kill()
            process.wait()

    two_tasks(args, begin, end)


def demand(args):
    def order(daemon, command):
        with daemon.client() as control:
            return control.request(command, tasks=["flood"])

    flood = {"rate_hz": 15, "rate_min_hz": 0.5, "active": False, "model": {**USERS, "input": {"pad": 0}}}
    two_tasks(
        args,
        lambda daemon: order(daemon, "task.activate"),
        lambda daemon, _: order(daemon, "task.deactivate"),
        {"flood": flood},
    )


def batch(args):
    print("| pace | batch | results/s | mean batch | CPU, ms a result | late | superseded |\n|" + " --- |" * 7)
    for pace, rate_hz in (("fast", 1000), ("realtime", 10)):
        for size in (1, 4):
            how = {"rate_hz": rate_hz, "model": USERS, "engine": {"batch": size}}
            if pace == "realtime":
                how["deadline_ms"] = args.deadline
            with tempfile.TemporaryDirectory() as folder:
                config = directory(folder, 1, {"look": how}, pace)
                with DaemonProcess(config, subprocess.DEVNULL) as daemon, daemon.subscriber(queue=0) as mine:
                    mine.receive(20)
                    time.sleep(2)
                    before, cpu_s, begin_s = daemon.status(), daemon.cpu_s(), time.monotonic()
                    while mine.receive(0) is not None:
                        pass
                    sizes = []
                    while time.monotonic() - begin_s < args.seconds:
                        result = mine.receive(0.1)
                        if result is not None:
                            sizes.append(result.message["engine"]["batch"])
                    after, cpu_s, took_s = daemon.status(), daemon.cpu_s() - cpu_s, time.monotonic() - begin_s
            old, new = accounts(before, "look"), accounts(after, "look")
            served = new["served"] - old["served"]
            row = (f"{served / took_s:.1f}", f"{sum(sizes) / len(sizes):.2f}", f"{1000 * cpu_s / served:.2f}")
            lost = [str(new[key] - old[key]) for key in ("late", "superseded")]
            print("| " + " | ".join((pace, str(size), *row, *lost)) + " |", flush=True)


def simulator(args):
    tasks = {
        "high": {"rate_hz": 10, "priority": 10, "deadline_ms": args.deadline, "model": USERS},
        "low": {"rate_hz": 10, "rate_min_hz": 0.5, "priority": 1, "model": LANES},
    }
    print("| cameras | task | wanted Hz | real Hz | simulated Hz | ratio |\n|" + " --- |" * 6)
    for copies in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            config = directory(folder, copies, tasks)
            with DaemonProcess(config, subprocess.DEVNULL) as daemon:
                daemon.wait_until_answering()
                time.sleep(6)
                before, begin_s = daemon.status(), time.monotonic()
                time.sleep(args.seconds)
                after, took_s = daemon.status(), time.monotonic() - begin_s
            recorded = Path(folder) / "status.json"
            recorded.write_text(json.dumps(after))
            command = [sys.executable, "-m", "edged", "--config", str(config), "plan", "--simulate", "--json"]
            command += ["--load", str(recorded), "--seconds", str(args.seconds)]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for task in told["tasks"]:
                name = task["task"]
                served = accounts(after, name)["served"] - accounts(before, name)["served"]
                real_hz, told_hz = served / took_s / (4 * copies), task["rate_hz"]
                row = (4 * copies, name, 10, f"{real_hz:.2f}", f"{told_hz:.2f}", f"{told_hz / real_hz:.3f}")
                print("| " + " | ".join(map(str, row)) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("load", "demand", "batch", "simulator"))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--deadline", type=float, default=100, help="milliseconds")
    parser.add_argument("--burn", type=int, default=2, help="processes that take all they can get")
    args = parser.parse_args()
    {"load": load, "demand": demand, "batch": batch, "simulator": simulator}[args.part](args)


if __name__ == "__main__":
    main()
