"""The simulated camera: ``python -m edge_agent.demo.camera --port 0 --path /cam``.

Owns the wiring of source, server and faults, and the command line. Listens on loopback only. Prints one line of JSON
with its port and URL when it is ready.
"""

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TextIO

from edge_agent.demo.faults import FAULTS, CameraFault, FaultPlan, parse_fault
from edge_agent.demo.rtsp_login import Account
from edge_agent.demo.rtsp_server import RtspServer
from edge_agent.demo.source import CameraClock, CameraSource, CodedUnit, LiveSettings, LiveSource, LoopSource
from edge_agent.demo.tls_front import TlsFront
from edge_agent.demo.unit_faults import SETS_KEPT, StoppedTicks, keep_sets
from edge_agent.host.clock import SystemClock
from edge_agent.units import MonoNs

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """Everything about one simulated camera."""

    path: str = "/cam"
    port: int = 0
    account: Account = field(default_factory=Account)
    live: LiveSettings = field(default_factory=LiveSettings)
    loop: Path | None = None
    """A file to play over and over instead of encoding live."""
    faults: tuple[CameraFault, ...] = ()
    certificate: Path | None = None
    """PEM with certificate and key: then it speaks ``rtsps``."""
    log: Path | None = None
    """Where to write ``medium,ticks,boot_ns`` of every access unit as it is sent."""


class SimulatedCamera:
    """A camera in this process; a context manager that is ready when it is entered."""

    def __init__(self, settings: CameraSettings | None = None) -> None:
        self._settings = settings or CameraSettings()
        self._clock = SystemClock()
        self.plan = FaultPlan(self._settings.faults, self._clock.boot())
        self._stop = threading.Event()
        camera_clock = CameraClock(self._clock, self.plan)
        self._source: CameraSource = (
            LoopSource(self._settings.loop, camera_clock)
            if self._settings.loop
            else LiveSource(self._settings.live, camera_clock, self.plan)
        )
        self._log: TextIO | None = None
        self._held: list[CodedUnit] = []
        self._stopped_ticks = StoppedTicks()
        self._units = 0
        self._dropped = False
        self._threads: list[threading.Thread] = []
        self._server = self._make_server()
        self.port = 0

    def _make_server(self) -> RtspServer:
        settings, source = self._settings, self._source
        return RtspServer(
            settings.path, source.media, settings.account, self.plan, self._clock, source.request_keyframe
        )

    @property
    def url(self) -> str:
        """The camera's URL, without credentials."""
        scheme = "rtsps" if self._settings.certificate else "rtsp"
        return f"{scheme}://127.0.0.1:{self.port}{self._settings.path}"

    def start(self) -> Self:
        """Listen, then start to make pictures."""
        if self._settings.log:
            self._log = self._settings.log.open("w")
        certificate = self._settings.certificate
        self.port = self._server.bind(0 if certificate else self._settings.port)
        targets: dict[str, tuple[Callable[..., None], tuple[object, ...]]] = {}
        targets["demo-accept"] = (self._server.serve, (self._stop,))
        targets["demo-source"] = (self._source.run, (self._deliver, self._stop))
        if certificate:
            front = TlsFront(certificate, self.port)
            self.port = front.bind(self._settings.port)
            targets["demo-tls"] = (front.serve, (self._stop,))
        self._threads = [threading.Thread(target=run, args=args, name=name) for name, (run, args) in targets.items()]
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Stop as a camera does that loses power: connections end, nothing is said."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._log:
            self._log.close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.close()

    def fault(self, name: str, on: bool = True) -> None:
        """Switch a fault by hand."""
        self.plan.switch(name, on)

    def drop_clients(self) -> None:
        """Close every connection without a word."""
        self._server.drop_clients()

    @property
    def requests(self) -> int:
        """How many RTSP requests it has read."""
        return self._server.requests

    @property
    def wrong_logins(self) -> int:
        """How many requests had a login that was refused."""
        return self._server.wrong_logins

    def has_players(self) -> bool:
        """Tell whether anybody watches."""
        return self._server.has_players()

    def _deliver(self, unit: CodedUnit) -> None:
        """Send one access unit as the faults of the source's side leave it; most pass it on unchanged."""
        now = self._clock.boot()
        self._drop_clients_once(now)
        if not self._is_withheld(unit, now):
            self._send(self._spoil(unit, now), now)

    def _drop_clients_once(self, now: MonoNs) -> None:
        if self.plan.is_on("drop", now) and not self._dropped:
            self._dropped = True
            threading.Thread(target=self.drop_clients, name="demo-drop").start()

    def _is_withheld(self, unit: CodedUnit, now: MonoNs) -> bool:
        if self.plan.is_on("frozen", now) or self.plan.is_on("silent-audio" if unit.medium else "frozen-video", now):
            return True
        return self.plan.is_on("no-keyframes", now) and unit.medium == 0 and unit.is_keyframe

    def _spoil(self, unit: CodedUnit, now: MonoNs) -> CodedUnit:
        if self.plan.is_on("backwards-dts", now) and unit.medium == 0:
            self._units += 1
            if self._units % 10 == 0:
                back = self._server.media[0].clock_rate // 2
                unit = CodedUnit(0, unit.ticks - back, unit.camera_utc, unit.is_keyframe, unit.payloads)
        unit = self._stopped_ticks.apply(unit, self.plan, now)
        for fault, kinds in SETS_KEPT.items():
            if unit.medium == 0 and unit.is_keyframe and self.plan.is_on(fault, now):
                unit = keep_sets(self._server.media[0].codec, unit, kinds)
        return unit

    def _send(self, unit: CodedUnit, now: MonoNs) -> None:
        self._held.append(unit)
        if self.plan.is_on("burst", now):
            return
        for held in self._held:
            if self._log:
                self._log.write(f"{held.medium},{held.ticks},{now}\n")
            self._server.deliver(held)
        self._held.clear()


