"""The resident's page as a real process, over two processes that answer from dictionaries; HTTP as in a browser."""

import contextlib
import functools
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.base64url import encode_b64url
from edge_agent.consent.owner_order import TYP, build_order
from edge_agent.custody.passphrase import encode_encrypted
from edge_agent.errors import UnavailableError, UsageError
from edge_agent.host.control_socket import ControlServer, call
from edge_agent.page.settings import PageSettings, ca_path, load_settings
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import SECOND_NS, UtcNs
from edge_agent.uplink.owner.desk_codes import WrongCodeError
from edge_agent.uplink.owner.desk_tickets import DeskTickets

NUMBER = 12
JTI = "AAAAAAAAAAAAAAAAAAAAAQ"
PASSPHRASE = "correct horse battery staple"
DESK_NAME = "desk.home.test"
CONFIG = """\
gateway:
  state_dir: {state}
  run_dir: {run}
  time_zone: America/Chicago
cameras: []
"""
HOSTILE = "<img src=x onerror=alert(1)>\"'\u202eevil\u2066\x00<script>alert(2)</script>" + "A" * 10_000


def request(state: str = "asked", **changes: Any) -> dict[str, Any]:
    """A request as the releaser describes it to the page."""
    return {
        "number": NUMBER, "jti": JTI, "iss": "rtcc.example-city", "sha256": "x", "arrived_at": "2026-11-28T20:00:00Z",
        "release_by": "2036-11-28T23:00:00Z", "due": "2036-11-28T20:30:00Z", "state": state,
        "incident": "E-2026-118", "category": "robbery", "cameras": ["door"],
        "window": {"start": "2026-11-28T19:12:00Z", "end": "2026-11-28T19:22:00Z"}, "quality": "main",
        "purpose": "robbery at the corner shop", "contact": "desk 4, 555-0100", "reasons": [], "releases": [],
        "signers": ["ann (operator)", "bob (supervisor)"], "not_before": None, "cooling_off_s": 600,
        "offer": {"escrow": False, "cameras": [{
            "camera": "door", "quality": "main", "audio": False, "masks": [[[0, 0]]],
            "windows": [{"start": "2026-11-28T19:12:00Z", "end": "2026-11-28T19:20:00Z"}],
        }]},
        "distance": {"metres": 312, "direction": "north-east"},
        **changes,
    }  # fmt: skip


