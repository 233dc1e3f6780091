from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from edged.demo.clips import frame_at

FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame k is grey 20 + 15 k; key frames every five, so that a seek would land elsewhere."""
    path = tmp_path_factory.mktemp("clips") / "grey.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 5
        for k in range(FRAMES):
            image = np.full((48, 64, 3), 20 + 15 * k, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("frame_id", [0, 1, 7, 11, 12, 12 * 1000 + 7])
def test_ids_count_on_over_the_loops(clip: Path, frame_id: int) -> None:
    image = frame_at(clip, frame_id)
    assert image is not None
    assert image.shape == (48, 64, 3)
    assert abs(float(image.mean()) - (20 + 15 * (frame_id % FRAMES))) < 5


def test_a_clip_that_cannot_be_read_gives_no_picture(tmp_path: Path) -> None:
    assert frame_at(tmp_path / "missing.mp4", 0) is None
    (tmp_path / "text.mp4").write_text("no video")
    assert frame_at(tmp_path / "text.mp4", 0) is None