def main(arguments: Iterable[str] | None = None) -> int:
    """Run one simulated camera until SIGINT or SIGTERM."""
    args = _parser().parse_args(None if arguments is None else list(arguments))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    password = Path(args.password_file).read_text().strip() if args.password_file else args.password
    live = LiveSettings(
        codec=args.codec, width=args.size[0], height=args.size[1], fps=args.fps,
        gop=args.gop, bframes=args.bframes, audio=args.audio, label=args.label,
    )  # fmt: skip
    settings = CameraSettings(
        path=args.path, port=args.port, account=Account(args.user, password, args.basic), live=live,
        loop=args.loop, faults=tuple(args.fault), certificate=args.certificate, log=args.log,
    )  # fmt: skip
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with SimulatedCamera(settings) as camera:
        print(json.dumps({"port": camera.port, "url": camera.url}), flush=True)
        while not stop.wait(_POLL_S):
            pass
    return 0


def _parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_agent.demo.camera",
        description="A simulated RTSP camera on loopback, whose pictures carry their own time.",
        epilog="faults: " + "; ".join(f"{name}: {what}" for name, what in FAULTS.items()),
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="TCP port, 0 for a free one")
    add("--path", default="/cam", help="path of the stream")
    add("--user", default="", help="user name; without it everybody may watch")
    add("--password", default="", help="password (a trial's; it shows in the process list)")
    add("--password-file", help="file that holds the password")
    add("--basic", action="store_true", help="ask for Basic instead of Digest")
    add("--certificate", type=Path, help="PEM with certificate and key: speak rtsps")
    add("--codec", choices=("h264", "hevc", "mjpeg"), default="h264")
    add("--size", type=_parse_size, default=(320, 180), metavar="WIDTHxHEIGHT")
    add("--fps", type=int, default=15)
    add("--gop", type=int, default=15, help="pictures between keyframes")
    add("--bframes", type=int, default=0)
    add("--audio", choices=("", "aac", "pcm_alaw", "pcm_mulaw", "opus"), default="")
    add("--label", default="", help="a second line of text in the picture")
    add("--loop", type=Path, help="play this file over and over instead of encoding")
    add("--log", type=Path, help="write medium,ticks,boot_ns of every access unit sent")
    add("--fault", type=parse_fault, action="append", default=[], metavar="NAME[@30s[+5s]]")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
