"""The manifest of a bundle: the nature of a clip, its origin, and the files beside it (docs/evidence.md).

Owns the members of ``clip-manifest+jws``, of a release, and of ``export-manifest+jws``, of the owner's own export, for
both ends: a signed manifest is one or the other. Strict and bounded: a verifier that ignores a member would let
it say anything. Pure. Digests are hexadecimal, so that ``sha256sum`` is enough to check a file.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, WithJsonSchema

from edge_agent.errors import DenialError, EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.members import AgeRecipient, CameraId, GatewayId, Issuer, Jti, Kid, ShortText, Text, WireModel
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import UtcNs, Window, parse_rfc3339

TYP = "clip-manifest+jws"
EXPORT_TYP = "export-manifest+jws"
VERSION = 1
OWN_EXPORT: Final = "the owner's own export: no request, no release, no signature of a crime center"
MAX_MANIFEST_BYTES = 1 << 20
MAX_CLIPS = 500
MAX_GAPS = 2000

README, REQUEST, CONSENT, ORDER = "README.txt", "request.jws", "consent.jws", "order.jws"
RECORDS, BLOCKS, LEDGER = "evidence/records.jsonl", "evidence/blocks.jsonl", "evidence/ledger.json"
MANIFEST = "manifest.jws"
PAPERS: Mapping[str, tuple[str, ...]] = {TYP: (REQUEST, CONSENT), EXPORT_TYP: (ORDER,)}
"""The authority for each kind of bundle: its first files. None of the other kind's may be in it."""
EXPORTED = "local export as a bundle"
"""The members of the ledger's entry of an export."""
# One folder deep, no leading dot: no name leads out of the folder that a reader extracts to.
_FILE = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"


def clip_name(number: int) -> str:
    """Return the name of the clip of one run, counted from 1."""
    return f"clips/{number:03d}.mp4"


def _parse_moment(value: object) -> UtcNs:
    if not isinstance(value, str):
        raise ValueError("an RFC 3339 time ending in Z")
    return parse_rfc3339(value)


