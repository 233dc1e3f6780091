"""`edged doctor` on this machine, and on machines whose libraries are broken."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from parts import edged
from v4l2_double import DeviceDouble, Machine

from edged.doctor import cameras, devices, libraries, probing, setup
from edged.doctor.line import State, line
from edged.doctor.probe import PROBES
from edged.doctor.probing import Answer
from edged.doctor.who import Who

pytestmark = pytest.mark.side_by_side

SECRET = "hunter2-is-not-shown"
ME = Who("me", os.geteuid(), frozenset())


def report(*args, more=(), **environment):
    ended = edged(*args, "doctor", "--json", *more, **environment)
    assert ended.returncode in (0, 69), ended.stderr
    said = json.loads(ended.stdout)
    assert said["wrong"] == sum(one["state"] == "wrong" for one in said["lines"])
    assert (ended.returncode == 69) == bool(said["wrong"])
    return {(one["group"], one["name"]): one for one in said["lines"]}, ended


@pytest.fixture
def broken(tmp_path):
    """A folder of modules: one that ends its process, one that does not return, one that cannot be loaded."""
    (tmp_path / "cv2.py").write_text("import ctypes; ctypes.string_at(0)")
    (tmp_path / "msgpack.py").write_text("raise ImportError('libfoo.so.3: cannot open shared object file')")
    (tmp_path / "pydantic.py").write_text("raise RuntimeError('mixed up')")
    (tmp_path / "tensorrt.py").write_text("print('some banner'); raise OSError('libnvinfer.so.10: cannot open')")
    (tmp_path / "jetson_utils_python.py").write_text("import os; os._exit(0)")
    return tmp_path


def test_broken_libraries_are_lines_of_the_report(broken, site, task, clip):
    config = site({"a": {"source": f"file:{clip()}"}}, {"t": task("a")})
    begin_s = time.monotonic()
    lines, ended = report("--config", str(config), PYTHONPATH=str(broken))
    assert time.monotonic() - begin_s < 25
    state = {name: (one["state"], one["found"]) for (_, name), one in lines.items()}
    assert state["cv2"] == ("wrong", "crashes: killed by signal 11")
    assert state["msgpack"] == ("wrong", "ImportError: libfoo.so.3: cannot open shared object file")
    assert state["pydantic"] == ("wrong", "RuntimeError: mixed up")
    assert state["tensorrt"] == ("wrong", "OSError: libnvinfer.so.10: cannot open")
    assert state["jetson_utils"] == ("wrong", "fails: ended with code 0")
    assert state["numpy"][0] == state["av"][0] == "ok"
    assert all(one["remedy"] for one in lines.values() if one["state"] != "ok")
    assert ended.stderr == ""


def test_a_whole_machine_without_a_gpu_is_not_wrong_and_a_shell_no_confinement(site, task, clip, tmp_path):
    config = site({"a": {"source": f"file:{clip()}"}}, {"t": task("a")})
    lines, ended = report("--config", str(config), more=("--sandbox",), RUNTIME_DIRECTORY=str(tmp_path))
    groups = list(dict.fromkeys(group for group, _ in lines))
    order = "machine libraries service gpu decoders cameras configuration engines sandbox"
    assert groups == order.split()
    assert lines["configuration", "files"]["found"] == f"{config}: 1 tasks, 1 cameras, no fault"
    assert lines["cameras", "camera a"]["state"] == lines["engines", "task t"]["state"] == "ok"
    assert "needs no build" in lines["engines", "task t"]["found"]
    sandbox = {name: one for (group, name), one in lines.items() if group == "sandbox"}
    assert sandbox["confinement"]["found"] == "this is no confinement: the answers below are about this shell"
    assert sandbox["runtime"]["found"] == f"{tmp_path} can be written"
    assert sandbox["AF_UNIX"]["state"] == sandbox["code made at run time"]["state"] == "ok"
    assert ended.returncode == 0, [one for one in lines.values() if one["state"] == "wrong"]


@pytest.mark.parametrize(
    ("processes", "mps", "said"),
    [
        (1, False, None),
        (4, True, ("ok", "on")),
        (4, False, ("missing", "off: a GPU takes turns between 4 processes (scheduler.processes)")),
    ],
)
def test_processes_that_take_turns_on_a_gpu_are_told(processes, mps, said):
    cuda = Answer({"gpus": ["NVIDIA X"], "version": "13.0", "mps": mps})
    other = ("pycuda", "cuda.bindings", "nvrtc", "tensorrt")
    answers = {"cuda": cuda, "configuration": Answer({"processes": processes}), **dict.fromkeys(other, Answer())}
    lines = {one.name: (one.state.value, one.found) for one in devices.lines(answers, ME)}
    assert lines.get("mps") == said


def test_faults_by_file_and_line_with_remedies_and_without_a_secret(site, task, tmp_path):
    config = site({"usb": {"source": f"v4l2:{tmp_path}/video7"}}, {"t": task("usb")})
    cameras_yaml = {"net": {"source": f"rtsp://admin:{SECRET}@192.0.2.1/x"}, "usb": {"source": "v4l2:x", "rate": 3}}
    (config / "cameras.yaml").write_text(json.dumps({"cameras": cameras_yaml}))
    (config / "secrets.yaml").write_text(f'other: "admin:{SECRET}"\n')
    (config / "secrets.yaml").chmod(0o600)
    ended = edged("--config", str(config), "doctor")
    assert ended.returncode == 69
    rows = ended.stdout.splitlines()
    (fault,) = [number for number, row in enumerate(rows) if "cameras.usb.rate: unknown key" in row]
    assert rows[fault].startswith(f"  wrong   files: {config}/cameras.yaml:1: ")
    assert rows[fault + 1] == f"          -> edged --config {config} check"
    assert rows[-1].endswith(" missing that may not be needed")
    assert SECRET not in ended.stdout + ended.stderr


def test_without_a_configuration_nothing_is_wrong(tmp_path):
    (one,) = setup.lines(tmp_path, {"configuration": Answer()}, confined=False)
    assert (one.state, one.found) == (State.MISSING, f"{tmp_path} has no cameras.yaml")
    assert not list(setup.engines({"configuration": Answer(), "engines": Answer()}))


def test_cameras_of_the_configuration_stand_on_what_is_there(tmp_path):
    answers = {name: Answer(error="not here") for name in ("nvdec", "gstreamer", "jetson_utils")} | {"av": Answer()}
    wanted = [
        {"id": "usb", "scheme": "v4l2", "place": f"{tmp_path}/video7", "backend": ()},
        {"id": "net", "scheme": "rtsp", "place": "", "backend": ()},
        {"id": "csi", "scheme": "csi", "place": "0", "backend": ()},
    ]
    usb, net, csi = cameras.configured(wanted, answers, Who("me", os.geteuid(), frozenset()))
    assert (usb.state, usb.found) == (State.WRONG, f"{tmp_path}/video7 is not there")
    assert (net.state, net.found) == (State.OK, "rtsp through pyav")
    assert (csi.state, csi.found) == (State.WRONG, "no back end of jetson_utils, gstreamer works")


@pytest.fixture
def buses(monkeypatch, site, task, tmp_path):
    """Return the lines of cameras that are named by their bus, on a machine that has these devices."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))

    def buses(devices, *addresses):
        Machine(devices).install(monkeypatch)
        names = [f"c{number}" for number in range(len(addresses))]
        sources = {name: {"source": f"v4l2:{address}"} for name, address in zip(names, addresses, strict=True)}
        config = site(sources, {"t": task(*names)})
        answers = {"av": Answer(), "gstreamer": Answer(), "buses": Answer(PROBES["buses"](config))}
        wanted = PROBES["configuration"](config)["cameras"]
        return [(one.state, one.found) for one in cameras.configured(wanted, answers, ME)]

    return buses


