"""A whole RTCC and a house in memory: what the gate's tests, fuzz targets and benchmark put together requests from."""

import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.admission import GatewayFacts, SeenRequest, admit
from edge_agent.consent.house_state import CameraHistory, CameraInForce, History, HouseState, KeptConsent, stand
from edge_agent.consent.policy import CameraTerms, GlobalTerms, Mode, Terms
from edge_agent.consent.signed_consent import Facts, PrivacyNotice, Stream, digest_notice
from edge_agent.protocol import jws
from edge_agent.protocol.geohash import geohash_encode
from edge_agent.protocol.public_keys import public_jwk, thumbprint
from edge_agent.protocol.request import Admitted, Category, Place, Quality
from edge_agent.protocol.request_jws import TYP, verify_request
from edge_agent.protocol.trust_bundle import TYP as TRUST_TYP
from edge_agent.protocol.trust_bundle import Roots, TrustBundle, make_roots, verify_trust
from edge_agent.settings.source_digest import digest_source
from edge_agent.units import DAY_NS, HOUR_NS, MINUTE_NS, ClockState, UtcNs, encode_rfc3339, parse_rfc3339
from tests.support.consents import sign_consent

NOW = parse_rfc3339("2026-07-01T22:30:00Z")
GATEWAY = "Q2FtZXJhR2F0ZXdheUlkMQ"
ISS = "rtcc.example-city"
HOME = Place(32.2988, -90.1848)
NEAR = Place(32.2993, -90.1841)
JTI = "AAECAwQFBgcICQoLDA0ODw"
EVIDENCE = "age1" + "q" * 58
ESCROW = "age1" + "p" * 58
SYNC = ClockState.SYNCHRONISED

ROLES = {"ann": "operator", "bob": "supervisor", "cid": "dispatch", "dan": "operator", "eve": "supervisor"}


def at(offset_ns: int) -> str:
    """Write NOW plus an offset for the wire."""
    return encode_rfc3339(UtcNs(NOW + offset_ns))


@dataclass
class Rtcc:
    """Keys of a whole RTCC; bob signs with P-256, as a hardware token would."""

    roots: list[Any] = field(default_factory=lambda: [Ed25519PrivateKey.generate() for _ in range(3)])
    people: dict[str, Any] = field(
        default_factory=lambda: {
            name: generate_private_key(SECP256R1()) if name == "bob" else Ed25519PrivateKey.generate() for name in ROLES
        }
    )

    def kid(self, person: str) -> str:
        return thumbprint(self.people[person].public_key())

    def pinned(self) -> Roots:
        return make_roots(2, [public_jwk(key.public_key()) for key in self.roots])

    def trust_payload(self, **changes: Any) -> dict[str, Any]:
        payload = {
            "iss": ISS,
            "version": 1,
            "issued_at": at(-DAY_NS),
            "expires": at(10 * DAY_NS),
            "keys": [
                {
                    "kid": thumbprint(key.public_key()),
                    "jwk": public_jwk(key.public_key()),
                    "person": name,
                    "role": ROLES[name],
                    "from": at(-30 * DAY_NS),
                    "until": at(300 * DAY_NS),
                }
                for name, key in self.people.items()
            ],
            "revoked": [],
            "recipients": [{"role": "evidence", "age": EVIDENCE}, {"role": "escrow", "age": ESCROW}],
            "roots": {"threshold": 2, "keys": [public_jwk(key.public_key()) for key in self.roots]},
        }
        return {**payload, **changes}

    def sign_trust(self, payload: dict[str, Any], signers: list[Any] | None = None) -> bytes:
        return jws.sign(TRUST_TYP, payload, self.roots[:2] if signers is None else signers)

    def trust(self, **changes: Any) -> TrustBundle:
        return verify_trust(self.sign_trust(self.trust_payload(**changes)), self.pinned(), None, NOW)

    def sign(self, payload: Any, *people: str) -> bytes:
        return jws.sign(TYP, payload, [self.people[name] for name in people or ("ann", "bob")])


