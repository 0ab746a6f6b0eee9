"""A city of gateways on one machine: real messages over TLS through a real mosquitto, into a real RTCC's home.

    scripts/fleet [GATEWAYS] [--json]

Each gateway (200 of them if nothing is said) is the product's own connection (``edge_agent.mqtt``) with an enrolled
certificate, two threads of it, in processes of ``PER_PROCESS`` gateways. It answers an area request of two persons with
a signed ``queued``, as a gateway whose owner consents does; it has no ring and no store. The RTCC takes the answers in
as ``rtcc watch`` does. Then the broker is ended, is away for ``AWAY_S``, and comes back: the storm.
"""

import argparse
import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bench.measure import cpu_s
from edge_agent.demo.broker import BrokerFiles, find_free_port, find_mosquitto, start_mosquitto, write_config
from edge_agent.host.clock import SystemClock
from edge_agent.mqtt.connection import Broker, BrokerSettings, TopicSubscription
from edge_agent.mqtt.inbound_queue import Incoming
from edge_agent.mqtt.mutual_tls import TlsIdentity
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, Status, encode_answer
from edge_agent.protocol.application import encode_csr
from edge_agent.protocol.request import Category, Incident, Place
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc.office.enrol import enrol, enrol_server
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.rtcc.office.request import RequestDraft, sign_request, to_area
from edge_agent.rtcc.office.trust import TOPIC as TRUST_TOPIC
from edge_agent.rtcc.office.trust import sign_trust
from edge_agent.rtcc.session import RtccSession
from edge_agent.units import HOUR_NS, MINUTE_NS, UtcNs, Window

PER_PROCESS = 100
AWAY_S = 3.0
IDLE_S = 30.0
CONNECT_LIMIT_S, ANSWER_LIMIT_S, STORM_LIMIT_S = 600.0, 300.0, 300.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Member:
    """One gateway of the fleet, as a file between the processes holds it."""

    id: str
    certificate: str
    tls_key: str
    key: str
    """Hex of the Ed25519 private key that signs its answers."""


# The gateways' processes.


class Gateway:
    """One simulated gateway: its connection, and when it heard the request."""

    def __init__(self, member: Member, plan: dict[str, Any]) -> None:
        self._member, self._iss = member, str(plan["iss"])
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(member.key))
        self.heard_at: dict[str, float] = {}
        tls_key = load_pem_private_key(member.tls_key.encode(), None)
        assert isinstance(tls_key, ec.EllipticCurvePrivateKey)
        topics = (f"rtcc/1/req/g/{member.id}", *plan["topics"])
        self.broker = Broker(
            BrokerSettings(
                host="127.0.0.1",
                port=int(plan["port"]),
                client_id=member.id,
                tls=TlsIdentity(plan["ca"], member.certificate, tls_key),
                subscriptions=(
                    *(TopicSubscription(topic) for topic in topics),
                    TopicSubscription(TRUST_TOPIC, retained=True),
                ),
                state_topic=f"rtcc/1/gw/{member.id}/state",
                online=b'{"online":true}',
                offline=b'{"online":false}',
            ),
            self._take,
            SystemClock(),
        )

    def _take(self, message: Incoming) -> None:
        if message.topic != TRUST_TOPIC:
            jti = str(jws.parse(message.payload, TYP).payload["jti"])
            if jti not in self.heard_at:
                self.heard_at[jti] = time.monotonic()
                now = SystemClock().utc()
                own = self._member.id
                answer = Answer(own, self._iss, jti, 0, now, Status.QUEUED, cameras=("door",), not_before=now)
                self.broker.publish(f"rtcc/1/gw/{own}/res", encode_answer(answer, self._key))
        message.ack()


def run_gateways(path: Path) -> None:
    """Be the gateways of one file until stdin ends; each line that comes is answered with how they are."""
    plan = json.loads(path.read_text())
    fleet = [Gateway(Member(**each), plan) for each in plan["members"]]
    for gateway in fleet:
        gateway.broker.start()
    for _ in sys.stdin:
        said = {
            "connected": sum(gateway.broker.is_connected() for gateway in fleet),
            "sessions": sum(gateway.broker.status().counts.get("connected", 0) for gateway in fleet),
            "heard": [at for gateway in fleet for at in gateway.heard_at.values()],
        }
        print(json.dumps(said), flush=True)
    os._exit(0)  # Thousands of polite farewells are no part of what is measured.


