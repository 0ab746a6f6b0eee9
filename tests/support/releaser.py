"""A releaser without network and rings: real store, trust, gate, docket, worker, sender and desk, driven turn by turn.

What the gate decides with is real as well, but for the files: the owner's consent is signed in memory.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.base64url import encode_b64url
from edge_agent.consent.house_state import FOREVER, CameraInForce, HouseState
from edge_agent.consent.offer import digest_offers, offers_of
from edge_agent.consent.owner_order import sign_order, window_members
from edge_agent.consent.policy import Terms
from edge_agent.errors import UnavailableError
from edge_agent.host.control_socket import Peer
from edge_agent.ledger import table as ledger
from edge_agent.ledger.refusal_counts import RefusalCounter
from edge_agent.protocol.answer import Answer, Status, verify_answer
from edge_agent.protocol.checkpoint import ledger_origin
from edge_agent.protocol.enrolment import Enrolment
from edge_agent.protocol.geohash import geohash_encode
from edge_agent.protocol.request import Quality
from edge_agent.protocol.trust_bundle import Recipient
from edge_agent.protocol.verdict import CameraGrant, Grant
from edge_agent.settings.gateway import parse_config
from edge_agent.units import DAY_NS, SECOND_NS, MonoNs, UtcNs, Window, parse_rfc3339
from edge_agent.uplink.bundle.writer import BundleInfo
from edge_agent.uplink.inbound.ack_pace import AckPace
from edge_agent.uplink.inbound.answer_sender import Sender
from edge_agent.uplink.inbound.consent_files import HouseReader
from edge_agent.uplink.inbound.evaluator import Evaluator
from edge_agent.uplink.inbound.intake import TRUST_TOPIC, Intake
from edge_agent.uplink.inbound.refusal_limits import RefusalLimits, RefusalRoom
from edge_agent.uplink.inbound.register import RequestRegister
from edge_agent.uplink.inbound.trust_store import TrustStore
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.request_commands import RequestCommands
from edge_agent.uplink.release.build_step import BuildStep
from edge_agent.uplink.release.key_step import KeyStep
from edge_agent.uplink.release.recheck import Reauthorization
from edge_agent.uplink.release.staging import Staging
from edge_agent.uplink.release.upload_step import UploadStep
from edge_agent.uplink.release.worker import ReleaseSteps, ReleaseWorker
from edge_agent.uplink.store.database import Database
from edge_agent.uplink.store.releases import StoredRelease
from edge_agent.uplink.store.requests import RequestState, StoredRequest
from tests.support import gate
from tests.support.fakes import FakeClock

REQUEST_TOPIC = f"rtcc/1/req/g/{gate.GATEWAY}"
HEADER = b"age-encryption.org/v1 header of "
PEER = Peer(1, 1000, 1000)


@dataclass
class Delivery:
    """A message as the broker hands it over."""

    payload: bytes
    topic: str = REQUEST_TOPIC
    retained: bool = False
    correlation: bytes | None = b"c"
    acks: int = 0

    def ack(self) -> None:
        self.acks += 1


@dataclass
class FakeBroker:
    """Takes messages; ``before`` runs while one is on its way, ``acknowledges`` says whether the sender hears of it."""

    connected: bool = True
    acknowledges: bool = True
    taken: list[bytes] = field(default_factory=list)
    before: Callable[[bytes], None] = lambda _: None

    def is_connected(self) -> bool:
        return self.connected

    def publish(self, _topic, payload, *, correlation=None, expiry_s=None) -> None:
        assert correlation is None or len(correlation) <= 64
        assert expiry_s > 0
        if not self.connected:
            raise UnavailableError("broker is not connected")
        self.before(payload)
        self.taken.append(payload)
        if not self.acknowledges:
            raise UnavailableError("broker did not acknowledge the message")

    def answers(self, gateway_key: Ed25519PrivateKey) -> list[Answer]:
        return [verify_answer(raw, gate.GATEWAY, gateway_key.public_key()) for raw in self.taken]


@dataclass
class FakeBuilder:
    """Makes payloads of a few bytes, or of ``sizes``; ``before`` runs in the middle of ``trying``."""

    built: list[tuple[Grant, CameraGrant]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    delivers: bool = True
    trying: str = ""
    tries: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    sealed_to: tuple[Recipient, ...] = ()

    def build(self, grant: Grant, camera: CameraGrant, recipients, proof, out) -> BundleInfo:
        assert proof["index"] >= 0
        self.trying = camera.camera
        self.tries[camera.camera] = self.tries.get(camera.camera, 0) + 1
        out.write(b"payload of " + camera.camera.encode() + bytes(self.sizes.get(camera.camera, 0)))
        self.before()
        self.built.append((grant, camera))
        self.sealed_to = recipients
        delivered = camera.windows if self.delivers else ()
        return BundleInfo(bytes(32), 20, HEADER + camera.camera.encode(), delivered, (), bytes(32), len(delivered))


@dataclass
class FakeUploader:
    """Takes payloads; ``before`` runs in the middle, ``after`` at the end; loses those of the door ``loses`` times."""

    uploaded: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    on_forget: Callable[[], None] = lambda: None
    tells: bool = False
    loses: int = 0

    def has_whole(self, release: StoredRelease, _target) -> bool:
        if self.loses and release.camera == "door":
            self.loses -= 1
            return False
        return release.camera in self.uploaded

    def upload(self, release: StoredRelease, target, remember, on_progress, should_stop) -> bool:
        assert target == "evidence"
        remember(f"https://upload.example/{release.file}")
        self.urls[f"https://upload.example/{release.file}"] = release.camera
        if self.tells:
            on_progress(1)
        self.before()
        if should_stop():
            return False
        self.uploaded.append(release.camera)
        self.after()
        return True

    def forget(self, url: str, _target) -> None:
        self.on_forget()
        self.forgotten.append(self.urls[url])


class FakeStanding(HouseReader):
    """The owner's word without files: consents in memory, pauses and revocations from the real store."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self.signed: dict[str, Terms] = {"door": gate.terms()}
        self.file: dict[str, Terms] = {}
        self.version = 1
        self.is_file_unreadable = False
        self.before: Callable[[], None] = lambda: None

    def read(self, now: UtcNs) -> HouseState:
        self.before()
        stops = self._store.pauses.list_current(now)

        def paused(name: str) -> UtcNs:
            until = stops.get(name, UtcNs(0))
            return FOREVER if until is None else until

        cameras = {}
        for name in self.signed:
            cameras[name] = self._stand_of(name, paused(name))
        return HouseState(cameras, ZoneInfo("America/Chicago"), paused("*"))

    def _stand_of(self, name: str, paused_until: UtcNs) -> CameraInForce:
        stored = self._store.consents.find(name)
        return gate.standing(
            self.signed[name], self.file.get(name), name, self.version,
            highest_version=0 if stored is None else stored.version,
            revoked=stored is not None and stored.is_revoked, paused_until=paused_until,
            is_file_unreadable=self.is_file_unreadable,
        )  # fmt: skip

    def load_policy(self):
        return None

    def take_all(self) -> None:
        """Have the store take in what is signed here: a revocation is of what it knows."""
        with self._store.transaction() as connection:
            for name in self.signed:
                self._store.consents.save(connection, name, self.version, b"signed in memory")


