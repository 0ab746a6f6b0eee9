"""Signed heads of the ledger, and the proofs of one entry and of growth: they leave the house for anybody to check.

Pure. A checkpoint is a C2SP signed note (``tlog-checkpoint``): origin, size and root of the tree, signed by the
gateway's Ed25519 key. The proof of an entry is a leaf, its path and a checkpoint, as one JSON value; the proof of
growth holds no leaf at all. Nothing here ever holds a leaf that it was not asked for: leaves are salted, so a proof
says nothing about its neighbours.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent.base64url import encode_b64, parse_b64
from edge_agent.errors import EvidenceError
from edge_agent.protocol import merkle
from edge_agent.units import UtcNs, encode_rfc3339, parse_rfc3339

PAD_TO = 256
"""A checkpoint that leaves the house stands at a multiple of this, so that its size does not tell how many entries,
refusals among them, were made."""
# 128 bits: an entry cannot be guessed from its leaf's hash, which other proofs show.
SALT_BYTES = 16
MAX_LEAF_BYTES = 1 << 18
MAX_NOTE_BYTES = 4096
MAX_SIZE = 1 << merkle.MAX_LEVEL
# C2SP signed-note, "Signature types".
_ALGORITHM_ED25519 = b"\x01"
# C2SP signed-note: a signature's line begins with an em dash.
_DASH = "\u2014"
_KIND = re.compile(r"[a-z][a-z-]{0,31}")
_ORIGIN = re.compile(r"edge-agent/[0-9A-Za-z_-]{1,64}")
# C2SP tlog-checkpoint: no leading zeros. 19 digits hold every size below 2**62.
_DECIMAL = re.compile(r"[1-9][0-9]{0,18}")
_LEAF_MEMBERS = {"v", "kind", "at", "entry", "salt"}
_PROOF_MEMBERS = {"index", "leaf", "path", "checkpoint"}
_GROWTH_MEMBERS = {"from_size", "path", "checkpoint"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a ledger: its first ``size`` leaves have this root."""

    origin: str
    """``edge-agent/<gateway id>``."""
    size: int
    """Number of leaves."""
    root: bytes
    """MTH(D[0:size]) of RFC 6962, 2.1: 32 bytes."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry as it stands in the tree."""

    kind: str
    """One of the ledger's closed list."""
    at: UtcNs
    """When it was entered, by the gateway's clock."""
    entry: Mapping[str, object]
    """The kind's members; plain JSON without floats."""


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """An entry, its place, and the signed head that it was proved against."""

    index: int
    """From 0."""
    leaf: Leaf
    checkpoint: Checkpoint
    """Of a padded size."""


def ledger_origin(gateway: str) -> str:
    """Return the name under which a gateway's ledger signs: ``edge-agent/<gateway id>``."""
    origin = f"edge-agent/{gateway}"
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"not a gateway id: {gateway[:40]!r}")
    return origin


def encode_leaf(kind: str, at: UtcNs, entry: Mapping[str, object], salt: bytes) -> bytes:
    """Write an entry as canonical JSON: sorted members, no spaces, UTF-8, no floats.

    The salt is random per leaf: an entry cannot be guessed from its leaf's hash. A leaf does not depend on
    the one before it; the tree fixes the order.

    Raises:
        ValueError: The kind is malformed, the entry holds something other than text, whole numbers, true, false,
            null, lists and objects, or the leaf is larger than ``MAX_LEAF_BYTES``.
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(f"not a kind of ledger entry: {kind[:40]!r}")
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a leaf's salt has {SALT_BYTES} bytes, not {len(salt)}")
    _check_plain(entry, kind)
    leaf = {"v": 1, "kind": kind, "at": encode_rfc3339(at), "entry": entry, "salt": encode_b64(salt)}
    raw = _canonical(leaf)
    if len(raw) > MAX_LEAF_BYTES:
        raise ValueError(f"ledger entry is too large: kind={kind} bytes={len(raw)} limit={MAX_LEAF_BYTES}")
    return raw


def parse_leaf(raw: bytes) -> Leaf:
    """Parse a leaf, which must be exactly what ``encode_leaf`` writes.

    Raises:
        EvidenceError: It is not.
    """
    if len(raw) > MAX_LEAF_BYTES:
        raise EvidenceError(f"ledger leaf is too large: bytes={len(raw)} limit={MAX_LEAF_BYTES}")
    try:
        value = json.loads(raw)
        if not isinstance(value, dict) or value.keys() != _LEAF_MEMBERS or value["v"] != 1:
            raise ValueError("members")
        leaf = Leaf(value["kind"], parse_rfc3339(value["at"]), value["entry"])
        if not isinstance(leaf.entry, dict):
            raise ValueError("entry")
        # One spelling only: writing it again must give the same bytes, so duplicates and odd numbers fail here.
        if encode_leaf(leaf.kind, leaf.at, leaf.entry, parse_b64(value["salt"])) != raw:
            raise ValueError("spelling")
    except (ValueError, TypeError, RecursionError) as error:
        raise EvidenceError(f"ledger leaf is malformed: {error}"[:200]) from None
    return leaf


def encode_checkpoint(checkpoint: Checkpoint) -> str:
    """Write the text that is signed: origin, size and root, a line each (C2SP tlog-checkpoint)."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{encode_b64(checkpoint.root)}\n"


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """Return the checkpoint as a signed note with one signature, under its origin (C2SP signed-note)."""
    text = encode_checkpoint(checkpoint)
    # C2SP signed-note: key id (4) ‖ signature (64), in one base64.
    signature = note_key_id(checkpoint.origin, key.public_key()) + key.sign(text.encode())
    return f"{text}\n{_DASH} {checkpoint.origin} {encode_b64(signature)}\n"


