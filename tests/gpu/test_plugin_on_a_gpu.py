"""A network with a custom layer on this machine's TensorRT: its library is built, loaded, and part of the key."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_trt_on_a_gpu import ABSENT, infer_all, relative, street
from trt_parts import build_into

from edged.engines.base import EngineRequest
from edged.engines.ort import OrtEngine
from edged.tensor import InputFormat

SOURCE = Path(__file__).with_name("plugin") / "softclip.cpp"
HEADERS = {
    "NvInfer.h": ("EDGED_TENSORRT_INCLUDE", f"/usr/include/{os.uname().machine}-linux-gnu", "/usr/include"),
    "cuda_runtime_api.h": ("EDGED_CUDA_INCLUDE", "/usr/local/cuda/include", "/usr/include"),
}
"""Header -> the variable that names its folder, and where it is otherwise."""
GAIN = 3.0

on_a_gpu = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
pytestmark = pytest.mark.timeout(600)


def folder_of(header):
    variable, *usual = HEADERS[header]
    for folder in (os.environ.get(variable, ""), *usual):
        if folder and (Path(folder) / header).is_file():
            return folder
    pytest.skip(f"no {header}; {variable} names its folder")
    return None


def libnvinfer():
    """Return the library that TensorRT's module has loaded, to be linked with; nothing without that module."""
    if importlib.util.find_spec("tensorrt") is None:
        return None
    __import__("tensorrt")
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next((line.split()[-1] for line in lines if Path(line.split()[-1]).name.startswith("libnvinfer.so")), None)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    headers = [part for header in HEADERS for part in ("-isystem", folder_of(header))]
    made = tmp_path_factory.mktemp("plugin") / "libsoftclip.so"
    link = [one for one in (libnvinfer(),) if one]
    command = [compiler, "-std=c++14", "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-deprecated-declarations"]
    subprocess.run([*command, *headers, str(SOURCE), *link, "-o", str(made), "-ldl"], check=True)
    return made


def write_network(path, *, custom):
    """Write a network of two convolutions with `gain * x / (1 + |x|)` between: one custom layer, or two of ONNX's."""
    import onnx
    from onnx import TensorProto as Type
    from onnx import helper as make

    random = np.random.default_rng(5)
    first = random.normal(size=(8, 3, 3, 3))
    weights = {
        "first": first - first.mean(axis=(1, 2, 3), keepdims=True),  # edges and colours, whatever the brightness
        "second": random.normal(size=(2, 8, 1, 1)),
        "offset": np.array([0.5, 0]),  # where nothing is, "no" is sure
        "gain": np.array(GAIN),
    }
    between = [
        make.make_node("Softsign", ["broad"], ["soft"]),
        make.make_node("Mul", ["soft", "gain"], ["clipped"]),
    ]  # fmt: skip
    if custom:
        between = [make.make_node("EdgedSoftclip", ["broad"], ["clipped"], domain="edged.test", gain=GAIN)]
        del weights["gain"]
    graph = make.make_graph(
        [
            make.make_node("Conv", ["images", "first"], ["broad"], strides=[2, 2], pads=[1, 1, 1, 1]),
            *between,
            make.make_node("Conv", ["clipped", "second", "offset"], ["lines"]),
        ],
        "softclip",
        [make.make_tensor_value_info("images", Type.FLOAT, ["batch", 3, 96, 160])],
        [make.make_tensor_value_info("lines", Type.FLOAT, ["batch", 2, 48, 80])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    opsets = [make.make_opsetid("", 13), *([make.make_opsetid("edged.test", 1)] if custom else [])]
    onnx.save(make.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    custom, plain = (write_network(folder / f"{name}.onnx", custom=name == "custom") for name in ("custom", "plain"))
    return custom, plain


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


def test_the_library_can_be_built(library):
    assert library.stat().st_size


@on_a_gpu
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-3), ("fp16", 3e-2)])
def test_a_custom_layer_gives_what_the_cpu_gives_without_it(store, library, networks, precision, most):
    from edged.engines.tensorrt.engine import TrtEngine

    custom, plain = networks
    request = EngineRequest(custom, InputFormat(), precision, "gpu", batch=2, store=store, plugins=(library,))
    manifest = build_into(request)
    assert manifest.key.facts["plugins"] != "none"
    frames = [street(number) for number in range(8)]
    on_cpu = EngineRequest(plain, InputFormat())
    with closing(TrtEngine(request)) as engine, closing(OrtEngine(on_cpu)) as reference:
        assert engine.note == "CUDA graphs"
        for one, other in zip(frames[::2], frames[1::2], strict=True):
            wanted = np.concatenate([infer_all(reference, [frame]) for frame in (one, other)])
            for chosen, rows in (([one, other], wanted), ([other], wanted[1:])):
                assert relative(infer_all(engine, chosen), rows) < most


