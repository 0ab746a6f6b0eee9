"""A gateway's release without the network: a real ring with real footage, a signed request, consent and ledger."""

import hashlib
import io
import secrets
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.buffer.format.constants import FLAG_CONTINUES, Kind
from edge_agent.buffer.read.reader import RingReader
from edge_agent.buffer.ring import create_ring
from edge_agent.buffer.write.open_block import Draft
from edge_agent.buffer.write.writer import RingWriter
from edge_agent.buffer.write.writer_settings import RingKeys, WriterSettings
from edge_agent.consent.owner_order import sign_order, verify_order, window_members
from edge_agent.consent.policy import CameraTerms, Mode, Terms
from edge_agent.consent.signed_consent import Facts, PrivacyNotice, Stream, digest_notice
from edge_agent.ledger import table as ledger
from edge_agent.protocol import checkpoint, jws
from edge_agent.protocol import manifest as names
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.protocol.request import Audience, Category, Incident, Place, Quality, Request, Role, Signer
from edge_agent.protocol.verdict import CameraGrant, ExportOrder, Grant
from edge_agent.settings.source_digest import digest_source
from edge_agent.units import DAY_NS, MINUTE_NS, SECOND_NS, MonoNs, UtcNs, Window, encode_rfc3339
from edge_agent.uplink.bundle import writer as bundle
from edge_agent.uplink.bundle.export import describe_order
from edge_agent.uplink.bundle.mandate import GrantMandate, OrderMandate
from edge_agent.verifier.opened_bundle import KnownKeys, KnownSigner
from tests.buffer.rig import FakeClock
from tests.support.consents import sign_consent
from tests.support.footage import START, Footage

GATEWAY = "AAAAAAAAAAAAAAAAAAAAAA"
ADDRESS = "rtsp://door/"
"""The source that the consent is signed for."""


