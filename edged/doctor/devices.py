"""GPU, DLA cores, CUDA, TensorRT, and the nodes that lead to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edged.doctor.line import Line, line
from edged.doctor.probing import Answers
from edged.doctor.who import Who

GROUP = "gpu"
NODES = (
    "nvidia[0-9]*",
    "nvidiactl",
    "nvidia-uvm",
    "nvmap",
    "nvhost-*gpu*",
    "nvhost-*nvdla*",
    "nvgpu/*/*",
    "dri/render*",
)
SELDOM = ("sched", "dbg", "prof", "prof-ctx", "prof-dev", "ctxsw")
"""Nodes of a Jetson's GPU for debuggers and its operator, which NVIDIA's own rules keep from users."""
READ_ONLY = ("nvmap", "nvsched")
PYTHON = {
    "pycuda": "pip install 'edged[tensorrt]'",
    "cuda.bindings": "pip install 'edged[tensorrt]'",
    "nvrtc": "pip install nvidia-cuda-nvrtc-cu12 (or -cu13); on a Jetson: apt-get install cuda-nvrtc-12-6",
}
SHOWN_MAX = 4


def gpu_nodes(root: Path = Path("/dev")) -> list[Path]:
    """Return the nodes of GPUs and DLA cores."""
    return sorted(path for pattern in NODES for path in root.glob(pattern))


def needed_mode(node: Path) -> int:
    """Return how a process that computes opens a node: `os.R_OK | os.W_OK`, `os.R_OK`, or 0 for not at all."""
    kind = node.name.removeprefix("nvhost-").removesuffix("-gpu")
    return 0 if kind in SELDOM else os.R_OK if kind in READ_ONLY else os.R_OK | os.W_OK


def lines(answers: Answers, who: Who) -> Iterator[Line]:
    """Yield what there is to compute on. A machine without a GPU is whole: the CPU serves."""
    nodes = gpu_nodes()
    closed = [path for path in nodes if not who.may(path, needed_mode(path))]
    nvidia = any(path.name.startswith("nv") for path in nodes)
    if nodes:
        wrong = f"{who.name} may not open {_some(closed)}" if closed else ""
        yield line(GROUP, "nodes", _some(nodes), wrong, who.lacks_group(closed[0]) if closed else "", needed=nvidia)
    cuda = answers["cuda"]
    gpus = ", ".join(cuda.get("gpus", ()))
    wrong = cuda.error or ("" if gpus else "the driver finds no GPU")
    remedy = "install NVIDIA's driver (a Jetson has it with JetPack); without a GPU onnxruntime serves on the CPU"
    yield line(GROUP, "cuda", f"{gpus}; CUDA {cuda.get('version')}", wrong, remedy, needed=nvidia)
    processes = answers["configuration"].get("processes", 1)
    if gpus and processes > 1:
        wrong = "" if cuda.get("mps") else f"off: a GPU takes turns between {processes} processes (scheduler.processes)"
        yield line(GROUP, "mps", "on", wrong, "50-mps.conf.example has what turns it on", needed=False)
    for name, remedy in PYTHON.items():
        answer = answers[name]
        yield line(GROUP, name, answer.get("version", ""), answer.error, remedy, needed=answer.installed)
    trt = answers["tensorrt"]
    remedy = "on a Jetson: apt-get install python3-libnvinfer; else: pip install tensorrt-cu12 (or -cu13)"
    yield line(GROUP, "tensorrt", trt.get("version", ""), trt.error, remedy, needed=trt.installed)
    cores = trt.get("dla", 0)
    wrong = "" if cores else "no DLA core that TensorRT can use"
    remedy = "use device: gpu (Orin and Xavier have DLA cores, not with every TensorRT: docs/engines.md)"
    yield line(GROUP, "dla", f"{cores} cores", wrong, remedy, needed=False)


def _some(paths: list[Path]) -> str:
    more = len(paths) - SHOWN_MAX
    return ", ".join(map(str, paths[:SHOWN_MAX])) + (f" and {more} more" if more > 0 else "")
