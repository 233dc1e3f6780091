"""The instructions of the Dockerfiles, run one by one in a bare Debian: all of the CPU image, and of those for a Jetson
all that needs no NVIDIA registry and no CUDA.

EDGED_DEBIAN_ROOT names a bare Debian 12 (debootstrap --variant=minbase bookworm ROOT); it stays as it is. Takes a
quarter of an hour: FFmpeg and PyAV are compiled.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from files import Files
from parts import until

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "EDGED_DEBIAN_ROOT"
IGNORED = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "build", "dist", "bench", "tests", ".*_cache")
NEEDS = {"--jetpack": "CUDA", "git fetch": "GitHub", "cmake -S": "CUDA", "find_spec": "NVIDIA's TensorRT"}
pytestmark = pytest.mark.timeout(3000)


@dataclass
class Stage:
    """One stage of a Dockerfile: its files, and what its instructions have set so far."""

    files: Files
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "root"
    check: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def instructions(path):
    """Yield verb and arguments of each instruction, lines joined and comments left out."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text())
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            yield tuple(line.split(None, 1))


class Builder:
    """Runs Dockerfiles in overlays over one bare root."""

    def __init__(self, root, folder):
        self.root, self.folder, self.layers = root, folder, []
        self.compiled = set()  # steps that take minutes and give the same in every image: once is enough

    def stage(self):
        folder = self.folder / f"stage{len(self.layers)}"
        folder.mkdir()
        self.layers.append(Files(self.root, folder))
        return Stage(self.layers[-1])

    def run(self, path, instead=None):
        """Run a Dockerfile; return its stages by name, the last one as "". `instead` stands in for its own."""
        stages = {}
        stage = None
        for verb, rest in instructions(path):
            if verb == "FROM":
                stage = self.stage()
                stages[rest.split(" AS ")[1] if " AS " in rest else ""] = stage
            elif verb == "ENV":
                for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', rest):
                    stage.variables[name] = re.sub(r"\$\{PATH\}", "/usr/sbin:/usr/bin:/sbin:/bin", value.strip('"'))
            elif verb == "ARG" and stage is not None:
                stage.variables.update([rest.split("=", 1)])
            elif verb == "WORKDIR":
                stage.folder = rest
                (stage.files.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif verb == "COPY":
                self.copy(stage, rest, {**stages, **(instead or {})})
            elif verb == "RUN":
                self.step(stage, rest, {**stages, **(instead or {})})
            elif verb == "USER":
                stage.user = rest
            elif verb == "HEALTHCHECK":
                stage.check = re.findall(r'"([^"]+)"', rest)
        return stages

    def copy(self, stage, rest, stages):
        words = rest.split()
        base = ROOT
        if words[0].startswith("--from="):
            base = stages[words.pop(0).removeprefix("--from=")].files.root
        source, target = base / words[0].lstrip("/"), stage.files.root / words[1].lstrip("/")
        if not source.exists() and base is not ROOT:
            stage.left_out.append(f"COPY {rest}")
        elif source.is_dir():
            shutil.copytree(source, target, ignore=IGNORED, dirs_exist_ok=True, symlinks=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)

    def step(self, stage, rest, stages):
        if any(word in rest for word in NEEDS):
            stage.left_out.append(f"RUN {rest}")
            return
        if rest in self.compiled:
            return
        if "scripts/ffmpeg" in rest:
            self.compiled.add(rest)
        for source, target in re.findall(r"--mount=type=bind,from=build,source=(\S+),target=(\S+)", rest):
            shutil.copytree(stages["build"].files.root / source.lstrip("/"), stage.files.root / target.lstrip("/"))
        command = re.sub(r"--mount=\S+\s+", "", rest)
        variables = [f"{name}={value}" for name, value in stage.variables.items()]
        variables.append("PIP_BREAK_SYSTEM_PACKAGES=1")  # Ubuntu 22.04's pip needs no such word, Debian's does
        command = f"cd {stage.folder} && {command}"
        stage.files.change("env", *variables, "sh", "-c", command, timeout_s=2400)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot and overlays")
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no bare Debian 12 (debootstrap --variant=minbase bookworm ROOT)")
    builder = Builder(Path(os.environ[VARIABLE]), tmp_path_factory.mktemp("stages"))
    yield builder
    for files in builder.layers:
        files.close()


@pytest.fixture(scope="module")
def image(builder):
    return builder.run(ROOT / "docker/Dockerfile")


def gpl_faults(root):
    loader = importlib.machinery.SourceFileLoader("script_deb", str(ROOT / "scripts/deb"))
    deb = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(deb)
    return deb.gpl_faults(root)


def test_the_cpu_image_holds_no_gpl_encoder(image):
    final = image[""].files
    assert (final.root / "usr/lib/edged/ffmpeg/libavcodec.so.62").is_file()
    assert gpl_faults(final.root / "usr") == []
    assert "libx26" not in final.change("dpkg-query", "-W", "-f", "${Package}\\n")


def test_the_cpu_image_runs_and_its_health_check_says_so(image):
    stage = image[""]
    root, variables = stage.files.root, [f"{name}={value}" for name, value in stage.variables.items()]
    enter = ["chroot", f"--userspec={stage.user}", str(root), "env", *variables]
    check = [*enter, *stage.check]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 69  # nothing runs yet
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    with (root / "tmp/log").open("wb") as log:
        daemon = subprocess.Popen([*enter, "edged", "run"], stdout=log, stderr=log)
    try:
        until(
            lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0,
            60,
            (root / "tmp/log").read_text,
            every_s=0.5,
        )
    finally:
        daemon.terminate()
        code = daemon.wait(10)
        subprocess.run(["umount", str(root / "proc")], check=True)
    assert code == 0


@pytest.mark.parametrize("name", ["Dockerfile.jetpack6", "Dockerfile.jetpack7"])
def test_the_other_steps_of_a_jetson_image_run(builder, image, name):
    stages = builder.run(ROOT / "docker/l4t" / name, {"build": image["build"]})
    final = stages[""].files
    assert (final.root / "usr/bin/edged").is_file()
    assert (final.root / "opt/edged/gstreamer/libgstvideoparsersbad.so").is_file()
    assert gpl_faults(final.root / "usr") == []
    inspected = final.change("env", "GST_PLUGIN_PATH=/opt/edged/gstreamer", "/usr/lib/edged/bin/python3", "-c", GST)
    assert "h264parse True" in inspected
    left_out = [step for stage in stages.values() for step in stage.left_out]
    print(*left_out, sep="\n")
    assert len(left_out) == {"Dockerfile.jetpack6": 5, "Dockerfile.jetpack7": 2}[name]


GST = """
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
print("h264parse", Gst.ElementFactory.find("h264parse") is not None)
"""
