"""One daemon on two GPUs: cameras stay with the GPU whose engines read them, and both give the same results.

    python bench/two_gpus.py VIDEO FASTESTDET_ONNX STORE [--cameras 4] [--seconds 10]

Two tasks with the same network, one on each GPU, each with its own cameras of one and the same video; the engine of
STORE fits both where they are of one model. First every frame once, compared camera by camera with FP32 on the CPU;
then in real time, while NVML is asked what each GPU's decoder does. Last a camera that both GPUs read, which the CPU
decodes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from against_cpu import found_in, furthest

from edged.bench.load import write_configuration
from edged.child import DaemonProcess
from edged.engines.build.agree import agreement

SIDES = ("left", "right")
SCORE_MIN, AP50_MIN = 0.5, 0.95
LISTED_MIN = 0.45  # so that a box just below it on one side has its partner
SIZE = (1, 1)  # matters for lanes alone


def configuration(folder, args, pace, shared=False, cpu=False):
    """Write two tasks on GPU 0 and 1 and their cameras; `shared`: one camera for both; `cpu`: one task on the CPU."""
    video = {"source": f"file:{Path(args.video).resolve()}", "loop": pace != "fast", "pace": pace}
    names = {side: ["both"] if shared else [f"{side}{n}" for n in range(args.cameras)] for side in SIDES}
    model = {"onnx": str(Path(args.model).resolve()), "parser": "fastestdet", "score_min": LISTED_MIN}
    tasks = {}
    for number, side in enumerate(SIDES[:1] if cpu else SIDES):
        engine = {"backend": ["onnxruntime"]} if cpu else {"backend": ["tensorrt"], "device": f"gpu{number}"}
        tasks[side] = {
            "cameras": names[side],
            "rate_hz": 1000,
            "active": "on_subscribe",
            "model": model,
            "engine": engine,
        }
    cameras = {name: video for side in tasks for name in names[side]}
    write_configuration(folder, cameras, tasks, {"engines": {"store": str(Path(args.store).resolve())}})


def run(args, pace, seconds, **how):
    """Return (results by task, camera, frame; the decoder of each camera; what NVML saw; seconds)."""
    with tempfile.TemporaryDirectory(prefix="edged-two-") as parent:
        configuration(Path(parent), args, pace, **how)
        found, backends, seen, begin_s = {}, {}, [], time.monotonic()
        with DaemonProcess(Path(parent), subprocess.DEVNULL) as daemon, daemon.subscriber("edged/1/det/", 0) as results:
            for side in SIDES:
                results.socket.subscribe(f"edged/1/det/{side}/")
            daemon.wait_until_answering(60)
            ended, looked_s = False, time.monotonic()
            while time.monotonic() - begin_s < seconds and not ended:
                result = results.receive(0.2)
                if result is not None:
                    found[result.task, result.camera, result.frame_id] = result
                if time.monotonic() - looked_s > 0.5:
                    looked_s = time.monotonic()
                    seen.append(decoders(daemon.process.pid))
                    cameras = state(daemon)
                    backends |= {one["id"]: one["backend"] for one in cameras if one["backend"]}
                    ended = result is None and all(one["state"] == "ended" for one in cameras)
            took_s = time.monotonic() - begin_s
        return found, backends, seen, took_s


def state(daemon):
    with daemon.client() as control:
        return control.request("camera.list")["cameras"]


def decoders(pid):
    """Return of each GPU its decoder's load in percent, and the MB that the daemon has there."""
    import pynvml

    rows = []
    for number in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        mine = [one.usedGpuMemory for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if one.pid == pid]
        rows.append((pynvml.nvmlDeviceGetDecoderUtilization(handle)[0], round(sum(one or 0 for one in mine) / 1e6)))
    return rows


def held_against(reference, found, expected, exact):
    """Print each camera's boxes beside the CPU's; say whether they are good: `exact` within 1 px and 0.02, else AP50.

    All of the `expected` (task, camera) must have results, and boxes of either side have a partner on the other.

    What NVDEC decodes is converted by the kernel, whose rounding is not the CPU's: docs/engines.md.
    """
    frames = {frame: found_in(one) for (_, _, frame), one in reference.items()}
    there = {key[:2] for key in found}
    good = there == set(expected)
    for task, camera in sorted(there):
        mine = {frame: one for (one_task, name, frame), one in found.items() if (one_task, name) == (task, camera)}
        pairs = [(frames[number], found_in(mine[number])) for number in frames if number in mine]
        count, alone, pixels, score = furthest(pairs, SCORE_MIN)
        alone += furthest([(theirs, ours) for ours, theirs in pairs], SCORE_MIN)[1]
        ap50 = agreement([one for one, _ in pairs], [one for _, one in pairs], SCORE_MIN, SIZE).ap50
        engine = next(iter(mine.values())).message["engine"]
        close = (alone == 0 and pixels < 1 and score < 0.02) if exact else ap50 > AP50_MIN
        good &= len(mine) == len(frames) and close
        print(
            f"{task} {camera}: {engine['backend']} {engine['device']}, {len(mine)} of {len(frames)} frames, AP50 {ap50}"
        )
        print(f"    {count} boxes within {pixels:.2f} px and {score:.4f}, {alone} without a partner")
    return good


def equal_cameras(found, cameras):
    """Say whether all cameras, on both GPUs, have the very same boxes in the same frames."""
    by_frame, seen = {}, Counter(frame for _, _, frame in found)
    for (_, _, frame), result in found.items():
        boxes = sorted(
            (one.class_id, round(one.score, 3), *(round(edge) for edge in one.box)) for one in result.detections
        )
        by_frame.setdefault(frame, set()).add(tuple(boxes))
    return sum(len(one) == 1 and seen[frame] == cameras for frame, one in by_frame.items()), len(by_frame)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("model")
    parser.add_argument("store")
    parser.add_argument("--cameras", type=int, default=4, help="of each GPU")
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    import pynvml

    pynvml.nvmlInit()
    print([pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(n)) for n in range(pynvml.nvmlDeviceGetCount())])
    args.cameras, wanted = 1, args.cameras
    reference, *_ = run(args, "fast", 120, cpu=True)
    args.cameras = wanted
    found, decoded, _, took_s = run(args, "fast", 120)
    print(f"every frame once: {len(found)} results in {took_s:.1f} s; decoded by", decoded)
    every = [(side, f"{side}{n}") for side in SIDES for n in range(args.cameras)]
    good = held_against(reference, found, every, exact=False)
    same, frames = equal_cameras(found, len(every))
    good &= same >= 0.99 * frames
    print(f"frames in which all cameras of both GPUs have the same boxes: {same} of {frames}")
    found, decoded, seen, _ = run(args, "realtime", args.seconds)
    times = [one.mono_ns for one in found.values()]
    print(f"in real time: {1e9 * len(found) / (max(times) - min(times)):.0f} results/s; decoded by", decoded)
    print("each half second, of each GPU (decoder's load in %, the daemon's MB):", json.dumps(seen))
    good &= set(decoded.values()) == {"nvdec"} and all(any(row[n][0] for row in seen) for n in range(2))
    found, decoded, _, _ = run(args, "fast", 60, shared=True)
    print("one camera for both GPUs, decoded by", decoded)
    good &= held_against(reference, found, [(side, "both") for side in SIDES], exact=True) and set(
        decoded.values()
    ) == {"pyav"}
    print("as it must be" if good else "NOT as it must be")
    sys.exit(not good)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
