"""Just enough of what TensorRT does for builders and runtime to run on it: ONNX Runtime computes, on host memory.

Members that a release does not have are left out by `tensorrt_double.py`; `self._trt` is the module being played.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda_double import STREAMS

MAGIC = b"PLAN"
SHARING = "PROFILE_SHARING_0806"
TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64", "tensor(int32)": "INT32"}
NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "INT32": np.int32}


@dataclass
class Board:
    """What the machine of the stand-in has.

    `dla_refuses` are operators that its DLA cannot run; `capture_fails` makes recording a CUDA graph fail.
    """

    dla_cores: int = 0
    dla_refuses: tuple[str, ...] = ()
    capture_fails: bool = False
    build_fails: str = ""
    built: list[Any] = field(default_factory=list)


def function_init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    assert namespace == ""
    return True


def function_get_plugin_registry() -> Any:
    return SimpleNamespace()


class ILogger:
    def __init__(self) -> None: ...

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IHostMemory:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data


class Builder:
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self._trt.ILogger)
        self._logger = logger
        self.num_DLA_cores = self._trt._board.dla_cores
        if hasattr(self._trt.BuilderFlag, "FP16"):
            self.platform_has_fast_fp16 = True

    def create_network(self, flags: int = 0) -> Any:
        network = _new(self._trt.INetworkDefinition)
        explicit = getattr(self._trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        network._implicit = not hasattr(self._trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and not (
            flags >> int(explicit) & 1
        )
        return network

    def create_builder_config(self) -> Any:
        return _new(self._trt.IBuilderConfig)

    def create_optimization_profile(self) -> Any:
        profile = _new(self._trt.IOptimizationProfile)
        profile._shapes = {}
        return profile

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        why = self._trt._board.build_fails or _fault(network, config)
        if why:
            self._logger.log(self._trt.ILogger.ERROR, why)
            return None
        flags = {flag.name for flag in config._flags}
        if "INT8" in flags and config.int8_calibrator is not None and not _calibrate(network, config):
            self._logger.log(self._trt.ILogger.ERROR, "Calibration failure occurred with no scaling factors detected.")
            return None
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None:
            monitor.phase_start("Building", None, 20)
            assert all(monitor.step_complete("Building", step) for step in range(20))
            monitor.phase_finish("Building")
        config._timing._data = b"timed"
        about = {
            "release": self._trt.__version__,
            "dla": config._dla_core if config._device == "DLA" else None,
            "profiles": config._profiles,
            "layers": _layers(network, config, flags),
            "detailed": config.profiling_verbosity == self._trt.ProfilingVerbosity.DETAILED,
            "shares": (SHARING, True) in config._previews or _typed(self._trt),
            "implicit": _typed(self._trt),
        }
        self._trt._board.built.append((network, config))
        head = json.dumps(about).encode()
        return self._trt.IHostMemory(MAGIC + len(head).to_bytes(4, "little") + head + network._data)


def _typed(trt: Any) -> bool:
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _fault(network: Any, config: Any) -> str:
    """Return why TensorRT would not build this."""
    dynamic = [one for one in network._inputs if any(size < 0 for size in one.shape)]
    shapes = [profile._shapes for profile in config._added]
    if dynamic and not all(one.name in named for one in dynamic for named in shapes or [{}]):
        return "Network has dynamic or shape inputs, but no optimization profile has been defined."
    if config._device != "DLA":
        return ""
    if any(len({*map(tuple, named)}) > 1 for one in shapes for named in one.values()):
        return "DLA does not support dynamic shapes."
    if not any(flag.name in ("FP16", "INT8") for flag in config._flags) and hasattr(config._trt.BuilderFlag, "FP16"):
        return "Default DLA is enabled but layer is not FP16 or INT8."
    refused = [
        node.name or node.output[0] for node in network._model.graph.node if _refused(node, network, config._trt)
    ]
    if refused and config._trt.BuilderFlag.GPU_FALLBACK not in config._flags:
        return f"{refused[0]} is not supported on DLA and GPU fallback is not enabled."
    return ""


def _refused(node: Any, network: Any, trt: Any) -> bool:
    """Say whether a DLA refuses a layer. It has no FP32, and only a strongly typed network says what is."""
    floats = {one.name for one in network._model.graph.initializer if one.data_type == 1}
    floats |= {one.name for one in network._inputs if one.dtype == "FLOAT"}
    typed_only = not hasattr(trt.BuilderFlag, "FP16")
    return node.op_type in trt._board.dla_refuses or (typed_only and not floats.isdisjoint(node.input))


def _calibrate(network: Any, config: Any) -> bool:
    """Do as the bindings do: what the calibrator raises is printed, and is the end of its batches."""
    calibrator = config.int8_calibrator
    assert isinstance(calibrator, config._trt.IInt8EntropyCalibrator2)
    if calibrator.read_calibration_cache():
        return True
    one = network._inputs[0]
    peaks = []
    try:
        while (pointers := calibrator.get_batch([one.name])) is not None:
            shape = (calibrator.get_batch_size(), *one.shape[1:])
            peaks.append(float(np.abs(_at(pointers[0], shape, one.dtype)).max()))
    except Exception as exc:  # noqa: BLE001 - as the real bindings do, whatever it is
        print("[ERROR] Exception caught in get_batch():", exc)
    if not peaks:
        return False
    calibrator.write_calibration_cache(json.dumps({one.name: max(peaks), "batches": len(peaks)}).encode())
    return True


def _layers(network: Any, config: Any, flags: set[str]) -> list[dict[str, str]]:
    kinds = {node.op_type for node in network._model.graph.node}
    half = any(tensor.data_type == 10 for tensor in network._model.graph.initializer)
    typed = "INT8" if "QuantizeLinear" in kinds else "FP16" if half else "FP32"
    kind = typed if typed != "FP32" else "INT8" if "INT8" in flags else "FP16" if "FP16" in flags else "FP32"
    found = []
    for node in network._model.graph.node:
        on_dla = config._device == "DLA" and not _refused(node, network, config._trt)
        found.append({"name": node.name or node.output[0], "type": "DLA" if on_dla else node.op_type, "kind": kind})
    return found


class INetworkDefinition:
    _implicit = True
    _inputs: Any = ()
    _data = b""
    _model: Any = None

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> Any:
        one = self._inputs[index]
        return _Tensor(one.name, one.shape, self._trt.DataType[one.dtype])


class IOptimizationProfile:
    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - TensorRT's own names
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]


class ITimingCache:
    _data = b""

    def serialize(self) -> Any:
        return self._trt.IHostMemory(self._data)


class IBuilderConfig:
    _device = "GPU"
    _dla_core = -1
    int8_calibrator = None
    profiling_verbosity = None

    def __init__(self) -> None:
        self._flags, self._added, self._pools, self._previews = set(), [], {}, set()
        self._timing: Any = None
        self._sources = 31

    def set_flag(self, flag: Any) -> None:
        assert isinstance(flag, self._trt.BuilderFlag)
        self._flags.add(flag)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[pool.name] = pool_size

    def add_optimization_profile(self, profile: Any) -> int:
        self._added.append(profile)
        return len(self._added) - 1

    @property
    def _profiles(self) -> list[Any]:
        return [profile._shapes for profile in self._added]

    @property
    def default_device_type(self) -> Any:
        return self._trt.DeviceType[self._device]

    @default_device_type.setter
    def default_device_type(self, kind: Any) -> None:
        self._device = kind.name

    @property
    def DLA_core(self) -> int:  # noqa: N802 - TensorRT's own name
        return self._dla_core

    @DLA_core.setter
    def DLA_core(self, core: int) -> None:  # noqa: N802
        self._dla_core = core

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self._sources = tactic_sources
        return True

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        self._previews.add((feature.name, enable))

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        cache = _new(self._trt.ITimingCache)
        cache._data = serialized_timing_cache
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._timing = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._timing


class ParserError:
    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._errors = network, []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        import onnx

        if self._network._implicit:
            return self._fault("This version of the ONNX parser only supports networks with an explicit batch")
        try:
            read = onnx.load_from_string(model)
            onnx.load_external_data_for_model(read, str(Path(path or "").parent))
            model = read.SerializeToString()
            _session(model)
        except Exception as exc:  # noqa: BLE001 - onnx and its C extension raise classes without a base
            return self._fault(f"Failed to parse ONNX model: {exc}")
        self._network._model, self._network._data = read, model
        self._network._inputs = [_tensor(one) for one in _session(model).get_inputs()]
        return True

    def _fault(self, text: str) -> bool:
        error = _new(self._network._trt.ParserError)
        error._text = text
        self._errors.append(error)
        return False

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]


class Runtime:
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self._trt.ILogger)
        self._logger = logger
        self._core = -1
        self.num_DLA_cores = self._trt._board.dla_cores

    @property
    def DLA_core(self) -> int:  # noqa: N802
        return self._core

    @DLA_core.setter
    def DLA_core(self, core: int) -> None:  # noqa: N802
        self._core = core

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        size = int.from_bytes(serialized_engine[4:8], "little")
        try:
            assert serialized_engine[:4] == MAGIC
            about = json.loads(serialized_engine[8 : 8 + size])
            assert about["release"] == self._trt.__version__
            assert about["dla"] in (None, self._core)
        except (AssertionError, ValueError):
            self._logger.log(
                self._trt.ILogger.ERROR, "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed."
            )
            return None
        engine = _new(self._trt.ICudaEngine)
        engine._load(about, serialized_engine[8 + size :])
        return engine


class ICudaEngine:
    def _load(self, about: dict[str, Any], data: bytes) -> None:
        self._about, self._session = about, _session(data)
        self._tensors = {one.name: one for one in map(_tensor, self._session.get_inputs())}
        self._inputs = list(self._tensors)
        self._tensors |= {one.name: one for one in map(_tensor, self._session.get_outputs())}
        self._taken: set[int] = set()
        self._sizes: dict[Any, int] = {}
        self.num_io_tensors = len(self._tensors)
        self.num_optimization_profiles = max(len(about["profiles"]), 1)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = self._trt.TensorIOMode
        return mode.INPUT if name in self._inputs else mode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.DataType[self._tensors[name].dtype]

    def create_execution_context(self, *strategy: Any) -> Any:
        context = _new(self._trt.IExecutionContext)
        context._begin(self)
        context._memory = 0 if any(one.name == "USER_MANAGED" for one in strategy) else 1
        return context

    def create_execution_context_without_device_memory(self) -> Any:
        context = self.create_execution_context()
        context._memory = 0
        return context

    def _first_size(self, name: str, shapes: dict[str, tuple[int, ...]]) -> int:
        """Return the first size of a tensor, as it follows from the shapes of the inputs."""
        if name in shapes:
            return shapes[name][0]
        key = (name, *shapes.items())
        if key not in self._sizes:
            feeds = {one: np.zeros(shape, NUMPY[self._tensors[one].dtype]) for one, shape in shapes.items()}
            self._sizes[key] = self._session.run([name], feeds)[0].shape[0]
        return self._sizes[key]

    device_memory_size = 64
    device_memory_size_v2 = 64

    def create_engine_inspector(self) -> Any:
        inspector = _new(self._trt.EngineInspector)
        inspector._engine = self
        return inspector


class EngineInspector:
    def get_engine_information(self, format: Any) -> str:  # noqa: A002 - TensorRT's own name
        about = self._engine._about
        if not about["detailed"]:
            return json.dumps({"Layers": [one["name"] for one in about["layers"]], "Bindings": []})
        old = hasattr(self._trt.BuilderFlag, "FP16")
        rows = []
        for one in about["layers"]:
            how = (
                {"Format/Datatype": f"Row major linear {one['kind']}"}
                if old
                else {"Format": "Linear", "DataType": one["kind"]}
            )
            rows.append(
                {"Name": one["name"], "LayerType": one["type"], "Outputs": [{"Name": "x", "Location": "Device", **how}]}
            )
        return json.dumps({"Layers": rows, "Bindings" if old else "I/O Tensors": []})


class IExecutionContext:
    def _begin(self, engine: Any) -> None:
        self._engine, self._shapes, self._addresses, self._profile = engine, {}, {}, 0
        engine._about["profiles"] and self._take(0, first=True)

    def _take(self, index: int, first: bool = False) -> bool:
        """Choose a profile; before 8.6 only one context may have it, and with 8.6 only the first has it by itself."""
        taken = self._engine._taken
        if index in taken and not self._engine._about["implicit" if first else "shares"]:
            self._profile = -1 if first else self._profile
            return False
        taken.add(index)
        self._profile = index
        return True

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in STREAMS
        return profile_index == self._profile or self._take(profile_index)

    def set_input_shape(self, name: str, shape: Any) -> bool:
        wanted, own = tuple(shape), self._engine._tensors[name].shape
        profiles = self._engine._about["profiles"]
        if len(wanted) != len(own) or any(size not in (-1, given) for size, given in zip(own, wanted, strict=True)):
            return False
        if profiles:
            if self._profile < 0:
                return False
            least, _, most = profiles[self._profile][name]
            if any(not low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
                return False
        self._shapes[name] = wanted
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        own = self._engine._tensors[name].shape
        if not own or own[0] >= 0 or not self._shapes:
            return self._shapes.get(name, own)
        return (self._engine._first_size(name, self._shapes), *own[1:])

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= 64
        self._memory = memory

    @property
    def device_memory(self) -> int:
        return self._memory

    @device_memory.setter
    def device_memory(self, memory: int) -> None:
        self._memory = memory

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._engine._tensors

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = STREAMS[stream_handle]
        if stream.recording is not None and self._trt._board.capture_fails:
            return False
        if set(self._addresses) != set(self._engine._tensors) or not self._memory:
            return False
        shapes, addresses, engine = dict(self._shapes), dict(self._addresses), self._engine

        def run() -> None:
            assert self._shapes == shapes, "a graph was launched after its context had changed"
            feeds = {}
            for name in engine._inputs:
                shape = shapes.get(name, engine._tensors[name].shape)
                feeds[name] = _at(addresses[name], shape, engine._tensors[name].dtype)
            names = [name for name in engine._tensors if name not in engine._inputs]
            for name, value in zip(names, engine._session.run(names, feeds), strict=True):
                _at(addresses[name], value.shape, engine._tensors[name].dtype)[...] = value

        stream.do(run)
        return True


class IInt8EntropyCalibrator2:
    def __init__(self) -> None: ...


class IProgressMonitor:
    def __init__(self) -> None: ...


@dataclass
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str


def _tensor(node: Any) -> _Tensor:
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in node.shape)
    return _Tensor(node.name, shape, TYPES[node.type])


def _session(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _at(pointer: int, shape: tuple[int, ...], kind: str) -> Any:
    """Return the array at an address."""
    dtype = np.dtype(NUMPY[kind])
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_byte * count).from_address(pointer), dtype).reshape(shape)


def _new(kind: type) -> Any:
    """Make an object of a class that users cannot make."""
    return kind()
