"""The planner's own time: one plan for many cameras and tasks, on one core.

    python bench/plan.py [--repeats 20]

`dense`: every task names every camera. `mixed`: each task names a random half of them. `sparse`: four each.
`full` fits into the machine; `over` wants twice as much as there is, at four priorities; `ladder` likewise, with a
priority of its own for each task. Each camera's decoding cost and rate differ.
Prints a table: the best, the median and the worst of the repeats, in milliseconds of CPU time.
"""

import argparse
import gc
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from edged.plan import CameraState, Mode
from edged.scheduler.planner import Demand, EngineLoad, Machine, Supply, make_plan
from edged.work import Cost

SIZES = ((64, 32), (256, 64))
SHAPES = ("dense", "mixed", "sparse")
LOADS = ("full", "over", "ladder")


def world(cameras, tasks, shape, load):
    rng = random.Random(1)
    names = [f"camera_{number}" for number in range(cameras)]
    named = {"dense": cameras, "mixed": cameras // 2, "sparse": 4}[shape]
    demands = [
        Demand(
            f"task_{number}",
            tuple(names) if shape == "dense" else tuple(rng.sample(names, named)),
            rate_hz=rng.choice((5.0, 10.0, 15.0)),
            active=True,
            why="configured",
            rate_min_hz=rng.choice((0.0, 1.0)),
            priority=number if load == "ladder" else number % 4,
            deadline_ms=100.0,
            engine=f"engine_{number // 2}",
        )
        for number in range(tasks)
    ]
    supplies = [
        Supply(name, CameraState.RUNNING, "", Mode.WARM, 5.0, rate_hz=rng.choice((10.0, 25.0, 30.0))) for name in names
    ]
    engines = {f"engine_{n}": EngineLoad(("gpu0", "cpu")[n % 2], Cost(0.001, 0.002), 4) for n in range(tasks)}
    decode_s = {name: rng.uniform(0.001, 0.003) for name in names}
    unlimited = make_plan(demands, supplies, Machine(engines, decode_s, {"cpu": 1e9, "gpu0": 1e9}))
    part = 2.0 if load == "full" else 0.5
    capacity = {device: share.wanted * part for device, share in unlimited.devices.items()}
    return demands, supplies, Machine(engines, decode_s, capacity, {"cpu": 2, "gpu0": 2})


def times_ms(world, repeats):
    previous = make_plan(*world)
    taken = []
    for _ in range(repeats):
        start_s = time.thread_time()
        make_plan(*world, previous, 1.0)
        taken.append((time.thread_time() - start_s) * 1000)
    return taken


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=20)
    repeats = options.parse_args().repeats
    gc.freeze()
    print(f"{'cameras':>7} {'tasks':>5} {'named':>7} {'load':>7} {'best ms':>8} {'median':>7} {'worst':>6}")
    for cameras, tasks in SIZES:
        for shape in SHAPES:
            for load in LOADS:
                taken = times_ms(world(cameras, tasks, shape, load), repeats)
                median = statistics.median(taken)
                print(f"{cameras:7} {tasks:5} {shape:>7} {load:>7} {min(taken):8.2f} {median:7.2f} {max(taken):6.2f}")


if __name__ == "__main__":
    main()
