"""Tasks of a configuration through the running daemon on a GPU, held against FP32 on the CPU in the very same frames.

    edged --config configs/dashcam engine build
    python bench/against_cpu.py configs/dashcam STORE [--task vehicle] [--precision fp32] [--decoder nvdec]

Every frame of the cameras' files is read once, by ONNX Runtime's run and by TensorRT's. `--reference FILE` keeps what
the CPU found for the next time. Measures are those of `edged engine build` (docs/engines.md).
"""

import argparse
import pickle
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from edged.child import DaemonProcess
from edged.engines.build.agree import SCORE_SHARE, agreement
from edged.results import Box, Found, Lane, Mask

TOPIC = "edged/1/det/"


def configuration(source, folder, tasks, engine, decoder):
    """Write a copy of the configuration with every frame read once, for one of its tasks, and weak findings too."""
    shutil.copytree(source, folder, symlinks=True)
    cameras = yaml.safe_load((folder / "cameras.yaml").read_text())["cameras"]
    once = {"loop": False, "pace": "fast"} | ({"backend": decoder} if decoder else {})
    cameras = {name: camera | once for name, camera in cameras.items()}
    (folder / "cameras.yaml").write_text(yaml.safe_dump({"cameras": cameras}))
    thresholds = {}
    for path in (folder / "tasks").iterdir():
        task = yaml.safe_load(path.read_text())
        if path.stem not in tasks:
            path.unlink()
            continue
        thresholds[path.stem] = task["model"].get("score_min", 0.4)
        task["model"]["score_min"] = thresholds[path.stem] * SCORE_SHARE
        task |= {"rate_hz": 1000, "active": "on_subscribe", "required": False}
        task["engine"] = {**task.get("engine", {}), **engine}
        path.write_text(yaml.safe_dump(task))
    return folder, thresholds


def run(source, tasks, engine, store, decoder=None, timeout_s=500):
    """Return (results by task, camera and frame; thresholds; seconds) of one run over all frames."""
    with tempfile.TemporaryDirectory(prefix="edged-against-") as parent:
        folder, thresholds = configuration(source, Path(parent) / "configuration", tasks, engine, decoder)
        if store is not None:
            (folder / "edged.yaml").write_text(yaml.safe_dump({"engines": {"store": str(store.resolve())}}))
        found, begin_s, ended = {}, time.monotonic(), False
        with DaemonProcess(folder, subprocess.DEVNULL) as daemon, daemon.subscriber(TOPIC, queue=0) as subscriber:
            for task in tasks:
                subscriber.socket.subscribe(f"{TOPIC}{task}/")  # a task starts when somebody asks for it by name
            daemon.wait_until_answering(60)
            while time.monotonic() - begin_s < timeout_s:
                result = subscriber.receive(0.5)
                if result is not None:
                    found[result.task, result.camera, result.frame_id] = result
                elif ended:
                    return found, thresholds, time.monotonic() - begin_s
                else:
                    with daemon.client() as control:
                        cameras = control.request("camera.list")["cameras"]
                    ended = all(one["state"] == "ended" for one in cameras)
            with daemon.client() as control:
                raise SystemExit(f"not done in {timeout_s:g} s, {len(found)} results: {control.request('task.list')}")


def found_in(result):
    boxes = tuple(Box(one.label, one.class_id, one.score, *one.box) for one in result.detections)
    lanes = None if result.lanes is None else tuple(Lane(one.kind, one.score, one.points) for one in result.lanes)
    masks = tuple(
        Mask(one["kind"], one["width"], one["height"], tuple(one["box"]), one["bits"])
        for one in result.message.get("masks", ())
    )
    return Found(boxes, lanes, masks)


def furthest(pairs, score_min):
    """Return (boxes, those without a partner, most pixels, most score) of the boxes above the threshold."""
    count = alone = 0
    pixels = score = 0.0
    for truth, other in pairs:
        free = list(other.boxes)
        for box in truth.boxes:
            if box.score < score_min:
                continue
            count += 1
            same = [one for one in free if one.class_id == box.class_id]
            near = min(same, key=lambda one: _pixels(one, box), default=None)
            if near is None or _pixels(near, box) > 0.1 * max(box.x2 - box.x1, box.y2 - box.y1):
                alone += 1
                continue
            free.remove(near)
            pixels, score = max(pixels, _pixels(near, box)), max(score, abs(near.score - box.score))
    return count, alone, pixels, score


def _pixels(one, two):
    return max(abs(getattr(one, edge) - getattr(two, edge)) for edge in ("x1", "y1", "x2", "y2"))


def report(task, reference, found, score_min):
    keys = sorted(key for key in reference if key[0] == task)
    missing = [key for key in keys if key not in found]
    if missing or not keys:
        raise SystemExit(f"{task}: {len(missing)} of {len(keys)} frames have no result, {missing[:3]}")
    pairs = [(found_in(reference[key]), found_in(found[key])) for key in keys]
    size = (reference[keys[0]].width, reference[keys[0]].height)
    agree = agreement([a for a, _ in pairs], [b for _, b in pairs], score_min, size)
    engines = [found[key].message["engine"] for key in keys]
    uses = {f"{one['backend']} {one['device']} {one['precision']}" for one in engines}
    measures = {"AP50": agree.ap50, "F1": agree.f1, "lane F1": agree.lane_f1, "mask F1": agree.mask_f1}
    measures["equal cells"] = agree.mask_equal
    figures = [f"{name} {value:.4f}" for name, value in measures.items() if value is not None]
    line = f"{task}: {', '.join(sorted(uses))}; {len(keys)} frames, {agree.truths} findings; {', '.join(figures)}"
    count, alone, pixels, score = furthest(pairs, score_min)
    if count:
        line += f"; boxes within {pixels:.2f} px and {score:.4f}, {alone} of {count} without a partner"
    ms = np.percentile([found[key].latency_ms["infer"] for key in keys], (50, 99))
    print(f"{line}; infer p50 {ms[0]:.2f} ms, p99 {ms[1]:.2f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--task", action="append", dest="tasks")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--decoder", help="of the GPU's run: nvdec, pyav (default: what fits)")
    parser.add_argument("--reference", type=Path, help="what the CPU found: read where it is there, else written")
    args = parser.parse_args()
    tasks = args.tasks or [path.stem for path in sorted((args.config / "tasks").iterdir())]
    if args.reference is not None and args.reference.is_file():
        reference, thresholds = pickle.loads(args.reference.read_bytes())
    else:
        on_cpu = {"backend": ["onnxruntime"], "precision": "fp32"}
        reference, thresholds, seconds = run(args.config, tasks, on_cpu, None)
        print(f"CPU: {len(reference)} results in {seconds:.1f} s", flush=True)
        if args.reference is not None:
            plain = {key: replace(one, message=dict(one.message)) for key, one in reference.items()}
            args.reference.write_bytes(pickle.dumps((plain, thresholds)))
    engine = {"backend": ["tensorrt"], "precision": args.precision}
    found, _, seconds = run(args.config, tasks, engine, args.store, args.decoder)
    print(f"GPU: {len(found)} results in {seconds:.1f} s")
    for task in tasks:
        report(task, reference, found, thresholds[task])


if __name__ == "__main__":
    main()
