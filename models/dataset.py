"""Training and validation pictures from the demo's scene, as plain arrays.

Needs NumPy and OpenCV, no PyTorch. The picture a network sees is the 640x360 view, coded once as
JPEG with colour at half resolution (video does the same to it), resized, and set between grey rows
above and below that make its size one of whole strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edged.camera.scene import CAMERAS, LOOP_S, WIDTH_PX, Scene, Truth

TRAIN_SEEDS = range(100_000, 101_800)
VALID_SEEDS = range(500, 560)
CLIP_SEED = 28

MAX_BOXES = 48
LABELS = ("pedestrian", "vehicle")
LANE_WIDTH_PX = 3


@dataclass(frozen=True)
class NetSize:
    """Size of a network's input in px, and the grey rows above and below the picture in it."""

    width: int
    height: int
    pad: int

    @property
    def picture(self) -> tuple[int, int]:
        """Return (width, height) of the picture between the grey rows."""
        return self.width, self.height - 2 * self.pad

    @property
    def scale(self) -> float:
        """Return network pixels per pixel of the 640x360 view."""
        return self.width / WIDTH_PX


SIZES = {"road_users": NetSize(480, 288, 9), "lane_lines": NetSize(320, 192, 6)}
"""People are small and need the finer picture; lane lines do not."""

_SHARES = {"front_wide": 0.24, "front_narrow": 0.24}


@dataclass(frozen=True, eq=False)
class Samples:
    """Pictures with their truth.

    Attributes:
        images: (N, height, width, 3) uint8 RGB, at the network's scale and without grey rows.
        boxes: (N, MAX_BOXES, 6) float32: class (-1 for no box), x1, y1, x2, y2 in px of the
            640x360 view, visible share.
        lanes: (N, height, width) uint8, 0..255 coverage of the lines.
    """

    images: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    lanes: npt.NDArray[np.uint8]


def shrink(view: npt.NDArray[np.uint8], size: NetSize) -> npt.NDArray[np.uint8]:
    """Resize a (360, 640, 3) picture bilinearly, as the daemon does."""
    small = cv2.resize(view, size.picture, interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, dtype=np.uint8)


def box_rows(truth: Truth) -> npt.NDArray[np.float32]:
    """Return the largest `MAX_BOXES` boxes as rows of `Samples.boxes`."""
    rows = np.full((MAX_BOXES, 6), -1.0, np.float32)
    largest = sorted(truth.boxes, key=lambda b: (b.x2 - b.x1) * (b.y2 - b.y1), reverse=True)
    for row, box in zip(rows, largest, strict=False):
        row[:] = (LABELS.index(box.label), box.x1, box.y1, box.x2, box.y2, box.visible)
    return rows


def lane_mask(truth: Truth, size: NetSize) -> npt.NDArray[np.uint8]:
    """Draw the lines `LANE_WIDTH_PX` wide at the network's scale, through gaps and hidden parts."""
    mask = np.zeros(size.picture[::-1], np.uint8)
    for lane in truth.lanes:
        points = np.round((np.array(lane.points) * size.scale - 0.5) * 16).astype(np.int32)
        cv2.polylines(mask, [points], False, 255, LANE_WIDTH_PX, cv2.LINE_AA, 4)
    return mask


def degrade(view: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Soften or smooth a view now and then as video does, and code it as JPEG of a random quality."""
    kind = rng.uniform()
    if kind < 0.2:
        view = np.asarray(cv2.GaussianBlur(view, (0, 0), float(rng.uniform(0.4, 1.0))), dtype=np.uint8)
    elif kind < 0.5:
        view = np.asarray(cv2.bilateralFilter(view, 5, float(rng.uniform(8, 30)), 2.0), dtype=np.uint8)
    quality = int(rng.uniform(22, 94))
    ok, data = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError(f"opencv could not code a JPEG of quality {quality}")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def render_seed(job: tuple[int, int, NetSize]) -> Samples:
    """Render `count` random views of one seed; `job` is (seed, count, size)."""
    seed, count, size = job
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, 99])
    scene = Scene(seed)
    names = list(CAMERAS)
    shares = np.array([_SHARES.get(name, 0.13) for name in names])
    images, boxes, lanes = [], [], []
    for _ in range(count):
        camera = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        view = scene.view(camera, float(rng.uniform(0.0, LOOP_S)))
        images.append(shrink(degrade(view.image, rng), size))
        boxes.append(box_rows(view.truth))
        lanes.append(lane_mask(view.truth, size))
    return Samples(np.stack(images), np.stack(boxes), np.stack(lanes))


def render(seeds: Sequence[int], per_seed: int, size: NetSize, processes: int) -> Samples:
    """Render `per_seed` views of each seed, in seed order."""
    with ProcessPoolExecutor(processes) as pool:
        parts = list(pool.map(render_seed, [(seed, per_seed, size) for seed in seeds], chunksize=2))
    return Samples(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.lanes for part in parts]),
    )
