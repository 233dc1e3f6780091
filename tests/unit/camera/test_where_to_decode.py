"""Where a camera is decoded: on the GPU only where nobody else reads its frames."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edged.cameras import gpu_of, source_opener
from edged.config import CameraConfig, Secrets
from edged.errors import BackendUnavailable


def vehicle(**devices):
    """Return a configuration with a task on camera `front` for each device, and what serves them."""
    tasks = {name: SimpleNamespace(cameras=("front",)) for name in devices}
    engines = {name: SimpleNamespace(device=device) for name, device in devices.items()}
    config = SimpleNamespace(tasks=tasks, decoder_of=lambda camera: camera)
    return config, SimpleNamespace(task_engine={name: name for name in devices}, engines=engines)


@pytest.mark.parametrize(
    ("devices", "gpu"),
    [
        ({"a": "gpu0"}, 0),
        ({"a": "gpu1", "b": "gpu1"}, 1),
        ({"a": "gpu0", "b": "dla1"}, 0),
        ({"a": "gpu0", "b": "gpu1"}, None),
        ({"a": "gpu0", "b": "cpu"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_frames_stay_on_a_gpu_that_alone_reads_them(devices, gpu):
    assert gpu_of("front", *vehicle(**devices)) == gpu
    assert gpu_of("rear", *vehicle(**devices)) is None


def test_a_task_on_a_view_reads_the_camera_that_is_decoded():
    config, lineup = vehicle(a="gpu0")
    config.tasks["a"] = SimpleNamespace(cameras=("left_view",))
    config.decoder_of = {"left_view": "front"}.get
    assert gpu_of("front", config, lineup) == 0


def test_a_camera_of_the_cpu_that_insists_on_nvdec_says_why_it_cannot_have_it():
    camera = CameraConfig.model_validate({"id": "front", "source": "file:x.mp4", "backend": "nvdec"})
    opener = source_opener("front", camera, Secrets(), gpu=None)
    assert opener.backend == "none"
    with pytest.raises(BackendUnavailable, match="^camera backend 'nvdec' keeps pictures on a GPU, where no engine"):
        opener()
    camera = CameraConfig.model_validate({"id": "front", "source": "file:x.mp4"})
    assert source_opener("front", camera, Secrets(), gpu=None).backend == "pyav"
