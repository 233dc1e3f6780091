"""Quantisation of the demo networks on the scene, and of networks made by others on a real drive."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from edged.camera.base import Opening
from edged.camera.pyav import PyAvSource
from edged.camera.scene.source import SceneSource
from edged.engines.base import EngineRequest
from edged.engines.build.collect import from_recording
from edged.engines.build.compare import Comparison, TaskCheck, compare
from edged.engines.build.gather import write_record
from edged.engines.build.int8 import Order, seen_by
from edged.engines.build.quantize import measure, prepare, quantise
from edged.engines.build.record import CALIBRATE, VERIFY
from edged.engines.build.regions import Recipe
from edged.engines.ort import OrtEngine
from edged.tasks import PARSERS
from edged.tasks.base import ParserSettings

MODELS = Path(__file__).parents[4] / "configs" / "demo" / "models"
REAL = Path(os.environ.get("EDGED_REAL", "/nonexistent"))


def quantised(model: Path, parser: str, options: dict, opener, folder: Path) -> tuple[Comparison, dict[str, int]]:
    """Return how the network, quantised in the way that is tried second, compares with FP32."""
    parser_class = PARSERS.load(parser)
    request = EngineRequest(model, parser_class.input)

    def parse(spec, score_min):
        return parser_class(spec, ParserSettings(score_min=score_min, options=options)).parse

    seen, image = seen_by(request)
    record = write_record(folder, "t", seen, {}, from_recording("c", opener, 32, None))
    order = Order(request, (TaskCheck("t", parse, 0.4, 0.01),), (record,))
    prepared = prepare(model, image, request.input, folder)
    ranges = measure(prepared, order.frames(CALIBRATE), "minmax", folder)
    graph = quantise(prepared, Recipe(heads_float=1), ranges, folder / "q.onnx")
    with (
        closing(OrtEngine(request)) as fp32,
        closing(OrtEngine(EngineRequest(folder / "q.onnx", request.input))) as int8,
    ):
        return compare(fp32, int8, order.frames(VERIFY), order.checks), graph.operators()[0]


@pytest.mark.parametrize(
    ("name", "parser", "options"), [("road_users", "yolov8", {}), ("lane_lines", "lane_mask", {"masks": True})]
)
def test_the_demo_networks_lose_next_to_nothing(tmp_path, name, parser, options):
    model = MODELS / f"{name}.onnx"
    if not model.is_file():
        pytest.skip(f"no {name}.onnx in this checkout")
    opener = partial(SceneSource, Opening("c", "scene", "front_wide", str, rate_hz=2.0))
    comparison, integer = quantised(model, parser, options, opener, tmp_path)
    found = comparison.agreements["t"]
    assert found.truths >= 8
    assert found.drop <= 0.1  # one finding of ten: there are few in so few frames
    assert max(comparison.output_error.values()) < 0.03
    assert integer["Conv"] > 30


def test_a_real_network_on_a_real_drive(tmp_path):
    """FastestDet, of opset 11: its narrow depthwise layers lose more than most."""
    model, video = REAL / "fastestdet.onnx", REAL / "solidWhiteRight.mp4"
    for file in (model, video):
        if not file.is_file():
            pytest.skip(f"EDGED_REAL has no {file.name}")
    opener = partial(PyAvSource, Opening("c", "file", str(video), str))
    comparison, integer = quantised(model, "fastestdet", {}, opener, tmp_path)
    assert comparison.agreements["t"].truths > 20
    assert comparison.agreements["t"].ap50 > 0.7
    assert integer["Conv"] > 60
