"""Film the demo's clips: six cameras, the same 20 s of one drive, and their exact truth.

    python -m models.clips

Writes configs/demo/clips/CAMERA.mp4 and truth.json. Needs PyAV with libx264.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
from av.video.reformatter import ColorRange, Colorspace

from edged.camera.scene import CAMERAS, HEIGHT_PX, WIDTH_PX, Scene
from models.dataset import CLIP_SEED

RATE_HZ, FRAMES, START_S = 15, 300, 6.0
KEY_FRAMES, BITS_PER_S = 15, 295_000
SCHEDULE = (
    (0.0, "clear"), (START_S + 5.0, "clear"), (START_S + 6.5, "rain"), (START_S + 10.0, "rain"),
    (START_S + 11.5, "dusk"), (START_S + 13.5, "dusk"), (START_S + 15.0, "night"),
)  # fmt: skip


def film(scene: Scene, camera: str, path: Path) -> list[dict[str, Any]]:
    """Encode one camera's clip and return the truth of each frame."""
    options = {"preset": "veryslow", "bf": "0", "maxrate": "900k", "bufsize": "900k"}
    options["x264-params"] = f"keyint={KEY_FRAMES}:min-keyint={KEY_FRAMES}:scenecut=0:bframes=0"
    truth = []
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
        stream = file.add_stream("libx264", rate=RATE_HZ, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.bit_rate = BITS_PER_S
        codec = stream.codec_context
        codec.gop_size = KEY_FRAMES
        codec.time_base = Fraction(1, RATE_HZ)
        codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range = 1, 1, 1, 1
        for k in range(FRAMES):
            view = scene.view(camera, START_S + k / RATE_HZ)
            truth.append(view.truth.to_json())
            frame = av.VideoFrame.from_ndarray(view.image, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts = k
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("configs/demo/clips"))
    parser.add_argument("--camera", action="append", choices=list(CAMERAS), help="only these")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    scene = Scene(CLIP_SEED, SCHEDULE)
    record: dict[str, Any] = {
        "seed": CLIP_SEED,
        "schedule": SCHEDULE,
        "start_s": START_S,
        "rate_hz": RATE_HZ,
        "cameras": {},
    }
    for camera in args.camera or CAMERAS:
        record["cameras"][camera] = film(scene, camera, args.out / f"{camera}.mp4")
        print(camera, (args.out / f"{camera}.mp4").stat().st_size, flush=True)
    if not args.camera:
        text = json.dumps(record, separators=(",", ":"))
        (args.out / "truth.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
