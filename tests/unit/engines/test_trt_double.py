"""The stand-in has exactly the names of a release."""

from __future__ import annotations

import pytest
from tensorrt_double import RELEASES, make_tensorrt


def test_all_seven_releases_are_there():
    assert RELEASES == ["8.5.3.1", "10.3.0", "10.7.0", "10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106"]
    assert [make_tensorrt(release).__version__ for release in RELEASES] == RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_what_was_removed_or_is_still_to_come_is_an_attribute_error(release):
    trt = make_tensorrt(release)
    old, new = release.startswith("8."), release.startswith("11.")
    assert hasattr(trt.BuilderFlag, "FP16") is not new
    assert hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH") is not new
    assert hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") is not old
    assert hasattr(trt.IBuilderConfig, "max_workspace_size") is old
    assert hasattr(trt, "IInt8EntropyCalibrator2") is not new
    config = trt.IBuilderConfig()
    name = "progress_monitor" if old else "max_workspace_size"
    with pytest.raises(AttributeError, match=f"of TensorRT {release} has no attribute '{name}'"):
        setattr(config, name, None)
    with pytest.raises(AttributeError):
        trt.Builder.build_cuda_engine  # noqa: B018 - gone since 8.0


def test_an_enumerator_is_no_number_until_it_is_made_one():
    flag = make_tensorrt("8.5.3.1").NetworkDefinitionCreationFlag.EXPLICIT_BATCH
    with pytest.raises(TypeError):
        1 << flag
    assert 1 << int(flag)


def test_a_name_without_behaviour_says_so():
    with pytest.raises(NotImplementedError, match=r"has the name INetworkDefinition.add_relu|add_loop"):
        make_tensorrt("10.3.0").INetworkDefinition().add_loop()
