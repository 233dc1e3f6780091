"""A parser from another distribution: the example of docs/parsers.md, installed in a folder and loaded by name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from edged.errors import BackendUnavailable, ConfigError
from edged.geometry import fit_frame
from edged.tasks import PARSERS
from edged.tasks.base import ParserSettings
from edged.tensor import ModelSpec, TensorSpec

GUIDE = Path(__file__).parents[3] / "docs" / "parsers.md"
MODEL = ModelSpec(
    (TensorSpec("images", (1, 3, 96, 128), "float32"),), (TensorSpec("lights", (None, 20, 8), "float32"),)
)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = re.search(r"```python\n# traffic_lights\.py\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    if code is None:
        pytest.fail("docs/parsers.md has no example traffic_lights.py")
    (tmp_path / "traffic_lights.py").write_text(code[1], "utf-8")
    info = tmp_path / "traffic_lights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: traffic-lights\nVersion: 1.0\n", "utf-8")
    points = "[edged.parsers]\ntraffic_lights = traffic_lights:TrafficLights\nbroken = not_there_at_all:Parser\n"
    (info / "entry_points.txt").write_text(points, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "traffic_lights", raising=False)
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_the_guide_s_example_works() -> None:
    assert "traffic_lights" in PARSERS.names()
    parser = PARSERS.load("traffic_lights")(MODEL, ParserSettings(("light",), score_min=0.5))
    rows = np.zeros((2, 20, 8), np.float32)
    rows[1, 4] = (30, 40, 40, 60, 0.9, 0.1, 0.2, 0.7)
    (box,) = parser.parse({"lights": rows}, 1, fit_frame((1280, 960), (128, 96), "letterbox")).boxes
    assert (box.label, box.class_id, box.x1, box.y2) == ("light", 0, 300, 600)
    assert box.attrs is not None
    assert box.attrs["state"] == "green"
    assert box.attrs["certainty"] == pytest.approx(0.7)


@pytest.mark.usefixtures("installed")
def test_the_example_refuses_a_wrong_model() -> None:
    wrong = ModelSpec((), (TensorSpec("other", (1, 2), "float32"),))
    with pytest.raises(ConfigError, match=r"'traffic_lights' needs .*, model has other \[1, 2\] float32"):
        PARSERS.load("traffic_lights")(wrong, ParserSettings())


@pytest.mark.usefixtures("installed")
def test_a_plug_in_that_lacks_a_library_says_so() -> None:
    with pytest.raises(BackendUnavailable, match=r"parser 'broken' needs .*traffic-lights.*not_there_at_all"):
        PARSERS.load("broken")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise KeyError('x')", r"KeyError: 'x' \(traffic_lights\.py:1\)$"),
        ("raise SystemExit(3)", r"SystemExit: 3 \(traffic_lights\.py:1\)$"),
        ("class = 3", r"SyntaxError: invalid syntax \(traffic_lights\.py, line 1\)$"),
        (
            "import edged.not_there",
            r"ModuleNotFoundError: No module named 'edged\.not_there' \(traffic_lights\.py:1\)$",
        ),
        ("", r"AttributeError: module 'traffic_lights' has no attribute 'TrafficLights'$"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_says_why(code: str, said: str, installed: Path) -> None:
    (installed / "traffic_lights.py").write_text(code, "utf-8")
    wanted = "^parser 'traffic_lights' of the plug-in 'traffic-lights' cannot be imported: "
    with pytest.raises(ConfigError, match=wanted + said):
        PARSERS.load("traffic_lights")


def test_an_unknown_name_has_a_hint() -> None:
    with pytest.raises(ConfigError, match="unknown parser 'yolov9'; did you mean 'yolov"):
        PARSERS.load("yolov9")
