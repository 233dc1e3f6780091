"""Real networks on a real drive, where the environment variable EDGED_REAL names the folder that has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edged.geometry import fit_frame
from edged.results import Found
from edged.tasks import PARSERS
from edged.tasks.base import ParserSettings
from edged.tensor import ModelSpec, TensorSpec

REAL = Path(os.environ.get("EDGED_REAL", "/nonexistent"))
CARS = {2, 5, 7}  # COCO's car, bus, truck


def frames(every: int) -> Iterator[np.ndarray]:
    import av

    with av.open(str(REAL / "solidWhiteRight.mp4")) as video:
        for number, frame in enumerate(video.decode(video=0)):
            if number % every == 0:
                yield frame.to_ndarray(format="rgb24")


def run(model: str, parser_name: str, every: int) -> list[Found]:
    for name in (model, "solidWhiteRight.mp4"):
        if not (REAL / name).is_file():
            pytest.skip(f"EDGED_REAL has no {name}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(REAL / model), options, providers=["CPUExecutionProvider"])
    tensors = [
        tuple(TensorSpec(t.name, tuple(t.shape), t.type[len("tensor(") : -1].replace("float", "float32")) for t in side)
        for side in (session.get_inputs(), session.get_outputs())
    ]
    parser_class = PARSERS.load(parser_name)
    parser = parser_class(ModelSpec(*tensors), ParserSettings(score_min=0.4, iou_max=0.45))
    (image,) = session.get_inputs()
    size = image.shape[3], image.shape[2]
    found = []
    for frame in frames(every):
        fit = fit_frame((frame.shape[1], frame.shape[0]), size, parser_class.input.fit)
        picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)  # both networks have no border here
        if parser_class.input.color == "bgr":
            picture = picture[..., ::-1]
        tensor = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / 255
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(None, {image.name: tensor}), strict=True))
        found.append(parser.parse(outputs, 0, fit))
    return found


def test_fastestdet_finds_the_cars_ahead() -> None:
    found = run("fastestdet.onnx", "fastestdet", 20)
    cars = [[box for box in one.boxes if box.class_id in CARS] for one in found]
    assert sum(map(bool, cars)) >= 0.8 * len(found)
    for box in [box for one in cars for box in one]:
        # on the road: below the sky, above the bonnet
        assert 200 < (box.y1 + box.y2) / 2 < 400


def x_at(points: tuple[tuple[float, float], ...], y: float) -> float | None:
    xs, ys = np.array(points).T
    return float(np.interp(y, ys[::-1], xs[::-1])) if ys[-1] <= y <= ys[0] else None


def test_twinlitenet_sees_the_solid_line_as_one_polyline() -> None:
    found = run("twinlitenet.onnx", "lane_mask", 20)
    # at this height the solid line crosses these columns, and nothing else does
    right = [[lane for lane in one.lanes or () if 680 < (x_at(lane.points, 470) or 0) < 800] for one in found]
    assert sum(len(hits) == 1 for hits in right) >= len(found) - 1
    for hits in right:
        assert all(len(lane.points) <= 20 and lane.points[0][1] > 500 and lane.points[-1][1] < 350 for lane in hits)
    left = [
        [lane for lane in one.lanes or () if lane.points[0][1] > 400 and 100 < lane.points[0][0] < 420] for one in found
    ]
    assert sum(len(hits) == 1 for hits in left) >= len(found) - 2
