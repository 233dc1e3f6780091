"""The CUDA layer's own decisions, with the two libraries played: what fails, and what a capture that fails leaves."""

from __future__ import annotations

import sys
from enum import IntEnum
from types import SimpleNamespace

import pytest

from edged.device.base import DeviceError
from edged.device.gpu import Gpu, open_device
from edged.errors import BackendUnavailable


class CudaError(Exception):
    """What pycuda raises."""


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


class Driver:
    """Plays cuda-bindings: every call answers with its status first."""

    CUresult = Result
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self, end=Result.CUDA_SUCCESS):
        self.end, self.calls = end, []

    def __getattr__(self, name):
        def call(*args):
            self.calls.append(name)
            if name == "CUstream":
                return args[0]
            answers = {
                "cuStreamEndCapture": (self.end, 5 if self.end == 0 else 0),
                "cuGraphInstantiate": (Result(0), 6),
            }
            return answers.get(name, (Result(0),))

        return call


class Quick:
    """Plays the driver's library itself: a call answers with its status alone."""

    def __init__(self, driver):
        self.driver = driver

    def __getattr__(self, name):
        return lambda *args: getattr(self.driver, name)(*args)[0]


class Context:
    handle = 9
    pushed = 0

    def push(self):
        Context.pushed += 1

    def pop(self):
        Context.pushed -= 1

    def detach(self):
        self.detached = True


def played(driver, count=1):
    device = SimpleNamespace(
        name=lambda: "GPU", compute_capability=lambda: (8, 7), retain_primary_context=Context, count=lambda: count
    )
    kind = type("Device", (), {"__new__": lambda cls, number: device, "count": staticmethod(lambda: count)})
    cuda = SimpleNamespace(Device=kind, Error=CudaError, get_driver_version=lambda: 12060, init=lambda: None)
    return Gpu(0, cuda, driver, Quick(driver))


def test_it_says_what_it_is_and_every_push_has_its_pop():
    gpu = played(Driver())
    assert (gpu.name, gpu.capability, gpu.driver) == ("GPU", "8.7", "12.6")
    with pytest.raises(ZeroDivisionError), gpu.active():
        assert Context.pushed == 1
        1 / 0  # noqa: B018 - any error
    assert Context.pushed == 0
    gpu.close()
    gpu.close()


def test_what_was_recorded_becomes_a_graph_that_is_freed_once():
    driver = Driver()
    stream = SimpleNamespace(handle=7)
    graph = played(driver).capture(stream, lambda: True)
    graph.launch(stream)
    graph.free()
    graph.free()
    assert driver.calls == [
        "CUstream", "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphDestroy",
        "cuGraphLaunch", "cuGraphExecDestroy",
    ]  # fmt: skip


def refused():
    raise DeviceError("CUDA: no copy while recording")


@pytest.mark.parametrize("enqueue", [lambda: False, refused])
def test_what_cannot_be_recorded_is_thrown_away_and_the_stream_is_free_again(enqueue):
    driver = Driver()
    assert played(driver).capture(SimpleNamespace(handle=7), enqueue) is None
    assert driver.calls[-2:] == ["cuStreamEndCapture", "cuGraphDestroy"]


def test_a_capture_that_cuda_ends_is_no_graph():
    driver = Driver(Result.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
    assert played(driver).capture(SimpleNamespace(handle=7), lambda: True) is None
    assert driver.calls[-1] == "cuStreamEndCapture"


def test_a_bug_while_recording_ends_the_recording_and_is_seen():
    driver = Driver()
    with pytest.raises(ZeroDivisionError):
        played(driver).capture(SimpleNamespace(handle=7), lambda: 1 / 0)
    assert driver.calls[-1] == "cuStreamEndCapture"


def test_an_error_of_cuda_is_ours():
    gpu = played(Driver())

    def fail(*_):
        raise CudaError("cuMemAlloc failed: out of memory")

    gpu._cuda.mem_alloc = fail
    with pytest.raises(DeviceError, match="^CUDA: cuMemAlloc failed: out of memory$") as caught:
        gpu.allocate(1)
    assert caught.value.exit_code == 70


def test_without_pycuda_the_gpu_is_unavailable(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(BackendUnavailable, match="the GPU needs pycuda and cuda-bindings"):
        open_device(0)
