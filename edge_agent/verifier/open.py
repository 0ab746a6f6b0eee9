"""Opening a bundle: decrypt, unpack, verify, and say it in words.

Owns the way from the uploaded payload to a folder of parts. Writes only into the folder that it is given; nothing
appears there before it is whole.
"""

import hashlib
import io
import json
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import pyrage

from edge_agent.errors import CustodyError, EvidenceError
from edge_agent.protocol import manifest as names
from edge_agent.protocol.age_header import verify_header
from edge_agent.protocol.age_stream import MAX_HEADER_BYTES, find_header_end
from edge_agent.protocol.manifest import Manifest
from edge_agent.protocol.public_keys import thumbprint
from edge_agent.units import encode_rfc3339
from edge_agent.verifier.certificate import write_certificate
from edge_agent.verifier.findings import Findings
from edge_agent.verifier.opened_bundle import AnyManifest, KnownKeys, Pins, SignedBundle, settle_keys
from edge_agent.verifier.verify import Checklist, read_manifest, verify_signature
from edge_agent.verifier.zip_layout import iter_bytes, read_layout

log = logging.getLogger(__name__)

MAX_EVIDENCE_BYTES = 1 << 30
"""Of one file of lines; they are read line by line."""
MAX_CLIP_BYTES = 1 << 40
MAX_PAPER_BYTES = 1 << 20
"""Of every part that is read as a whole: papers, ledger entry, manifest, README."""
_NAME = re.compile(r"(clips/[0-9]{3}\.mp4|evidence/[a-z]+\.jsonl?|README\.txt|(request|consent|order|manifest)\.jws)")
"""The whole guard against a name that leads out of the folder: always ``fullmatch``."""

_FOLDERS = ("clips", "evidence", "progressive")
_WRITTEN = ("bundle.zip", "findings.json", "certificate.txt")


def open_bundle(path: Path, header: bytes, identity: str, known: KnownKeys | Pins, out_dir: Path) -> Findings:
    """Decrypt a bundle, verify it offline, and write its parts.

    Args:
        path: The payload as it was uploaded, or a whole age file; or the ZIP that ``age`` made of one.
        header: The age header out of the ``delivered`` answer; empty if ``path`` has it.
        identity: One or more age identities that may open it, ``AGE-SECRET-KEY-1…``, as in a file of ``age-keygen``.
        known: Keys that count, or the pins of a stranger to the house.
        out_dir: Made if it is not there. Gets the parts, ``progressive/``, ``findings.json`` and ``certificate.txt``;
            those of an earlier opening are deleted first, other files stay.

    Returns:
        The proved facts, the others, and the failures; ``Findings.ok`` if nothing failed.

    Raises:
        OSError: ``out_dir`` cannot be written.
    """
    findings = Findings()
    out_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear(out_dir, path)
    plain = out_dir / "bundle.zip"
    if not header and is_zip(path):
        findings.doubt("envelope", "It was decrypted before it came here: for whom it was encrypted is not seen.")
        verify_zip(path, known, out_dir, findings)
        return _finish(findings, out_dir)
    try:
        decrypt(path, header, identity, plain)
    except EvidenceError as error:
        findings.fail("envelope", str(error))
        return _finish(findings, out_dir)
    findings.prove("envelope", "It was encrypted to this key, and every byte of it arrived as it was sent.")
    verify_zip(plain, known, out_dir, findings)
    return _finish(findings, out_dir)


def _clear(out_dir: Path, source: Path) -> None:
    """Delete what an earlier opening wrote: a certificate of it must not lie beside a bundle that fails."""
    for path in [*out_dir.glob("*"), *(found for part in _FOLDERS for found in out_dir.glob(f"{part}/*"))]:
        name = path.relative_to(out_dir).as_posix()
        is_ours = name in _WRITTEN or _NAME.fullmatch(name.replace("progressive/", "clips/"))
        if is_ours and path.is_file() and not path.samefile(source):
            path.unlink()