def request_payload(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a good request's payload, with members replaced by dotted path (None deletes)."""
    payload: dict[str, Any] = {
        "iss": ISS,
        "aud": {"gateway": GATEWAY},
        "iat": at(-MINUTE_NS),
        "nbf": at(-MINUTE_NS),
        "exp": at(9 * MINUTE_NS),
        "release_by": at(6 * HOUR_NS),
        "jti": JTI,
        "incident": {
            "number": "2026-070112",
            "category": "robbery",
            "reported_at": at(-50 * MINUTE_NS),
            "place": {"lat": NEAR.lat, "lon": NEAR.lon},
            "window": {"start": at(-60 * MINUTE_NS), "end": at(-40 * MINUTE_NS)},
        },
        "clip": {
            "cameras": ["door"],
            "window": {"start": at(-55 * MINUTE_NS), "end": at(-45 * MINUTE_NS)},
            "audio": False,
            "quality": "main",
        },
        "purpose": "Identify the suspects who left by car.",
        "contact": "Desk 4, +1 555 0100",
        "deliver": "evidence",
    }
    payload = copy.deepcopy(payload)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        target = payload
        for name in parents:
            target = target[name]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return payload


@dataclass
class SeenBefore:
    """What a store would remember."""

    requests: dict[tuple[str, str], SeenRequest] = field(default_factory=dict)
    incidents: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def find(self, iss: str, jti: str) -> SeenRequest | None:
        return self.requests.get((iss, jti))

    def find_incident(self, iss: str, number: str) -> bytes | None:
        return self.incidents.get((iss, number))


ME = GatewayFacts(GATEWAY, geohash_encode(HOME.lat, HOME.lon), ISS, 5 * MINUTE_NS)

CAMERA_TERMS = {"mode": Mode.AUTO, "categories": frozenset({Category.ROBBERY, Category.SHOOTING})}
HOUSE_TERMS = {"agencies": frozenset({ISS})}


def terms(house: dict[str, Any] | None = None, **camera: Any) -> Terms:
    """Return terms that grant the good request, with changes."""
    return Terms(
        camera=CameraTerms.model_construct(**{**CAMERA_TERMS, **camera}),
        house=GlobalTerms.model_construct(**{**HOUSE_TERMS, **(house or {})}),
    )


def facts(camera: str = "door", **changes: Any) -> Facts:
    ring = "00112233445566778899aabbccddeeff"
    source = digest_source(bytes.fromhex(ring), "rtsp://camera.example/stream")
    known = Facts(
        camera=camera,
        streams=(Stream(Quality.MAIN, ring, source),),
        place=HOME,
        time_zone="America/Chicago",
        issuer=ISS,
        roots=("A" * 43, "B" * 43, "C" * 43),
        threshold=2,
        store="5a" * 16,
        upload_origins=("https://upload.example:443",),
    )
    return replace(known, **changes)


NOTICE = PrivacyNotice("1", "en", digest_notice("text"))
OWNER = Ed25519PrivateKey.generate()


def standing(
    signed: Terms | None = None, file: Terms | None = None, camera: str = "door", version: int = 1, **changes: Any
) -> CameraInForce:
    """Return what stands for a camera whose consent was signed an hour ago."""
    signed = signed or terms()
    known = facts(camera, **({"place": changes.pop("place")} if "place" in changes else {}))
    raw = sign_consent(known, signed, NOTICE, version, UtcNs(NOW - HOUR_NS), OWNER)
    return stand_kept(raw, known, file or signed, **{"highest_version": version, **changes})


def stand_kept(raw: bytes | None, known: Facts, file: Terms | None, **changes: Any) -> CameraInForce:
    """Return what is in force; ``changes`` are those of ``KeptConsent`` and of ``stand``."""
    marks = {each.name: changes.pop(each.name) for each in fields(KeptConsent) if each.name in changes}
    return stand(KeptConsent(raw, **marks), OWNER.public_key(), known, file, **changes)


def house_state(*cameras: CameraInForce | tuple[str, CameraInForce], **changes: Any) -> HouseState:
    """Return a house with these cameras; the first unnamed one is the door."""
    named = dict(entry if isinstance(entry, tuple) else ("door", entry) for entry in cameras or (standing(),))
    return HouseState(**{"cameras": named, "time_zone": ZoneInfo("America/Chicago"), **changes})


def history(*cameras: str, **counts: Any) -> History:
    return History({camera: CameraHistory(**counts) for camera in cameras or ("door", "yard", "shed")})


_RTCC = Rtcc()
_TRUST = _RTCC.trust()


def admitted(changes: dict[str, Any] | None = None, *people: str, now: UtcNs = NOW) -> Admitted:
    """Return an admitted request: really signed, really verified."""
    request = verify_request(_RTCC.sign(request_payload(changes), *people), _TRUST, now)
    return admit(request, replace(ME, padding_ns=30 * MINUTE_NS), SeenBefore(), now, SYNC)
