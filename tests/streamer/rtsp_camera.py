"""A camera's RTSP server with a tone, for the system's own Python: GStreamer's bindings are not on PyPI.

Arguments: port, frequency in Hz.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 -- only after the versions are chosen

PORT, FREQUENCY_HZ = sys.argv[1:]

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(PORT)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( audiotestsrc is-live=true freq={FREQUENCY_HZ} volume=0.5 ! audio/x-raw,rate=8000,channels=1"
    " ! mulawenc ! rtppcmupay name=pay0 )"
)
server.get_mount_points().add_factory("/stream1", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
