"""The Debian package on a booted Debian: installed, started, reloaded, upgraded, removed, purged.

EDGED_DEB names the package, as scripts/deb built it for the distribution of EDGED_SYSTEMD_ROOT.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from booted import Booted, why_not
from files import Files
from parts import until

ROOT = Path(__file__).resolve().parents[2]
SITE = "/usr/lib/edged/lib/python3*/site-packages"
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def package() -> Path:
    named = os.environ.get("EDGED_DEB")
    if not named:
        pytest.skip("EDGED_DEB names no package (scripts/deb builds one)")
    return Path(named).resolve()


@pytest.fixture(scope="module")
def contents(package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contents")
    subprocess.run(["dpkg-deb", "-R", str(package), str(folder)], check=True)
    return folder


def field(package, name):
    command = ["dpkg-deb", "-f", str(package), name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# ---- what is in it --------------------------------------------------------------------------------------------------


def test_no_compiled_file_has_a_gpl_encoder(contents):
    loader = importlib.machinery.SourceFileLoader("script_deb", str(ROOT / "scripts/deb"))
    deb = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(deb)
    compiled = deb.elf_files(contents)
    assert any("/av/" in str(path) for path in compiled)
    assert deb.gpl_faults(contents) == []


def test_pyav_brings_no_ffmpeg_of_its_wheel_and_links_the_distributions(contents, package):
    (site,) = contents.glob("usr/lib/edged/lib/python3*/site-packages")
    assert not (site / "av.libs").exists()
    linked = subprocess.run(
        ["readelf", "-d", *map(str, site.glob("av/**/*.so"))], capture_output=True, text=True, check=True
    ).stdout
    needed = set(re.findall(r"NEEDED.*\[(libav(?:codec|format)\.so\.\d+)\]", linked))
    assert len(needed) == 2
    for library in needed:
        name, _, number = library.partition(".so.")
        held = (contents / "usr/lib/edged/ffmpeg" / library).is_file()
        assert held or f"{name}{number}" in field(package, "Depends")


def test_every_bundled_distribution_has_its_licence_in_the_copyright_file(contents):
    text = (contents / "usr/share/doc/edged/copyright").read_text()
    (site,) = contents.glob("usr/lib/edged/lib/python3*/site-packages")
    for info in site.glob("*.dist-info"):
        name = info.name.removesuffix(".dist-info")
        if not name.startswith("edged-"):
            assert name.lower().replace("-", "_") in text.lower().replace("-", "_"), name
    assert "Permission is hereby granted" in text


def test_files_belong_to_root_and_configuration_is_marked(package, contents):
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == {"root/root"}
    conffiles = (contents / "DEBIAN/conffiles").read_text().split()
    assert conffiles == ["/etc/edged/cameras.yaml", "/etc/edged/edged.yaml"]


# ---- its life on a machine ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine(package, contents, tmp_path_factory):
    """A booted machine with what the package depends on, the package, and a newer one."""
    named = os.environ.get("EDGED_SYSTEMD_ROOT")
    below = Path(named) if named else None
    if missing := why_not(below):
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("machine")
    files = Files(below, folder)
    try:
        names = [re.split(r"[ |(]", one.strip())[0] for one in field(package, "Depends").split(",")]
        files.change("apt-get", "-q", "update")
        files.change("apt-get", "-q", "-y", "install", "--no-install-recommends", *names)
        (files.root / "edged.deb").write_bytes(package.read_bytes())
        control = contents / "DEBIAN/control"
        control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 1:"))
        newer = files.root / "newer.deb"
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", str(contents), str(newer)], check=True)
        booted = Booted(files.root, folder / "console.log")
        yield booted
        booted.close()
    finally:
        files.close()


def results(machine, count=3):
    """Return results that a subscriber outside the unit received."""
    text = machine.run("edged", "sub", "--count", str(count), "--seconds", "60", "--json")
    return [line for line in text.splitlines() if '"detections"' in line or '"lanes"' in line]


def tasks(machine):
    return [one["task"] for one in machine.json("edged", "task", "list", "--json")["tasks"]]


def status(machine):
    return machine.json("edged", "status", "--json")


def test_it_is_installed_and_neither_enabled_nor_started(machine):
    machine.run("dpkg", "-i", "/edged.deb")
    assert machine.run("systemctl", "is-enabled", "edged", check=False).strip() == "disabled"
    assert machine.show("ActiveState") == "inactive"
    assert "no fault" in machine.run("edged", "check")
    assert machine.run("id", "-un", "edged").strip() == "edged"
    assert "video" in machine.run("id", "-Gn", "edged").split()
    assert machine.run("dpkg", "--audit") == ""


def test_it_starts_idle_with_the_configuration_it_brings(machine):
    machine.run("systemctl", "start", "edged")
    assert machine.show("ActiveState") == "active"
    assert status(machine)["cameras"] == []
    pid = machine.show("MainPID")
    assert machine.run("ps", "-o", "user=", "-p", pid).strip() == "edged"


def test_a_subscriber_outside_the_unit_receives_results_after_a_reload(machine):
    machine.run("sh", "-c", f"cp -r {SITE}/edged/configs/demo/. /etc/edged/ && edged check")
    pid = machine.show("MainPID")
    machine.run("systemctl", "reload", "edged")
    assert len(results(machine)) == 3
    assert machine.show("MainPID") == pid
    cameras = [one["id"] for one in machine.json("edged", "camera", "list", "--json")["cameras"]]
    machine.run("sh", "-c", "rm /etc/edged/tasks/vehicle.yaml && systemctl reload edged")
    assert len(cameras) == 6
    until(lambda: "vehicle" not in tasks(machine), 30, lambda: tasks(machine))


def test_restart_and_stop(machine):
    pid = machine.show("MainPID")
    machine.run("systemctl", "restart", "edged")
    assert machine.show("MainPID") not in (pid, "0")
    assert results(machine)
    begin_s = time.monotonic()
    machine.run("systemctl", "stop", "edged")
    assert time.monotonic() - begin_s < 15
    assert machine.show("Result") == "success"
    machine.run("systemctl", "enable", "--now", "edged")
    assert results(machine)


def test_an_upgrade_keeps_configuration_and_engines_and_restarts_what_runs(machine):
    machine.run("sh", "-c", "echo '# ours' >> /etc/edged/edged.yaml; install -D /etc/hostname /var/lib/edged/engines/x")
    pid = machine.show("MainPID")
    machine.run("dpkg", "-i", "/newer.deb")
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", "edged").startswith("1:")
    assert machine.show("ActiveState") == "active"
    assert machine.show("MainPID") not in (pid, "0")
    assert machine.run("systemctl", "is-enabled", "edged").strip() == "enabled"
    assert machine.run("tail", "-1", "/etc/edged/edged.yaml").strip() == "# ours"
    machine.run("test", "-f", "/var/lib/edged/engines/x")
    assert results(machine)


def test_removal_stops_it_and_keeps_what_is_the_users(machine):
    machine.run("dpkg", "-r", "edged")
    assert machine.run("pgrep", "-u", "edged", check=False) == ""
    machine.run("test", "-f", "/etc/edged/cameras.yaml", "-a", "-f", "/var/lib/edged/engines/x")
    machine.run("sh", "-c", "! test -e /usr/bin/edged && ! test -e /usr/lib/edged")


def test_purge_removes_everything_but_the_user(machine):
    machine.run("dpkg", "-P", "edged")
    left = machine.run(
        "sh", "-c", "ls -d /etc/edged /var/lib/edged /var/cache/edged /usr/lib/edged 2>/dev/null || true"
    )
    assert left == ""
    assert machine.run("systemctl", "list-unit-files", "--no-legend", "edged*", check=False) == ""
    machine.run("id", "edged")
