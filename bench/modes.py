"""What a camera costs in each mode, and how fast it comes back.

    python bench/modes.py prune                       the six demo cameras as tasks leave one by one
    python bench/modes.py rest VIDEO MODEL            CPU of cameras at rest beside hot ones
    python bench/modes.py wake VIDEO MODEL            from `task activate` to the first result, for each mode

VIDEO is coded again as 960x540, 25 frames a second, H.264, a key frame each second; MODEL is FastestDet.
"""

import argparse
import random
import statistics
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av

from edged.bench.load import load_from_files, write_configuration
from edged.bench.stages import measure_stages
from edged.child import DaemonProcess
from edged.demo.bundle import demo_config

RATE_HZ = 25
MODES = ("warm", "parked", "cold")


def coded(video, target, seconds=20, b_frames=0):
    """Write `video` again with a key frame each second."""
    with av.open(str(target), "w") as out, av.open(str(video)) as source:
        stream = out.add_stream("libx264", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = 960, 540, "yuv420p"
        stream.codec_context.gop_size = RATE_HZ
        stream.codec_context.max_b_frames = b_frames
        stream.options = {"preset": "veryfast", "sc_threshold": "0"}
        for number, frame in enumerate(source.decode(video=0)):
            if number >= seconds * RATE_HZ:
                break
            picture = frame.reformat(960, 540, "yuv420p")
            picture.pts = number
            picture.time_base = Fraction(1, RATE_HZ)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return target


def directory(folder, video, model, cameras, unneeded, **tasks):
    """Write a configuration: `cameras` copies of a file, and tasks that name all of them."""
    root = Path(tempfile.mkdtemp(dir=folder))
    names = [f"c{number}" for number in range(cameras)]
    sources = {name: {"source": f"file:{video}", "loop": True} for name in names}
    net = {"onnx": str(Path(model).resolve()), "parser": "fastestdet", "score_min": 0.5}
    wanted = {name: {"cameras": names, "rate_hz": RATE_HZ, "model": net, **how} for name, how in tasks.items()}
    write_configuration(root, sources, wanted, {"scheduler": {"unneeded": unneeded}})
    return root


def order(daemon, command, *tasks):
    with daemon.client() as control:
        return control.request(f"task.{command}", tasks=list(tasks))


def window(daemon, seconds):
    """Return (status before, status after, CPU seconds, seconds) of a while in which nobody orders anything."""
    before, begin_s = daemon.status(), time.monotonic()
    time.sleep(seconds)
    after, took_s = daemon.status(), time.monotonic() - begin_s
    return before, after, after["cpu_s"]["total"] - before["cpu_s"]["total"], took_s


def prune(args):
    print("| active | hot | at rest | decoded/s | read/s | results/s | CPU, cores |\n|" + " --- |" * 7)
    with DaemonProcess(demo_config(), subprocess.DEVNULL) as daemon:
        daemon.wait_until_answering()
        order(daemon, "deactivate", "vehicle")
        for leaves in (None, "pedestrian", "lane"):
            if leaves:
                order(daemon, "deactivate", leaves)
            time.sleep(1.5)
            before, after, cpu_s, took_s = window(daemon, args.seconds)
            modes = [camera["mode"] for camera in after["cameras"]]
            resting = ", ".join(f"{modes.count(mode)} {mode}" for mode in MODES if mode in modes) or "none"
            counts = [
                (total(after, "cameras", key) - total(before, "cameras", key)) / took_s for key in ("decoded", "read")
            ]
            results = (total(after, "tasks", "served") - total(before, "tasks", "served")) / took_s
            active = [task["task"] for task in after["tasks"] if task["active"]]
            row = (", ".join(active) or "none", modes.count("hot"), resting, *(f"{rate:.1f}" for rate in counts))
            print("| " + " | ".join(map(str, (*row, f"{results:.1f}", f"{cpu_s / took_s:.3f}"))) + " |", flush=True)


def total(state, what, key):
    """Sum a frame count over cameras or tasks."""
    if what == "cameras":
        return sum(camera["frames"][key] for camera in state["cameras"])
    return sum(frames[key] for task in state["tasks"] for frames in task["frames"].values())


def rest(args):
    cameras = 4
    with tempfile.TemporaryDirectory() as folder:
        video = coded(args.video, Path(folder) / "clip.mp4")
        spent = {}
        for mode in ("cold", *MODES[:2]):
            config = directory(folder, video, args.model, cameras, mode, look={"rate_hz": RATE_HZ})
            with DaemonProcess(config, subprocess.DEVNULL) as daemon, daemon.subscriber() as mine:
                daemon.wait_until_answering()
                mine.receive(10)
                if mode == "cold":
                    time.sleep(2)
                    before, after, cpu_s, took_s = window(daemon, args.seconds)
                    decode_s = after["cpu_s"]["decode"] - before["cpu_s"]["decode"]
                    spent["hot, decoding only"], spent["hot, all"] = decode_s / took_s, cpu_s / took_s
                order(daemon, "deactivate", "look")
                time.sleep(2)
                spent[mode] = window(daemon, args.seconds)[2] / took_s
        idle = spent.pop("cold")
        print(f"{cameras} cameras, 960x540, {RATE_HZ} Hz; the daemon with all of them closed: {idle:.4f} cores\n")
        print(
            "| mode | CPU of one camera, % of a core | of decoding | of a hot camera with its task |\n|" + " --- |" * 4
        )
        decode, everything = spent["hot, decoding only"], spent["hot, all"] - idle
        for mode, cores in spent.items():
            own = cores - (0 if mode.startswith("hot, dec") else idle)
            shares = f"{100 * own / decode:.1f} % | {100 * own / everything:.1f} %"
            print(f"| {mode} | {100 * own / cameras:.3f} | {shares} |")


def wake(args):
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        video = coded(args.video, Path(folder) / "clip.mp4")
        stages = measure_stages(load_from_files(video, Path(args.model), "fastestdet", 0.5), 1.0)
        infer_ms, decode_ms = stages.convert + stages.infer + stages.parse, stages.decode
        frame_ms = 1000 / RATE_HZ
        bounds = {
            "warm": max(frame_ms, RATE_HZ * decode_ms) + infer_ms + 10,
            "parked": 1100,
            "cold": 1000,
            "hot": frame_ms + infer_ms + 5,
        }
        print(f"decode {decode_ms:.2f} ms, convert + infer + parse {infer_ms:.2f} ms, frame interval {frame_ms:g} ms\n")
        print("| mode | trials | p50, ms | p99, ms | most, ms | promised, ms |\n|" + " --- |" * 6)
        for mode in ("hot", *MODES):
            config = directory(
                folder, video, args.model, 1, "parked" if mode == "hot" else mode,
                look={"active": False}, other={"active": mode == "hot", "cameras": ["c0"]},
            )  # fmt: skip
            took = sorted(waked(config, mode, args.count, rng))
            row = (statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.99))], took[-1], bounds[mode])
            print(f"| {mode} | {len(took)} | " + " | ".join(f"{ms:.1f}" for ms in row) + " |", flush=True)


def waked(config, mode, count, rng):
    with DaemonProcess(config, subprocess.DEVNULL) as daemon, daemon.subscriber("edged/1/det/look/") as mine:
        daemon.wait_until_answering()
        for _ in range(count):
            time.sleep(rng.uniform(1.2, 2.4))
            while mine.receive(0.05) is not None:
                pass
            camera = daemon.status()["cameras"][0]
            if camera["mode"] != mode:
                raise SystemExit(f"the camera is {camera['mode']}, not {mode}: {camera['reason']}")
            with daemon.client() as control:
                begin_s = time.monotonic()
                control.request("task.activate", tasks=["look"])
                if mine.receive(10) is None:
                    raise SystemExit("no result in 10 s")
                yield 1000 * (time.monotonic() - begin_s)
                control.request("task.deactivate", tasks=["look"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("prune", "rest", "wake"))
    parser.add_argument("video", nargs="?")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--count", type=int, default=50)
    args = parser.parse_args()
    if args.part != "prune" and not args.model:
        parser.error(f"{args.part} needs VIDEO and MODEL")
    {"prune": prune, "rest": rest, "wake": wake}[args.part](args)


if __name__ == "__main__":
    main()
