"""What only time shows: memory, stops at any moment, and a stopped subscriber beside one that goes on.

python bench/soak.py memory [--seconds 660]      the demo; RSS each ten seconds, growth after the first minute
python bench/soak.py stops [--count 50]          SIGTERM at random moments of the demo's life
python bench/soak.py subscriber [--seconds 60]   kill -STOP of one subscriber, another one's losses and latency
python bench/soak.py start [--count 10]          from starting the process to the first result
"""

import argparse
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from edged.child import DaemonProcess
from edged.demo.bundle import demo_config


def memory(args):
    with DaemonProcess(demo_config(), subprocess.DEVNULL) as daemon, daemon.subscriber() as subscriber:
        daemon.wait_until_answering()
        begin_s, samples = time.monotonic(), []
        while (at_s := time.monotonic() - begin_s) < args.seconds:
            until_s = time.monotonic() + 10
            while (left_s := until_s - time.monotonic()) > 0:
                subscriber.receive(left_s)
            threads = len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir()))
            files = len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
            samples.append((at_s + 10, daemon.rss_mb(), threads, files))
            print("{:5.0f} s {:7.1f} MB {} threads {} descriptors".format(*samples[-1]), flush=True)
    settled = [mb for at_s, mb, *_ in samples if at_s >= 60]
    highest = max(mb for _, mb, *_ in samples)
    print(f"highest {highest:.1f} MB; growth after the first minute {settled[-1] - settled[0]:+.1f} MB")


def stops(args):
    rng, slowest_s, codes = random.Random(args.seed), 0.0, []
    for number in range(args.count):
        daemon = DaemonProcess(demo_config(), subprocess.DEVNULL)
        time.sleep(rng.uniform(0.15, 2.5))
        begin_s = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        code = daemon.process.wait(10)
        slowest_s = max(slowest_s, time.monotonic() - begin_s)
        left = sorted(path.name for path in daemon.rundir.iterdir()) if daemon.rundir.exists() else []
        codes.append(code)
        if code or left:
            print(f"stop {number}: exit code {code}, left behind {left}")
        daemon.stop()
    print(f"{args.count} stops, {sum(code == 0 for code in codes)} with exit code 0, slowest {slowest_s:.2f} s")


def subscriber(args):
    with DaemonProcess(demo_config(), subprocess.DEVNULL) as daemon:
        daemon.wait_until_answering()
        command = [sys.executable, "-m", "edged", "sub", "--connect", daemon.publish]
        other = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with daemon.subscriber(queue=0) as mine:
            mine.receive(10)
            before = listen(mine, args.seconds / 2)
            other.send_signal(signal.SIGSTOP)
            after = listen(mine, args.seconds)
            other.kill()
            other.wait()
            lost = sum(mine.gaps.values())
    for name, waits in (("both run", before), ("one stopped", after)):
        waits.sort()
        print(f"{name}: {len(waits)} results, sent to received p50 {statistics.median(waits):.3f} ms, ", end="")
        print(f"p99 {waits[int(len(waits) * 0.99)]:.3f} ms")
    print(f"lost by the one that went on: {lost}")


def listen(mine, seconds):
    waits, until_s = [], time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        result = mine.receive(left_s)
        if result is not None:
            waits.append((time.monotonic_ns() - result.message["t"]["publish_mono_ns"]) / 1e6)
    return waits


def start(args):
    took_s = []
    for _ in range(args.count):
        begin_s = time.monotonic()
        with DaemonProcess(demo_config(), subprocess.DEVNULL) as daemon, daemon.subscriber() as mine:
            mine.receive(20)
            took_s.append(time.monotonic() - begin_s)
    took_s.sort()
    print(
        f"start to first result: median {statistics.median(took_s):.2f} s, slowest {took_s[-1]:.2f} s of {args.count}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "stops", "subscriber", "start"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.seconds = args.seconds or {"memory": 660, "subscriber": 60}.get(args.what, 0)
    args.count = args.count or {"stops": 50, "start": 10}.get(args.what, 0)
    {"memory": memory, "stops": stops, "subscriber": subscriber, "start": start}[args.what](args)


if __name__ == "__main__":
    main()