@dataclass
class FakeHouse:
    """What the two processes answer, and what they were told to do."""

    requests: list[dict[str, Any]] = field(default_factory=lambda: [request()])
    cameras: dict[str, Any] = field(
        default_factory=lambda: {
            "door.main": {"state": "recording", "reason": "", "since": "2026-11-28T10:00:00Z"},
            "yard.main": {"state": "down", "reason": "unreachable", "since": "2026-11-28T18:00:00Z"},
        }
    )
    paused: list[str] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    acts: list[dict[str, Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    """While it is not set, neither process tells how it is."""
    language: str = "en"
    title: str = "Front door"
    sentence: str = "ask, signed until 2026-12-30 10:00:00"
    phone: list[tuple[str, str]] = field(default_factory=list)
    """Sentence and code of each message."""
    has_phone: bool = True
    drafts: dict[str, dict[str, Any]] = field(default_factory=dict)
    signed: list[dict[str, Any]] = field(default_factory=list)
    beside: str = "I can pause, cancel and revoke this at any time, at once and without giving a reason."
    outcome: dict[str, Any] = field(default_factory=lambda: {"state": "granted"})
    """What becomes of a signed act that shows nothing."""
    tickets: DeskTickets = field(default_factory=lambda: DeskTickets(time.monotonic))

    def __post_init__(self) -> None:
        self.gate.set()

    def recorder(self) -> dict[str, Any]:
        """The handlers of the recorder's page socket."""

        def tell(*_: Any) -> dict[str, Any]:
            self.gate.wait(10)
            return {"cameras": self.cameras}

        return {"status": tell}

    def releaser(self) -> dict[str, Any]:
        """The handlers of the releaser's page socket."""
        acts = {name: self._act(name) for name in ("deny", "cancel", "pause", "revoke")}
        return {
            "status": lambda *_: {
                "broker": "connected", "release_paused": self.paused, "releasing": [], "faults": self.faults,
                "waiting_for_you": [each["number"] for each in self.requests if each["state"] == "asked"],
            },
            "house": self._describe,
            "requests": lambda *_: {"requests": self.requests},
            "request": self._request,
            "ledger": lambda *_: {"entries": self.entries},
            "ledger-prove": lambda members, _: {"proof": {"index": members["index"]}},
            "recordings": self._recordings,
            "terms": lambda members, _: {"cameras": [
                {"id": "door", "title": self.title, "state": "in-force", "sentence": self.sentence,
                 "terms": ["I am asked every time.", "At most 10 minutes."], "house": ["Waiting: 10 minutes."]},
            ], "language": members["language"]},
            **self.tickets.page_handlers,
            **acts,
        }  # fmt: skip

    def desk(self) -> dict[str, Any]:
        """The handlers of the releaser's desk socket."""
        releaser = self.releaser()
        reads = {name: releaser[name] for name in ("house", "request", "recordings", "terms", "status")}
        return {
            **self.tickets.desk_handlers,
            **reads, "draft": self._draft, "sign": self._sign, "terms-form": self._terms_form,
            "terms-preview": lambda said, _: {"lines": [f"{said['language']}: {said['terms']['mode']}", "Two."]},
        }  # fmt: skip

    def _terms_form(self, members: Any, _peer: Any) -> dict[str, Any]:
        assert members["camera"] == "door"
        camera = {
            "mode": "ask", "hours": ["22:00-06:00"], "categories": ["robbery"], "distance_m": 300, "window": "30m",
            "requests_per_day": 2, "audio": False,
        }  # fmt: skip
        house = {"agencies": [], "ask_timeout": "30m", "cooling_off": "10m", "expires_after": "45d"}
        return {
            "camera": camera, "house": house, "categories": ["robbery", "hit-and-run", "missing-person"],
            "agencies": ["rtcc.example-city"], "is_named": False,
        }  # fmt: skip

    def _draft(self, members: Any, _peer: Any) -> dict[str, Any]:
        if not self.has_phone:
            raise UnavailableError("no notice service took the code of this act, so it cannot be done at the desk")
        if type(members.get("number", NUMBER)) is not int:  # as the releaser's own commands have it
            raise UsageError("there is no such request")
        order_id = encode_b64url(secrets.token_bytes(16))
        now = UtcNs(time.time_ns() // SECOND_NS * SECOND_NS)
        payload = build_order("resume", {"what": "release", "camera": "*"}, "A" * 22, order_id, now).decode()
        what = "" if members["what"] == "approve" else f"{members['what']}: "
        sentence = f"{what}front-door, 2026-11-28 13:12–13:20, to rtcc.example-city"
        self.phone.append((sentence, f"{secrets.randbelow(1_000_000):06}"))
        self.drafts[order_id] = {**members, "payload": payload, "code": self.phone[-1][1]}
        return {
            "draft": order_id,
            "messages": [{"typ": TYP, "payload": payload}],
            "sentence": sentence,
            "told": ["phone"],
            "life_s": 300,
            "beside": self.beside if members["what"] == "sign" else "",
        }

    def _sign(self, members: Any, peer: Any) -> dict[str, Any]:
        draft = self.drafts[members["draft"]]
        message = jws.parse(members["jws"][0].encode(), TYP)
        assert message.payload_bytes.decode() == draft["payload"]
        owner = owner_key().public_key()
        jws.verify(message, {thumbprint(owner): owner})
        if members["proof"] != {"code": draft["code"]}:
            raise WrongCodeError("this is not the code of this act")
        self.signed.append(draft)
        if draft["what"] not in ("look", "play", "export"):
            return self.outcome
        if draft["what"] == "look":
            image = cv2.imencode(".jpg", np.full((360, 640, 3), 90, np.uint8))[1].tobytes()
            os.write(peer.fd, image * 2)
            return {"pictures": [{"at": f"2026-11-28T21:3{each}:00Z", "size": len(image)} for each in (5, 6)]}
        os.write(peer.fd, b"0123456789")
        window = {"start": "2026-11-28T21:35:00Z", "end": "2026-11-28T21:36:00Z"}
        return {"result": {"files": [{"window": window, "size": 10, "sound": False}], "gaps": []}}

    def _describe(self, _members: Any, _peer: Any) -> dict[str, Any]:
        self.gate.wait(10)
        cameras = [{"id": "door", "title": self.title}, {"id": "yard", "title": "Yard"}]
        cameras = [{**each, "enabled": True} for each in cameras]
        return {"time_zone": "America/Chicago", "language": self.language, "cameras": cameras}

    def _request(self, members: Any, _peer: Any) -> dict[str, Any]:
        found = [each for each in self.requests if each["number"] == members["number"]]
        if not found:
            raise UsageError("there is no request")
        return {"request": found[0]}

    def _recordings(self, members: Any, _peer: Any) -> dict[str, Any]:
        hours = [
            {"start": f"2026-11-{day:02}T{hour:02}:00:00Z", "footage_s": 3600 if hour != 18 else 1200,
             "gaps_s": {"unreachable": 2400} if hour == 18 else {}}
            for day in (26, 27, 28) for hour in range(24)
        ]  # fmt: skip
        return {
            "camera": members["camera"], "bytes": 1 << 30, "footage_s": 1, "oldest": "2026-11-26T00:00:00Z",
            "newest": "2026-11-28T23:59:59Z", "hours": hours,
        }  # fmt: skip

    def _act(self, name: str) -> Any:
        def act(members: Any, _peer: Any) -> dict[str, Any]:
            self.acts.append({**members, "command": name})
            if name == "deny":
                self.requests[0]["state"] = "denied"
            if name == "pause":
                self.paused.append(members["camera"])
            return {"state": "denied", "stopped": [], "cameras": []}

        return act


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class NamedConnection(http.client.HTTPSConnection):
    """Connects to this machine, whatever the name; TLS checks the name."""

    def connect(self) -> None:
        """Do as a browser whose resolver leads home."""
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]


@functools.cache
def owner_key() -> Ed25519PrivateKey:
    """The owner's of the made-up house; made anew for each run."""
    return Ed25519PrivateKey.generate()


class PageHouse:
    """The page's process over a ``FakeHouse``, or over the sockets that already lie in ``run_dir``."""

    def __init__(
        self, house: FakeHouse | None = None, *, config: Path | None = None, launcher: tuple[str, ...] = ()
    ) -> None:
        self.house = house
        self._launcher = launcher
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.config_path = config or self._write_config()
        self._stop = threading.Event()
        self._servers: list[ControlServer] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.desk_process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def _write_config(self) -> Path:
        path = self.folder / "edge-agent.yaml"
        state, run = self.folder / "state", self.folder / "run"
        (state / "keys").mkdir(parents=True)
        run.mkdir()
        key_path = state / "keys" / "owner.pem"
        key_path.touch(mode=0o600)
        key_path.write_bytes(encode_encrypted(owner_key(), PASSPHRASE))
        path.write_text(CONFIG.format(state=json.dumps(str(state)), run=json.dumps(str(run))))
        return path

    def command(self, *words: str) -> str:
        """Type one ``edge-agent page`` command."""
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", "page", *words, "--config", str(self.config_path)],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *names: str) -> None:
        """Turn the page on and serve it."""
        words = [word for name in names for word in ("--name", name)]
        words += ["--address", "127.0.0.1", "--port", str(self.port), "--desk-name", DESK_NAME]
        printed = self.command("on", *words)
        self.state, self.desk_state = (Path(each.splitlines()[0]) for each in printed.split("--folder ")[1:3])
        self.settings: PageSettings = load_settings(self.state)
        self.desk_settings: PageSettings = load_settings(self.desk_state)
        if self.house is not None:
            for process, handlers in (("recorder", self.house.recorder()), ("releaser", self.house.releaser())):
                server = ControlServer(self.settings.process_socket(process), handlers, self._stop)
                server.start()
                self._servers.append(server)
            desk = ControlServer(self.desk_settings.process_socket("releaser"), self.house.desk(), self._stop)
            desk.start()
            self._servers.append(desk)
        self.serve()

    def serve_desk(self) -> None:
        """Start the desk; returns when it answers."""
        words = [
            sys.executable,
            "-m",
            "edge_agent",
            "serve-desk",
            "--folder",
            str(self.desk_state),
        ]
        self.desk_log = self.folder / "desk.log"
        with self.desk_log.open("ab") as log:
            self.desk_process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.send_desk("GET", "/").status == 200:
                    return
            except OSError:
                pass
            assert self.desk_process.poll() is None, self.desk_log.read_text()
            assert time.monotonic() < deadline, self.desk_log.read_text()
            time.sleep(0.05)

    def serve(self) -> None:
        """Start the process; returns when it answers."""
        words = [*self._launcher, sys.executable, "-m", "edge_agent", "serve-page", "--folder", str(self.state)]
        self.log = self.folder / "page.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self.get("/pair").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """End everything."""
        for process in filter(None, (self.process, self.desk_process)):
            process.send_signal(signal.SIGTERM)
            process.wait(15)
        self._stop.set()
        for server in self._servers:
            server.join()
        shutil.rmtree(self.folder)

    # As a browser

    @property
    def origin(self) -> str:
        """The page's own."""
        return f"https://127.0.0.1:{self.port}"

    def context(self) -> ssl.SSLContext:
        """A device that trusts the page's authority and nobody else."""
        return ssl.create_default_context(cafile=str(ca_path(self.state)))

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one request with just these headers (``_`` for ``-``)."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=self.context())
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()

    @property
    def desk_origin(self) -> str:
        """The desk's own."""
        return f"https://{DESK_NAME}:{self.desk_settings.port}"

    @property
    def ticket(self) -> str:
        """What a link of the page carries."""
        return str(call(self.settings.process_socket("releaser"), "desk-ticket", device="tests")["ticket"])

    def send_desk(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one request to the desk by its name, with just these headers."""
        connection = NamedConnection(DESK_NAME, self.desk_settings.port, timeout=60, context=self.context())
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode(errors="replace"))
        finally:
            connection.close()

    def post_desk(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """Send a form as the desk's own would be sent, but for the headers that are given."""
        usual = {
            "Origin": self.desk_origin, "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/x-www-form-urlencoded",
        }  # fmt: skip
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in (usual | given).items() if value}
        return self.send_desk("POST", path, urlencode(fields).encode(), **kept)

    def get(self, path: str, cookie: str = "", **headers: str) -> Answer:
        """Open an address."""
        return self.send("GET", path, **({"Cookie": cookie} if cookie else {}), **headers)

    def post(self, path: str, fields: dict[str, str], cookie: str = "", **headers: str) -> Answer:
        """Send a form as the page's own would be sent, but for the headers that are given."""
        usual = {
            "Origin": self.origin, "Sec-Fetch-Site": "same-origin", "Cookie": cookie,
            "Content-Type": "application/x-www-form-urlencoded",
        }  # fmt: skip
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in (usual | given).items() if value}
        return self.send("POST", path, urlencode(fields).encode(), **kept)

    def code(self) -> str:
        """Ask for a pairing code, as root does."""
        return str(call(self.settings.own_socket, "pair")["code"])

    def pair(self, name: str = "kitchen tablet") -> str:
        """Pair a device; return its cookie as a browser sends it."""
        answer = self.post("/pair", {"code": self.code(), "name": name})
        assert answer.status == 303, answer.text
        return answer.headers["Set-Cookie"].split(";")[0]

    def forget(self, name: str) -> None:
        """Take a device off, as root does."""
        call(self.settings.own_socket, "forget", device=name)

    def token(self, cookie: str) -> str:
        """Return the token of the page's forms."""
        return self.get("/", cookie).text.split('name="token" value="')[1].split('"')[0]


def free_port() -> int:
    """Return a port that nobody has just now, and that no connection of another test is given (ip(7), local ports)."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def read_pss_mb(pid: int) -> float:
    """Return the proportional set size of a process (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(os.strerror(0))