@dataclass
class House:
    """One camera's ring and every key that its release needs."""

    folder: Path
    vault: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    recorder: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    gateway: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    owner: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    operator: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    supervisor: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    evidence: pyrage.x25519.Identity = field(default_factory=pyrage.x25519.Identity.generate)
    own: pyrage.x25519.Identity = field(default_factory=pyrage.x25519.Identity.generate)
    asked_quality: Quality = Quality.MAIN
    terms: dict = field(default_factory=dict)
    """What the owner signed of the camera, where it is not the least restrictive."""
    approved_by: str | None = None
    address: str = ADDRESS
    """Where the camera is recorded from at the moment."""
    clock: FakeClock = field(default_factory=lambda: FakeClock(utc_ns=START))

    @property
    def ring(self) -> Path:
        return self.folder / "door.main.ring"

    def record(self, pieces: list, *, block_bytes: int = 64 << 10, is_closed: bool = True) -> None:
        """Write footage, gaps and notes (kind, length, payload) into a new ring; a text is another address."""
        superblock = create_ring(
            self.ring,
            camera="door",
            quality="main",
            size_bytes=(2 + 64) * 4096 + 64 * block_bytes,
            block_size=block_bytes,
            recorder_key=self.recorder,
            now=UtcNs(START - MINUTE_NS),
        )
        assert superblock.ring_id
        writer = self.writer()
        end = START
        for piece in pieces:
            if isinstance(piece, Footage):
                writer.append(self.draft(piece))
                end = piece.start_ns + piece.duration_ns
                self.turn(end)
            elif isinstance(piece, str):  # somebody points the camera's address elsewhere, and starts the recorder
                writer.close()
                self.address = piece
                writer = self.writer()
            else:
                kind, duration_ns, note = piece
                writer.append(Draft(kind, UtcNs(end), duration_ns, self.boot(end), note))
                end += duration_ns
                self.turn(end)
        writer.close()
        if is_closed:  # the next page signs the end of the last block
            later = self.writer()
            later.append(Draft(Kind.CLOCK, UtcNs(end), 0, self.boot(end), b"{}"))
            later.close()

    def turn(self, utc_ns: int) -> None:
        """Turn the clock: it was set once and runs on."""
        self.clock.utc_ns, self.clock.boot_ns = utc_ns, self.boot(utc_ns)

    def writer(self) -> RingWriter:
        return RingWriter.open(
            self.ring,
            keys=RingKeys(self.vault.public_key(), self.recorder),
            clock=self.clock,
            boot_id=b"boot-0123456789a",
            settings=WriterSettings(self.address),
        )

    def draft(self, piece: Footage) -> Draft:
        start = UtcNs(piece.start_ns)
        flags = FLAG_CONTINUES if piece.continues else 0
        return Draft(Kind.GOP, start, piece.duration_ns, self.boot(start), piece.payload, piece.commitment, flags)

    @staticmethod
    def boot(utc_ns: int) -> MonoNs:
        return MonoNs(utc_ns - START + 1000 * SECOND_NS)

    def reader(self) -> RingReader:
        return RingReader.open(self.ring, self.vault, self.recorder.public_key())

    def request(self, asked: Window, quality: Quality = Quality.MAIN) -> Request:
        """A request as ``verify_request`` returns it, with the JWS that it came from."""
        incident_window = asked.widen(MINUTE_NS)
        payload = {
            "iss": "rtcc.example-city",
            "aud": {"gateway": GATEWAY},
            "iat": encode_rfc3339(asked.end),
            "nbf": encode_rfc3339(asked.end),
            "exp": encode_rfc3339(UtcNs(asked.end + 10 * MINUTE_NS)),
            "release_by": encode_rfc3339(UtcNs(asked.end + 60 * MINUTE_NS)),
            "jti": secrets.token_urlsafe(16),
            "incident": {
                "number": "JPD-2026-0042",
                "category": "robbery",
                "reported_at": encode_rfc3339(asked.end),
                "place": {"lat": 32.3, "lon": -90.18},
                "window": {"start": encode_rfc3339(incident_window.start), "end": encode_rfc3339(incident_window.end)},
            },
            "clip": {
                "cameras": ["door"],
                "window": {"start": encode_rfc3339(asked.start), "end": encode_rfc3339(asked.end)},
                "audio": True,
                "quality": quality.value,
            },
            "purpose": "Robbery in the street",
            "contact": "desk@rtcc.example",
            "deliver": "evidence",
        }
        raw = jws.sign("rtcc-request+jws", payload, [self.operator, self.supervisor])
        return Request(
            raw=raw,
            payload_sha256=jws.parse(raw, "rtcc-request+jws").payload_sha256,
            jti=payload["jti"],
            iss=payload["iss"],
            audience=Audience(GATEWAY, ()),
            iat=asked.end,
            nbf=asked.end,
            exp=UtcNs(asked.end + 10 * MINUTE_NS),
            release_by=UtcNs(asked.end + 60 * MINUTE_NS),
            incident=Incident("JPD-2026-0042", Category.ROBBERY, asked.end, Place(32.3, -90.18), incident_window),
            cameras=("door",),
            window=asked,
            audio=True,
            quality=quality,
            purpose=payload["purpose"],
            contact=payload["contact"],
            deliver="evidence",
            signers=tuple(
                Signer(thumbprint(key.public_key()), thumbprint(key.public_key()), person, role)
                for key, person, role in (
                    (self.operator, "o.perator", Role.OPERATOR),
                    (self.supervisor, "s.upervisor", Role.SUPERVISOR),
                )
            ),
        )

    def consent(self, ring_id: bytes, **terms) -> bytes:
        """A consent of the day before, to whatever ``terms`` say of the camera: its pictures and its sound, unasked."""
        facts = Facts(
            camera="door",
            streams=(Stream(Quality.MAIN, ring_id.hex(), digest_source(ring_id, ADDRESS)),),
            place=Place(32.3, -90.18),
            time_zone="America/Chicago",
            issuer="rtcc.example-city",
            roots=(),
            threshold=2,
            store="5a" * 16,
            upload_origins=(),
        )
        camera = CameraTerms(**{"mode": Mode.AUTO, "audio": True, **self.terms, **terms})
        notice = PrivacyNotice("1", "en", digest_notice("what is signed"))
        return sign_consent(facts, Terms(camera=camera), notice, 3, UtcNs(START - DAY_NS), self.owner)

    def grant(self, asked: Window, *granted: Window, **options) -> Grant:
        """A grant as the gate would make it."""
        with self.reader() as reader:
            ring_id = reader.superblock.ring_id
        consent = self.consent(ring_id)
        self.consent_jws = consent
        digest, source = hashlib.sha256(consent).digest(), digest_source(ring_id, ADDRESS)
        camera = CameraGrant("door", Quality.MAIN, granted or (asked,), False, (), digest, 3, source)
        request = self.request(asked, self.asked_quality)
        at = UtcNs(asked.end + SECOND_NS)
        return Grant(request, (replace(camera, **options),), (), at, at, self.approved_by, False)

    def facts(self, grant: Grant, **options) -> bundle.BundleFacts:
        """Everything else that a release's bundle says."""
        camera = grant.cameras[0]
        entry = {
            "iss": grant.request.iss,
            "jti": grant.request.jti,
            "outcome": "grant",
            "cameras": [
                {
                    "camera": camera.camera,
                    "quality": camera.quality.value,
                    "windows": [str(window) for window in camera.windows],
                    "audio": camera.audio,
                    "consent_sha256": camera.consent_sha256.hex(),
                }
            ],
            "approved_by": grant.approved_by or "terms",
        }
        recipients = (bundle.BundleRecipient("evidence", str(self.evidence.to_public())), self.own_recipient)
        return replace(self._facts("grant", entry, grant.decided_at, recipients), **options)

    @property
    def own_recipient(self) -> bundle.BundleRecipient:
        return bundle.BundleRecipient("owner", str(self.own.to_public()))

    def _facts(self, kind: str, entry: dict, at: UtcNs, recipients: tuple) -> bundle.BundleFacts:
        with self.reader() as reader:
            ring_id = reader.superblock.ring_id
        return bundle.BundleFacts(
            gateway=GATEWAY,
            made_at=UtcNs(at + MINUTE_NS),
            version="0.1.0",
            build_sha256=bytes(32),
            custody="bare",
            camera_name="Front door",
            ring_id=ring_id,
            health={"state": "recording"},
            ledger_proof=self.prove(kind, entry, at),
            recipients=recipients,
            recorder_public=self.recorder.public_key(),
            gateway_key=self.gateway,
        )

    def prove(self, kind: str, entry: dict, at: UtcNs) -> dict[str, object]:
        """Enter this alone into a ledger, and prove it."""
        conn = sqlite3.connect(":memory:", isolation_level=None)
        ledger.create_tables(conn)
        conn.execute("BEGIN IMMEDIATE")
        index = ledger.append(conn, kind, entry, at)
        ledger.checkpoint(conn, checkpoint.ledger_origin(GATEWAY), self.gateway, at)
        conn.execute("COMMIT")
        return ledger.prove(conn, index)

    def known(self) -> KnownKeys:
        """What the RTCC knows of this house."""
        signers = {
            thumbprint(key.public_key()): KnownSigner(key.public_key(), person, role)
            for key, person, role in (
                (self.operator, "o.perator", "operator"),
                (self.supervisor, "s.upervisor", "supervisor"),
            )
        }
        return KnownKeys(
            GATEWAY, self.gateway.public_key(), self.recorder.public_key(), self.owner.public_key(), signers
        )

    def build(self, grant: Grant, out: io.BytesIO | None = None, **options) -> tuple[bundle.BundleInfo, bytes]:
        """Build; the info and the payload."""
        out = out or io.BytesIO()
        with self.reader() as reader:
            made_under = GrantMandate(grant, grant.cameras[0], self.consent_jws, bytes(32))
            info = bundle.build(made_under, reader, self.facts(grant), out, **options)
        return info, out.getvalue()

    def order(self, wanted: Window, *, key: Ed25519PrivateKey | None = None, **members) -> bytes:
        """The owner's order for an export as a bundle, as it is signed."""
        members = {"camera": "door", "quality": "main", "window": window_members(wanted), "recipients": [], **members}
        members = {name: value for name, value in members.items() if value is not None}
        order_id, now = secrets.token_urlsafe(16), UtcNs(wanted.end + SECOND_NS)
        return sign_order("export", members, GATEWAY, order_id, now, key or self.owner)

    def export(self, raw: bytes, **options) -> tuple[bundle.BundleInfo, bytes]:
        """Carry out an order; the info and the whole file."""
        order = verify_order(raw, GATEWAY, self.owner.public_key(), None).value
        assert isinstance(order, ExportOrder)
        named = tuple(bundle.BundleRecipient("named", age) for age in order.recipients or ())
        keys = {name: getattr(self, name).public_key() for name in ("gateway", "recorder", "owner")}
        entry = describe_order(order, raw, names.EXPORTED).members()
        out = io.BytesIO()
        with self.reader() as reader:
            facts = self._facts("export", entry, order.signed_at, (self.own_recipient, *named))
            info = bundle.build(OrderMandate(order, raw, keys), reader, facts, out, **options)
        return info, out.getvalue()
