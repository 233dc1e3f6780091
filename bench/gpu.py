"""The GPU path beside its ceilings, in one run.

    python bench/gpu.py prepare VIDEO OUT.mp4             a 1080p H.264 file at 30 Hz from any video, 10 s
    python bench/gpu.py kernel                            microseconds of the conversion kernel
    python bench/gpu.py decode OUT.mp4 [--cameras 16]     decoding as fast as possible, through edged and by hand
    python bench/gpu.py entries                           a large output: brought and searched, or picked on the device
    python bench/gpu.py daemon OUT.mp4 MODEL STORE [--cameras 64 --processes 4 --rate 30 --seconds 60]
    python bench/gpu.py churn OUT.mp4 MODEL STORE         device memory while a task is switched on and off 1,000 times

`daemon` needs FastestDet's engine in STORE (`edged engine build`); the loop by hand runs the same engine file.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path

import numpy as np

from edged.bench.load import Load, configuration
from edged.child import DaemonProcess

STAGES = ("decode", "wait", "convert", "infer", "parse", "send")
BY_HAND = Path(__file__).with_name("gpu_by_hand.py")


def prepare(args):
    """Encode ten seconds of 1080p at 30 Hz, a key frame each second, nothing reordered."""
    import av

    with av.open(args.video) as source, av.open(args.out, "w") as target:
        stream = target.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1920, 1080, "yuv420p", 6_000_000
        stream.options = {"preset": "veryfast", "g": "30", "bf": "0"}
        count = 0
        while count < 300:
            source.seek(0)
            for frame in source.decode(video=0):
                scaled = frame.reformat(1920, 1080, "yuv420p")
                scaled.pts, scaled.time_base = count, Fraction(1, 30)
                target.mux(stream.encode(scaled))
                count += 1
                if count == 300:
                    break
        target.mux(stream.encode(None))


def captured(device, stream, converters, batch, out):
    def enqueue():
        for converter in converters:
            converter.launch(batch, out, stream)
        return True

    return device.capture(stream, enqueue)


def pictures_in(device, stream, count, width=1920, height=1080):
    """Return the memory of so many pictures of noise, and frames that lie in it."""
    from edged.frame import Capture, Color, DevicePlane, Frame, Picture, PixelFormat

    rng, host = np.random.default_rng(1), device.pinned((height * 3 // 2, width), np.uint8)
    found = []
    for _ in range(count):
        host[:] = rng.integers(0, 256, host.shape, np.uint8)
        memory = device.allocate(host.nbytes)
        device.copy_in(memory, host, stream)
        stream.synchronize()
        planes = (
            DevicePlane(memory.pointer, width, width, height),
            DevicePlane(memory.pointer + width * height, width, width // 2, height // 2),
        )
        picture = Picture(width, height, PixelFormat.NV12, Color("bt709"), planes, device=0)
        found.append((memory, Frame("c", 0, picture, Capture(0, 0, "arrival"), 0, 0)))
    return found


def conversion_us(device, stream, pictures, dtype, out, batch=16, rounds=50):
    """Return the microseconds of one batch: graphs that go through all the pictures, one batch after the other."""
    from cuda.bindings import driver

    from edged.engines.preprocess_device import DevicePreprocessor
    from edged.tensor import InputFormat

    converters = []
    for first in range(0, len(pictures), batch):
        converters.append(DevicePreprocessor(device, (352, 352), InputFormat("stretch", "bgr"), dtype, batch))
        for index in range(batch):
            converters[-1].describe(index, pictures[first + index][1])
        converters[-1].enqueue(batch, out, stream)
    stream.synchronize()
    graph = captured(device, stream, converters, batch, out)
    begin, end = (driver.cuEventCreate(0)[1] for _ in range(2))
    graph.launch(stream)
    driver.cuEventRecord(begin, stream.handle)
    for _ in range(rounds):
        graph.launch(stream)
    driver.cuEventRecord(end, stream.handle)
    stream.synchronize()
    _, milliseconds = driver.cuEventElapsedTime(begin, end)
    graph.free()
    for converter in converters:
        converter.free()
    return 1000 * milliseconds / rounds / len(converters)


def kernel(args):
    """Time batches of 16 pictures, rotated over more memory than the cache holds."""
    from edged.device.gpu import open_device

    with closing(open_device(0)) as device, device.active():
        stream = device.stream()
        pictures = pictures_in(device, stream, 128)
        print(f"{device.name}: 16 pictures of 1920x1080 NV12, rotated over "
              f"{sum(memory.nbytes for memory, _ in pictures) / 1e6:.0f} MB")  # fmt: skip
        out = device.allocate(16 * 3 * 352 * 352 * 4)
        for dtype in ("float16", "float32"):
            times = [conversion_us(device, stream, pictures, dtype, out) for _ in range(args.rounds)]
            print(f"{dtype}: {np.median(times):.1f} us a batch ({min(times):.1f} to {max(times):.1f})")
        for memory in (out, *(memory for memory, _ in pictures)):
            memory.free()
        stream.free()


def entries(args):
    """Time it until the candidates of YOLOv8's output are there: 84 x 8400, some 40 of them above the threshold."""
    from edged.device.gpu import open_device
    from edged.engines.tensorrt.entries import Entries
    from edged.tasks.entries import entries as looked_at
    from edged.tasks.entries import picking_of

    picking = picking_of("o", 4, None, 0.5)
    print("| batch | copied and searched, us | picked on the device, us |\n| --- | --- | --- |")
    with closing(open_device(0)) as device, device.active():
        stream, rng = device.stream(), np.random.default_rng(1)
        for batch in (1, 8):
            host = device.pinned((batch, 84, 8400), np.float32)
            host[:] = rng.uniform(0, 0.3, host.shape)
            host[:, 10, rng.integers(0, 8400, 40)] = 0.8
            memory = device.allocate(host.nbytes)
            device.copy_in(memory, host, stream)
            picked = Entries(device, picking, host.shape, "float32")

            def whole(host=host, memory=memory, batch=batch):
                device.copy_out(host, memory, stream)
                stream.synchronize()
                return [looked_at({"o": host}, picking, index)[0].size for index in range(batch)]

            def few(picked=picked, memory=memory, batch=batch):
                picked.enqueue(batch, memory, stream)
                stream.synchronize()
                return [picked.of(index)[0].size for index in range(batch)]

            assert whole() == few()
            took = []
            for work in (whole, few):
                times = []
                for _ in range(args.rounds * 40):
                    begin_s = time.perf_counter()
                    work()
                    times.append(time.perf_counter() - begin_s)
                took.append(1e6 * float(np.median(times)))
            print(f"| {batch} | {took[0]:.0f} | {took[1]:.0f} |")
            picked.free()
            memory.free()
        stream.free()


