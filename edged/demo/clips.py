"""The very picture that a result names, decoded again from the camera's clip."""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray


def frame_at(path: Path, frame_id: int) -> NDArray[np.uint8] | None:
    """Decode a looped clip's frame: ids count on over the loops, so it is number `frame_id` modulo its length.

    Returns:
        (H, W, 3) uint8, BGR; None for a clip that cannot be read.
    """
    try:
        with av.open(str(path)) as clip:
            stream = clip.streams.video[0]
            length = sum(packet.size > 0 for packet in clip.demux(stream))
            clip.seek(0)
            for number, frame in enumerate(clip.decode(stream)):
                if number == frame_id % length:
                    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (av.error.FFmpegError, OSError, IndexError, ZeroDivisionError):
        return None
    return None
