"""Measure the committed networks on scenes they never saw, and on the committed clips.

    python -m models.evaluate scenes --views 20
    python -m models.evaluate clips --step 3

Needs ONNX Runtime; the lane polylines here are a quick fit for measuring, not the daemon's.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from edged.camera.scene import CAMERAS, HEIGHT_PX, LOOP_S, WIDTH_PX, Scene, Truth
from models.dataset import LABELS, SIZES, VALID_SEEDS, NetSize, degrade, shrink
from models.metrics import BoxTally, LaneTally, overlaps

FloatArray = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
NMS_IOU, LEAST_SCORE = 0.6, 0.02
OPERATING_SCORE = 0.4


class Net:
    """One network on one CPU thread."""

    def __init__(self, path: Path, size: NetSize) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.size = size
        self.times_s: list[float] = []

    def __call__(self, view: Picture) -> FloatArray:
        """Run one (360, 640, 3) picture; return its output without the batch axis."""
        padded = np.full((self.size.height, self.size.width, 3), 114, np.uint8)
        padded[self.size.pad : -self.size.pad] = shrink(view, self.size)
        feed = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
        start = time.perf_counter()
        (out,) = self.session.run(None, {"images": feed})
        self.times_s.append(time.perf_counter() - start)
        return np.asarray(out[0], dtype=np.float32)


def decode_boxes(output: FloatArray, label: int, size: NetSize) -> list[tuple[float, FloatArray]]:
    """Return (score, box in px of the 640x360 view) of one class after suppression, best first."""
    scores = output[4 + label]
    keep = np.flatnonzero(scores >= LEAST_SCORE)
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    middle, half = output[:2, keep].T, output[2:4, keep].T / 2
    edges = np.concatenate([middle - half, middle + half], axis=1)
    boxes = (edges - np.array([0, size.pad, 0, size.pad])) / size.scale
    boxes = np.clip(boxes, 0, [WIDTH_PX, HEIGHT_PX, WIDTH_PX, HEIGHT_PX]).astype(np.float32)
    found: list[tuple[float, FloatArray]] = []
    left = np.ones(len(keep), dtype=np.bool_)
    for k in range(len(keep)):
        if left[k]:
            found.append((float(scores[keep[k]]), boxes[k]))
            left &= overlaps(boxes[k], boxes) <= NMS_IOU
    return found


def fit_lines(logits: FloatArray, size: NetSize) -> list[FloatArray]:
    """Return polylines (K, 2) px of the 640x360 view, one for each connected part of the mask."""
    mask = (logits[0, size.pad : -size.pad] > 0).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    lines = []
    for k in range(1, count):
        if stats[k, cv2.CC_STAT_AREA] < 25:
            continue
        rows, cols = np.nonzero(labels == k)
        upright = np.ptp(rows) >= 0.6 * np.ptp(cols)
        along, across = (rows, cols) if upright else (cols, rows)
        steps, where = np.unique(along, return_inverse=True)
        if len(steps) < 5:
            continue
        middle = np.bincount(where, weights=across) / np.bincount(where)
        degree = 1 if len(steps) < 15 else 2 if len(steps) < 60 else 3
        smooth = np.polyval(np.polyfit(steps, middle, degree), steps)
        xs, ys = (smooth, steps) if upright else (steps, smooth)
        lines.append(((np.stack([xs, ys], axis=1) + 0.5) / size.scale).astype(np.float32))
    return lines


def scene_views(views: int) -> Iterator[tuple[str, Picture, Truth]]:
    """Render `views` views of each validation seed, all cameras in turn, coded like video."""
    names = list(CAMERAS)
    for seed in VALID_SEEDS:
        scene, rng = Scene(seed), np.random.default_rng([seed, 5])
        for k in range(views):
            view = scene.view(names[k % 6], float(rng.uniform(0.0, LOOP_S)))
            yield names[k % 6], degrade(view.image, rng), view.truth


def clip_views(folder: Path, step: int) -> Iterator[tuple[str, Picture, Truth]]:
    """Decode every `step`-th frame of the committed clips."""
    import av

    truth = json.loads((folder / "truth.json").read_text())
    for name in CAMERAS:
        with av.open(str(folder / f"{name}.mp4")) as clip:
            for k, frame in enumerate(clip.decode(video=0)):
                if k % step == 0:
                    picture = frame.to_ndarray(format="rgb24", src_colorspace="ITU709")
                    yield name, picture, Truth.from_json(truth["cameras"][name][k])


def measure(pictures: Iterable[tuple[str, Picture, Truth]], models: Path) -> None:
    """Run both networks over the pictures and print the figures."""
    detector, lines = (Net(models / f"{name}.onnx", SIZES[name]) for name in ("road_users", "lane_lines"))
    tallies = [BoxTally(name) for name in LABELS]
    lanes: dict[str, LaneTally] = {}
    count = 0
    for camera, picture, truth in pictures:
        output = detector(picture)
        for label, tally in enumerate(tallies):
            tally.add(decode_boxes(output, label, detector.size), truth)
        lanes.setdefault(camera, LaneTally()).add(fit_lines(lines(picture), lines.size), truth)
        count += 1
    print(f"{count} pictures")
    for tally in tallies:
        precision, recall = tally.at(OPERATING_SCORE)
        print(
            f"{tally.label}: AP50 {tally.average_precision():.3f} over {tally.wanted} boxes; "
            f"at score {OPERATING_SCORE}: precision {precision:.3f}, recall {recall:.3f}"
        )
    every = LaneTally(*(sum(getattr(t, f) for t in lanes.values()) for f in ("matched", "extra", "missed")))
    print(f"lanes: F1 {every.f1():.3f} over {every.matched + every.missed} lines")
    for camera, part in lanes.items():
        print(
            f"  {camera}: F1 {part.f1():.3f} (extra {part.extra}, missed {part.missed} of {part.matched + part.missed})"
        )
    for net, name in ((detector, "road_users"), (lines, "lane_lines")):
        print(f"{name}: median {np.median(net.times_s) * 1e3:.2f} ms on one thread")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scenes", "clips"])
    parser.add_argument("--models", type=Path, default=Path("configs/demo/models"))
    parser.add_argument("--clips", type=Path, default=Path("configs/demo/clips"))
    parser.add_argument("--views", type=int, default=18, help="views of each validation seed")
    parser.add_argument("--step", type=int, default=3, help="take every STEP-th frame of the clips")
    args = parser.parse_args()
    cv2.setNumThreads(min(2, os.cpu_count() or 1))
    pictures = scene_views(args.views) if args.what == "scenes" else clip_views(args.clips, args.step)
    measure(pictures, args.models)


if __name__ == "__main__":
    main()
