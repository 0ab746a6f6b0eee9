"""A whole gateway on loopback: keys, configuration, consent, and the two real processes; for the demo and for tests.

Everything is done by the product's own commands, as an installer and an owner would do it; only the texts of the two
YAML files come from here.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.demo.city import City
from edge_agent.demo.interrupts import hold_interrupts
from edge_agent.errors import EdgeAgentError, UnavailableError
from edge_agent.host.clock import Clock, SystemClock
from edge_agent.host.control_socket import call
from edge_agent.settings.gateway import Config, load_config
from edge_agent.units import SECOND_NS

LAT, LON = 32.29876, -90.18481
"""The place of the demonstration's house: Jackson, Mississippi."""
_COMMAND_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0

_CONFIG = """\
gateway:
  state_dir: {state}
  run_dir: {run}
  location: {{lat: {lat}, lon: {lon}}}
  time_zone: America/Chicago
clock:
  trust: wall-clock       # a trial on a machine whose kernel may not say
buffer:
  size: {ring_size}
  block_size: {block_size}
  keep_for: 72h
cameras:
{cameras}
"""
_CAMERA = """\
  - id: {id}
    url: {url}
    audio: {audio}
"""


@dataclass(frozen=True, slots=True)
class TrialCamera:
    """One camera of the trial, and the owner's terms for it as lines of YAML."""

    id: str
    url: str
    terms: Mapping[str, Any]
    audio: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More keys of the camera in ``edge-agent.yaml``."""


HOUSE_TERMS: Mapping[str, Any] = {
    "agencies": ["rtcc.example-city"],
    "cooling_off": "0s",
    "ask_timeout": "1m",
}


def wait_for_next_second(clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until no request that is made from now on counts as older than a gateway that is here by now.

    ``rtcc`` writes ``iat`` in whole seconds, rounded down. A request from the very second in which a gateway's memory
    began seems older than that memory, and is denied as ``issued-before-store`` (PROTOCOL 6.1).
    """
    sleep((SECOND_NS - clock.utc() % SECOND_NS) / SECOND_NS)