def test_a_camera_that_is_named_by_its_bus_is_looked_for(buses, tmp_path):
    """A file stands for the node, so that it has an owner."""
    (tmp_path / "video4").touch()
    devices = {f"{tmp_path}/video4": DeviceDouble(bus="usb-1"), "/dev/video7": DeviceDouble(bus="usb-2", card="Two")}
    one, away, gone = buses(devices, "bus:usb-1", "bus:usb-2", "bus:usb-3")
    assert one == (State.OK, "v4l2:bus:usb-1 through v4l2")
    assert away == (State.WRONG, "/dev/video7 is not there")
    assert gone[0] is State.WRONG
    assert gone[1].startswith("no camera at the bus 'usb-3'; there are 'usb-2' (Two, /dev/video7), ")


def test_a_daemon_that_runs_looks_for_its_cameras_itself(buses, monkeypatch):
    monkeypatch.setattr("edged.doctor.probe.daemon_runs", lambda: True)
    assert buses({}, "bus:usb-1") == [(State.OK, "v4l2:bus:usb-1 through v4l2")]


def test_buses_are_asked_for_where_there_are_some(site, task, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(probing, "PROBES", dict.fromkeys(("configuration", "buses")))
    config = site({"usb": {"source": "v4l2:bus:usb-nowhere"}}, {"t": task("usb")})
    said = probing.ask(config)["buses"].found
    assert said["errors"]["bus:usb-nowhere"].startswith("no camera at the bus 'usb-nowhere'; there ")
    config = site({"usb": {"source": "v4l2:/dev/video0"}}, {"t": task("usb")})
    assert probing.ask(config)["buses"].found == {}


def test_gstreamer_without_its_parsers_is_said():
    elements = ["v4l2src", "rtspsrc", "parsebin", "h264parse"]
    answers = {name: Answer() for name in ("av", "jetson_utils", "nvdec")}
    answers["gstreamer"] = Answer({"version": "GStreamer 1.20", "elements": elements})
    (gst,) = [one for one in libraries.decoders(answers) if one.name == "gstreamer"]
    assert (gst.state, gst.remedy) == (State.MISSING, libraries.GST)
    assert gst.found == f"GStreamer 1.20: {', '.join(elements)}; no h265parse for compressed streams"


def test_a_credential_that_is_not_there_is_wrong_only_where_it_should_be(tmp_path):
    (tmp_path / "cameras.yaml").touch()
    answers = {"configuration": Answer({"missing": ["cameras.yaml:1: credential 'net' is not there"]})}
    states = [list(setup.lines(tmp_path, answers, confined))[-1].state for confined in (False, True)]
    assert states == [State.MISSING, State.WRONG]


def test_v4l2_nodes_have_their_lasting_names_and_nobody_opens_them(tmp_path):
    """Pipes stand for the nodes: opening one without a writer would not return."""
    dev, names = tmp_path / "dev", tmp_path / "sys/class/video4linux/video0"
    (dev / "v4l/by-path").mkdir(parents=True)
    names.mkdir(parents=True)
    (names / "name").write_text("vi-output, imx219 9-0010\n")
    for number in (0, 10, 2):
        os.mkfifo(dev / f"video{number}")
    (dev / "v4l/by-path/platform-tegra-capture-vi-video-index0").symlink_to("../../video0")
    me, nobody = Who("me", os.geteuid(), frozenset()), Who("edged", 54321, frozenset((54321,)))
    found = list(cameras.nodes(me, tmp_path))
    assert [one.name for one in found] == [str(dev / f"video{number}") for number in (0, 2, 10)]
    assert found[0].found == f"vi-output, imx219 9-0010; {dev}/v4l/by-path/platform-tegra-capture-vi-video-index0"
    assert found[1].found == "name unknown; no by-path name"
    assert {one.state for one in found} == {State.OK}
    for number in (0, 2, 10):
        (dev / f"video{number}").chmod(0o660)
    if os.geteuid() == 0:
        os.chown(dev / "video0", 0, 44)
    refused = next(cameras.nodes(nobody, tmp_path))
    assert (refused.state, refused.found.endswith("; edged may not open it")) == (State.WRONG, True)
    assert list(cameras.nodes(me, tmp_path / "none"))[0].state is State.MISSING


def test_nodes_of_a_jetsons_gpu_that_its_own_rules_close_are_no_fault():
    both = os.R_OK | os.W_OK
    for name, mode in {
        "nvgpu/igpu0/ctrl": both, "nvgpu/igpu0/tsg": both, "nvhost-ctrl-gpu": both, "nvhost-as-gpu": both,
        "nvgpu/igpu0/nvsched": os.R_OK, "nvmap": os.R_OK, "nvhost-nvsched-gpu": os.R_OK,
        "nvgpu/igpu0/sched": 0, "nvgpu/igpu0/dbg": 0, "nvgpu/igpu0/prof-ctx": 0, "nvhost-prof-gpu": 0,
        "nvidia0": both, "nvhost-ctrl-nvdla0": both, "dri/renderD128": both,
    }.items():  # fmt: skip
        assert devices.needed_mode(Path("/dev", name)) == mode, name


def test_what_another_user_may_do_follows_owner_group_and_others(tmp_path):
    path = tmp_path / "node"
    path.touch(0o640)
    path.chmod(0o640)
    owner, group = path.stat().st_uid, path.stat().st_gid
    for who, mode, may in (
        (Who("a", owner + 1, frozenset((group,))), os.R_OK, True),
        (Who("a", owner + 1, frozenset((group,))), os.R_OK | os.W_OK, False),
        (Who("a", owner + 1, frozenset((group + 1,))), os.R_OK, False),
    ):
        assert who.may(path, mode) is may
    assert not Who("a", owner + 1, frozenset()).may(tmp_path / "gone", os.R_OK)


def test_a_long_text_of_a_library_is_cut_and_stays_one_line():
    made = line("g", "n", "", "a\n" * 1000, "r", needed=False)
    assert len(made.found) == 400
    assert "\n" not in made.found
    assert made.state is State.MISSING