class Fleet:
    """The processes of the gateways."""

    def __init__(self, plans: Sequence[Path]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.fleet", "--gateways-of", str(plan)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for plan in plans
        ]  # fmt: skip
        self.pids = [process.pid for process in self._processes]

    def ask(self) -> dict[str, Any]:
        """Return how all of them are together."""
        answers = []
        for process in self._processes:
            print("?", file=_pipe(process.stdin), flush=True)
        for process in self._processes:
            answers.append(json.loads(_pipe(process.stdout).readline()))
        return {
            "connected": sum(each["connected"] for each in answers),
            "sessions": sum(each["sessions"] for each in answers),
            "heard": sorted(at for each in answers for at in each["heard"]),
        }

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            _pipe(process.stdin).close()
        for process in self._processes:
            process.wait(60)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


# The city.


def make_city(folder: Path, count: int, now: UtcNs) -> tuple[RtccHome, list[Member]]:
    """Make a home with ports for its broker, and enrol the gateways."""
    ports = find_free_port(), find_free_port()
    settings = HomeSettings("rtcc.example-city", "127.0.0.1", *ports, {"evidence": "https://localhost:1/files/"})
    home = RtccHome.create(folder / "home", settings, now)
    sign_trust(home, now)
    members = []
    for _ in range(count):
        tls, key = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
        others = [Ed25519PrivateKey.generate().public_key() for _ in range(2)]
        csr = encode_csr(tls, gateway=key.public_key(), recorder=others[0], owner=others[1])
        enrolment = json.loads(enrol(home, csr, now).content)
        pem = tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        members.append(Member(enrolment["gateway"], enrolment["certificate"], pem, key.private_bytes_raw().hex()))
    return home, members


def write_plans(folder: Path, home: RtccHome, members: Sequence[Member], topics: Sequence[str]) -> list[Path]:
    """Write which process is which gateways."""
    plans = []
    for start in range(0, len(members), PER_PROCESS):
        plan = {
            "port": home.settings.broker_port,
            "iss": home.settings.iss,
            "ca": home.ca_path.read_text(),
            "topics": list(topics),
            "members": [dataclasses.asdict(each) for each in members[start : start + PER_PROCESS]],
        }
        plans.append(folder / f"gateways-{start}.json")
        plans[-1].write_text(json.dumps(plan))
        plans[-1].chmod(0o600)
    return plans


