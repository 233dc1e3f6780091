"""Python libraries, and the decoders that come with them."""

from __future__ import annotations

from collections.abc import Iterator

from edged.doctor.line import Line, line
from edged.doctor.probe import PACKETS
from edged.doctor.probing import Answers

NEEDED = {
    "numpy": "numpy",
    "zmq": "pyzmq",
    "msgpack": "msgpack",
    "pydantic": "pydantic",
    "yaml": "PyYAML",
    "onnxruntime": "onnxruntime",
    "av": "av",
    "cv2": "opencv-python-headless",
}
GST = "apt-get install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"


def lines(answers: Answers) -> Iterator[Line]:
    """Yield the libraries that edged cannot do without."""
    for name, package in NEEDED.items():
        answer = answers[name]
        remedy = f"pip install --force-reinstall {package}, in the environment of edged"
        yield line("libraries", name, answer.get("version", ""), answer.error, remedy)
    if answers["zmq"].get("curve") is False:
        yield line("libraries", "curve", "", "this libzmq has no CURVE: no encrypted endpoints", "pip install pyzmq")


def decoders(answers: Answers) -> Iterator[Line]:
    """Yield what decodes compressed streams."""
    av, gst, jetson = answers["av"], answers["gstreamer"], answers["jetson_utils"]
    nvdec = answers["nvdec"]
    remedy = "on a machine with a GPU: pip install PyNvVideoCodec; docs/cameras.md"
    yield line("decoders", "nvdec", nvdec.get("version", ""), nvdec.error, remedy, needed=nvdec.installed)
    yield line("decoders", "pyav", f"software: {', '.join(av.get('codecs', ()))}", av.error, "see av above")
    elements = gst.get("elements", ())
    found = f"{gst.get('version', '')}: {', '.join(elements) or 'none of the elements edged uses'}"
    lacking = [name for name in PACKETS if name not in elements]
    wrong = gst.error or (f"{found}; no {', '.join(lacking)} for compressed streams" if lacking else "")
    yield line("decoders", "gstreamer", found, wrong, GST, needed=gst.installed and bool(gst.error))
    remedy = "on JetPack 5 and 6: build jetson-utils (branch master) for this Python; docs/jetson.md"
    yield line("decoders", "jetson_utils", "can be imported", jetson.error, remedy, needed=jetson.installed)
    wrong = "" if "nvv4l2decoder" in elements else "no nvv4l2decoder: streams are decoded on the CPU"
    remedy = "on a Jetson: apt-get install nvidia-l4t-gstreamer"
    yield line("decoders", "hardware", "nvv4l2decoder", wrong, remedy, needed=False)
