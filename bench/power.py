"""The power is cut: SIGKILL at random moments, and each start after it must be clean.

    python bench/power.py [--count 100] [--seconds 3]     the demo's cameras, one of them in a process of its own

A start is clean when the daemon answers, each task publishes, nothing but its own sockets lies in the runtime
directory, no camera process of the one before it is left, and its log has no traceback.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edged.client import Control, Subscriber
from edged.demo.bundle import demo_config
from edged.errors import EdgedError
from edged.rundir import control_endpoint, publish_endpoint

STANDIN = Path(__file__).parents[1] / "tests/jetson"  # a library of cameras, without the cameras
TASKS = {"lane": ("front_wide", "csi"), "keeper": ("rear_left",)}
LIMIT_S = 20.0


def write_configuration(root):
    demo = demo_config()
    cameras = {name: {"source": f"file:{demo}/clips/{name}.mp4", "loop": True} for name in ("front_wide", "rear_left")}
    cameras["csi"] = {"source": "csi:0", "backend": ["jetson_utils"], "width_px": 640, "height_px": 360}
    model = {"onnx": f"{demo}/models/lane_lines.onnx", "parser": "lane_mask", "labels": ["line"]}
    (root / "tasks").mkdir()
    (root / "cameras.yaml").write_text(json.dumps({"cameras": cameras}))
    for name, wanted in TASKS.items():
        (root / f"tasks/{name}.yaml").write_text(json.dumps({"cameras": wanted, "rate_hz": 5, "model": model}))


def start(config, rundir, log):
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(rundir), "PYTHONPATH": str(STANDIN)}
    command = [sys.executable, "-m", "edged", "--config", str(config), "run"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def family(rundir):
    """Return the processes that were started for this runtime directory."""
    mark, found = f"RUNTIME_DIRECTORY={rundir}\0".encode(), []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def faults(process, rundir, log):
    """Return what is not as it should be after a start, and the seconds to the first result of every camera."""
    begin_s = time.monotonic()
    wanted = {(task, camera) for task, cameras in TASKS.items() for camera in cameras}
    got = set()
    with Subscriber(publish_endpoint(rundir)) as results:
        while got < wanted and time.monotonic() - begin_s < LIMIT_S:
            result = results.receive(0.5)
            if result is not None:
                got.add((result.task, result.camera))
            if process.poll() is not None:
                return [f"ended with {process.returncode}"], 0.0
    took_s = time.monotonic() - begin_s
    wrong = [f"no result of {missing}" for missing in sorted(wanted - got)]
    try:
        with Control(control_endpoint(rundir), 5.0) as control:
            control.request("status")
    except EdgedError as exc:
        wrong.append(str(exc))
    left = {path.name for path in rundir.iterdir()} - {"lock", "pub.sock", "control.sock"}
    wrong += [f"{name} lies in the runtime directory" for name in sorted(left)]
    strangers = len(family(rundir)) - 2  # the daemon and one camera process
    if strangers:
        wrong.append(f"{strangers} processes more than there should be")
    if "Traceback" in log.read_text("utf-8", "replace"):
        wrong.append("a traceback in its log")
    return wrong, took_s


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="longest time before a cut")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, wrong, took = random.Random(args.seed), [], []
    with tempfile.TemporaryDirectory(prefix="edged-power-") as folder:
        root, rundir, log = Path(folder) / "config", Path(folder) / "run", Path(folder) / "log"
        root.mkdir()
        write_configuration(root)
        for number in range(args.count):
            for looked_at in (False, True):  # a cut at any moment, also of the start; then a start that is looked at
                with log.open("wb") as file:
                    process = start(root, rundir, file)
                if looked_at:
                    found, took_s = faults(process, rundir, log)
                    took.append(took_s)
                    wrong += [f"after cut {number}: {fault}" for fault in found]
                    print(f"cut {number}: {took_s:.1f} s to all results; {found or 'clean'}", flush=True)
                else:
                    time.sleep(rng.uniform(0, args.seconds))
                    if process.poll() is not None:
                        wrong.append(f"start {number} ended by itself with {process.returncode}: {log.read_text()}")
                process.send_signal(signal.SIGKILL)
                process.wait()
        with log.open("wb") as file:
            process = start(root, rundir, file)
        found, took_s = faults(process, rundir, log)
        wrong += [f"at the end: {fault}" for fault in found]
        process.terminate()
        code = process.wait(10)
        left = sorted(path.name for path in rundir.iterdir())
        if code or left or family(rundir):
            wrong.append(f"at the end: code {code}, left {left}, processes {family(rundir)}")
    middle_s = statistics.median(took)
    print(f"{args.count} cuts at random moments, and the start after each: {middle_s:.1f} s to all results")
    print("\n".join(wrong) or "every start was clean")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