class CityBroker:
    """The broker of the city: a mosquitto with the configuration of docs/rtcc.md."""

    def __init__(self, folder: Path, home: RtccHome, now: UtcNs) -> None:
        certificate, key = enrol_server(home, ("127.0.0.1",), now)
        self._ports = home.settings.broker_port, home.settings.rtcc_port
        files = BrokerFiles(home.ca_path, Path(certificate), Path(key), home.certificates.list_path)
        self._config = write_config(folder / "broker", files, port=self._ports[0], rtcc_port=self._ports[1])
        self.start()

    def start(self) -> None:
        """Start it, on the same ports."""
        self._process = start_mosquitto(find_mosquitto(), self._config, self._ports)

    def stop(self) -> None:
        """End it as an update would."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid


def memory_kib(pid: int) -> int:
    """Return the resident memory of a process that is its own."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def wait_for(condition: Callable[[], bool], limit_s: float, what: str) -> float:
    """Wait, and return how long it took; end the run if it takes too long."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            raise SystemExit(f"not within {limit_s:.0f} s: {what}")
        time.sleep(_POLL_S)
    return time.monotonic() - began


class Measurement:
    """One run over one city; what it finds is in ``found``, by name."""

    def __init__(self, home: RtccHome, broker: CityBroker, fleet: Fleet, session: RtccSession, count: int) -> None:
        self._home, self._broker, self._fleet, self._session, self._count = home, broker, fleet, session, count
        self.found: dict[str, float] = {}

    def connect(self, empty_kib: int) -> None:
        """Wait until all are there, and look at what they cost while nothing happens."""
        before = cpu_s(self._broker.pid)
        took_s = wait_for(self._all_there, CONNECT_LIMIT_S, "all gateways connect")
        self.found["all connected, s"] = took_s
        self.found["broker's CPU for a first connection, ms"] = (cpu_s(self._broker.pid) - before) * 1e3 / self._count
        self.found["broker's memory for a gateway, KiB"] = (memory_kib(self._broker.pid) - empty_kib) / self._count
        pids = self._fleet.pids
        self.found["memory of a gateway's connection, KiB"] = sum(map(memory_kib, pids)) / self._count
        idle, clients = cpu_s(self._broker.pid), sum(map(cpu_s, pids))
        time.sleep(IDLE_S)
        self.found["broker's CPU for an idle gateway, ms an hour"] = self._hourly(cpu_s(self._broker.pid) - idle)
        self.found["CPU of an idle gateway's connection, ms an hour"] = self._hourly(sum(map(cpu_s, pids)) - clients)

    def ask_area(self, draft: RequestDraft, now: UtcNs) -> None:
        """Send a request to all; wait until the last has it, and until the RTCC has each one's answer."""
        signed = sign_request(self._home, draft, now, operator="operator-1", supervisor="supervisor-1")
        known, broker, own = 0, cpu_s(self._broker.pid), time.process_time()
        arrived = threading.Event()

        def take() -> None:
            nonlocal known
            for answer in self._session.answers(signed.jti, ANSWER_LIMIT_S):
                known += answer.status is Status.QUEUED
                if known == self._count:
                    arrived.set()
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        began = time.monotonic()
        self._session.send(signed)
        wait_for(lambda: len(self._fleet.ask()["heard"]) == self._count, ANSWER_LIMIT_S, "all gateways hear it")
        heard = self._fleet.ask()["heard"]
        if not arrived.wait(ANSWER_LIMIT_S):
            raise SystemExit(f"{known} of {self._count} answers came")
        self.found["publish to the median gateway, s"] = heard[len(heard) // 2] - began
        self.found["publish to the last gateway, s"] = heard[-1] - began
        self.found["publish to the last answer taken in, s"] = time.monotonic() - began
        self.found["broker's CPU for a request and its answer, ms"] = (
            (cpu_s(self._broker.pid) - broker) * 1e3 / self._count
        )
        self.found["RTCC's CPU for an answer, ms"] = (time.process_time() - own) * 1e3 / self._count

    def restart_broker(self) -> None:
        """End the broker, bring it back, and wait until all are there again."""
        before = self._fleet.ask()["sessions"]
        self._broker.stop()
        time.sleep(AWAY_S)
        self._broker.start()
        began, reached = time.monotonic(), dict.fromkeys((0.5, 0.9, 1.0), 0.0)

        def look() -> bool:
            there = self._fleet.ask()["connected"]
            for share, at in reached.items():
                if not at and there >= share * self._count:
                    reached[share] = time.monotonic() - began
            return bool(there == self._count)

        wait_for(look, STORM_LIMIT_S, "all gateways come back")
        for share, at in reached.items():
            self.found[f"back after the storm: {share:.0%}, s"] = at
        self.found["connections made for it, per gateway"] = (self._fleet.ask()["sessions"] - before) / self._count
        self.found["broker's CPU for a connection after it, ms"] = cpu_s(self._broker.pid) * 1e3 / self._count

    def _all_there(self) -> bool:
        return bool(self._fleet.ask()["connected"] == self._count)

    def _hourly(self, seconds: float) -> float:
        return seconds * 1e3 * 3600 / IDLE_S / self._count


def draft_area(now: UtcNs) -> RequestDraft:
    """Write a request of an incident in one place, to the homes around it."""
    window = Window(UtcNs(now - HOUR_NS), UtcNs(now - 50 * MINUTE_NS))
    reported_at = UtcNs(now - 20 * MINUTE_NS)
    incident = Incident("2026-004711", Category.ROBBERY, reported_at, Place(40.7128, -74.006), window)
    return RequestDraft(to_area(incident, 100.0), incident, window, "robbery", "desk 4")


def measure(folder: Path, count: int) -> dict[str, float]:
    """Make a city in a folder, run the fleet against it, and return the figures by name."""
    now = SystemClock().utc()
    home, members = make_city(folder, count, now)
    draft = draft_area(now)
    broker = CityBroker(folder, home, now)
    try:
        # Of several topics of one request a gateway is in one: it subscribes to its own cell.
        topics = [f"rtcc/1/req/a/{draft.audience.cells[0]}"]
        empty_kib = memory_kib(broker.pid)
        fleet = Fleet(write_plans(folder, home, members, topics))
        try:
            with RtccSession(home, watch=True) as session:
                measurement = Measurement(home, broker, fleet, session, count)
                measurement.connect(empty_kib)
                measurement.ask_area(draft, SystemClock().utc())
                measurement.restart_broker()
        finally:
            fleet.close()
    finally:
        broker.stop()
    return measurement.found


def main() -> None:
    """Run a fleet and print what it cost."""
    logging.disable(logging.CRITICAL)  # Each gateway says that the broker is away.
    parser = argparse.ArgumentParser(
        prog="scripts/fleet", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("gateways", nargs="?", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--gateways-of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.gateways_of:
        run_gateways(args.gateways_of)
        return
    if args.gateways < 1:
        parser.error("at least one gateway")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), args.gateways)
    if args.json:
        print(json.dumps({"gateways": args.gateways, **found}))
        return
    print(f"{args.gateways} gateways, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for name, value in found.items():
        print(f"  {name:<52} {value:10.2f}")


if __name__ == "__main__":
    main()