def note_key_id(name: str, key: Ed25519PublicKey) -> bytes:
    """Return the four bytes by which a signature line names its key."""
    # C2SP signed-note: SHA-256(name ‖ LF ‖ algorithm ‖ public key), four bytes of it.
    return hashlib.sha256(name.encode() + b"\n" + _ALGORITHM_ED25519 + key.public_bytes_raw()).digest()[:4]


def verify_checkpoint(note: str, origin: str, key: Ed25519PublicKey) -> Checkpoint:
    """Verify a signed note by the gateway's key; signature lines of other keys (witnesses) are passed over.

    Raises:
        EvidenceError: The note is malformed, of another ledger, or not signed by this key.
    """
    checkpoint, text, signatures = _parse_note(note)
    if checkpoint.origin != origin:
        raise EvidenceError(f"checkpoint is of another ledger: {checkpoint.origin[:80]!r}, not {origin!r}")
    key_id = note_key_id(origin, key)
    for name, blob in signatures:
        # A name alone proves nothing: any key may sign under it, so the key's id decides.
        if name == origin and hmac.compare_digest(blob[:4], key_id):
            try:
                key.verify(blob[4:], text.encode())
            except InvalidSignature:
                raise EvidenceError(f"checkpoint signature does not verify: origin={origin}") from None
            return checkpoint
    raise EvidenceError(f"checkpoint is not signed by the gateway's key: origin={origin}")


