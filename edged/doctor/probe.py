"""What is tried in a process of its own: `python -m edged.doctor.probe NAME CONFIG` prints one JSON line.

Only here are libraries and drivers touched that may be broken.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edged.doctor.service import daemon_runs
from edged.errors import CameraError, EdgedError

CODECS = ("h264", "hevc", "mjpeg", "av1")
PACKETS = ("parsebin", "h264parse", "h265parse")  # no compressed stream without
ELEMENTS = ("nvarguscamerasrc", "nvv4l2decoder", "nvvidconv", "v4l2src", "rtspsrc", *PACKETS, "avdec_h264")
MPS_ENABLED = 133  # CU_DEVICE_ATTRIBUTE_MPS_ENABLED; drivers before it refuse the question


def _library(module: str, version: str = "__version__") -> Callable[[Path], dict[str, Any]]:
    def probe(_: Path) -> dict[str, Any]:
        return {"version": str(getattr(import_module(module), version, ""))}

    return probe


def _zmq(_: Path) -> dict[str, Any]:
    zmq = import_module("zmq")
    return {"version": f"{zmq.__version__}, libzmq {zmq.zmq_version()}", "curve": bool(zmq.has("curve"))}


def _onnxruntime(_: Path) -> dict[str, Any]:
    import_module("edged.engines")  # which keeps it from reporting its use
    ort = import_module("onnxruntime")
    return {"version": ort.__version__, "providers": ort.get_available_providers()}


def _av(_: Path) -> dict[str, Any]:
    av = import_module("av")
    return {"version": av.__version__, "codecs": [name for name in CODECS if name in av.codecs_available]}


def _cuda_bindings(_: Path) -> dict[str, Any]:
    import_module("cuda.bindings.driver")  # the part that loads the driver
    return {"version": import_module("cuda.bindings").__version__}


def _nvrtc(_: Path) -> dict[str, Any]:
    library = import_module("cuda.bindings.nvrtc")
    _status, major, minor = library.nvrtcVersion()
    return {"version": f"{major}.{minor}"}


def _nvdec(_: Path) -> dict[str, Any]:
    library = import_module("PyNvVideoCodec")
    import_module("edged.device.gpu").open_device(0)
    return {"version": str(getattr(library, "__version__", ""))}


def _gstreamer(_: Path) -> dict[str, Any]:
    library = import_module("edged.camera.gst.library")
    gst, _video = library.load()
    return {"version": gst.version_string(), "elements": [name for name in ELEMENTS if library.has(gst, name)]}


def _jetson_utils(_: Path) -> dict[str, Any]:
    import_module("edged.camera.system_packages").make_importable("jetson_utils_python")
    import_module("jetson_utils_python")
    return {"version": ""}


def _cuda(_: Path) -> dict[str, Any]:
    """Ask the driver itself, so that the answer does not need pycuda; with a context, as the daemon makes one."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as exc:
        raise ModuleNotFoundError(str(exc)) from exc

    def must(what: str, *args: Any) -> None:
        if code := getattr(cuda, what)(*args):
            text = ctypes.c_char_p()
            cuda.cuGetErrorName(code, ctypes.byref(text))
            raise RuntimeError(f"{what}: {(text.value or str(code).encode()).decode()}")

    number = ctypes.c_int()
    must("cuInit", 0)
    must("cuDriverGetVersion", ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    must("cuDeviceGetCount", ctypes.byref(number))
    gpus, mps = [], True
    for index in range(number.value):
        device, name, context = ctypes.c_int(), ctypes.create_string_buffer(128), ctypes.c_void_p()
        must("cuDeviceGet", ctypes.byref(device), index)
        must("cuDeviceGetName", name, len(name), device)
        must("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        gpus.append(name.value.decode("utf-8", "replace"))
        shared = ctypes.c_int()
        mps &= cuda.cuDeviceGetAttribute(ctypes.byref(shared), MPS_ENABLED, device) == 0 and bool(shared.value)
    return {"version": version, "gpus": gpus, "mps": bool(gpus) and mps}


def _tensorrt(_: Path) -> dict[str, Any]:
    trt = import_module("tensorrt")
    logger = trt.Logger(trt.Logger.ERROR)
    return {"version": trt.__version__, "dla": int(trt.Runtime(logger).num_DLA_cores)}


def _configuration(config: Path) -> dict[str, Any]:
    from edged.config import Secrets, load_config

    loaded = load_config(config)
    local = ("file", "v4l2", "csi", "shm")
    return {
        "tasks": list(loaded.tasks),
        "cameras": [
            {
                "id": name,
                "scheme": camera.source.scheme,
                "place": camera.source.rest if camera.source.scheme in local else "",
                "backend": list(camera.backend),
            }
            for name, camera in loaded.cameras.items()
        ],
        "store": str(loaded.edged.engines.store),
        "processes": loaded.edged.scheduler.processes,
        "missing": [str(fault) for fault in loaded.missing_credentials(Secrets.from_environment(config))],
        "notes": list(loaded.notes),
    }


def _buses(config: Path) -> dict[str, Any]:
    """Look for the cameras that are named by their bus: each node is opened to ask who it is, unless a daemon runs."""
    from edged.camera.v4l2.find import BUS, locate
    from edged.config import load_config

    held = daemon_runs()
    nodes: dict[str, str] = {}
    errors: dict[str, str] = {}
    places = [camera.source.rest for camera in load_config(config).cameras.values() if camera.source.scheme == "v4l2"]
    for place in () if held else (place for place in places if place.startswith(BUS)):
        try:
            nodes[place] = locate(place)
        except CameraError as exc:
            errors[place] = str(exc)
    return {"held": held, "nodes": nodes, "errors": errors}


def _callback(_: Path) -> dict[str, Any]:
    """Make code at run time, as ctypes and PyGObject do for callbacks."""
    made = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)
    return {"value": made()}


PROBES: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "numpy": _library("numpy"),
    "zmq": _zmq,
    "msgpack": lambda _: {"version": ".".join(map(str, import_module("msgpack").version))},
    "pydantic": _library("pydantic"),
    "yaml": _library("yaml"),
    "onnxruntime": _onnxruntime,
    "av": _av,
    "cv2": _library("cv2"),
    "pycuda": _library("pycuda", "VERSION_TEXT"),
    "cuda.bindings": _cuda_bindings,
    "nvrtc": _nvrtc,
    "nvdec": _nvdec,
    "gstreamer": _gstreamer,
    "jetson_utils": _jetson_utils,
    "cuda": _cuda,
    "tensorrt": _tensorrt,
    "configuration": _configuration,
    "buses": _buses,
    "callback": _callback,
}


def main(name: str, config: str) -> None:
    """Run one probe and print what it found."""
    said: dict[str, Any] = {"found": {}, "error": "", "installed": True}
    try:
        said["found"] = PROBES[name](Path(config))
    except EdgedError as exc:
        said["error"] = str(exc)
        said["installed"] = not isinstance(exc.__cause__, ModuleNotFoundError)
    except ModuleNotFoundError as exc:
        said.update(error=str(exc), installed=False)
    except Exception as exc:  # noqa: BLE001 - a foreign library's own error is what is asked for
        said["error"] = f"{type(exc).__name__}: {exc}"
    sys.stdout.write("\n" + json.dumps(said) + "\n")
    sys.stdout.flush()
    os._exit(0)  # a driver that hangs in its own end has nothing more to say


if __name__ == "__main__":
    main(*sys.argv[1:])