_RTCC = gate.Rtcc()
CONFIG = parse_config(
    "cameras:\n" + "".join(f"  - {{id: {name}, url: 'rtsp://127.0.0.1:1'}}\n" for name in ("door", "yard", "shed")),
    "edge-agent.yaml",
    Path("/etc/edge-agent"),
)


class InstantPace(AckPace):
    """Waits for nothing: for tests that are about something else."""

    def hold(self, arrival: MonoNs) -> bool:
        return True


class House:
    """One gateway; ``restart`` is what a kill leaves: the files, and nothing in memory."""

    standing_type = FakeStanding
    room = RefusalRoom()
    """For refusals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock(utc=gate.NOW)
        self.key = Ed25519PrivateKey.generate()
        self.rtcc = _RTCC
        self.broker = FakeBroker()
        self.builder, self.uploader = FakeBuilder(), FakeUploader()
        self.signed: dict[str, Terms] = {"door": gate.terms()}
        self.store: Database | None = None
        self.numbers = 0
        self.restart()
        self.store.note_birth(UtcNs(gate.NOW - 30 * DAY_NS))
        self.intake.handle(self.trust_message())

    def restart(self) -> None:
        if self.store is not None:
            self.store.close()
        self.store = Database(self.folder / "store.sqlite")
        self.stop = threading.Event()
        enrolment = Enrolment(
            gateway=gate.GATEWAY, iss=gate.ISS, broker_host="127.0.0.1", broker_port=1, ca_pem="", certificate_pem="",
            uploads={"evidence": "https://upload.example/files/"},
            roots=tuple(key.public_key() for key in self.rtcc.roots), threshold=2, not_after_s=2**31, tls_thumbprint="",
        )  # fmt: skip
        self.house_reader = self.standing_type(self.store)
        self.house_reader.signed = self.signed
        self.trust = TrustStore(self.store, self.rtcc.pinned(), self.clock)
        cell = geohash_encode(gate.HOME.lat, gate.HOME.lon)
        self.evaluator = Evaluator(enrolment, cell, self.store, self.house_reader, self.trust, self.clock)
        self.register = RequestRegister(self.store, gate.GATEWAY, self.key)
        self.staging = Staging(self.folder / "staging", 1 << 20)
        self.ended: list[StoredRequest] = []
        self.decided: list[Any] = []
        self.refusal_counter = RefusalCounter(self.clock)
        build_step = BuildStep(
            self.store, self.register, self.builder, self.staging,
            lambda connection, now: ledger.checkpoint(connection, ledger_origin(gate.GATEWAY), self.key, now),
            self.clock,
        )  # fmt: skip
        upload_step = UploadStep(self.store, self.register, self.uploader, self.staging, self.clock)
        reauthorization = Reauthorization(
            self.store, self.evaluator, self.register, self.staging, self.clock, self.ended.append
        )
        key_step = KeyStep(self.store, self.register, reauthorization)
        steps = ReleaseSteps(build_step, upload_step, key_step)
        self.worker = ReleaseWorker(self.store, self.register, reauthorization, steps, self.clock, self.stop)
        self.worker.sweep()
        self.sender = Sender(self.store, self.broker, self.clock, key_step.confirm, self.stop)
        self.intake = Intake(
            self.store, self.evaluator, self.register, self.trust, self.refusal_counter, self.make_pace(),
            self.on_verdict,
        )  # fmt: skip
        self.intake.limits = RefusalLimits(self.store, self.room)
        orders = OwnerOrders(gate.GATEWAY, gate.OWNER.public_key(), self.store, self.clock)
        self.desk = RequestCommands(orders, CONFIG, self.evaluator, reauthorization, self.register, self.worker)

    def make_pace(self) -> AckPace:
        """Acknowledge at once."""
        return InstantPace(self.clock, lambda _: False)

    def on_verdict(self, request: StoredRequest, verdict: Any) -> None:
        self.decided.append((request, verdict))

    # The RTCC

    def trust_message(self, **changes: Any) -> Delivery:
        return Delivery(self.rtcc.sign_trust(self.rtcc.trust_payload(**changes)), TRUST_TOPIC)

    def sign(self, changes: dict[str, Any] | None = None) -> bytes:
        self.numbers += 1
        jti = encode_b64url(self.numbers.to_bytes(16, "big"))
        return self.rtcc.sign(gate.request_payload({"jti": jti, **(changes or {})}))

    def ask(self, changes: dict[str, Any] | None = None) -> StoredRequest:
        """Have a request arrive; returns what became of it."""
        message = Delivery(self.sign(changes))
        self.intake.handle(message)
        assert message.acks == 1
        return self.newest()

    # The house

    def newest(self) -> StoredRequest:
        return self.store.requests.list_newest()[0]

    def state(self) -> RequestState:
        return self.newest().state

    def carry_on(self) -> None:
        """Let the worker go as far as it goes, once cooling-off is over."""
        self.clock.advance(max(0, self.newest().due - self.clock.utc()) + SECOND_NS)
        self.worker.turn()

    def call(self, command: str, **members: Any) -> dict[str, Any]:
        """Send the desk a command."""
        if command == "revoke" and isinstance(self.house_reader, FakeStanding):
            self.house_reader.take_all()
        return dict(self.desk.handlers[command](members, PEER))

    def order(self, kind: str, **members: Any) -> str:
        self.numbers += 1
        order_id = encode_b64url(self.numbers.to_bytes(16, "big"))
        return sign_order(kind, members, gate.GATEWAY, order_id, self.clock.utc(), gate.OWNER).decode()

    def approve(self, request: StoredRequest, cameras: tuple[str, ...] = ("door",)) -> dict[str, Any]:
        """Sign what is offered now."""
        asked = gate.request_payload()["clip"]["window"]
        window = Window(parse_rfc3339(asked["start"]), parse_rfc3339(asked["end"]))
        order = self.order(
            "approve", jti=request.jti, request_sha256=encode_b64url(request.payload_sha256),
            offer_sha256=encode_b64url(digest_offers(offers_of(self.store.requests.read(request.id).bound))),
            cameras=list(cameras), window=window_members(window),
        )  # fmt: skip
        return self.call("order", jws=order)

    # What can be seen

    def answers(self, *statuses: Status) -> list[Answer]:
        """What the broker was handed, of all statuses or of these."""
        return [each for each in self.broker.answers(self.key) if not statuses or each.status in statuses]

    def statuses(self) -> list[Status]:
        return [each.status for each in self.answers()]

    def keys_out(self) -> int:
        """How many age headers the broker has seen."""
        return sum(len(answer.files) for answer in self.answers())

    def entries(self, kind: str) -> list[dict[str, Any]]:
        with self.store.reading() as connection:
            return [dict(each.entry) for each in ledger.entries(connection, kinds=[kind])]

    def staged(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "staging").iterdir())


MAIN = Quality.MAIN
