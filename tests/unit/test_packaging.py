"""What packages and images are made of: texts from the parsers, the default configuration, scripts, Dockerfiles."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import edged.errors
from edged.cli import main
from edged.cli.bench import PARTS

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = [ROOT / "docker/Dockerfile", *sorted((ROOT / "docker/l4t").glob("Dockerfile.*"))]


def script(name):
    """Load a script of scripts/, none of which ends in .py."""
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader = importlib.machinery.SourceFileLoader(f"script_{name}", str(ROOT / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    path = list(sys.path)
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode, sys.path[:] = before, path
    return module


@pytest.fixture(scope="module")
def reference():
    return script("reference")


@pytest.fixture(scope="module")
def deb():
    return script("deb")


# ---- completion and man page ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def complete(reference, tmp_path_factory):
    """Return what bash offers for a line whose last word is being typed."""
    file = tmp_path_factory.mktemp("bash") / "edged"
    file.write_text(reference.completion())

    def complete(*words):
        line = " ".join(f"'{word}'" for word in ("edged", *words))
        program = f'. {file}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _edged; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-euc", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return set(done.stdout.split())

    return complete


def test_completion_offers_commands_options_and_choices(complete):
    assert complete("ta") == {"task"}
    assert complete("task", "") >= {"list", "activate", "deactivate"}
    assert complete("engine", "build", "--l") == {"--limit-s"}
    assert complete("bench", "--only", "") == set(PARTS)


def test_completion_takes_no_value_of_an_option_for_a_command(complete):
    assert "list" not in complete("--config", "task", "")
    assert complete("--config", "task", "chec") == {"check"}
    assert complete("status", "--connect", "") == set()


def test_completion_offers_the_tasks_of_the_configuration(complete):
    demo = str(ROOT / "configs/demo")
    assert complete("--config", demo, "task", "activate", "") >= {"lane", "pedestrian", "vehicle"}
    assert complete("--config", demo, "engine", "calibrate", "pe") == {"pedestrian"}


def test_every_command_and_option_is_on_the_man_page(reference):
    page = reference.man().replace("\\-", "-")
    for path, command in reference.walk(reference.parser()):
        if path and not reference.below(command):
            assert f"\n.SS edged {' '.join(path)}\n" in page
        options, _ = reference.arguments(command)
        for flag in (flag for option in options for flag in option.option_strings):
            assert flag in page
    for kind in vars(edged.errors).values():
        if isinstance(kind, type) and issubclass(kind, edged.errors.EdgedError):
            assert f"\n.TP\n.B {kind.exit_code}\n" in page


def test_the_man_page_has_no_request_that_it_does_not_mean(reference):
    requests = {line.split()[0] for line in reference.man().splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".BR"}
    assert reference.roff(".so /etc/passwd") == "\\&.so /etc/passwd"


# ---- the Debian package ---------------------------------------------------------------------------------------------


def test_the_default_configuration_is_valid_and_has_no_camera(tmp_path, capsys):
    shutil.copytree(ROOT / "debian/etc/edged", tmp_path / "edged")
    (tmp_path / "edged/tasks").mkdir()  # git keeps no empty folder; the package has one
    assert main(["--config", str(tmp_path / "edged"), "check"]) == 0
    assert "0 task(s) and 0 camera(s), no fault" in capsys.readouterr().out


def test_what_is_commented_out_in_the_default_configuration_is_valid_too(tmp_path):
    for name in ("edged.yaml", "cameras.yaml"):
        text = (ROOT / "debian/etc/edged" / name).read_text().replace("cameras: {}\n", "")
        start = text.index("\n# publish:" if name == "edged.yaml" else "\n# cameras:")
        text = text[:start] + re.sub(r"(?m)^# ?", "", text[start:])
        assert yaml.safe_load(text), name
        (tmp_path / name).write_text(text)
    cameras = yaml.safe_load((tmp_path / "cameras.yaml").read_text())["cameras"]
    assert set(cameras) == {"front", "rear"}


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_are_scripts(name):
    text = (
        (ROOT / "debian" / name).read_text().replace("@units@", "edged.service").replace("@enabled@", "edged.service")
    )
    assert "@" not in text
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    assert text.startswith("#!/bin/sh\nset -e\n")


def test_units_users_and_examples_each_have_their_place(deb):
    assert deb.place_of("edged.service") == "usr/lib/systemd/system/edged.service"
    assert deb.place_of("sysusers.d/edged.conf") == "usr/lib/sysusers.d/edged.conf"
    assert deb.place_of("tmpfiles.d/edged.conf") == "usr/lib/tmpfiles.d/edged.conf"
    example = "edged.service.d/20-devices.conf.example"
    assert deb.place_of(example) == f"usr/share/doc/edged/examples/systemd/{example}"


def test_a_gpl_encoder_in_a_compiled_file_is_found(deb, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libx265.so.199").write_bytes(b"\x7fELF")
    (tmp_path / "lib/libavcodec.so").write_bytes(b"\x7fELF...libavcodec license: GPL version 2 or later...")
    (tmp_path / "lib/core.so").write_bytes(b"\x7fELF...LGPL...\0libx264\0")
    (tmp_path / "lib/fine.so").write_bytes(b"\x7fELF...libavcodec license: LGPL version 2.1 or later...")
    (tmp_path / "README").write_text("PyAV's wheel brings libx264")
    assert deb.gpl_faults(tmp_path) == [
        "lib/core.so: has 'libx264'",
        "lib/libavcodec.so: has 'license: GPL'",
        "lib/libx265.so.199: is libx265.so.199",
    ]


def test_what_is_compiled_against_a_library_has_it_at_its_locked_version(deb, monkeypatch, tmp_path):
    commands, folder = [], tmp_path / "wheels"

    def run(*command, **_):
        commands.append([str(part) for part in command])
        if "wheel" in command:
            (folder / f"{command[-1].replace('==', '-')}-cp310-cp310-linux_aarch64.whl").touch()

    monkeypatch.setattr(deb, "run", run)
    pins = deb.pins_of(ROOT / "constraints/jetpack6.txt")
    for name in ("pycuda", "av"):
        deb.build_sdist("python3", name, pins[name], folder, {}, pins)
    numpy, *wheels = commands
    assert (numpy[3], numpy[-1]) == ("install", f"numpy=={pins['numpy']}")
    assert [command[-1].partition("==")[0] for command in wheels] == ["pycuda", "av"]


@pytest.mark.skipif(
    not all(map(shutil.which, ("cc", "dpkg-shlibdeps"))), reason="needs a C compiler and dpkg-dev, as scripts/deb does"
)
def test_a_library_of_the_driver_that_is_not_here_is_no_dependency(deb, tmp_path):
    """As where a package is built in a container: libcuda.so.1 comes with the board."""
    root, work = tmp_path / "root", tmp_path / "work"
    site, stubs = root / deb.HOME / "lib/python3.10/site-packages", tmp_path / "stubs"
    for folder in (work, site / "pycuda", stubs):
        folder.mkdir(parents=True)
    (tmp_path / "driver.c").write_text("int cuInit(int flags) { return flags; }")
    (tmp_path / "module.c").write_text(
        '#include <stdio.h>\nint cuInit(int);\nint start(void) { return puts("") + cuInit(0); }'
    )
    stub = stubs / "libcuda.so"
    cc = ["cc", "-shared", "-fPIC", "-o"]
    subprocess.run([*cc, stub, tmp_path / "driver.c", "-Wl,-soname,libcuda-not-here.so.1"], check=True)
    subprocess.run([*cc, site / "pycuda/_driver.so", tmp_path / "module.c", f"-L{stubs}", "-lcuda"], check=True)
    subprocess.run([*cc, site / "other.so", tmp_path / "driver.c", "-Wl,--no-as-needed", "-lm"], check=True)
    found = deb.depends(root, site, work)
    assert re.search(r"\blibc6\b", found)
    assert "cuda" not in found


def test_a_licence_text_is_a_valid_field(deb):
    assert deb.indented("MIT\n\nNo warranty.\f\n") == " MIT\n .\n No warranty."


# ---- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_pinned_small_unprivileged_and_watched(path):
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^\s*#.*\n", "", path.read_text()))
    bases = re.findall(r"(?m)^(?:FROM|ARG BASE=)\s*(\S+)", text)
    named = [base for base in bases if not base.startswith("$")]
    assert named and all(":" in base and not base.endswith(":latest") for base in named)
    for line in (line for line in text.splitlines() if "apt-get install" in line):
        assert "apt-get update" in line and "--no-install-recommends" in line and "rm -rf /var/lib/apt/lists/*" in line
    final = text[text.rindex("\nFROM") :]
    assert re.search(r"(?m)^USER edged\n[^#]*^ENTRYPOINT \[\"edged\"\]\nCMD \[\"run\"\]$", final, re.DOTALL)
    assert 'CMD ["edged", "status", "--json"]' in final
    for source in re.findall(r"(?m)^COPY (?!--from)(\S+)", text):
        assert (ROOT / source).exists(), source


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_no_image_installs_what_brings_gpl_encoders(path):
    installed = set(
        re.findall(r"apt-get install (?:-\S+ )*([^&]*)", re.sub(r"\\\n\s*", "", path.read_text()))[-1].split()
    )
    brings = {
        "ffmpeg",
        "libgstrtspserver-1.0-0",
        "gstreamer1.0-plugins-bad",
        "gstreamer1.0-plugins-ugly",
        "gstreamer1.0-libav",
        "python3-opencv",
    }
    assert not {name for name in installed if name in brings or name.startswith(("libavcodec", "libx26"))}


@pytest.mark.parametrize(("absent", "code"), [("libcuda.so.1", 0), ("libpython3.10.so.1.0", 1)])
def test_jetson_utils_must_find_what_it_links_but_the_driver(tmp_path, absent, code):
    """The image's own step, with an ldd that finds all but one."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "docker/l4t/Dockerfile.jetpack6").read_text())
    (step,) = re.findall(r'(?m)ldd "\$\{module\}".*$', text)
    (tmp_path / "ldd").write_text(
        f"#!/bin/sh\necho 'libc.so.6 => /lib/libc.so.6 (0x1)'\necho '{absent} => not found'\n"
    )
    (tmp_path / "ldd").chmod(0o755)
    step = f"PATH={tmp_path}:$PATH; {step.replace('/tmp/', f'{tmp_path}/')}"
    assert subprocess.run(["sh", "-c", step], capture_output=True, check=False).returncode == code


