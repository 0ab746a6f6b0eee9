"""A whole RTCC on loopback: home, broker with mutual TLS, and receiver; for the demonstration and for tests.

Owns only how these are brought up and ended together. Everything in it is the real thing: the reference client's own
code, a real mosquitto, a real tus endpoint in a process of its own. Keys are made anew in the folder that is given.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from edge_agent.demo.broker import BrokerFiles, find_free_port, find_mosquitto, start_mosquitto, write_config
from edge_agent.demo.interrupts import hold_interrupts
from edge_agent.errors import UnavailableError
from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.office.enrol import IssuedEnrolment, enrol, enrol_server
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.rtcc.office.trust import sign_trust
from edge_agent.rtcc.session import RtccSession

HOST = "localhost"
RTCC = (sys.executable, "-c", "import sys; from edge_agent.rtcc.cli import main; sys.exit(main())")
"""The command ``rtcc``, whether or not it is installed as one."""
_SERVER_NAMES = ("localhost", "127.0.0.1")
_ATTEMPTS = 5
_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class City:
    """An RTCC that runs while the context lasts, and ends with it; the folder stays.

    Args:
        folder: Its own; made if it is missing. ``home/`` in it is the RTCC's home, ``receiver.log`` and
            ``broker/mosquitto.log`` tell of failures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._clock = SystemClock()
        self._broker: subprocess.Popen[bytes] | None = None
        self._receiver: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = RtccHome.create(self.folder / "home", _choose_ports(), self._clock.utc())

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Whatever was started ends if a later step fails; ``pop_all`` leaves it running if all went well.
            stack.callback(self.stop)
            enrol_server(self.home, _SERVER_NAMES, self._clock.utc())
            self._start_servers()
            self.publish_trust()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_servers(self) -> None:
        """Start both; on other ports, if another program took one that was free a moment ago."""
        for attempt in range(_ATTEMPTS):
            try:
                self.start_broker()
                self.start_receiver()
            except UnavailableError as error:
                if "in use" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
                self.stop()
                self.home.write_settings(_choose_ports())
            else:
                return

    def start_broker(self) -> None:
        """Start mosquitto on the ports that gateways were told; sessions survive from an earlier start."""
        certificate, key = self.home.tls_paths(HOST)
        settings = self.home.settings
        config = write_config(
            self.folder / "broker",
            BrokerFiles(self.home.ca_path, certificate, key, self.home.certificates.list_path),
            port=settings.broker_port,
            rtcc_port=settings.rtcc_port,
        )
        program = find_mosquitto()
        with hold_interrupts():
            self._broker = start_mosquitto(program, config, (settings.broker_port, settings.rtcc_port))

    def start_receiver(self) -> None:
        """Start ``rtcc receive`` as a process and wait until it says that it listens.

        Raises:
            UnavailableError: It ended, or said nothing in time; the message holds the last line of its log.
        """
        log_path = self.folder / "receiver.log"
        port = urlsplit(self.home.settings.uploads["evidence"]).port
        words = ["receive", "--home", str(self.home.path), "--listen", f"127.0.0.1:{port}", "--name", HOST]
        with log_path.open("wb") as log_file, hold_interrupts():
            self._receiver = subprocess.Popen(
                [*RTCC, *words],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                # Ctrl-C at the terminal ends the demonstration, which then ends the receiver.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._receiver.poll() is None and time.monotonic() < deadline:
            if "receiving at" in log_path.read_text(errors="replace"):
                return
            time.sleep(0.02)
        self.stop_receiver(signal.SIGKILL)
        lines = log_path.read_text(errors="replace").splitlines() or ["no log"]
        raise UnavailableError(f"receiver does not start: {lines[-1]}")

    def publish_trust(self) -> None:
        """Sign the next trust bundle and leave it at the broker."""
        raw = sign_trust(self.home, self._clock.utc())
        with RtccSession(self.home) as session:
            session.publish_trust(raw)

    def enrol(self, csr_pem: bytes) -> IssuedEnrolment:
        """Admit a gateway."""
        return enrol(self.home, csr_pem, self._clock.utc())

    def stop_broker(self) -> None:
        """End mosquitto, which saves what it holds."""
        _end(self._broker, signal.SIGTERM)
        self._broker = None

    def stop_receiver(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the receiver; an upload resumes after a SIGKILL in its middle."""
        _end(self._receiver, how)
        self._receiver = None

    def stop(self) -> None:
        """End both; again does nothing."""
        self.stop_receiver()
        self.stop_broker()


def _choose_ports() -> HomeSettings:
    broker_port, rtcc_port, receiver_port = (find_free_port() for _ in range(3))
    uploads = {"evidence": f"https://{HOST}:{receiver_port}/files/"}
    return HomeSettings("rtcc.example-city", HOST, broker_port, rtcc_port, uploads)


def _end(process: "subprocess.Popen[bytes] | None", how: signal.Signals) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        log.warning("process does not end by itself: pid=%d", process.pid)
        process.kill()
        process.wait(_STOP_TIMEOUT_S)