def find_note(text: str) -> str:
    """Return the signed note in a file that somebody kept: the note itself, or a proof, which holds one."""
    if text.startswith("{"):
        try:
            return str(json.loads(text)["checkpoint"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise EvidenceError("no checkpoint, and no proof that holds one") from None
    return text


def read_origin(note: str) -> str:
    """Return whose ledger a signed note says that it is of; not verified."""
    return _parse_note(note)[0].origin


def _parse_note(note: str) -> tuple[Checkpoint, str, list[tuple[str, bytes]]]:
    if len(note) > MAX_NOTE_BYTES:
        raise EvidenceError(f"checkpoint is too large: bytes={len(note)} limit={MAX_NOTE_BYTES}")
    # C2SP signed-note: text, an empty line, signature lines. No extension line is ours.
    body, separator, tail = note.partition("\n\n")
    lines = body.split("\n")
    if not separator or not tail.endswith("\n") or len(lines) != 3 or not _DECIMAL.fullmatch(lines[1]):
        raise EvidenceError("checkpoint is not a signed note of origin, size and root")
    try:
        root = parse_b64(lines[2])
        signatures = [_parse_signature(line) for line in tail[:-1].split("\n")]
    except ValueError as error:
        raise EvidenceError(f"checkpoint is malformed: {error}") from None
    if len(root) != merkle.HASH_BYTES or int(lines[1]) > MAX_SIZE:
        raise EvidenceError("checkpoint has a root or a size that no tree has")
    return Checkpoint(lines[0], int(lines[1]), root), body + "\n", signatures


def _parse_signature(line: str) -> tuple[str, bytes]:
    dash, name, blob = [*line.split(" "), "", ""][:3]
    signature = parse_b64(blob)
    if line != f"{dash} {name} {blob}" or dash != _DASH or not name or len(signature) < 5:
        raise ValueError("a signature line is wrong")
    return name, signature


def encode_proof(index: int, leaf: bytes, path: list[bytes], note: str) -> dict[str, object]:
    """Return the proof of one entry as a JSON value: the part of a ledger that a bundle carries."""
    return {"index": index, "leaf": leaf.decode(), "path": [encode_b64(part) for part in path], "checkpoint": note}


def verify_proof(value: object, origin: str, key: Ed25519PublicKey) -> ProvedEntry:
    """Verify a proof offline, with nothing but the gateway's public key.

    In this order: shape, signature of the checkpoint, its padding, the leaf's spelling, the path to the root.

    Args:
        value: The parsed JSON value of ``encode_proof``.
        origin: ``ledger_origin`` of the gateway that the proof is expected of.
        key: The gateway's public key, from enrolment; never from the bundle that carries the proof.

    Raises:
        EvidenceError: Any of it fails; the message names the part.
    """
    if not isinstance(value, dict) or value.keys() != _PROOF_MEMBERS:
        raise EvidenceError("ledger proof is not an object of index, leaf, path and checkpoint")
    index, leaf, path, note = (value[name] for name in ("index", "leaf", "path", "checkpoint"))
    # `type`, not isinstance: True is an int in Python, and no place in a tree.
    if type(index) is not int or not isinstance(leaf, str) or not isinstance(note, str) or not _is_texts(path):
        raise EvidenceError("ledger proof has a member of the wrong kind")
    checkpoint = _verify_padded(note, origin, key)
    try:
        raw, hashes = leaf.encode(), [parse_b64(part) for part in cast(list[str], path)]
    except ValueError:
        raise EvidenceError("ledger proof is not text and base64") from None
    parsed = parse_leaf(raw)
    merkle.verify_inclusion(merkle.leaf_hash(raw), index, checkpoint.size, hashes, checkpoint.root)
    return ProvedEntry(index, parsed, checkpoint)


def encode_growth(from_size: int, path: list[bytes], note: str) -> dict[str, object]:
    """Return the proof that the ledger of a note begins with its first ``from_size`` entries, as a JSON value."""
    return {"from_size": from_size, "path": [encode_b64(part) for part in path], "checkpoint": note}


def verify_growth(value: object, remembered: str, origin: str, key: Ed25519PublicKey) -> tuple[Checkpoint, Checkpoint]:
    """Verify offline that a ledger still begins with the entries of a remembered checkpoint (RFC 9162, 2.1.4.2).

    Args:
        value: The parsed JSON value of ``encode_growth``.
        remembered: The signed note that the verifier kept; the proof only names its size.
        origin: ``ledger_origin`` of the gateway.
        key: The gateway's public key, from enrolment.

    Returns:
        The remembered head and the newer one.

    Raises:
        EvidenceError: Any of it fails; where both signatures verify, the two notes together show a rewritten ledger.
    """
    if not isinstance(value, dict) or value.keys() != _GROWTH_MEMBERS:
        raise EvidenceError("growth proof is not an object of from_size, path and checkpoint")
    from_size, path, note = (value[name] for name in ("from_size", "path", "checkpoint"))
    if type(from_size) is not int or not isinstance(note, str) or not _is_texts(path):
        raise EvidenceError("growth proof has a member of the wrong kind")
    old, new = verify_checkpoint(remembered, origin, key), _verify_padded(note, origin, key)
    if from_size != old.size:
        raise EvidenceError(f"growth proof is from another checkpoint: size={from_size} remembered={old.size}")
    try:
        hashes = [parse_b64(part) for part in cast(list[str], path)]
    except ValueError:
        raise EvidenceError("growth proof is not base64") from None
    merkle.verify_consistency(old.size, new.size, old.root, new.root, hashes)
    return old, new


def _verify_padded(note: str, origin: str, key: Ed25519PublicKey) -> Checkpoint:
    checkpoint = verify_checkpoint(note, origin, key)
    # docs/ledger.md: a head in between would tell how many refusals were made since the last.
    if checkpoint.size % PAD_TO:
        raise EvidenceError(f"checkpoint is not padded: size={checkpoint.size}")
    return checkpoint


def _is_texts(value: object) -> bool:
    """Tell whether it is a path: two hashes a level at the most, as in a proof of growth."""
    return (
        isinstance(value, list) and len(value) <= 2 * merkle.MAX_LEVEL and all(isinstance(part, str) for part in value)
    )


def _check_plain(value: object, where: str) -> None:
    """Refuse what JSON has no single spelling for."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, str):
                raise ValueError(f"ledger entry has a member whose name is no text: {where}")
            _check_plain(member, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for member in value:
            _check_plain(member, where)
    elif value is not None and not isinstance(value, str | int):
        raise ValueError(f"ledger entry holds a {type(value).__name__}: {where}")


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
