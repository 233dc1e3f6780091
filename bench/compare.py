"""edged beside its ceilings and beside the script people write by hand, in turns, in one run.

    python bench/compare.py VIDEO FASTESTDET_ONNX [--rounds 5] [--seconds 10] [--part throughput|latency]

Each round measures the stages alone, then edged, then the script, so that a machine whose speed drifts is the same for
all three. Prints a row a round, and the medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from edged.bench.load import load_from_files
from edged.bench.running import measure_latency, measure_throughput
from edged.bench.stages import measure_stages

CAMERAS = 4


def by_hand(args, rate):
    command = [sys.executable, str(Path(__file__).with_name("by_hand.py")), args.video, args.model]
    command += ["--cameras", str(CAMERAS), "--seconds", str(args.seconds), "--rate", str(rate)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def throughput_round(load, args):
    stages = measure_stages(load, max(0.5, args.seconds / 6))
    edged = measure_throughput(load, CAMERAS, args.seconds)
    hand = by_hand(args, 0)
    return {
        "ceiling Hz": stages.ceiling_hz,
        "edged Hz": edged.results_hz,
        "script Hz": hand["frames"] / hand["seconds"],
        "edged/ceiling": edged.results_hz / stages.ceiling_hz,
        "edged CPU ms": edged.cpu_ms,
        "script CPU ms": 1000 * hand["cpu_s"] / hand["frames"],
        "own ms": edged.own_ms,
        "cores": edged.cores,
    }


def latency_round(load, args):
    edged = measure_latency(load, CAMERAS, args.rate, args.seconds)
    hand = by_hand(args, args.rate)
    floor = edged.convert_ms + edged.infer_ms
    return {
        "convert+infer ms": floor,
        "edged p50": edged.p50_ms,
        "p50/floor": edged.p50_ms / floor,
        "edged p99": edged.p99_ms,
        "p99/floor": edged.p99_ms / floor,
        "script p50": hand["p50_ms"],
        "script p99": hand["p99_ms"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--part", choices=("throughput", "latency"), action="append")
    args = parser.parse_args()
    load = load_from_files(Path(args.video), Path(args.model), "fastestdet", 0.5)
    for part in args.part or ("throughput", "latency"):
        one_round = {"throughput": throughput_round, "latency": latency_round}[part]
        rounds = []
        for number in range(args.rounds):
            rounds.append(one_round(load, args))
            if number == 0:
                print("round   " + "  ".join(f"{key:>16}" for key in rounds[0]))
            print(f"{number + 1:<8}" + "  ".join(f"{value:16.3f}" for value in rounds[-1].values()), flush=True)
        medians = [statistics.median(one[key] for one in rounds) for key in rounds[0]]
        print("median  " + "  ".join(f"{value:16.3f}" for value in medians) + "\n")


if __name__ == "__main__":
    main()
