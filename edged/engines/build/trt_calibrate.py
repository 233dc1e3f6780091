"""INT8 ranges by TensorRT's own entropy calibration, which releases before 11 have. The only INT8 that DLAs took then.

Its cache is a table of ranges by tensor name: with it a build needs no frames.
"""

from __future__ import annotations

from typing import Any

from edged.engines.build.trt_work import Work, batches


def make_calibrator(work: Work) -> Any:
    """Return an `IInt8EntropyCalibrator2` over the frames of a build. Free it after the build.

    Its `measured` returns the cache as TensorRT wrote it, or raises what went wrong while a batch was made.
    """

    class Calibrator(work.trt.IInt8EntropyCalibrator2):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.kept = work.calibration
            self._count = work.batch[1]
            self._batches = batches(work, self._count)
            self._stream: Any = None
            self._host: Any = None
            self._memory: Any = None
            self._failure: BaseException | None = None

        def get_batch_size(self) -> int:
            return self._count

        def get_batch(self, names: list[str], *_: Any) -> list[int] | None:
            try:
                return self._next()
            except BaseException as exc:  # noqa: BLE001 - the bindings would take it for the end; `measured` raises it
                self._failure = exc
                return None

        def _next(self) -> list[int] | None:
            tensor = next(self._batches, None)
            if tensor is None:
                return None
            if self._memory is None:
                self._stream = work.device.stream()
                self._host = work.device.pinned(tensor.shape, tensor.dtype)
                self._memory = work.device.allocate(tensor.nbytes)
            self._host[:] = tensor
            work.device.copy_in(self._memory, self._host, self._stream)
            self._stream.synchronize()
            return [self._memory.pointer]

        def read_calibration_cache(self) -> bytes | None:
            return self.kept or None

        def write_calibration_cache(self, cache: Any) -> None:
            self.kept = bytes(cache)

        def measured(self) -> bytes:
            if self._failure is not None:
                raise self._failure
            return self.kept

        def free(self) -> None:
            for one in (self._memory, self._stream):
                if one is not None:
                    one.free()
            self._memory = self._host = self._stream = None

    return Calibrator()
