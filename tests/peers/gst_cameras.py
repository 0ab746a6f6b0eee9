#!/usr/bin/python3
"""An RTSP camera on gst-rtsp-server that plays one MP4 file over and over; run with the system's Python.

Another maker's server than the simulated camera: its own RTSP, RTP, Digest and TLS. Prints one line of JSON with its
port when it is ready. Access units are parsed once; appsrc pushes them with timestamps that go on.
"""

import argparse
import json
import os
from collections.abc import Callable

import gi

for _name, _version in {"Gst": "1.0", "GstRtspServer": "1.0", "Gio": "2.0", "GstRtsp": "1.0"}.items():
    gi.require_version(_name, _version)
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PARSERS = {
    "h264": "h264parse ! video/x-h264,stream-format=avc,alignment=au",
    "h265": "h265parse ! video/x-h265,stream-format=hvc1,alignment=au",
}
PATH = "/cam"
ROLE = "viewer"
PULL_TIMEOUT_NS = 5 * Gst.SECOND
BATCH = 5


class Footage:
    """The access units of a file."""

    def __init__(self, path: str, codec: str) -> None:
        pipeline = Gst.parse_launch(
            f"filesrc location={path} ! qtdemux name=demux demux.video_0 ! queue ! {PARSERS[codec]} "
            "! appsink name=sink sync=false max-buffers=0"
        )
        sink = pipeline.get_by_name("sink")
        pipeline.set_state(Gst.State.PLAYING)
        self.caps = None
        self.units: list[tuple[GLib.Bytes, bool]] = []
        while (sample := sink.emit("try-pull-sample", PULL_TIMEOUT_NS)) is not None:
            self.caps = self.caps or sample.get_caps().copy()
            buffer = sample.get_buffer()
            _, mapped = buffer.map(Gst.MapFlags.READ)
            is_keyframe = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
            self.units.append((GLib.Bytes.new(bytes(mapped.data)), is_keyframe))
            buffer.unmap(mapped)
        pipeline.set_state(Gst.State.NULL)


class Feed:
    """Gives one appsrc what it asks for."""

    def __init__(self, source: Gst.Element, footage: Footage, fps: int) -> None:
        self._units, self._step_ns, self._count = footage.units, Gst.SECOND // fps, 0
        source.set_property("caps", footage.caps)
        source.connect("need-data", self._push)

    def _push(self, source: Gst.Element, _bytes: int) -> None:
        batch = Gst.BufferList.new()
        for _ in range(BATCH):
            data, is_keyframe = self._units[self._count % len(self._units)]
            buffer = Gst.Buffer.new_wrapped_bytes(data)
            buffer.pts = buffer.dts = self._count * self._step_ns
            buffer.duration = self._step_ns
            if not is_keyframe:
                buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
            batch.insert(-1, buffer)
            self._count += 1
        source.emit("push-buffer-list", batch)


def make_auth(args: argparse.Namespace) -> GstRtspServer.RTSPAuth:
    """Ask for a login, for TLS, or for both."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    if not args.user:
        auth.set_default_token(token)
    elif args.basic:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(args.user, args.password, token)
    if args.certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(args.certificate))
    return auth


def make_factory(args: argparse.Namespace) -> GstRtspServer.RTSPMediaFactory:
    """Make the one stream; all clients share it."""
    footage, feeds = Footage(args.file, args.codec), {}
    factory = GstRtspServer.RTSPMediaFactory()
    payloader = f"rtp{args.codec}pay pt=96 config-interval=-1 mtu={args.mtu}"
    payloader += f" ! identity drop-probability={args.loss} name=pay0" if args.loss else " name=pay0"
    factory.set_launch(f"( appsrc name=source format=time max-bytes=200000 ! {payloader} )")
    factory.set_shared(True)
    factory.set_suspend_mode(GstRtspServer.RTSPSuspendMode.NONE)
    if args.user or args.certificate:
        rights = f"{ROLE},media.factory.access=(boolean)true,media.factory.construct=(boolean)true"
        factory.add_role_from_structure(Gst.Structure.from_string(rights)[0])

    def configure(_factory: object, media: GstRtspServer.RTSPMedia) -> None:
        feeds[hash(media)] = Feed(media.get_element().get_by_name_recurse_up("source"), footage, args.fps)
        media.connect("unprepared", lambda ended: feeds.pop(hash(ended), None))

    factory.connect("media-configure", configure)
    return factory


def main() -> None:
    """Serve until killed."""
    args = parse_arguments()
    Gst.init(None)
    Gst.debug_set_default_threshold(int(os.environ.get("GST_DEBUG_LEVEL", "0")))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    if args.user or args.certificate:
        server.set_auth(make_auth(args))
    server.get_mount_points().add_factory(PATH, make_factory(args))
    server.attach(None)
    clean_up: Callable[[], bool] = lambda: server.get_session_pool().cleanup() >= 0  # noqa: E731
    GLib.timeout_add_seconds(2, clean_up)
    print(json.dumps({"port": server.get_bound_port(), "path": PATH}), flush=True)
    GLib.MainLoop().run()


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="MP4 to play")
    parser.add_argument("--port", type=int, default=0, help="TCP port, 0 for a free one")
    parser.add_argument("--codec", choices=sorted(PARSERS), default="h264")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--loss", type=float, default=0.0, help="share of RTP packets that never come")
    parser.add_argument("--mtu", type=int, default=1400, help="longest RTP packet, in bytes")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--basic", action="store_true", help="Basic instead of Digest")
    parser.add_argument("--certificate", help="PEM with certificate and key: speak rtsps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
