"""A gateway's answer to a request: its form, its signature and its size (PROTOCOL 8).

Owns ``clip-answer+jws`` for both ends: the releaser writes answers, the RTCC verifies them. Every answer is padded to a
multiple of ``STEP_BYTES``, so that its size tells nothing. Opens nothing, reads no clock, decides nothing.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent.base64url import encode_b64, parse_b64
from edge_agent.errors import DenialError, EvidenceError
from edge_agent.protocol import jws
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import UtcNs, encode_rfc3339, parse_rfc3339

TYP = "clip-answer+jws"
# PROTOCOL 8.1, `padding`, and A4: sizes on the wire do not tell a grant from a refusal.
STEP_BYTES = 1024
MAX_ANSWER_BYTES = 90 * 1024
"""Below what either end takes as an MQTT packet."""
MAX_CAMERAS = 64
"""As many as a request may name; so many files, or notes, fit with age headers of three recipients."""
# PROTOCOL 8.2: three X25519 recipients make 364 bytes.
MAX_AGE_HEADER_BYTES = 1024

_GATEWAY = re.compile(r"[A-Za-z0-9_-]{22}")
_REQUESTER = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_CAMERA = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{8,64}")
_CODE = re.compile(r"[a-z][a-z0-9-]{0,47}")


class Status(Enum):
    """The outcome of a request; before a grant a gateway says nothing."""

    QUEUED = "queued"
    UPLOADING = "uploading"
    DELIVERED = "delivered"
    PARTIAL = "partial"
    NO_FOOTAGE = "no-footage"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DECLINED = "declined"

    @property
    def is_final(self) -> bool:
        """Tell whether no other answer to the same request follows."""
        return self not in (Status.QUEUED, Status.UPLOADING)


@dataclass(frozen=True, slots=True)
class Note:
    """Something asked for that does not come: a stable code, and the camera if it is about one."""

    code: str
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """One camera's bundle: the uploaded age payload, and the age header that opens it."""

    camera: str
    upload: str
    """The name under which the payload was uploaded; safe as a file name."""
    sha256: bytes
    """Of the payload as uploaded."""
    size: int
    age_header: bytes
    """Header ‖ payload is a stock age file."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivered bundle: its gateway, its request, and the age header that opens it."""

    gateway: str
    jti: str
    file: DeliveredFile


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Which of the members after ``status`` it has is said by ``MEMBERS``; the others stay empty."""

    gateway: str
    """``iss``: the gateway's id."""
    requester: str
    """``aud``: the RTCC's name."""
    jti: str
    """Of the request."""
    seq: int
    """Rises by at least one with every answer to the same request; a re-sent answer keeps its number and its bytes."""
    at: UtcNs
    """When it was made, or was due."""
    status: Status
    cameras: tuple[str, ...] = ()
    """Those that were granted."""
    trimmed: tuple[Note, ...] = ()
    """Parts that were asked for and not granted."""
    not_before: UtcNs | None = None
    """The end of the cooling-off."""
    sent_bytes: int | None = None
    """Of all payloads of the request so far."""
    total_bytes: int | None = None
    """Of all payloads of the request."""
    files: tuple[DeliveredFile, ...] = ()
    """One for each camera that was delivered."""
    missing: tuple[Note, ...] = ()
    """Granted footage that does not come, and why."""
    reason: str | None = None
    """A code, for ``failed``."""


MEMBERS: Mapping[Status, tuple[str, ...]] = {
    Status.QUEUED: ("cameras", "trimmed", "not_before"),
    Status.UPLOADING: ("sent_bytes", "total_bytes"),
    Status.DELIVERED: ("files", "trimmed"),
    Status.PARTIAL: ("files", "trimmed", "missing"),
    Status.NO_FOOTAGE: ("missing",),
    Status.CANCELLED: (),
    Status.FAILED: ("reason",),
    # A refusal has no detail: nothing in it depends on why.
    Status.DECLINED: (),
}
"""The members of ``detail``, per status: exactly these."""


def upload_name(gateway: str, jti: str, camera: str) -> str:
    """Return the name under which one camera's payload is uploaded: the same at every try, and no other house's.

    Two houses that answer one area request may both have a camera of this name (PROTOCOL 9, step 4). Hexadecimal,
    because a person may type it: it never begins with a hyphen.
    """
    # PROTOCOL 9, step 4: SHA-256 of four lines, half of it in hexadecimal.
    digest = hashlib.sha256(f"edge-agent/1 upload\n{gateway}\n{jti}\n{camera}".encode()).digest()
    return digest[:16].hex()


def encode_answer(answer: Answer, key: Ed25519PrivateKey) -> bytes:
    """Write and sign an answer, padded; the same answer and key give the same bytes.

    Raises:
        ValueError: A member is set that this status does not have, or a value that no verifier would take.
    """
    detail = {name: _ENCODERS[name](getattr(answer, name)) for name in MEMBERS[answer.status]}
    payload = {
        "iss": answer.gateway,
        "aud": answer.requester,
        "jti": answer.jti,
        "seq": answer.seq,
        "at": encode_rfc3339(answer.at),
        "status": answer.status.value,
        "detail": detail,
    }
    # The reader's own rules: an answer that no RTCC would take must not use up its number.
    if _parse_payload({**payload, "padding": ""}) != answer:
        raise ValueError(f"answer does not fit its status: status={answer.status.value} jti={answer.jti}")
    # Zeros are one byte each in JSON, so the padding has exactly the missing length.
    bare = jws.encode_json({**payload, "padding": ""})
    padded = jws.encode_json({**payload, "padding": "0" * (-len(bare) % STEP_BYTES)})
    raw = jws.sign_with(TYP, padded, [key])
    if len(raw) > MAX_ANSWER_BYTES:
        raise ValueError(f"answer is too long: bytes={len(raw)} jti={answer.jti}")
    return raw


