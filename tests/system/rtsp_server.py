"""An RTSP camera, for the system's Python: `rtsp_server.py ADDRESS:PORT WxH FPS [USER:PASSWORD]`.

Serves rtsp://ADDRESS:PORT/cam over TCP and UDP, H.264 as security cameras send it, and prints `ready`.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions are chosen first

ELEMENTS = ("videotestsrc", "videoconvert", "x264enc", "h264parse", "rtph264pay", "rtpbin", "udpsink")
PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate={fps}/1 "
    "! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max={fps} "
    "! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def guard(server, factory, user, password):
    """Ask for a password."""
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for right in ("access", "construct"):
        permissions.add_permission_for_role("user", f"media.factory.{right}", True)
    factory.set_permissions(permissions)


def main(at, size, fps, account=""):
    """Serve until killed."""
    missing = [name for name in ELEMENTS if Gst.ElementFactory.find(name) is None]
    if missing:
        sys.exit(f"GStreamer lacks {', '.join(missing)}")
    width, height = size.split("x")
    server = GstRtspServer.RTSPServer()
    address, port = at.split(":")
    server.set_address(address)
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE.format(width=width, height=height, fps=fps))
    # a pipeline for each client: when one begins over TCP while another does over UDP on the same, the library aborts
    # (assertion failed in create_and_plug_queue_to_linked_stream_probe_cb)
    factory.set_shared(False)
    if account:
        guard(server, factory, *account.split(":", 1))
    server.get_mount_points().add_factory("/cam", factory)
    if server.attach(None) == 0:
        sys.exit(f"{at} cannot be had")
    print("ready", flush=True)
    GLib.MainLoop().run()


Gst.init(None)
if sys.argv[1:] == ["--check"]:
    sys.exit(", ".join(name for name in ELEMENTS if Gst.ElementFactory.find(name) is None))
main(*sys.argv[1:])