def test_what_is_built_from_a_repository_is_pinned_to_a_commit():
    text = (ROOT / "docker/l4t/Dockerfile.jetpack6").read_text()
    assert re.search(r"(?m)^ARG JETSON_UTILS=[0-9a-f]{40}$", text)
    assert 'jetson-utils "${JETSON_UTILS}"' in text
    ffmpeg = (ROOT / "scripts/ffmpeg").read_text()
    assert re.search(r"(?m)^sha256=[0-9a-f]{64}$", ffmpeg)
    assert not re.search(r"--enable-(gpl|nonfree|version3|libx26)", ffmpeg)


def test_the_compose_file_gives_the_container_what_cameras_need():
    (service,) = yaml.safe_load((ROOT / "docker/l4t/compose.yaml").read_text())["services"].values()
    assert service["runtime"] == "nvidia"
    assert "/tmp:/tmp" in service["volumes"], "a socket that is mounted by itself is the one before Argus's restart"
    (run,) = [volume for volume in service["volumes"] if isinstance(volume, dict)]
    asked = re.search(r"PathExists=(.*)/restart-argus", (ROOT / "systemd/edged-argus.path").read_text())[1]
    assert (run["type"], run["source"], run["target"]) == ("bind", asked, asked), "the host restarts Argus"
    assert "/dev/dri" in service["devices"]
    assert [group[2:12] for group in service["group_add"]] == ["VIDEO_GID:", "RENDER_GID"]
    assert service["restart"] == "unless-stopped"
    assert "c 81:* rmw" in service["device_cgroup_rules"]
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path):
    command = [
        str(Path(sys.executable).with_name("hadolint")),
        "--config",
        str(ROOT / "docker/.hadolint.yaml"),
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
