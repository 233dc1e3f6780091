"""From a camera's address to its device node: a path, or `bus:BUS_INFO`, which a new number does not change."""

from __future__ import annotations

from edged.camera.v4l2 import node
from edged.camera.v4l2.identity import cameras_here
from edged.errors import CameraError

BUS = "bus:"


def locate(address: str) -> str:
    """Return the path of the node that an address means now.

    `bus:BUS_INFO` is the capture device whose driver gives this text with VIDIOC_QUERYCAP; `#INDEX` behind it tells
    the capture devices of one camera apart (infrared and color, say), as the end of udev's links does.

    Raises:
        CameraError: there is none, or more than one; the text lists what is there.
    """
    if not address.startswith(BUS):
        return address
    bus, _, index = address.removeprefix(BUS).partition("#")
    here, closed = cameras_here()
    found = [path for path, who in here if who.bus == bus]
    if index:
        found = [path for path in found if node.node_index(path) == int(index)]
    if len(found) == 1:
        return found[0]
    if found:
        many = ", ".join(f"#{node.node_index(path)} ({path})" for path in found)
        raise CameraError(f"{len(found)} capture devices have the bus {bus!r}: add one of {many}")
    there = ", ".join(f"{who.bus!r} ({who.card}, {path})" for path, who in here)
    at = f"{bus!r} with the index {index}" if index else repr(bus)
    forbidden = f"; this process may not look at {', '.join(closed)}" if closed else ""
    raise CameraError(f"no camera at the bus {at}; there {'are ' + there if there else 'is none'}{forbidden}")