class TrialHome:
    """A gateway in a folder.

    Args:
        folder: Its own; short, because Unix sockets lie in it.
        cameras: The recorded cameras.
        house: The owner's terms for the house.
        ring_size: Of each ring.
        block_size: Of a ring's blocks.
        place: Latitude and longitude.
    """

    def __init__(
        self,
        folder: Path,
        cameras: tuple[TrialCamera, ...],
        house: Mapping[str, Any] = HOUSE_TERMS,
        *,
        ring_size: str = "64MiB",
        block_size: str = "1MiB",
        place: tuple[float, float] = (LAT, LON),
    ) -> None:
        self.folder = folder.absolute()
        self.cameras = cameras
        self.house = house
        self.config_path = self.folder / "config" / "edge-agent.yaml"
        self.passphrase_path = self.folder / "passphrase"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sizes, self._place = (ring_size, block_size), place

    @property
    def config(self) -> Config:
        """The configuration, read anew."""
        return load_config(self.config_path)

    @property
    def gateway(self) -> str:
        """This gateway's id at the RTCC."""
        return str(json.loads((self.config_path.parent / "enrolment.json").read_text())["gateway"])

    def create(self, city: City) -> None:
        """Make keys, write the configuration, and enrol with the city."""
        self.init()
        self.enrol(city)

    def init(self) -> None:
        """Make keys and write the configuration."""
        config_dir = self.config_path.parent
        config_dir.mkdir(parents=True)
        # A passphrase without a person who remembers it: the trial ends with its folder.
        # Made with its mode before it holds anything.
        self.passphrase_path.touch(mode=0o600)
        self.passphrase_path.write_text(secrets.token_urlsafe(24) + "\n")
        self.write_config()
        self.write_consent()
        self.run("init", "--config", str(config_dir), "--passphrase-file", str(self.passphrase_path), config=False)

    def enrol(self, city: City) -> None:
        """Install what the city makes of this gateway's application."""
        config_dir = self.config_path.parent
        enrolment = city.enrol((config_dir / "gateway.csr").read_bytes())
        received = self.folder / "enrolment-from-rtcc.json"
        received.write_bytes(enrolment.content)
        self.run("enrol", str(received), "--yes")

    def write_config(self) -> None:
        """Write ``edge-agent.yaml``."""
        ring_size, block_size = self._sizes
        cameras = "".join(
            _CAMERA.format(id=camera.id, url=json.dumps(camera.url), audio=json.dumps(camera.audio))
            + "".join(f"    {name}: {json.dumps(value)}\n" for name, value in camera.extra.items())
            for camera in self.cameras
        )
        text = _CONFIG.format(
            state=json.dumps(str(self.folder / "state")),
            run=json.dumps(str(self.folder / "run")),
            lat=self._place[0],
            lon=self._place[1],
            ring_size=ring_size,
            block_size=block_size,
            cameras=cameras,
        )
        self.config_path.write_text(text)

    def write_consent(self) -> None:
        """Write ``consent.yaml``; JSON is YAML."""
        terms = {"version": 1, "house": self.house, "cameras": {camera.id: camera.terms for camera in self.cameras}}
        (self.config_path.parent / "consent.yaml").write_text(json.dumps(terms, indent=2) + "\n")

    def sign(self) -> None:
        """Sign the consent for every camera, as the owner does."""
        self.run("consent", "sign", "--yes", "--passphrase-file", str(self.passphrase_path))

    def run(self, *words: str, config: bool = True, check: bool = True) -> str:
        """Run one command of ``edge-agent`` and return what it printed.

        Raises:
            EdgeAgentError: It ended with another code than 0.
        """
        extra = ("--config", str(self.config_path)) if config else ()
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", *words, *extra],
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and done.returncode:
            raise EdgeAgentError(f"edge-agent {words[0]} failed: exit={done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *names: str) -> None:
        """Start ``record`` and ``release`` (both if none is named), each a process of its own."""
        for name in names or ("record", "release"):
            log_path = self.folder / f"{name}.log"
            with log_path.open("ab") as log_file, hold_interrupts():
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "edge_agent", name, "--config", str(self.config_path)],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )

    def stop(self, *names: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End processes (all if none is named); again does nothing."""
        for name in names or tuple(self.processes):
            process = self.processes.pop(name, None)
            if process is None or process.poll() is not None:
                continue
            process.send_signal(how)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_TIMEOUT_S)

    def ask(self, process: str, command: str, **members: Any) -> dict[str, Any]:
        """Send one command to the ``recorder`` or the ``releaser``."""
        return call(self.config.control_path("recorder" if process == "recorder" else "releaser"), command, **members)

    def wait_for(self, what: str, condition: Callable[[], Any], limit_s: float = 30.0) -> Any:
        """Wait until a condition returns something true, and return that; commands that fail meanwhile do not count.

        Raises:
            UnavailableError: It did not come true in time, or a process ended.
        """
        deadline = time.monotonic() + limit_s
        last: object = None
        while time.monotonic() < deadline:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    log_text = (self.folder / f"{name}.log").read_text(errors="replace")
                    raise UnavailableError(f"{name} ended while waiting for {what}:\n{log_text[-2000:]}")
            try:
                found = condition()
            except EdgeAgentError as error:
                last = error
            else:
                if found:
                    return found
            time.sleep(0.05)
        raise UnavailableError(f"waited {limit_s:.0f} s for {what}: {last or 'it did not happen'}")

    def wait_ready(self, limit_s: float = 30.0) -> None:
        """Wait until every camera is recorded, the broker is connected, and no request would seem too old."""
        names = {camera.id for camera in self.cameras}

        def recording() -> bool:
            cameras = self.ask("recorder", "status")["cameras"]
            states = {name.split(".")[0]: camera["state"] for name, camera in cameras.items()}
            return all(states.get(name) == "recording" for name in names)

        if "record" in self.processes:
            self.wait_for("the cameras", recording, limit_s)
        if "release" in self.processes:
            self.wait_for(
                "broker and trust bundle",
                lambda: (
                    (status := self.ask("releaser", "status"))["broker"] == "connected"
                    and status["trust_bundle"] != "none"
                ),
                limit_s,
            )
            wait_for_next_second(SystemClock())
