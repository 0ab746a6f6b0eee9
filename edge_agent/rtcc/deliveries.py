"""Delivered bundles in an RTCC's home: the key from the answer and the payload from the upload, joined.

Owns how the two are found and put together to a stock age file. ``edge_agent.verifier.open`` judges the content.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from edge_agent.errors import EvidenceError
from edge_agent.protocol.answer import Delivery
from edge_agent.protocol.public_keys import load_jwk
from edge_agent.rtcc.office.enrol import gateway_key
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.verifier.findings import Findings
from edge_agent.verifier.open import open_bundle
from edge_agent.verifier.opened_bundle import KnownKeys, KnownSigner

_BLOCK_BYTES = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{8,64}")


def load_delivery(home: RtccHome, upload: str) -> Delivery:
    """Read the age header that opens an upload.

    Raises:
        EvidenceError: No ``delivered`` answer named it: the key was not handed over.
    """
    found = home.state.exchanges.find_delivery(upload) if _UPLOAD.fullmatch(upload) else None
    if found is None:
        raise EvidenceError(f"no key was handed over for this upload: {upload[:64]!r}", "`rtcc watch` fetches answers")
    return found


def deliveries(home: RtccHome, jti: str | None = None) -> Iterator[Delivery]:
    """Yield everything that can be opened, or all of one request, by the name of the upload."""
    return home.state.exchanges.deliveries(jti)


def delivery_page(home: RtccHome, after: str, limit: int) -> list[Delivery]:
    """Return up to ``limit`` uploads that can be opened, after an upload's name."""
    return home.state.exchanges.delivery_page(after, limit)


def find_signed_digest(home: RtccHome, gateway: str, upload: str) -> str | None:
    """Return the SHA-256 (hex) that a gateway's own answer named for an upload; None before such an answer."""
    found = home.state.exchanges.find_delivery(upload) if _UPLOAD.fullmatch(upload) else None
    return found.file.sha256.hex() if found is not None and found.gateway == gateway else None


def find_upload(home: RtccHome, delivery: Delivery, received_dir: Path | None = None) -> Path | None:
    """Return the received payload of a delivery, from its own gateway's folder; None while it is not there."""
    path = (received_dir or home.received_dir) / delivery.gateway / delivery.file.upload
    return path if path.is_file() else None


def assemble(home: RtccHome, delivery: Delivery, out: Path, received_dir: Path | None = None) -> Path:
    """Put age header and received payload together: a stock age file, which ``age --decrypt`` opens as well.

    Raises:
        EvidenceError: The payload is not here yet, or is not the one that the gateway signed for.
    """
    payload = check_payload(home, delivery, received_dir)
    # Under another name until it is whole, and made anew: never written through a link that lies there.
    part = out.with_name(f".{out.name}.part")
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    with payload.open("rb") as source, os.fdopen(os.open(part, _NEW, 0o600), "wb") as target:
        target.write(delivery.file.age_header)
        shutil.copyfileobj(source, target, _BLOCK_BYTES)
    part.replace(out)
    return out


def check_payload(home: RtccHome, delivery: Delivery, received_dir: Path | None = None) -> Path:
    """Return the received payload once it was found to be the one that the gateway signed for.

    Raises:
        EvidenceError: It is not here, or is another.
    """
    payload = find_upload(home, delivery, received_dir)
    if payload is None:
        raise EvidenceError(f"upload is not here: upload={delivery.file.upload}", "`rtcc receive` takes it in")
    with payload.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        size = file.tell()
    # The gateway signed both; the folder's name and the receiver's own note prove nothing.
    if (digest, size) != (delivery.file.sha256, delivery.file.size):
        raise EvidenceError(f"upload is not what the gateway signed for: upload={delivery.file.upload} bytes={size}")
    return payload


def open_delivery(home: RtccHome, delivery: Delivery, out_dir: Path, received_dir: Path | None = None) -> Findings:
    """Decrypt and verify one delivered bundle into ``out_dir``.

    Raises:
        EvidenceError: The payload is not here, or is not the one that the gateway signed for.
        CustodyError: Our age identity cannot be read.
    """
    payload = check_payload(home, delivery, received_dir)
    known = load_known_keys(home, delivery.gateway, delivery.jti)
    return open_bundle(payload, delivery.file.age_header, home.load_identity(), known, out_dir)


def load_known_keys(home: RtccHome, gateway: str, jti: str | None = None) -> KnownKeys:
    """Gather what we knew before a bundle came: the gateway's pins, everybody who ever signed for us, the request.

    People who were revoked since are among them: the request was signed before.
    """
    people = (*home.people.present(), *home.people.former())
    return KnownKeys(
        gateway_id=gateway,
        gateway=gateway_key(home, gateway),
        recorder=gateway_key(home, gateway, "recorder"),
        owner=gateway_key(home, gateway, "owner"),
        signers={
            person.kid: KnownSigner(load_jwk(person.jwk), person.name, person.role.value)  # type: ignore[arg-type]
            for person in people
        },
        request=home.find_request(jti) if jti else None,
    )