def verify_answer(raw: bytes, gateway: str, key: Ed25519PublicKey) -> Answer:
    """Verify that this gateway signed this answer, and return what it says.

    Args:
        raw: The message as it arrived.
        gateway: The gateway of the topic that it came on; ``iss`` must name the same.
        key: That gateway's signing key, as pinned when it was enrolled.

    Raises:
        EvidenceError: Too long, not a JWS of this type, another signer, a malformed or an unknown member.
    """
    try:
        envelope = jws.parse(raw, TYP, MAX_ANSWER_BYTES)
        jws.verify(envelope, {thumbprint(key): key})
        answer = _parse_payload(envelope.payload)
    except (DenialError, ValueError) as error:
        raise EvidenceError(f"answer does not verify: gateway={gateway}: {error}") from error
    # PROTOCOL 8.4, A8: the topic names the gateway, and so does the answer.
    if answer.gateway != gateway:
        raise EvidenceError(f"answer of another gateway: topic={gateway} iss={answer.gateway}")
    return answer


def _parse_payload(payload: object) -> Answer:
    """Read the members of an answer; ValueError for anything that PROTOCOL does not name."""
    top = _members(payload, ("iss", "aud", "jti", "seq", "at", "status", "detail", "padding"))
    status = Status(_text(top["status"], _CODE))
    detail = _members(top["detail"], MEMBERS[status])
    # PROTOCOL 8.1: any other text would be a hidden channel.
    if not isinstance(top["padding"], str) or top["padding"].strip("0"):
        raise ValueError("padding is not a run of zeros")
    answer = Answer(
        gateway=_text(top["iss"], _GATEWAY),
        requester=_text(top["aud"], _REQUESTER),
        jti=_text(top["jti"], _GATEWAY),
        seq=_integer(top["seq"]),
        at=_time(top["at"]),
        status=status,
        **{name: _PARSERS[name](value) for name, value in detail.items()},
    )
    for what, named in (
        ("cameras", answer.cameras),
        ("the cameras of files", [file.camera for file in answer.files]),
        ("the uploads of files", [file.upload for file in answer.files]),
    ):
        if len(set(named)) != len(named):
            raise ValueError(f"{what}: one is named twice")
    return answer


def _members(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError(f"needs exactly the members {', '.join(names) or 'none'}")
    return value


def _text(value: object, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise ValueError(f"not of the form {form.pattern}")
    return value


def _integer(value: object) -> int:
    # bool is an int in Python, not in JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError("not a whole number from 0 to 2^53 - 1")
    return value


def _time(value: object) -> UtcNs:
    if not isinstance(value, str):
        raise ValueError("not a time")
    return parse_rfc3339(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_CAMERAS:
        raise ValueError(f"not a list of at most {MAX_CAMERAS}")
    return value


def _base64(value: object, most: int) -> bytes:
    if not isinstance(value, str) or len(value) > 2 * most:
        raise ValueError("not base64, or too long")
    raw = parse_b64(value)
    if len(raw) > most:
        raise ValueError("too long")
    return raw


def _parse_file(value: object) -> DeliveredFile:
    members = _members(value, ("camera", "upload", "sha256", "size", "age_header"))
    digest = members["sha256"]
    if not isinstance(digest, str) or re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        raise ValueError("sha256 is not 64 hexadecimal digits")
    return DeliveredFile(
        camera=_text(members["camera"], _CAMERA),
        upload=_text(members["upload"], _UPLOAD),
        sha256=bytes.fromhex(digest),
        size=_integer(members["size"]),
        age_header=_base64(members["age_header"], MAX_AGE_HEADER_BYTES),
    )


def _encode_file(file: DeliveredFile) -> dict[str, Any]:
    return {
        "camera": file.camera,
        "upload": file.upload,
        "sha256": file.sha256.hex(),
        "size": file.size,
        "age_header": encode_b64(file.age_header),
    }


def _parse_note(value: object) -> Note:
    members = _members(value, ("code", "camera"))
    camera = members["camera"]
    return Note(_text(members["code"], _CODE), None if camera is None else _text(camera, _CAMERA))


def _encode_notes(notes: tuple[Note, ...]) -> list[dict[str, Any]]:
    return [{"code": note.code, "camera": note.camera} for note in notes]


def _parse_notes(value: object) -> tuple[Note, ...]:
    return tuple(_parse_note(note) for note in _list(value))


_ENCODERS: Mapping[str, Callable[[Any], Any]] = {
    "cameras": list,
    "trimmed": _encode_notes,
    "not_before": encode_rfc3339,
    "sent_bytes": lambda value: value,
    "total_bytes": lambda value: value,
    "files": lambda files: [_encode_file(file) for file in files],
    "missing": _encode_notes,
    "reason": lambda value: value,
}
_PARSERS: Mapping[str, Callable[[object], Any]] = {
    "cameras": lambda value: tuple(_text(camera, _CAMERA) for camera in _list(value)),
    "trimmed": _parse_notes,
    "not_before": _time,
    "sent_bytes": _integer,
    "total_bytes": _integer,
    "files": lambda value: tuple(_parse_file(file) for file in _list(value)),
    "missing": _parse_notes,
    "reason": lambda value: _text(value, _CODE),
}
