"""The TensorRT library of this machine: its module, its log, and custom layers."""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from edged.engines.store import file_sha256
from edged.errors import BackendUnavailable

log = logging.getLogger("edged.tensorrt")

BACKEND = "tensorrt"
DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool",
    "UINT8": "uint8",
}  # fmt: skip
SHARING = "PROFILE_SHARING_0806"
ERRORS_KEPT = 3  # an internal error comes in two or three messages, of which the last says least
CREATORS = ("getCreators", "getPluginCreators")  # what a library exports that is to be loaded by the registry


@lru_cache(maxsize=1)
def open_library() -> Library:
    """Return the TensorRT of this process.

    Raises:
        BackendUnavailable: it is not installed, or a library it needs is not.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as exc:  # its package loads libraries, and reports those as OSError
        raise BackendUnavailable(f"engine back end 'tensorrt' needs NVIDIA's tensorrt package ({exc})") from exc
    return Library(tensorrt)


class Library:
    """One release of TensorRT.

    Attributes:
        trt: its Python module. What a release does not have is not there: ask with `hasattr`.
        release: its version, for people and for keys; never compared.
        logger: takes its messages; TensorRT keeps the first one it is given.
    """

    def __init__(self, trt: Any) -> None:
        self.trt = trt
        self.release: str = trt.__version__
        self._errors: deque[str] = deque(maxlen=ERRORS_KEPT)
        self._plugins: dict[Path, str] = {}
        self.logger = self._make_logger()
        trt.init_libnvinfer_plugins(self.logger, "")

    @property
    def shares_profiles(self) -> bool:
        """Say whether several contexts of one engine may use the same optimisation profile: from 8.6 on."""
        return hasattr(self.trt.PreviewFeature, SHARING) or hasattr(
            self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"
        )

    def runtime(self) -> Any:
        """Return a new `Runtime`.

        Raises:
            BackendUnavailable: TensorRT cannot start here: it finds no CUDA that it can use.
        """
        return self._started(self.trt.Runtime, self.logger)

    def builder(self) -> Any:
        """Return a new `Builder`; raises as `runtime` does."""
        return self._started(self.trt.Builder, self.logger)

    def parser(self, network: Any) -> Any:
        """Return a new `OnnxParser` into a network; raises as `runtime` does."""
        return self._started(self.trt.OnnxParser, network, self.logger)

    def _started(self, kind: Any, *arguments: Any) -> Any:
        try:
            return kind(*arguments)
        except TypeError as exc:  # so the bindings report that the library made nothing
            raise BackendUnavailable(f"TensorRT {self.release} does not start: {self.why()}") from exc

    def _make_logger(self) -> Any:
        take = self._take

        class Logger(self.trt.ILogger):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, msg: str) -> None:
                take(severity.name, msg)

        return Logger()

    def _take(self, severity: str, text: str) -> None:
        """Log one message, from any thread, and keep the errors: the calls that fail say nothing themselves."""
        if severity in ("INTERNAL_ERROR", "ERROR"):
            self._errors.append(text.strip())
            log.error("%s", text)
        elif severity == "WARNING":
            log.warning("%s", text)
        elif severity == "INFO":
            log.debug("%s", text)

    def why(self) -> str:
        """Return what went wrong since the last time, the cause first, and forget it."""
        texts = list(dict.fromkeys(self._errors))
        self._errors.clear()
        return "; ".join(texts) or "TensorRT gives no reason"

    def load_plugins(self, paths: Iterable[Path]) -> None:
        """Load libraries with custom layers, each once.

        Their layers register themselves while they load, or are asked for by the registry where it can do that. What is
        registered stays so: a library that has changed needs a new process.

        Raises:
            BackendUnavailable: one cannot be loaded, or was loaded with other bytes.
        """
        for path in paths:
            digest = file_sha256(path)
            if path in self._plugins:
                if self._plugins[path] != digest:
                    raise BackendUnavailable(
                        f"TensorRT plug-in library {path} has changed since this process loaded it; restart edged"
                    )
                continue
            try:
                library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError as exc:
                raise BackendUnavailable(f"TensorRT plug-in library {path}: {exc}") from exc
            registry = self.trt.get_plugin_registry()
            exports = any(hasattr(library, name) for name in CREATORS)
            if exports and hasattr(registry, "load_library") and registry.load_library(str(path)) is None:
                raise BackendUnavailable(f"TensorRT plug-in library {path}: {self.why()}")
            self._plugins[path] = digest


def numpy_type(kind: Any) -> str:
    """Return numpy's name of a `DataType`, or TensorRT's own where numpy has none."""
    return DTYPES.get(str(kind.name), str(kind.name).lower())