ClockMoment = Annotated[
    UtcNs,
    BeforeValidator(_parse_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"}),
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Id16 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
FileName = Annotated[str, StringConstraints(pattern=_FILE, max_length=64)]
# RFC 8259, 6: whole numbers up to 2**53 mean the same to every reader.
Count = Annotated[int, Field(ge=0, le=2**53)]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Fact = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,47}$")]
ManifestNote = Annotated[str, StringConstraints(max_length=200)]
RawKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""An Ed25519 public key: 32 bytes in base64url."""


class RecordSpan(WireModel):
    """Half open, in UTC of the gateway's clock."""

    start: ClockMoment
    end: ClockMoment

    def window(self) -> Window:
        """Return the value; ValueError if it is empty."""
        return Window(self.start, self.end)


class Software(WireModel):
    """The program that made this bundle."""

    name: ShortText
    version: ShortText
    build_sha256: Sha256


class RequestPart(WireModel):
    """The request that the clip answers; ``sha256`` is of ``request.jws``, ``payload_sha256`` of the signed payload."""

    iss: Issuer
    jti: Jti
    sha256: Sha256
    payload_sha256: Sha256
    incident: ShortText


class ConsentPart(WireModel):
    """The consent that the grant depends on, and the signer who allowed this release."""

    sha256: Sha256
    version: Count
    waiver_sha256: Sha256
    decided_at: ClockMoment
    approved_by: Kid | None
    """Thumbprint of the owner's key; null if the signed terms allow it without asking."""


class OrderPart(WireModel):
    """The order that an export carries out; ``sha256`` is of ``order.jws``."""

    order_id: Jti
    sha256: Sha256
    ordered_at: ClockMoment
    owner: Kid
    """Thumbprint of the key that signed it."""


class Keys(WireModel):
    """The house's public keys, for a reader who pinned none: a bundle cannot vouch for the keys that it brings."""

    gateway: RawKey
    recorder: RawKey
    owner: RawKey


class ExportCameraPart(WireModel):
    """The camera, and how it did."""

    id: CameraId
    name: Text
    quality: Literal["main", "sub"]
    ring: Id16
    recorder: Kid
    """Thumbprint of the key that signed the header pages while recording."""
    health: dict[Fact, ManifestNote | Int64 | bool | None]


class CameraPart(ExportCameraPart):
    """The camera of a release."""

    quality_asked: Literal["main", "sub"]


class ExportWindows(WireModel):
    """The ordered window, and the one that is here."""

    ordered: RecordSpan
    delivered: Annotated[list[RecordSpan], Field(max_length=MAX_CLIPS)]


class Windows(WireModel):
    """The windows that were asked for and granted, and the one that is here."""

    asked: RecordSpan
    granted: Annotated[list[RecordSpan], Field(min_length=1, max_length=1000)]
    delivered: Annotated[list[RecordSpan], Field(max_length=MAX_CLIPS)]


class ManifestGap(WireModel):
    """A part of the granted windows that is not here, and why."""

    start: ClockMoment
    end: ClockMoment
    reason: Code


class Trim(WireModel):
    """Something asked for that was not granted."""

    code: Code
    camera: CameraId | None


class TrackOffset(WireModel):
    """``pts`` of the record = PTS in the MP4 (in the record's time base) + ``ticks``."""

    track: Annotated[int, Field(ge=0, le=255)]
    ticks: Int64


class Clip(WireModel):
    """One continuous run of pictures."""

    file: FileName
    start: ClockMoment
    end: ClockMoment
    codec: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")]
    width: Annotated[int, Field(ge=0, le=65535)]
    height: Annotated[int, Field(ge=0, le=65535)]
    ended: Code
    sound: Literal["none", "as-recorded", "coded-anew"]
    offsets: Annotated[list[TrackOffset], Field(max_length=16)]
    derivative_of_sha256: Sha256 | None
    """Where zones were masked: the SHA-256 of the unmasked MP4, which stays at home. Else null: this is the master."""


class Clocks(WireModel):
    """By which clock the footage is dated."""

    states: Annotated[list[Literal["synchronised", "floor-only"]], Field(max_length=2)]
    rebased: bool
    """Recorded before the clock was set, and dated afterwards by the time since boot."""
    rtcp_offset_min_ns: Int64 | None
    rtcp_offset_max_ns: Int64 | None
    """Camera's clock (RTCP sender reports) less the gateway's, if the camera tells: by the notes inside the windows
    and the last one before each. The gateway's word: the text of a note is not committed to."""


class File(WireModel):
    """A file of the bundle."""

    name: FileName
    sha256: Sha256
    bytes: Count


class ManifestRecipient(WireModel):
    """The recipients of a release's bundle."""

    role: Literal["evidence", "escrow", "owner"]
    age: AgeRecipient


class ExportRecipient(WireModel):
    """The recipients of an export: the owner, and whom the owner named."""

    role: Literal["owner", "named"]
    age: AgeRecipient


class _AnyManifest(WireModel):
    """The members of both kinds of bundle."""

    manifest: Literal[1]
    gateway: GatewayId
    made_at: ClockMoment
    software: Software
    custody: Literal["bare", "tpm", "passphrase"]
    gaps: Annotated[list[ManifestGap], Field(max_length=MAX_GAPS)]
    clips: Annotated[list[Clip], Field(max_length=MAX_CLIPS)]
    clocks: Clocks
    files: Annotated[list[File], Field(min_length=1, max_length=MAX_CLIPS + 16)]


class Manifest(_AnyManifest):
    """The payload of a release's ``manifest.jws``, version 1."""

    request: RequestPart
    consent: ConsentPart
    camera: CameraPart
    windows: Windows
    trimmed: Annotated[list[Trim], Field(max_length=256)]
    recipients: Annotated[list[ManifestRecipient], Field(min_length=1, max_length=16)]

    @property
    def allowed(self) -> list[Window]:
        """Pictures may be of the granted windows."""
        return [span.window() for span in self.windows.granted]


class ExportManifest(_AnyManifest):
    """The payload of an export's ``manifest.jws``, version 1."""

    statement: Literal["the owner's own export: no request, no release, no signature of a crime center"]
    order: OrderPart
    keys: Keys
    camera: ExportCameraPart
    windows: ExportWindows
    recipients: Annotated[list[ExportRecipient], Field(min_length=1, max_length=16)]

    @property
    def allowed(self) -> list[Window]:
        """Pictures may be of the ordered window."""
        return [self.windows.ordered.window()]


_MODELS: Mapping[str, type[Manifest] | type[ExportManifest]] = {TYP: Manifest, EXPORT_TYP: ExportManifest}


def sign_manifest(members: Mapping[str, object], key: Ed25519PrivateKey, typ: str = TYP) -> bytes:
    """Check the members and sign them, as a manifest of this type, with the gateway's key.

    Raises:
        EvidenceError: They are not a manifest: a fault of this program, found before it leaves the house.
    """
    _read_members(members, typ)
    return jws.sign(typ, members, [key])


def parse_manifest(raw: bytes) -> tuple[Manifest | ExportManifest, jws.Jws[Any]]:
    """Read ``manifest.jws``; nothing is verified yet. The type that is signed says which of the two it is.

    Raises:
        EvidenceError: It is no manifest of a known version.
    """
    try:
        message = _parse_either(raw)
    except DenialError as error:
        raise EvidenceError(f"manifest is malformed: {error.reason}") from error
    payload = message.payload
    if isinstance(payload, dict) and type(payload.get("manifest")) is int and payload["manifest"] > VERSION:
        raise EvidenceError(f"manifest has version {payload['manifest']}, this program reads {VERSION}")
    return _read_members(payload, message.typ), message


def _parse_either(raw: bytes) -> jws.Jws[Any]:
    try:
        return jws.parse(raw, TYP, max_bytes=MAX_MANIFEST_BYTES)
    except DenialError as error:
        # Another type alone is tried again; any other fault is the message's own.
        if error.reason != "jws-typ":
            raise
    return jws.parse(raw, EXPORT_TYP, max_bytes=MAX_MANIFEST_BYTES)


def verify_manifest(raw: bytes, gateway: Ed25519PublicKey) -> Manifest | ExportManifest:
    """Read ``manifest.jws`` and verify the gateway's signature; EvidenceError if it does not verify."""
    manifest, message = parse_manifest(raw)
    try:
        jws.verify(message, {thumbprint(gateway): gateway})
    except DenialError as error:
        raise EvidenceError(f"manifest signature does not verify: {error.reason}") from error
    return manifest


def _read_members(payload: object, typ: str) -> Manifest | ExportManifest:
    try:
        return _MODELS[typ].model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:8])
        raise EvidenceError(f"manifest member is wrong: {where}: {first['msg'][:120]}") from None


SCHEMAS: Mapping[str, tuple[str, str]] = {
    TYP: ("manifest.schema.json", "edge-agent clip manifest, version 1"),
    EXPORT_TYP: ("export-manifest.schema.json", "edge-agent export manifest, version 1"),
}
"""Per type the name under which ``docs/`` publishes its schema, and the schema's title."""


def encode_schema(typ: str = TYP) -> str:
    """Return the JSON Schema of one kind of manifest, as published (``SCHEMAS``)."""
    schema = _MODELS[typ].model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = SCHEMAS[typ][1]
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