@on_a_gpu
def test_a_library_of_other_bytes_needs_another_engine(store, library, networks, tmp_path):
    """In a process of its own, as a daemon that is started again would be: this one has loaded the library."""
    changed = tmp_path / library.name
    changed.write_bytes(library.read_bytes() + b"\0")
    request = EngineRequest(networks[0], InputFormat(), "fp32", "gpu", batch=2, store=store, plugins=(library,))
    built = build_into(request)
    other = replace(request, plugins=(changed,))
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edged.engines.base import EngineRequest\n"
        "from edged.engines.store import EngineMissing\n"
        "from edged.engines.tensorrt.engine import TrtEngine\n"
        "from edged.tensor import InputFormat\n"
        "onnx, store, library = map(Path, sys.argv[1:])\n"
        "request = EngineRequest(onnx, InputFormat(), 'fp32', 'gpu', batch=2, store=store, plugins=(library,))\n"
        "try:\n"
        "    TrtEngine(request)\n"
        "except EngineMissing as exc:\n"
        "    print(exc)\n"
    )
    command = [sys.executable, "-c", script, *map(str, (other.onnx, store, changed))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "the plug-in libraries have changed since it was built; run: edged engine build" in done.stdout
    assert built.key.name not in done.stdout


@on_a_gpu
def test_the_daemon_serves_it_and_names_the_command_where_the_library_has_changed(
    store, library, networks, site, clip, daemon, tmp_path
):
    custom, plain = networks
    changed = tmp_path / library.name
    changed.write_bytes(library.read_bytes() + b"\0")
    build_into(EngineRequest(custom, InputFormat(), "fp32", "gpu", store=store, plugins=(library,)))
    cameras = {"front": {"source": f"file:{clip(frames=60)}", "pace": "fast", "backend": "pyav"}}

    def task(onnx, **engine):
        model = {"onnx": str(onnx), "parser": "lane_mask", "options": {"masks": True}}
        return {"cameras": ["front"], "rate_hz": 100, "active": "on_subscribe", "model": model, "engine": engine}

    on_gpu = {"backend": "tensorrt", "device": "gpu"}
    tasks = {
        "custom": task(custom, **on_gpu, plugins=[str(library)]),
        "changed": task(custom, **on_gpu, plugins=[str(changed)]),
        "plain": task(plain),
    }
    running = daemon(site(cameras, tasks, {"engines": {"store": str(store)}}))
    found = {"custom": {}, "plain": {}}
    with running.subscriber("edged/1/det/custom/") as subscriber:
        subscriber.socket.subscribe("edged/1/det/plain/")
        while any(len(one) < 60 for one in found.values()):
            result = subscriber.receive(20)
            assert result is not None, running.log[-2000:]
            found[result.task][result.frame_id] = result.message
    cells = same = marked = 0
    for number, message in found["custom"].items():
        assert message["engine"]["backend"] == "tensorrt"
        (mine,), (wanted,) = message["masks"], found["plain"][number]["masks"]
        one, two = (np.unpackbits(np.frombuffer(mask["bits"], np.uint8)) for mask in (mine, wanted))
        cells, same, marked = cells + one.size, same + int((one == two).sum()), marked + int(two.sum())
    assert 0.02 < marked / cells < 0.95
    assert same / cells > 0.999
    blocked = running.task("changed")
    assert "plug-in" in str(blocked)
    assert "edged engine build" in str(blocked)
