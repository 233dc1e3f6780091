"""What a stream of vehicle signals costs: three signals, 100 times a second, read by twenty rules.

python bench/signals.py [--seconds 20] [--rules 20]
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from edged.bench.load import write_configuration
from edged.child import DaemonProcess
from edged.demo.bundle import demo_config

RATE_HZ = 100


def directory(folder, rules):
    """Write a configuration of tasks that no signal of this bench switches on, so that only rules cost anything."""
    demo, root = demo_config(), Path(folder)
    source = {"source": f"file:{demo / 'clips/front_wide.mp4'}", "loop": True}
    net = {"onnx": str(demo / "models/lane_lines.onnx"), "parser": "lane_mask", "labels": ["line"]}
    texts = ("speed_mps > {n} and gear == 'drive'", "steering_deg * 2 > {n} and speed_mps < 20", "speed_mps / 2 > {n}")
    tasks = {}
    for number in range(rules):
        when = texts[number % len(texts)].format(n=100 + number)
        tasks[f"rule{number}"] = {"cameras": ["front"], "rate_hz": 1, "when": when, "model": net}
    write_configuration(root, {"front": source}, tasks, {"scheduler": {"unneeded": "cold"}})
    return root


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rules", type=int, default=20)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        DaemonProcess(directory(folder, args.rules), subprocess.DEVNULL) as daemon,
    ):
        daemon.wait_until_answering()
        time.sleep(2)
        spent = []
        for streaming in (False, True):
            cpu_s, begin_s, sent = daemon.cpu_s(), time.monotonic(), 0
            with daemon.client() as control:
                while (at_s := time.monotonic() - begin_s) < args.seconds:
                    if streaming:
                        gear = "drive" if int(at_s) % 2 else "reverse"
                        control.send("signal.set", signals={"speed_mps": at_s, "steering_deg": 1.5, "gear": gear})
                        sent += 1
                    time.sleep(max(0.0, sent / RATE_HZ - at_s) if streaming else 0.2)
            spent.append((daemon.cpu_s() - cpu_s) / (time.monotonic() - begin_s))
        quiet, streamed = (100 * cores for cores in spent)
        print(f"{args.rules} rules, {sent / args.seconds:.1f} messages of three signals a second")
        print(f"at rest {quiet:.2f} % of a core, with the stream {streamed:.2f} %: {streamed - quiet:.2f} % for it")


if __name__ == "__main__":
    main()
