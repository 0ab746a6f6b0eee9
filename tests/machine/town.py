"""What a gateway meets: a camera, an RTCC, a time server, a web server with releases; on this side of the cable."""

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

from edge_agent.demo.camera import CameraSettings, SimulatedCamera
from edge_agent.demo.city import City
from edge_agent.demo.home import LAT, LON
from edge_agent.demo.source import LiveSettings
from edge_agent.host.clock import SystemClock
from edge_agent.protocol.answer import Status
from edge_agent.protocol.request import Category, Incident, Place
from edge_agent.rtcc.deliveries import deliveries, open_delivery
from edge_agent.rtcc.office.request import RequestDraft, sign_request, to_gateway
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import HOUR_NS, SECOND_NS, UtcNs, Window
from tests.machine.virtual import HERE, MachineError

CAMERA_PORT, WEB_PORT = 9001, 8000
_NTP_PORT, _NTP_ERA_S = 123, 2208988800


class Town:
    """A city whose broker and receiver the machine reaches through its own ``localhost`` (``city@.socket`` there)."""

    def __init__(self, city: City, session: RtccSession, folder: Path) -> None:
        self.city, self.session, self.folder = city, session, folder
        self.tells_time = threading.Event()
        """While it is set, the time server answers."""
        self.tells_time.set()
        self._clock, self._numbers = SystemClock(), count(1)

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of broker and receiver."""
        settings = self.city.home.settings
        return settings.broker_port, int(settings.uploads["evidence"].split(":")[2].split("/")[0])

    def ask(self, gateway: str, camera: str, timeout_s: float) -> float:
        """Ask for ten seconds of footage, follow it to the end, open and verify it; return the seconds that took.

        Raises:
            MachineError: It did not end in a clip that verifies.
        """
        begun = time.monotonic()
        self.open_delivered(self.send(gateway, camera), timeout_s)
        return time.monotonic() - begun

    def send(self, gateway: str, camera: str) -> str:
        """Ask for ten seconds of footage; return the request's id."""
        now = self._clock.utc()
        window = Window(UtcNs(now - 14 * SECOND_NS), UtcNs(now - 4 * SECOND_NS))
        incident = Incident(f"M-{next(self._numbers)}", Category.ROBBERY, window.end, Place(LAT, LON), window)
        draft = RequestDraft(
            to_gateway(gateway), incident, window, "machine test", "desk", (camera,), release_within_ns=HOUR_NS
        )
        signed = sign_request(self.city.home, draft, now, operator="operator-1", supervisor="supervisor-1")
        self.session.send(signed)
        return signed.jti

    def open_delivered(self, jti: str, timeout_s: float) -> None:
        """Follow a request to its end; open and verify what was delivered.

        Raises:
            MachineError: It did not end in a clip that verifies.
        """
        answers = [answer.status for answer in self.session.answers(jti, timeout_s)]
        if answers[-1:] != [Status.DELIVERED]:
            raise MachineError(f"answers: {[each.value for each in answers]}")
        delivery = next(each for each in deliveries(self.city.home) if each.jti == jti)
        findings = open_delivery(self.city.home, delivery, self.folder / "opened" / jti)
        if not findings.ok:
            raise MachineError(findings.as_text())


@contextmanager
def open_town(folder: Path, web: Path) -> Iterator[Town]:
    """Bring everything up; it ends with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        live = LiveSettings(label="door", width=640, height=360, fps=10, gop=10)
        stack.enter_context(SimulatedCamera(CameraSettings(port=CAMERA_PORT, live=live)))
        city = stack.enter_context(City(folder / "city"))
        session = stack.enter_context(RtccSession(city.home, watch=True))
        town = Town(city, session, folder)
        stack.enter_context(_serve_web(web))
        stack.enter_context(_serve_time(town.tells_time))
        for port in (CAMERA_PORT, WEB_PORT, *town.ports):
            stack.enter_context(_forward(port))
        yield town


@contextmanager
def _forward(port: int) -> Iterator[None]:
    """Let the machine at the cable reach a server on loopback (QEMU's user network does that by itself)."""
    words = ("socat", f"TCP-LISTEN:{port},bind={HERE},fork,reuseaddr", f"TCP:127.0.0.1:{port}")
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def _serve_web(folder: Path) -> Iterator[None]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", WEB_PORT), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, name="web")
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def _serve_time(is_on: threading.Event) -> Iterator[None]:
    """Answer SNTP (RFC 4330) at both ends that a machine asks: the cable's, and loopback for QEMU's user network."""
    stop = threading.Event()
    threads = [threading.Thread(target=_answer_time, args=(address, stop, is_on)) for address in (HERE, "127.0.0.1")]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def _answer_time(address: str, stop: threading.Event, is_on: threading.Event) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, _NTP_PORT))
        server.settimeout(0.5)
        while not stop.is_set():
            try:
                question, whose = server.recvfrom(512)
            except TimeoutError:
                continue
            if len(question) < 48 or not is_on.is_set():
                continue
            # Version 4, mode server, stratum 1; precision 2^-20 s.
            head = bytes([0x24, 1, question[2], 0xEC]) + struct.pack(">II", 0, 16) + b"LOCL"
            now = _ntp_time()
            server.sendto(head + now + question[40:48] + now + _ntp_time(), whose)


def _ntp_time() -> bytes:
    ns = time.time_ns()
    return struct.pack(">II", (ns // SECOND_NS + _NTP_ERA_S) & 0xFFFFFFFF, (ns % SECOND_NS << 32) // SECOND_NS)
