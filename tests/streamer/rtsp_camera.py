"""A camera's RTSP server with pictures and a tone, for the system's own Python: GStreamer's bindings are not on PyPI.

Arguments: port, frequency in Hz. Prints the path of every track that a client sets up.
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
    "( videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=64,framerate=5/1"
    " ! jpegenc ! rtpjpegpay name=pay0"
    f" audiotestsrc is-live=true freq={FREQUENCY_HZ} volume=0.5 ! audio/x-raw,rate=8000,channels=1"
    " ! mulawenc ! rtppcmupay name=pay1 )"
)
server.get_mount_points().add_factory("/stream1", factory)
server.connect(
    "client-connected",
    lambda _server, client: client.connect(
        "setup-request", lambda _client, context: print(context.uri.abspath, flush=True)
    ),
)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