def is_zip(path: Path) -> bool:
    """Tell whether a bundle was decrypted already."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _finish(findings: Findings, out_dir: Path) -> Findings:
    target = out_dir / "findings.json"
    findings.files.append(str(target))
    target.write_text(json.dumps(findings.as_json(), indent=2, ensure_ascii=False) + "\n")
    return findings


def decrypt(path: Path, header: bytes, identity: str, target: Path) -> None:
    """Decrypt to a temporary file, then rename: a truncated bundle leaves nothing that looks whole.

    Raises:
        EvidenceError: It is not encrypted to this key, or was altered or cut short.
    """
    temporary = target.with_suffix(".part")
    try:
        # Before the library, which takes headers that the format forbids: two readers must not take
        # one file for two.
        verify_header(header or _read_header(path))
        keys = [pyrage.x25519.Identity.from_str(each) for each in find_identities(identity)]
        with path.open("rb") as payload, open(temporary, "wb", opener=_open_private) as plain:
            pyrage.decrypt_io(_Joined(header, payload), plain, keys)
        # Every chunk had its tag: only now does the plaintext get its name.
        os.replace(temporary, target)
    except (pyrage.DecryptError, pyrage.IdentityError) as error:
        raise EvidenceError("it cannot be decrypted: another key, or altered, or cut short") from error
    except OSError as error:
        if error.errno is not None:
            raise
        # pyrage tells an altered chunk as an OSError without a number.
        raise EvidenceError("it cannot be decrypted: altered, or cut short") from error
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        # A panic of the library is no Exception: a file that makes it panic is one that cannot be decrypted.
        raise EvidenceError("it cannot be decrypted: the library gave up on it") from None
    finally:
        temporary.unlink(missing_ok=True)


def _read_header(path: Path) -> bytes:
    with path.open("rb") as file:
        begin = file.read(MAX_HEADER_BYTES + 1)
    return begin[: find_header_end(begin)]


def read_identity(path: Path, ask_passphrase: Callable[[], bytes]) -> str:
    """Read an age identity file; one under a passphrase, as an owner's is, is opened with the one asked for.

    Raises:
        CustodyError: It cannot be read, or the passphrase does not open it.
    """
    try:
        raw = path.read_bytes()
        if raw.startswith(b"age-encryption.org/"):
            raw = pyrage.passphrase.decrypt(raw, ask_passphrase().decode())
        return raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CustodyError(f"{path}: identity cannot be read: {error}") from error
    except pyrage.DecryptError as error:
        raise CustodyError(f"{path}: the passphrase does not open this identity") from error


def find_identities(text: str) -> list[str]:
    """Return the age identities in the text of an identity file; EvidenceError if there is none."""
    found = [line for line in text.split() if line.startswith("AGE-SECRET-KEY-1")]
    if not found:
        raise EvidenceError("there is no age identity (AGE-SECRET-KEY-1…) to open it with")
    return found


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Joined(io.RawIOBase):
    """The header, then the payload."""

    def __init__(self, header: bytes, payload: IO[bytes]) -> None:
        self._header, self._payload = io.BytesIO(header), payload

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._header.read(size) or self._payload.read(size)


def verify_zip(path: Path, known: KnownKeys | Pins, out_dir: Path, findings: Findings) -> None:
    """Unpack a decrypted bundle and go through the checklist; each check's failure leaves the others to be made."""
    part = "container"
    try:
        stored = unpack(path, out_dir, findings)
        part = "manifest"
        manifest = read_manifest(out_dir, stored)
        part = "keys"
        # Before the signature: the kind that the manifest claims decides which keys may verify it.
        # Nothing else of it counts until then.
        keys = settle_keys(manifest, known)
        part = "manifest"
        verify_signature(out_dir, keys)
    except EvidenceError as error:
        findings.fail(part, str(error))
        return
    except OSError:
        raise  # Our own disk's.
    except Exception as error:
        # Nothing that a stranger can put into a bundle ends in a traceback.
        log.debug("malformed part: part=%s", part, exc_info=True)
        findings.fail(part, f"{part} is malformed: {type(error).__name__}")
        return
    findings.files += [str(out_dir / name) for name in stored]
    findings.unpinned = keys.unpinned
    _say_keys(keys, findings)
    findings.prove(
        "manifest",
        f"Gateway {manifest.gateway} signed the manifest at {encode_rfc3339(manifest.made_at)}"
        f" (software {manifest.software.version}, keys: {manifest.custody}).",
    )
    _say_kind(manifest, findings)
    Checklist(SignedBundle(manifest, stored, keys, out_dir, findings)).run()
    (out_dir / "certificate.txt").write_text(write_certificate(manifest, findings))
    findings.files.append(str(out_dir / "certificate.txt"))


def _say_keys(keys: KnownKeys, findings: Findings) -> None:
    brought = {name: getattr(keys, name) for name in ("gateway", "recorder", "owner") if name in keys.unpinned}
    if brought:
        prints = ", ".join(f"{name} {thumbprint(key)}" for name, key in brought.items())
        findings.doubt(
            "keys",
            "That these keys, which the bundle brought along, are that house's. Compare their thumbprints over another"
            f" way than the bundle came: {prints}.",
        )


def _say_kind(manifest: AnyManifest, findings: Findings) -> None:
    if isinstance(manifest, Manifest):
        findings.kind = "release"
        findings.prove("kind", "This is a release: the gateway let it out for a request, under its owner's consent.")
        return
    findings.kind = "export"
    findings.prove(
        "kind",
        "This is the owner's own export: it was made on the owner's order, without a request and without any signature"
        " of a crime center. It is no release, and no terms of consent stand behind it.",
    )


def unpack(path: Path, out_dir: Path, findings: Findings) -> dict[str, str]:
    """Unpack the ZIP; return the SHA-256 of each part, in order.

    A clip whose checksum is another is a failure of that clip; the others are unpacked.

    Raises:
        EvidenceError: It is no ZIP, holds what no bundle holds, or a part other than a clip is damaged.
    """
    stored: dict[str, str] = {}
    with path.open("rb") as file:
        for entry in read_layout(file):
            # Before its first byte is written: of two entries with one name, programs extract the
            # first or the last.
            if entry.name in stored or not _NAME.fullmatch(entry.name):
                raise EvidenceError(f"container holds what no bundle holds: {entry.name[:60]!r}")
            if entry.size > _find_limit(entry.name):
                raise EvidenceError(f"container holds a part that is too large: {entry.name}")
            stored[entry.name], crc = _extract(iter_bytes(file, entry), out_dir / entry.name)
            if crc != entry.crc:
                wrong = f"container has an entry with another checksum: {entry.name}"
                if not entry.name.startswith("clips/"):
                    raise EvidenceError(wrong)
                findings.fail("container", wrong, entry.name)
    if not stored or list(stored)[-1] != names.MANIFEST:
        raise EvidenceError("container does not end with the manifest")
    return stored


def _find_limit(name: str) -> int:
    if name.endswith(".mp4"):
        return MAX_CLIP_BYTES
    return MAX_EVIDENCE_BYTES if name.endswith(".jsonl") else MAX_PAPER_BYTES


def _extract(chunks: Iterable[bytes], target: Path) -> tuple[str, int]:
    """Write a part; return its SHA-256, and its CRC-32, by which other programs refuse it."""
    digest, crc = hashlib.sha256(), 0
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with target.open("wb") as copy:
        for chunk in chunks:
            digest.update(chunk)
            crc = zlib.crc32(chunk, crc)
            copy.write(chunk)
    return digest.hexdigest(), crc
