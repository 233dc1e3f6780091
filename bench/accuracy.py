"""The demo's networks through the running daemon, held against the truth of the very frames the messages name.

    python bench/accuracy.py                          the committed clips, every frame, fp32
    python bench/accuracy.py --precision int8         after: edged --config configs/demo engine calibrate / build
    python bench/accuracy.py --seed 9001 --seconds 10 a scene drawn while it runs, coded by nothing

Prints AP50 of both classes and F1 of the lanes; neither the clips' seed nor those from 9000 were trained on.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edged.camera.scene import CAMERAS, Scene, Truth  # noqa: E402
from edged.camera.scene.source import RATE_HZ  # noqa: E402
from edged.child import DaemonProcess  # noqa: E402
from models.metrics import BoxTally, LaneTally  # noqa: E402

DEMO = ROOT / "configs" / "demo"
FRONT = ("front_wide", "front_narrow", "front_left", "front_right")
PEDESTRIAN, LANE = "edged/1/det/pedestrian/", "edged/1/det/lane/"
LOW_SCORE = 0.02  # for the whole curve of precision over recall


def configuration(folder, sources, precision, store, backend=None):
    """Write the demo's configuration with every frame of its cameras read once, and every class at any score."""
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("clips"))
    cameras = {name: {"source": source, "pace": "fast"} for name, source in sources.items()}
    (folder / "cameras.yaml").write_text(yaml.safe_dump({"cameras": cameras}))
    if store is not None:
        (folder / "edged.yaml").write_text(yaml.safe_dump({"engines": {"store": str(store)}}))
    (folder / "tasks" / "vehicle.yaml").unlink()
    for name in ("pedestrian", "lane"):
        path = folder / "tasks" / f"{name}.yaml"
        task = yaml.safe_load(path.read_text())
        task |= {"cameras": list(sources), "rate_hz": 1000, "active": "on_subscribe", "required": False}
        task["engine"] = {**task["engine"], "precision": precision}
        if backend is not None:
            task["engine"]["backend"] = [backend]
        if name == "pedestrian":
            task["model"] |= {"score_min": LOW_SCORE}
            del task["model"]["keep"]
        path.write_text(yaml.safe_dump(task))
    return folder


def collect(folder, timeout_s):
    """Run the daemon until all its cameras have ended; return its results by (task, camera, frame)."""
    found = {}
    with DaemonProcess(folder, subprocess.DEVNULL) as daemon, daemon.subscriber(PEDESTRIAN, queue=0) as subscriber:
        subscriber.socket.subscribe(LANE)  # on_subscribe: each task starts when somebody asks for it by name
        daemon.wait_until_answering(60)
        until_s = time.monotonic() + timeout_s
        ended = False
        while time.monotonic() < until_s:
            result = subscriber.receive(0.5)
            if result is not None:
                found[result.task, result.camera, result.frame_id] = result
                continue
            if ended:
                return found
            with daemon.client() as control:
                ended = all(one["state"] == "ended" for one in control.request("camera.list")["cameras"])
    raise SystemExit(f"not done in {timeout_s:g} s; {len(found)} results")


def tally(found, truth_of):
    """Return the box tallies by label and the lane tally of all results."""
    boxes = {label: BoxTally(label) for label in ("pedestrian", "vehicle")}
    lanes = LaneTally()
    for (task, camera, number), result in found.items():
        truth = truth_of(camera, number)
        if task == "lane":
            lanes.add([np.array(lane.points, np.float32) for lane in result.lanes], truth)
            continue
        for label, one in boxes.items():
            mine = [(d.score, np.array(d.box, np.float32)) for d in result.detections if d.label == label]
            one.add(mine, truth)
    return boxes, lanes


def clip_sources(folder=None):
    """Return the sources of the front cameras' clips, and their truth by (camera, frame)."""
    clips = folder or DEMO / "clips"
    truth = json.loads((clips / "truth.json").read_text())["cameras"]
    sources = {name: f"file:{clips / f'{name}.mp4'}" for name in FRONT}
    return sources, lambda camera, number: Truth.from_json(truth[camera][number])


def scene_sources(seed):
    scene = Scene(seed)
    sources = {name: f"scene:{name}?seed={seed}" for name in CAMERAS if name in FRONT}
    return sources, lambda camera, number: scene.view(camera, number / RATE_HZ).truth


def measure(sources, truth_of, precision="fp32", store=None, timeout_s=600, backend=None):
    """Return (boxes by label, lanes, results, seconds) of one run over the sources."""
    with tempfile.TemporaryDirectory(prefix="edged-accuracy-") as folder:
        begin_s = time.monotonic()
        found = collect(configuration(Path(folder) / "demo", sources, precision, store, backend), timeout_s)
        seconds = time.monotonic() - begin_s
    boxes, lanes = tally(found, truth_of)
    return boxes, lanes, found, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "int8"))
    parser.add_argument("--backend", help="that one alone, for instance tensorrt")
    parser.add_argument("--store", type=Path, help="engine store, for int8")
    parser.add_argument("--seed", type=int, help="draw this scene instead of reading the clips")
    args = parser.parse_args()
    sources, truth_of = clip_sources() if args.seed is None else scene_sources(args.seed)
    boxes, lanes, found, seconds = measure(sources, truth_of, args.precision, args.store, backend=args.backend)
    uses = {str(result.message["engine"]) for result in found.values()}
    print(f"{len(found)} results in {seconds:.1f} s, {args.precision}; {' '.join(sorted(uses))}")
    for label, one in boxes.items():
        precision, recall = one.at(0.4)
        print(
            f"{label}: AP50 {one.average_precision():.3f} of {one.wanted}; at 0.4 precision {precision:.3f}, ", end=""
        )
        print(f"recall {recall:.3f}")
    print(f"lanes: F1 {lanes.f1():.3f} (matched {lanes.matched}, extra {lanes.extra}, missed {lanes.missed})")


if __name__ == "__main__":
    main()
