"""What the builders of all TensorRT releases share: one build's parts, and the steps that never changed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edged.device.base import Device
from edged.engines.base import EngineRequest
from edged.engines.build.record import Frames
from edged.engines.preprocess import Preprocessor
from edged.engines.tensorrt.library import Library, numpy_type
from edged.engines.tensorrt.place import Place, profile_of
from edged.errors import ConfigError
from edged.tensor import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

WORKSPACE_BYTES = 1 << 30  # enough for every tactic of small networks, and a Jetson shares it with everything else


@dataclass(frozen=True)
class Work:
    """One engine to build, on this thread, with the device active.

    `image` is the network's input; `frames` give the ranges for INT8; `folder` takes files that nobody needs later;
    `calibration` is what a build before this one measured on the same frames, or nothing.
    """

    library: Library
    device: Device
    request: EngineRequest
    place: Place
    image: TensorSpec
    frames: Frames
    folder: Path
    calibration: bytes = b""

    @property
    def trt(self) -> Any:
        """Return TensorRT's module."""
        return self.library.trt

    @property
    def batch(self) -> tuple[int, int, int]:
        """Return the least, best and greatest batch: the model's own where that is fixed."""
        own = self.image.shape[0]
        return profile_of(self.request, self.place) if own is None else (own, own, own)

    @property
    def dynamic(self) -> bool:
        """Return whether the model leaves the batch open."""
        return self.image.shape[0] is None

    def failed(self, what: str) -> ConfigError:
        """Return the error for a step that TensorRT refused, in its own words."""
        return ConfigError(f"{self.request.onnx}: TensorRT {self.library.release} {what}: {self.library.why()}")


class Generation(Protocol):
    """How the releases of one generation are told what to build."""

    name: str

    def network(self, work: Work, builder: Any) -> Any:
        """Return a new, empty network."""

    def model(self, work: Work) -> Path:
        """Return the ONNX file to build from, which says as much of the precision as this generation wants there."""

    def configure(self, work: Work, builder: Any, config: Any) -> None:
        """Set the precision, and whatever only this generation has."""

    def measured(self) -> bytes:
        """Return what calibration measured in this build, to be kept for the next one; nothing where nothing was.

        It raises what made the calibration end early: TensorRT goes on with what it has.
        """

    def free(self) -> None:
        """Give back what the build took."""


def parse(work: Work, network: Any, path: Path) -> None:
    """Read an ONNX file and its external weights into a network. Raise `ConfigError` with all that the parser says."""
    parser = work.library.parser(network)
    if parser.parse(path.read_bytes(), path=str(path)):
        return
    faults = [parser.get_error(number).desc() for number in range(parser.num_errors)]
    raise ConfigError(f"{work.request.onnx}: TensorRT {work.library.release} cannot read it: {'; '.join(faults)}")


def inputs_of(network: Any) -> tuple[TensorSpec, ...]:
    """Return the inputs of a network that was read; a size that is open there is None."""
    found = []
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        shape = tuple(size if size >= 0 else None for size in tensor.shape)
        found.append(TensorSpec(tensor.name, shape, numpy_type(tensor.dtype)))
    return tuple(found)


def add_profile(work: Work, builder: Any, config: Any) -> None:
    """Say which batch sizes are wanted, where the model leaves that open."""
    if not work.dynamic:
        return
    rest = tuple(work.image.shape[1:])
    profile = builder.create_optimization_profile()
    profile.set_shape(work.image.name, *((size, *rest) for size in work.batch))
    config.add_optimization_profile(profile)


def place_on_dla(work: Work, config: Any) -> None:
    """Put every layer on the DLA core, and those it cannot run on the GPU if the task allows that."""
    if work.place.dla is None:
        return
    config.default_device_type = work.trt.DeviceType.DLA
    config.DLA_core = work.place.dla
    if work.request.gpu_fallback != "never":
        config.set_flag(work.trt.BuilderFlag.GPU_FALLBACK)


def batches(work: Work, count: int) -> Iterator[NDArray[np.generic]]:
    """Yield the calibration frames as whole input tensors of `count` pictures; the last one begins again to be full.

    There is one tensor, and one picture beside it: what is yielded is gone with the next.
    """
    _, channels, height, width = (size or 1 for size in work.image.shape)
    preprocessor = Preprocessor((width, height), work.request.input)
    tensor = np.zeros((count, channels, height, width), work.image.dtype)
    endless = itertools.chain.from_iterable(itertools.repeat(work.frames))
    for _ in range(0, len(work.frames), count):
        for index in range(count):
            preprocessor.write(next(endless), tensor[index], index)
        yield tensor


def make_progress(work: Work) -> Any:
    """Return a progress monitor that logs each tenth of a build's longest phases. Releases from 9 on have them."""
    trt, name = work.trt, work.request.onnx.name

    class Progress(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self._steps.get(phase_name, 0)
            if steps >= 10 and step % (steps // 10) == 0:
                log.info("%s: %s %d %%", name, phase_name, 100 * step // steps)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Progress()
