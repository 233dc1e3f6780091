"""The configurations we ship are valid, and the reference page and the schema know every key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from parts import edged
from pydantic import BaseModel

from edged.config import Config, Secrets, json_schema, load_config
from edged.config.schema import FILES
from edged.config.validate import FILLED_IN, models_in

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/configuration.md").read_text()
MODELS = ("road_users.onnx", "lane_lines.onnx")


def keys(model: type[BaseModel], above: str = "") -> list[str]:
    """Return every key below a model, with dots."""
    found = []
    for name, field in model.model_fields.items():
        path = above + (field.alias or name)
        below = list(models_in(field.annotation))
        for one in below:
            found += keys(one, "" if path == "cameras" else f"{path}.")
        if not below and name not in FILLED_IN:
            found.append(path)
    return found


def copied(name: str, tmp_path: Path) -> Path:
    """Copy a configuration, with stand-ins for the demo's models."""
    shutil.copytree(ROOT / "configs" / name, tmp_path / name)
    for model in MODELS:
        path = tmp_path / "demo/models" / model
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / name


def credentials(config: Config) -> dict[str, str]:
    return dict.fromkeys(re.findall(r"credential '(\w+)'", str(config.missing_credentials(Secrets()))), "user:secret")


@pytest.mark.parametrize(
    ("name", "needed"), [("jetson", {"curve", "left", "right"}), ("drive", {"curve"}), ("surround", {"roof"})]
)
def test_a_reference_configuration_is_valid(name, needed, tmp_path):
    directory = copied(name, tmp_path)
    config = load_config(directory)
    assert set(credentials(config)) == needed
    path = directory / "secrets.yaml"
    path.write_text("".join(f'{name}: "{value}"\n' for name, value in credentials(config).items()))
    path.chmod(0o600)
    assert load_config(directory).missing_credentials(Secrets.from_environment(directory, {})) == ()
    assert config.notes == ()


@pytest.mark.parametrize("name", ["jetson", "drive", "surround"])
def test_a_reference_configuration_names_the_demos_models(name):
    for path in (ROOT / "configs" / name / "tasks").glob("*.yaml"):
        assert re.search(r"onnx: \.\./\.\./demo/models/(\w+\.onnx)", path.read_text())[1] in MODELS


@pytest.mark.parametrize("name", ["jetson", "drive", "surround"])
def test_what_a_reference_configuration_says_of_its_networks_makes_a_copy_valid(name, tmp_path):
    shutil.copytree(ROOT / "configs" / name, tmp_path / "edged")
    (command,) = re.findall(r"^#     (sed .*)$", (tmp_path / "edged/edged.yaml").read_text(), re.MULTILINE)
    subprocess.run(command, shell=True, cwd=tmp_path / "edged", check=True)
    (tmp_path / "edged/models").mkdir()
    for model in MODELS:
        (tmp_path / "edged/models" / model).touch()
    assert load_config(tmp_path / "edged").notes == ()


def test_the_readmes_configuration_is_valid(tmp_path):
    files = re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [name for name, _ in files] == ["cameras.yaml", "tasks/pedestrian.yaml"]
    shutil.copytree(ROOT / "configs/demo/models", tmp_path / "models")
    (tmp_path / "tasks").mkdir()
    for name, text in files:
        (tmp_path / name).write_text(text)
    (tmp_path / "secrets.yaml").write_text('front: "user:secret"\n')
    (tmp_path / "secrets.yaml").chmod(0o600)
    checked = edged("--config", str(tmp_path), "check")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("file", FILES)
def test_the_page_has_every_key(file):
    heading = file.replace("<", r"\<").replace(">", r"\>")
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
    for key in keys(FILES[file]):
        row = "control.curve" if key.startswith("control.curve.") else key  # the page says: as publish.curve
        assert row in rows, f"docs/configuration.md has no row for {key} of {file}"


def test_the_page_has_no_key_that_is_not_there():
    known = {key for model in FILES.values() for key in keys(model)} | {"control.curve"}
    rows = set(re.findall(r"^\| `([a-z_.]+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE))
    assert rows
    assert rows <= known


def test_the_schema_has_every_key_with_a_description_and_no_more():
    for file, schema in json_schema().items():
        assert schema["$schema"].startswith("https://json-schema.org/")
        models = {name: model for model in FILES.values() for name, model in _models(model).items()}
        for name, part in [(FILES[file].__name__, schema), *schema.get("$defs", {}).items()]:
            fields = models[name].model_fields
            expected = {field.alias or key for key, field in fields.items()} - FILLED_IN
            assert set(part["properties"]) == expected
            assert part["additionalProperties"] is False
            assert part["title"]
            assert part["description"]
            for field in part["properties"].values():
                assert field["description"]
                assert "title" in field or "$ref" in field
    json.dumps(json_schema(), allow_nan=False)


def _models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    below = [found for field in model.model_fields.values() for found in models_in(field.annotation)]
    return {model.__name__: model} | {name: m for b in below for name, m in _models(b).items()}


def test_the_schema_knows_no_null_and_no_filled_in_name():
    text = json.dumps(json_schema())
    assert '"null"' not in text
    assert "null" not in re.findall(r'"default": (\w+)', text)
    assert set(json_schema()["tasks/<task>.yaml"]["required"]) == {"cameras", "rate_hz", "model"}
    camera = json_schema()["cameras.yaml"]["$defs"]["CameraConfig"]
    assert camera["required"] == ["source"]
    assert json_schema()["cameras.yaml"]["properties"]["cameras"]["type"] == "object"