def through_source(args):
    """Return frames a second of edged's own source in one thread for each camera."""
    from edged.camera.base import Opening
    from edged.camera.nvdec import NvdecSource
    from edged.errors import CameraEnded

    counts, stop = [0] * args.cameras, threading.Event()

    def work(number):
        source = NvdecSource(Opening(f"c{number}", "file", args.video, str))
        while not stop.is_set():
            try:
                pictures = source.decode(source.grab())
            except CameraEnded:
                pictures = source.drain()
                source.rewind()
            for decoded in pictures:
                counts[number] += 1
                decoded.on_release()
        source.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(args.cameras)]
    for thread in threads:
        thread.start()
    time.sleep(5)
    before, begin_s, cpu_s = sum(counts), time.monotonic(), time.process_time()
    time.sleep(args.seconds)
    rate = (sum(counts) - before) / (time.monotonic() - begin_s)
    cores = (time.process_time() - cpu_s) / (time.monotonic() - begin_s)
    stop.set()
    for thread in threads:
        thread.join()
    return {"decoded_hz": round(rate, 1), "cores": round(cores, 2)}


def by_hand(part, *arguments):
    command = [sys.executable, str(BY_HAND), part, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def decode(args):
    print("| round | by hand, Hz | edged, Hz | edged / by hand | by hand, cores | edged, cores |\n|" + " --- |" * 6)
    for number in range(args.rounds):
        hand = by_hand("decode", args.video, "--cameras", args.cameras, "--seconds", args.seconds)
        own = through_source(args)
        share = own["decoded_hz"] / hand["decoded_hz"]
        print(f"| {number + 1} | {hand['decoded_hz']} | {own['decoded_hz']} | {share:.3f} | {hand['cores']} "
              f"| {own['cores']} |", flush=True)  # fmt: skip


def newest_plan(store, precision):
    """Return the engine file that was built last, for the loop by hand."""
    return max(store.glob(f"*.tensorrt.{precision}.*.plan"), key=lambda path: path.stat().st_mtime)


class Watched:
    """One daemon under load, and what its results say; `watch` runs in a thread of its own."""

    def __init__(self, args, load, cameras, number, undo):
        self.args = args
        log = subprocess.DEVNULL
        if args.log:
            log = undo.enter_context(Path(f"{args.log}.{number}").open("wb"))  # noqa: SIM115 - the stack closes it
        directory = undo.enter_context(
            configuration(
                load, [load.video] * cameras, "realtime", args.rate, processes=args.processes, deadline_ms=args.deadline
            )  # fmt: skip
        )
        self.begin_s = time.monotonic()
        self.process = undo.enter_context(DaemonProcess(directory, log, {"OPENBLAS_NUM_THREADS": "1"}))
        self.subscriber = undo.enter_context(self.process.subscriber(queue=0))
        self.ages, self.stages = [], {name: [] for name in STAGES}

    def watch(self):
        first = self.subscriber.receive(120)
        self.first_s = time.monotonic() - self.begin_s
        self.engine = first.message["engine"] if first else None
        until_s = time.monotonic() + self.args.warm_up
        while time.monotonic() < until_s:
            self.subscriber.receive(0.1)
        self.before, self.cpu_s, begin_s = self.process.status(), self.process.cpu_s(), time.monotonic()
        while time.monotonic() - begin_s < self.args.seconds:
            result = self.subscriber.receive(1)
            if result is None:
                continue
            spent, t = result.latency_ms, result.message["t"]
            rest = spent["wait"] + spent["convert"] + spent["infer"] + spent["parse"]
            decoded_ns = t["mono_ns"] + 1e6 * (spent["total"] - rest)
            self.ages.append((t["publish_mono_ns"] - decoded_ns) / 1e6)
            for name, values in self.stages.items():
                values.append(spent.get(name, self.ages[-1] - rest))
        self.took_s, self.cpu_s = time.monotonic() - begin_s, self.process.cpu_s() - self.cpu_s
        self.after = self.process.status()

    def frames(self):
        counts = {}
        for sign, status in ((-1, self.before), (1, self.after)):
            for task in status["tasks"]:
                for camera in task["frames"].values():
                    for cause, count in camera.items():
                        counts[cause] = counts.get(cause, 0) + sign * count
        return counts


def daemon(args):
    model = {"onnx": str(Path(args.model).resolve()), "parser": "fastestdet", "score_min": 0.5}
    engine = {"backend": ["tensorrt"], "precision": args.precision, "batch": args.batch}
    load = Load(Path(args.video).resolve(), model, engine, Path(args.store).resolve())
    if not args.only_edged:
        plan = args.plan or newest_plan(load.store, args.precision)
        hand = by_hand("run", load.video, plan, "--cameras", args.cameras, "--rate", args.rate, "--seconds",
                       args.seconds)  # fmt: skip
        print("by hand:", json.dumps(hand), flush=True)
    with ExitStack() as undo:
        all_of = [Watched(args, load, args.cameras // args.daemons, n, undo) for n in range(args.daemons)]
        threads = [threading.Thread(target=one.watch) for one in all_of]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ages = sorted(age for one in all_of for age in one.ages)
    print("| ms | " + " | ".join(STAGES) + " |\n|" + " --- |" * (1 + len(STAGES)))
    for share in (0.5, 0.99):
        cells = (np.quantile([value for one in all_of for value in one.stages[name]], share) for name in STAGES)
        print(f"| p{100 * share:g} | " + " | ".join(f"{float(cell):.2f}" for cell in cells) + " |")
    frames = {}
    for one in all_of:
        for cause, count in one.frames().items():
            frames[cause] = frames.get(cause, 0) + count
    row = {
        "cameras": args.cameras, "daemons": args.daemons, "processes": args.processes,
        "results_hz": round(sum(len(one.ages) / one.took_s for one in all_of), 1),
        "p50_ms": round(ages[len(ages) // 2], 2), "p99_ms": round(ages[int(len(ages) * 0.99)], 2),
        "cores": round(sum(one.cpu_s / one.took_s for one in all_of), 2), "frames": frames,
        "first_s": round(max(one.first_s for one in all_of), 2), "engine": all_of[0].engine,
        "decoder": all_of[0].after["cameras"][0]["backend"],
    }  # fmt: skip
    print("edged:", json.dumps(row), flush=True)


def held_mb(pid):
    """Return the MB of GPU 0 that a process holds, as NVML says; None where it does not."""
    import pynvml

    pynvml.nvmlInit()
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))
    return next((round(one.usedGpuMemory / 1e6) for one in processes if one.pid == pid and one.usedGpuMemory), None)


def churn(args):
    """Switch a task on, wait for its first result, switch it off, over and over, and look at the memory it holds."""
    model = {"onnx": str(Path(args.model).resolve()), "parser": "fastestdet", "score_min": 0.5}
    load = Load(Path(args.video).resolve(), model, {"backend": ["tensorrt"]}, Path(args.store).resolve())
    rows, waits, begin_s = [], [], time.monotonic()
    rest = {"unneeded": args.unneeded, "linger_s": 0}
    with (
        configuration(load, [load.video] * args.cameras, "realtime", 30, **rest) as directory,
        DaemonProcess(directory, subprocess.DEVNULL) as process,
        process.subscriber(queue=0) as subscriber,
        process.client() as control,
    ):
        subscriber.receive(60)
        for number in range(args.count):
            control.request("task.deactivate", tasks=["bench"])
            time.sleep(args.pause)
            ordered_ns = time.monotonic_ns()
            control.request("task.activate", tasks=["bench"])
            while (result := subscriber.receive(5)) is not None:
                if result.mono_ns > ordered_ns:
                    waits.append((time.monotonic_ns() - ordered_ns) / 1e6)
                    break
            if number % (args.count // 10) == args.count // 10 - 1:
                held = held_mb(process.process.pid)
                rows.append((held, round(process.rss_mb())))
                print(f"{number + 1}: {held} MB of the GPU, {rows[-1][1]} MB of the host, "
                      f"{time.monotonic() - begin_s:.0f} s", flush=True)  # fmt: skip
    growth = None if rows[0][0] is None else rows[-1][0] - rows[0][0]
    print(f"{args.count} activations and deactivations of {args.cameras} cameras, {args.unneeded} between, "
          f"{len(waits)} with a result, after {np.median(waits):.0f} ms (median)")  # fmt: skip
    print(f"from the first tenth to the last: {growth} MB of the GPU, {rows[-1][1] - rows[0][1]} MB of the host")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("prepare")
    one.add_argument("video")
    one.add_argument("out")
    one = parts.add_parser("kernel")
    one.add_argument("--rounds", type=int, default=5)
    one = parts.add_parser("entries")
    one.add_argument("--rounds", type=int, default=5)
    one = parts.add_parser("decode")
    one.add_argument("video")
    one.add_argument("--cameras", type=int, default=16)
    one.add_argument("--seconds", type=float, default=10)
    one.add_argument("--rounds", type=int, default=2)
    one = parts.add_parser("daemon")
    one.add_argument("video")
    one.add_argument("model")
    one.add_argument("store")
    one.add_argument("--plan", help="the engine file for the loop by hand")
    one.add_argument("--cameras", type=int, default=64)
    one.add_argument("--rate", type=float, default=30)
    one.add_argument("--seconds", type=float, default=60)
    one.add_argument("--warm-up", type=float, default=15)
    one.add_argument("--processes", type=int, default=1, help="of each daemon, for its cameras")
    one.add_argument("--daemons", type=int, default=1, help="share the cameras out among so many")
    one.add_argument("--deadline", type=float, default=200)
    one.add_argument("--batch", type=int, default=1)
    one.add_argument("--precision", default="fp32")
    one.add_argument("--only-edged", action="store_true")
    one.add_argument("--log")
    one = parts.add_parser("churn")
    one.add_argument("video")
    one.add_argument("model")
    one.add_argument("store")
    one.add_argument("--cameras", type=int, default=4)
    one.add_argument("--count", type=int, default=1000)
    one.add_argument("--pause", type=float, default=0.03, help="seconds that the task is off")
    one.add_argument("--unneeded", default="cold", help="what its cameras fall to: cold, parked, warm")
    args = parser.parse_args()
    {
        "prepare": prepare,
        "kernel": kernel,
        "entries": entries,
        "decode": decode,
        "daemon": daemon,
        "churn": churn,
    }[args.part](args)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
