"""Who is there: the capture devices of this machine, by what their drivers say of them."""

from __future__ import annotations

from dataclasses import dataclass

from edged.camera.v4l2 import node, uapi


@dataclass(frozen=True)
class Identity:
    """Who a device is, and whether it takes pictures that can be streamed."""

    driver: str
    card: str
    bus: str
    caps: int

    @property
    def captures(self) -> bool:
        """Whether it is a video capture device, of one plane or several."""
        return bool(self.caps & (uapi.CAP_VIDEO_CAPTURE | uapi.CAP_VIDEO_CAPTURE_MPLANE))

    @property
    def streams(self) -> bool:
        """Whether it gives its pictures in buffers that can be mapped."""
        return bool(self.caps & uapi.CAP_STREAMING)


def cameras_here() -> tuple[list[tuple[str, Identity]], list[str]]:
    """Return the capture devices of this machine with their nodes' paths, and the nodes that may not be looked at."""
    found, closed = [], []
    for path in node.node_paths():
        try:
            opened = node.open_node(path)
        except PermissionError:
            closed.append(path)
            continue
        except OSError:  # in use by one program only, or just gone
            continue
        try:
            who = identity_of(opened)
        except OSError:
            continue
        finally:
            opened.close()
        if who.captures and who.streams:
            found.append((path, who))
    return found, closed


def identity_of(opened: node.Node) -> Identity:
    """Ask an open node who it is. Raise `OSError`."""
    found = uapi.Capability()
    opened.call(uapi.QUERYCAP, found)
    caps = found.device_caps if found.capabilities & uapi.CAP_DEVICE_CAPS else found.capabilities
    return Identity(uapi.text_of(found.driver), uapi.text_of(found.card), uapi.text_of(found.bus_info), caps)
